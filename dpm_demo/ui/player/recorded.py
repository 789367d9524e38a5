"""Recorded trajectories: a page that has just started shows something, and computes nothing.

They lie beside the checkpoint that made them, as values of the player in JSON:
`python -m benchmarks.record_examples` writes them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
from gradio.events import Dependency

from dpm_demo.models.checkpoint import CHECKPOINTS, weights_digest
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read as request_of_settings
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.form import RequestForm

log = logging.getLogger("dpm_demo")


def recordings_of(
    models: Sequence[tuple[str, str]], root: Path, first: Model | None = None
) -> list[dict[str, Any]]:
    """Those that the weights of a menu's models made, in its order.

    `models` are `(title, name)`, `root` is the folder of theirs. Weights are hashed, not loaded;
    those of `first` have been.
    """
    known = {first.name: first.digest} if first else {}
    found = []
    for _, name in models:
        folder = CHECKPOINTS / name / "recorded"
        if folder.is_dir() and (root / name / "model.safetensors").exists():
            found += read_recordings(folder, known.get(name) or weights_digest(root / name))
    return found


def opening(recordings: Sequence[dict[str, Any]], model: str) -> dict[str, Any] | None:
    """What a page opens on that a model is chosen on."""
    return next((found for found in recordings if found["request"].model == model), None)


def read_recordings(folder: Path, digest: str) -> list[dict[str, Any]]:
    """`title`, `note`, `value` and `request` of each file, by file name.

    One that cannot be read is left out, and so is one that other weights than `digest` made.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if read["digest"] != digest:
                continue
            recording = {name: read[name] for name in ("title", "note", "value")}
            found.append({**recording, "request": request_of_settings(read["settings"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: %s: %s", path.name, type(error).__name__, error)
    return found


def opens_link(
    demo: gr.Blocks,
    recordings: Sequence[dict[str, Any]],
    form: RequestForm,
    player: Player,
    note: gr.Markdown,
) -> Dependency:
    """When the page opens, the form shows what a visitor's link asks for; what is bad is named.

    A link to another model than the page's opens that model's recording. Where it asks for more
    than the model, which no recording shows, nothing is shown yet.
    """
    first = form.first.name if form.first else ""

    async def opened(request: gr.Request) -> list[Any]:
        asked = await form.asked_by_link(request)
        if asked is None:
            return [gr.skip()] * (2 + len(form.inputs))
        wanted, model, complaints = asked
        said = [links.note(complaints), *form.show(wanted, model)]
        if model.name == first or request.query_params.get("run") == "1":
            return [gr.skip(), *said]
        found = opening(recordings, model.name)
        only_the_model = len(links.pairs(request, form.tab)) == 1
        return await shown_in(form, found) if found and only_the_model else [None, *said]

    outputs = [player, note, *form.inputs]
    return demo.load(opened, None, outputs, show_progress="hidden")


def build(
    recordings: Sequence[dict[str, Any]],
    form: RequestForm,
    player: Player,
    note: gr.Markdown,
    downloads: list[gr.DownloadButton],
    link: gr.Textbox,
) -> None:
    """One button a recording: it opens in `player`, its settings in `form`; it has no files."""
    with gr.Row(elem_classes=f"waits-{form.tab}"):
        for recording in recordings:

            async def opened(recording: dict[str, Any] = recording) -> list[Any]:
                off = [gr.DownloadButton(interactive=False)] * len(downloads)
                return [*await shown_in(form, recording), *off]

            button = gr.Button(f"Recorded: {recording['title']}", size="sm", min_width=140)
            shown = button.click(
                opened,
                None,
                [player, note, *form.inputs, *downloads],
                queue=False,
                show_progress="hidden",
            )
            links.written_by(shown.success, form.query, form.inputs, link)


async def shown_in(form: RequestForm, recording: dict[str, Any]) -> list[Any]:
    """What the player, the line under it and the form show of a recording."""
    request = recording["request"]
    model = await form.serving.model(request.model)
    return [again(recording), recording["note"], *form.show(request, model)]


def again(recording: dict[str, Any]) -> dict[str, Any]:
    """The player's value, a run of its own each time, so that the player starts it afresh."""
    return {**recording["value"], "run": uuid4().hex}
