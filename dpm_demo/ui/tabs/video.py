"""Tab "Video": clips as they are denoised, all frames at once, and files that play anywhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import gradio as gr
import numpy as np

from dpm_demo.engine.events import Done
from dpm_demo.models.model import Model
from dpm_demo.quality.motion import differences
from dpm_demo.request.code import KINDS
from dpm_demo.request.files import FPS, KINDS_OF_FILE, Clips, clip_files
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.kept import Kept
from dpm_demo.ui.player import recorded
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.sheets import at_size, sheet_uri
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import ended, refuse
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs.generate import summary
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.form import RequestForm

#: More guidance than this, which pictures bear, washes out the colours of clips.
DEFAULT = GenerateRequest(count=1, guidance=2.0, solver=Solver(nfe=20))

MISSING = (
    "**No trained video model is installed here:** put one into `checkpoints/emoji-video` "
    "(`python -m dpm_demo train --help` says how); until then the exact model below moves."
)

SMOOTHED_NEXT = "Smoothing applies to clips made with Generate, once they are done."


# ---------------------------------------------------------------- files


def before_and_after(
    clips: Clips, sampled: dict[str, Any], sigma: float, loop: bool
) -> dict[str, Any]:
    """The player's value: each clip as it was sampled, and beside it the smoothed one.

    `sampled` is the player's value of the run, which knows what each clip cost.
    """
    pairs = [clips.pixels(), clips.pixels(sigma, loop)]
    names = ("as sampled", f"smoothed, σ = {sigma:g}")
    moved = [differences(np.moveaxis(pixels, -1, 1)) for pixels in pairs]
    tiles, size = [], [sampled["tile"][axis] for axis in ("frames", "h", "w")]
    for k, seed in enumerate(clips.request.seeds):
        cost = {name: sampled["tiles"][k][name] for name in ("nfe", "budget")}
        for name, pixels, motion in zip(names, pairs, moved, strict=True):
            uri = sheet_uri(at_size(pixels[k], size)[None], level=6)
            point = {"nfe": cost["nfe"], "lam": None, "t": 0.0, "stage": 0, "picture": 0}
            tiles.append(
                {
                    "title": f"seed {seed}, {name}",
                    "caption": f"|difference| of neighbouring frames {motion[k]:.2f} of 255",
                    "state": "done",
                    **cost,
                    "record": {"x0": uri, "x": uri, "points": [point]},
                }
            )
    return {
        "run": uuid4().hex,
        "seq": 0,
        "final": True,
        "tile": sampled["tile"],
        "columns": 2,
        "fps": FPS,
        "tiles": tiles,
        "status": {"text": "done"},
    }


# ---------------------------------------------------------------- the tab


def first_model(serving: Serving, models: Sequence[tuple[str, str]]) -> Model | None:
    """The first of `models` that can be loaded; called before the page is served."""
    for _, name in models:
        try:
            return serving.load(name).result()
        except ValueError:
            continue
    return None


def build(serving: Serving, demo: gr.Blocks) -> None:
    """Builds the tab inside the current Blocks and wires its links."""
    models = serving.library.choices(video=True)
    first = first_model(serving, models)
    kept: Kept[tuple[Clips, dict[str, Any]]] = serving.kept
    if not any(o.frames > 1 and o.kind == "checkpoint" for o in serving.library.offered()):
        gr.Markdown(MISSING, elem_id="video-missing")
    recordings = recorded.recordings_of(models, serving.library.root, first)
    opening = recorded.opening(recordings, first.name if first else "")
    default, shown = (opening["request"], opening["value"]) if opening else (DEFAULT, None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            form = RequestForm(serving, "video", models, first, default, most=8, clips=True)
        with gr.Column(scale=3, min_width=320, elem_classes="result-first"):
            bar = form.bar()
            player = Player(
                shown,
                elem_id="video-player",
                label="Denoising of all frames",
                placeholder="Press Generate: all frames come out of the noise together.",
            )
            note = gr.Markdown(elem_id="video-note")
            with gr.Row():
                sigma = gr.Slider(
                    0,
                    4,
                    0,
                    step=0.25,
                    label="Smoothing over time (σ, frames)",
                    info="A Gaussian along time, after sampling; calms flicker, blurs motion. "
                    "0 is off.",
                    elem_id="video-sigma",
                )
                loop = gr.Checkbox(
                    True,
                    label="Closed loop",
                    info="The last frame's neighbour is the first one; if not, ends are repeated.",
                    elem_id="video-loop",
                )
            with gr.Accordion("Share: files, link, code", open=False):
                with gr.Row():
                    titles = ("MP4", "GIF", "WebP (lossless)", "ZIP of PNGs")
                    downloads = [gr.DownloadButton(t, size="sm", interactive=False) for t in titles]
                link = links.box("video-link")
                form.code(KINDS[:2])
    last_run = gr.State("")
    waiting = [gr.skip()] * len(downloads)  # the files, as they are

    async def run(wanted: Checked) -> AsyncGenerator[Any, None]:
        request, job = wanted.request, wanted.job()
        wall = Wall(job, titles=[f"seed {s}" for s in request.seeds])
        off = [gr.DownloadButton(interactive=False)] * len(downloads)
        yield gr.skip(), "", *off, request.seed, ""
        text = f"video {request.model} {request.solver.method} nfe={request.solver.nfe}"
        async with aclosing(serving.play(job, wall, f"{text} count={request.count}")) as events:
            async for value, event in events:
                if isinstance(event, Done) and event.error is None:
                    clips = Clips(request, event.tracks[0].samples)
                    kept.put(wall.run, (clips, value))
                    text = summary(wanted, event)
                    yield value, text, *waiting, gr.skip(), wall.run
                else:
                    yield value, ended(event), *waiting, gr.skip(), gr.skip()

    async def made(clips: Clips, sampled: dict[str, Any], width: float, closed: bool) -> list[Any]:
        """What the player shows (beside the sample as it was, if smoothed), and the files."""
        folder = serving.path("clip").parent
        try:
            files = await serving.write(clip_files, clips, folder, width, bool(closed))
            shown = sampled
            if width:
                shown = await serving.write(before_and_after, clips, sampled, width, bool(closed))
        except ValueError as error:
            raise refuse(error) from error
        on = [gr.DownloadButton(value=str(files[k]), interactive=True) for k in KINDS_OF_FILE]
        return [{**shown, "run": uuid4().hex}, *on]

    async def finished(run_id: str, width: float, closed: bool) -> list[Any]:
        if not run_id:  # stopped or failed: there is no file
            return [gr.skip(), *waiting]
        shown, *files = await made(*kept.get(run_id), width, closed)
        # what a person does with the player meanwhile is not to be undone
        return [shown if width else gr.skip(), *files]

    async def resmooth(run_id: str, width: float, closed: bool) -> list[Any]:
        if not run_id:
            return [gr.skip(), SMOOTHED_NEXT, *waiting]
        shown, *files = await made(*kept.get(run_id), width, closed)
        return [shown, gr.skip(), *files]

    outputs = [player, note, *downloads, form.last_seed, last_run]
    started = on_click(
        serving,
        form.tab,
        bar.go.click,
        form.inputs,
        outputs,
        note,
        form.checked,
        run,
        preprocess=False,
    )
    over_time = [last_run, sigma, loop]
    # an event of its own, so that it takes what is chosen while the clips are made
    started.success(
        serving.of_newest(form.tab, finished),
        over_time,
        [player, *downloads],
        show_progress="hidden",
    )
    opened = recorded.opens_link(demo, recordings, form, player, note)
    form.wire(demo, bar, started, opened, note, link)
    gr.on(
        [sigma.input, loop.input],
        serving.of_newest(form.tab, resmooth),
        over_time,
        [player, note, *downloads],
        show_progress="hidden",
        trigger_mode="always_last",
    )
