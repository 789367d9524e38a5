"""The block "Which solver for my budget?" of a tab: a race of all solvers, and its answer."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from dpm_demo.calibrate.advise import (
    HEADERS,
    NFE,
    SEEDS,
    Advice,
    advice,
    codes,
    figure,
    race_of,
    sigma_text,
    summary,
    table,
)
from dpm_demo.calibrate.race import Race
from dpm_demo.engine.events import Done, Preview
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import Limits, check_cost
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import STOPPED, ended
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.stop import stopping
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.controls import ANY, LabelControls
from dpm_demo.ui.widgets.fields import named

TEXT = """
### Which solver for my budget?
All samplers and settings, raced on this model, label and guidance: each on a few seeds, the better
ones on more, the best on all, by the distance to the converged sample of the same noise.
"""
COUNT = 12


def checked(values: dict[str, Any], model: Model, limits: Limits) -> tuple[GenerateRequest, Race]:
    """The race that is asked for. Raises ValueError for what is bad in it, or too dear."""
    request = read(values)
    race = race_of(request, model)
    rows = 1 if race.conditions is None else model.rows(race.conditions[0])
    check_cost(race.total * rows * model.frames, limits)
    return request, race


async def run_race(serving: Serving, race: Race) -> AsyncGenerator[str, None]:
    """Runs a race job by job among other people's work; yields how far it is, last "" if whole."""
    jobs = race.jobs()
    job = next(jobs)
    while True:
        share = race.spent / race.total
        yield f'<progress value="{share:.3f}" max="1"></progress> {math.floor(100 * share)} %'
        end: Any = None
        async with aclosing(serving.run(job, "race")) as events:
            async for event in events:
                if not isinstance(event, Preview):
                    end = event
        if not isinstance(end, Done) or stopping():
            yield STOPPED if stopping() else ended(end)
            return
        try:
            job = await serving.encode(_sent, jobs, end)
        except ValueError as error:
            yield f"**{links.escape(str(error))}**"
            return
        if job is None:
            yield ""
            return


def _sent(jobs: Any, end: Done) -> Any:
    """The next job, or None where there is none."""
    try:
        return jobs.send(end)
    except StopIteration:
        return None


def build(serving: Serving, models: list[tuple[str, str]], first: Model | None) -> None:
    """Builds the block inside the current Blocks."""
    gr.Markdown(TEXT)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            labels = LabelControls(models, first, 1.0, start=ANY)
        with gr.Column(scale=1, min_width=200):
            nfe = gr.Number(8, label="Evaluations", info=f"Of each sample, {NFE[0]} to {NFE[1]}.")
            count = gr.Number(COUNT, label="Seeds", info=f"{SEEDS[0]} to {SEEDS[1]}.")
    named(nfe=nfe, count=count)
    with gr.Row():
        go_ = gr.Button("Which solver?", variant="primary", min_width=100, elem_id="advise-go")
        stop = gr.Button("Stop", variant="stop", min_width=100, elem_id="advise-stop")
    note = gr.Markdown(elem_id="advise-note")
    shown = gr.Dataframe(
        headers=list(HEADERS), interactive=False, visible=False, elem_id="advise-table"
    )
    plot = gr.Plot(visible=False, show_label=False)
    nodes = gr.Textbox(label="Nodes of the best one, as σ", visible=False, buttons=["copy"])
    blocks = [
        gr.Code(label=kind, language="python", visible=False, interactive=False)
        for kind in ("Python", "Command line", "diffusers", "ComfyUI")
    ]
    outputs = [note, shown, plot, nodes, *blocks]
    n = len(labels.inputs)

    async def wanted(*args: Any) -> tuple[GenerateRequest, Race, Model]:
        model = await serving.model(str(labels.values(args[:n])["model"]))
        values = labels.values(args[:n]) | {"nfe": args[n], "count": args[n + 1]}
        return *checked(values, model, serving.limits), model

    async def run(ready: tuple[GenerateRequest, Race, Model]) -> AsyncGenerator[Any, None]:
        request, race, model = ready
        same = [gr.skip()] * (len(outputs) - 1)
        said = ""
        yield "", *[gr.update(visible=False)] * len(same)  # the answer of an earlier run goes
        async with aclosing(run_race(serving, race)) as news:
            async for said in news:
                yield said, *same
        if not said:
            made = await serving.encode(advice, request, model, race)
            yield [links.escape(summary(made)), *await _answer(serving, made)]

    inputs = [*labels.inputs, nfe, count]
    on_click(serving, "advise", go_.click, inputs, outputs, note, wanted, run)
    serving.stops("advise", stop.click)
    labels.follow(serving, note)


async def _answer(serving: Serving, made: Advice) -> list[Any]:
    return [
        gr.update(value=table(made), visible=True),
        await serving.plot(figure, made),
        gr.update(value=sigma_text(made.sigmas), visible=True),
        *[gr.update(value=code, visible=True) for code in codes(made).values()],
    ]
