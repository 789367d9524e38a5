"""Tab "Generate": one solver setting, some seeds, and every evaluation as it is computed."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ..events import Done, Job, Track
from ..media import gif, png, sheet
from ..models.checkpoint import Model
from ..models.exact import MIXTURE_NAME
from ..request import SEED_MAX, GenerateRequest, read, read_leniently, to_query, to_text
from ..settings import Solver
from . import links, recorded, start
from .code import KINDS, code_for
from .controls import ANY, LabelControls, SolverControls, request_of
from .player import Player
from .serving import Kept, Serving, refuse
from .wall import Wall, picture_at, uint8

DEFAULT = GenerateRequest(solver=Solver(nfe=15))


def job_of(request: GenerateRequest, model: Model, exact: bool = False) -> Job:
    """The engine's job for a checked request."""
    condition = model.condition(request.label, request.guidance)
    track = Track(
        request.solver,
        request.seeds,
        cond=condition if model.labels else None,
        lam_span=model.lam_span,
    )
    return Job(model.exact if exact else model.denoise, model.shape, (track,), device=model.device)


def sheet_png(done: Done, request: GenerateRequest) -> bytes:
    """The samples as one PNG at their own size, settings in its text chunk "dpm-demo"."""
    samples = [uint8(s) for s in done.tracks[0].samples]
    columns = math.ceil(math.sqrt(len(samples)))
    return png(sheet(samples, columns), {"dpm-demo": to_text(request), "Software": "dpm-demo"})


