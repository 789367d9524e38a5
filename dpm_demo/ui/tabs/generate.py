"""Tab "Generate": one solver setting, some seeds, and every evaluation as it is computed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from dpm_demo.engine.events import Done
from dpm_demo.media.files import write_bytes
from dpm_demo.models.model import Model
from dpm_demo.request.files import denoising_gif, sheet_png, stem_of
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.kept import Kept
from dpm_demo.ui.player import recorded
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import capped, ended, refuse, spent
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import from_picture as start
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.form import RequestForm
from dpm_demo.ui.widgets.history import History, again, brief, entry, together

#: In the sweep with the label and guidance that the page starts with, it shares the best place at
#: 15 evaluations (docs/quality.md).
DEFAULT = GenerateRequest(solver=Solver(nfe=15, order=2, schedule="quadratic", corrector=True))


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, demo: gr.Blocks
) -> None:
    """Builds the tab inside the current Blocks and wires its links."""
    recordings = recorded.recordings_of(models, serving.library.root, first)
    opening = recorded.opening(recordings, first.name if first else "")
    default, shown = (opening["request"], opening["value"]) if opening else (DEFAULT, None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            form = RequestForm(serving, "generate", models, first, default, most=16)
        with gr.Column(scale=3, min_width=320, elem_classes="result-first"):
            bar = form.bar()
            player = Player(
                shown,
                elem_id="generate-player",
                label="Denoising",
                placeholder="Press Generate: noise becomes a picture, step by step.",
            )
            history = History(
                elem_id="generate-history",
                label="Your last runs",
                elem_classes="waits-generate",
            )
            note = gr.Markdown(elem_id="generate-note")
            with gr.Row():
                share = gr.Accordion("Share: files, link, code", open=False)
                restore = gr.UploadButton(
                    "Drop a PNG here to restore its settings",
                    size="sm",
                    file_types=[".png"],
                    elem_id="generate-restore",
                )
            with share:
                with gr.Row():
                    save_png = gr.DownloadButton("PNG", size="sm", interactive=False)
                    save_gif = gr.DownloadButton(
                        "GIF of the denoising", size="sm", interactive=False
                    )
                link = links.box("generate-link")
                form.code()
            recorded.build(recordings, form, player, note, [save_png, save_gif], link)
            start.build(serving, form.labels, form.solver, form.count, form.seed, player)
    done_run = gr.State("")
    results: Kept[tuple[GenerateRequest, Done]] = serving.kept

    async def run(wanted: Checked) -> AsyncGenerator[Any, None]:
        request, job = wanted.request, wanted.job()
        wall = Wall(job, titles=[f"seed {s}" for s in request.seeds])
        off = gr.DownloadButton(interactive=False)
        yield gr.skip(), "", off, off, request.seed, "", gr.skip()
        note = f"generate {request.model} {request.solver.method} nfe={request.solver.nfe}"
        async with aclosing(serving.play(job, wall, f"{note} count={request.count}")) as events:
            async for value, event in events:
                if isinstance(event, Done) and event.error is None:
                    results.put(wall.run, (request, event))
                    text = summary(wanted, event)
                    one = await serving.encode(entry, wall.run, request, event)
                    yield value, text, gr.skip(), gr.skip(), gr.skip(), wall.run, one
                else:
                    yield value, ended(event), *[gr.skip()] * 5

    async def brought_back(picked: gr.SelectData) -> list[Any]:
        """Settings and pictures of a run, or of two side by side with the settings of the last."""
        off = gr.DownloadButton(interactive=False)
        values: list[dict[str, Any]] = []
        runs = str(picked.value).split()[:2]
        for name in runs:
            request, done = results.get(name)
            model = await serving.model(request.model)
            wanted = Checked.of(request, model)
            title = f"{', '.join(brief(request))}: " if len(runs) > 1 else ""
            values.append(await serving.encode(again, wanted, done, title))
            text = summary(wanted, done)
        value = values[0] if len(values) == 1 else together(values[0], values[1])
        if value is None:
            raise refuse(ValueError("These two runs made pictures of different sizes."))
        if len(values) > 1:
            text = "Two runs: *compare two* puts a border between any two pictures."
        return [
            value,
            text,
            off,
            off,
            runs[0] if len(runs) == 1 else "",
            *form.show(request, model),
        ]

    async def files(run_id: str) -> list[Any]:
        if not run_id:  # stopped or failed: there is no file
            return [gr.skip(), gr.skip()]
        made_files = await serving.write(made, *results.get(run_id))
        return [gr.DownloadButton(value=str(f), interactive=True) for f in made_files]

    def made(request: GenerateRequest, done: Done) -> tuple[Path, Path]:
        stem = stem_of(request)
        picture = write_bytes(serving.path(f"{stem}.png"), sheet_png(done, request))
        return picture, denoising_gif(done, serving.path(f"{stem}.gif"))

    outputs = [player, note, save_png, save_gif, form.last_seed, done_run, history]
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
    picked = history.select(
        brought_back,
        None,
        [player, note, save_png, save_gif, done_run, *form.inputs],
        show_progress="hidden",
    )
    links.written_by(picked.success, form.query, form.inputs, link)
    # an event of its own, so that the button takes the next click while files are made
    for over in (picked.success, started.success):
        over(
            serving.of_newest("generate", files),
            done_run,
            [save_png, save_gif],
            show_progress="hidden",
        )
    restored = restore.upload(form.restore, restore, [*form.inputs, note], show_progress="hidden")
    links.written_by(restored.success, form.query, form.inputs, link)
    opened = recorded.opens_link(demo, recordings, form, player, note)
    form.wire(demo, bar, started, opened, note, link)


def summary(wanted: Checked, done: Done) -> str:
    """One line under the player: what was spent."""
    rows = done.tracks[0].rows
    text = f"{spent(done)} on {wanted.model.device}."
    if wanted.rows == 2:
        text += " With guidance, each evaluation computed two network rows."
    ticks = [c.data["ticks"] for row in rows for c in row.decisions if "ticks" in c.data]
    if ticks:
        text += f" Parallel in time: {max(ticks)} sequential ticks."
    return text + capped(done)
