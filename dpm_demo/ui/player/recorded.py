"""Recorded trajectories: a page that has just started shows something, and computes nothing.

They lie beside the checkpoint that made them, as values of the player in JSON:
`python -m benchmarks.record_examples` writes them.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read as request_of_settings
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.widgets.form import RequestForm

log = logging.getLogger("dpm_demo")


def recordings_of(model: Model | None) -> list[dict[str, Any]]:
    """The recordings that the model's own weights made."""
    if model is None or not model.digest:
        return []
    return read_recordings(CHECKPOINTS / model.name / "recorded", model.digest)


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


def build(
    recordings: list[dict[str, Any]],
    form: RequestForm,
    player: Player,
    note: gr.Markdown,
    downloads: list[gr.DownloadButton],
) -> None:
    """One button a recording: it opens in `player`, its settings in `form`; it has no files."""
    with gr.Row():
        for recording in recordings:

            async def opened(recording: dict[str, Any] = recording) -> list[Any]:
                request = recording["request"]
                model = await form.serving.model(request.model)
                return [*shown(recording, len(downloads)), *form.show(request, model)]

            gr.Button(f"Recorded: {recording['title']}", size="sm", min_width=140).click(
                opened,
                None,
                [player, note, *downloads, *form.inputs],
                queue=False,
                show_progress="hidden",
            )


def shown(recording: dict[str, Any], downloads: int) -> list[Any]:
    """What a click shows: the player's value, the line under it, and buttons that are off."""
    # a run of its own each time, so that the player starts it afresh
    value = {**recording["value"], "run": uuid4().hex}
    return [value, recording["note"], *[gr.DownloadButton(interactive=False)] * downloads]