def denoising_gif(done: Done, path: Path, fps: float = 8) -> Path:
    """All samples denoising together, one frame an evaluation."""
    rows = done.tracks[0].rows
    columns = math.ceil(math.sqrt(len(rows)))
    last = max(len(row.points) for row in rows)
    frames = [sheet([picture_at(row, k) for row in rows], columns) for k in range(1, last + 1)]
    scale = max(1, 384 // max(frames[0].shape[:2]))
    return gif(np.stack(frames), fps, scale, path, hold=1.0)


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, demo: gr.Blocks
) -> None:
    """Builds the tab inside the current Blocks and wires its links."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            labels = LabelControls(models, first, DEFAULT.guidance)
            with gr.Row():
                go = gr.Button("Generate", variant="primary", elem_id="generate-go")
                stop = gr.Button("Stop", variant="stop", elem_id="generate-stop")
            solver = SolverControls(DEFAULT.solver)
            with gr.Row():
                count = gr.Slider(
                    1,
                    16,
                    DEFAULT.count,
                    step=1,
                    label="Pictures",
                    info="One seed each.",
                    min_width=140,
                )
                seed = gr.Number(
                    DEFAULT.seed,
                    label="Seed",
                    precision=0,
                    info="The same seed is the same picture, whoever else is served.",
                    min_width=140,
                    elem_id="generate-seed",
                )
            with gr.Row():
                new = gr.Button("New seed", size="sm")
                reuse = gr.Button("Reuse last seed", size="sm")
        with gr.Column(scale=3, min_width=320, elem_classes="player-first"):
            player = Player(elem_id="generate-player", label="Denoising")
            note = gr.Markdown(elem_id="generate-note")
            with gr.Row():
                save_png = gr.DownloadButton("PNG", size="sm", interactive=False)
                save_gif = gr.DownloadButton("GIF of the denoising", size="sm", interactive=False)
            recorded.build(player, note, [save_png, save_gif])
            with gr.Accordion("Copy as code", open=False):
                kind = gr.Radio(KINDS, value=KINDS[0], label="Copy as", show_label=False)
                code = gr.Code(language="python", interactive=False, show_label=False, lines=6)
            start.build(serving, labels, solver, count, seed, player)
            link = links.box("generate-link")
    last_seed, done_run = gr.State(DEFAULT.seed), gr.State("")
    results: Kept[tuple[GenerateRequest, Done]] = Kept()
    inputs = [*labels.inputs, *solver.inputs, count, seed]
    split = len(labels.inputs), len(labels.inputs) + len(solver.inputs)

    def values_of(args: tuple[Any, ...]) -> dict[str, Any]:
        flat = labels.values(args[: split[0]]) | solver.values(args[split[0] : split[1]])
        return flat | {"count": args[split[1]], "seed": args[split[1] + 1]}

    async def checked(args: tuple[Any, ...]) -> tuple[GenerateRequest, Model]:
        values = values_of(args)
        model = await serving.model(str(values["model"]))
        try:
            return request_of(values, model, serving.limits), model
        except ValueError as error:
            raise refuse(error) from error

    async def run(*args: Any) -> AsyncIterator[Any]:
        async with aclosing(serving.telling(str(args[0]), checked(args))) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield gr.skip(), step, *[gr.skip()] * 4
                else:
                    request, model = step
        job = job_of(request, model)
        wall = Wall(job, device=str(model.device), titles=[f"seed {s}" for s in request.seeds])
        off = gr.DownloadButton(interactive=False)
        yield gr.skip(), "", off, off, request.seed, ""
        note = f"generate {request.model} {request.solver.method} nfe={request.solver.nfe}"
        async with aclosing(serving.play(job, wall, f"{note} count={request.count}")) as events:
            async for value, event in events:
                if isinstance(event, Done) and event.error is None:
                    results.put(wall.run, (request, event))
                    text = summary(request, event, model)
                    yield value, text, gr.skip(), gr.skip(), gr.skip(), wall.run
                else:
                    error = getattr(event, "error", None)
                    text = f"**{error}**" if error else ""
                    yield value, text, gr.skip(), gr.skip(), gr.skip(), gr.skip()

    async def files(run_id: str) -> list[Any]:
        if not run_id:  # stopped or failed: there is no file
            return [gr.skip(), gr.skip()]
        made_files = await serving.encode(made, *results.get(run_id))
        return [gr.DownloadButton(value=str(f), interactive=True) for f in made_files]

    def made(request: GenerateRequest, done: Done) -> tuple[Path, Path]:
        stem = f"{request.model}-{request.seed}-nfe{request.solver.nfe}"
        picture = serving.path(f"{stem}.png")
        picture.write_bytes(sheet_png(done, request))
        return picture, denoising_gif(done, serving.path(f"{stem}.gif"))

    async def show_code(kind: str, *args: Any) -> Any:
        request, _ = await checked(args)
        return gr.Code(
            code_for(kind, request), language="shell" if kind == "Command line" else "python"
        )

    def query(*args: Any) -> str:
        return "?tab=generate&" + to_query(read(values_of(args)))

    async def open_link(request: gr.Request) -> list[Any]:
        pairs = links.pairs(request, "generate")
        if not pairs:
            return [gr.skip()] * (len(inputs) + 1)
        wanted, complaints = read_leniently(dict(pairs))
        try:
            model = await serving.model(wanted.model)
            model.condition(wanted.label)
        except (ValueError, gr.Error) as error:
            complaints.append(f"{getattr(error, 'message', error)} The default is used.")
            model = first or await serving.model(MIXTURE_NAME)
            wanted = replace(wanted, label=ANY)
        return [
            *labels.show(model, wanted.label, wanted.guidance),
            *solver.show(wanted.solver),
            wanted.count,
            wanted.seed,
            links.note(complaints),
        ]

    outputs = [player, note, save_png, save_gif, last_seed, done_run]
    started = go.click(
        run,
        inputs,
        outputs,
        concurrency_id="engine",
        concurrency_limit=32,
        show_progress="hidden",
        api_visibility="private",
        scroll_to_output=False,
    )
    # an event of its own, so that the button takes the next click while files are made
    started.success(files, done_run, [save_png, save_gif], api_visibility="private")
    started.success(query, inputs, link, api_visibility="private").then(
        None, link, link, js=links.SHOW, api_visibility="private"
    )
    demo.load(open_link, None, [*inputs, note], api_visibility="private")
    labels.follow(serving, note)
    # after the cancel: what the ended run shows last would stand over it
    stop.click(None, None, None, cancels=[started], api_visibility="private").then(
        lambda: "Stopped.", None, note, api_visibility="private"
    )
    new.click(
        lambda: random.randint(0, SEED_MAX), None, seed, queue=False, api_visibility="private"
    )
    reuse.click(lambda s: s, last_seed, seed, queue=False, api_visibility="private")
    gr.on(
        [demo.load, kind.change, *[w.change for w in inputs]],  # type: ignore[attr-defined]
        show_code,
        [kind, *inputs],
        code,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def summary(request: GenerateRequest, done: Done, model: Model) -> str:
    """One line under the player: what was spent."""
    rows = done.tracks[0].rows
    spent = sorted({row.nfe for row in rows})
    nfe = str(spent[0]) if len(spent) == 1 else f"{spent[0]} to {spent[-1]}"
    guided = model.rows(model.condition(request.label, request.guidance)) == 2
    text = f"{len(rows)} × {nfe} evaluations in {done.seconds:.2f} s on {model.device}."
    if guided:
        text += " With guidance, each evaluation computed two network rows."
    ticks = [c.data["ticks"] for row in rows for c in row.choices if "ticks" in c.data]
    if ticks:
        text += f" Parallel in time: {max(ticks)} sequential ticks."
    if not all(row.converged for row in rows):
        text += " **The cap on evaluations was reached before the end: not converged.**"
    return text
