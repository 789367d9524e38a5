"""Tab "Quality": landed sweeps as plots and tables, and a small one that a visitor can run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from dpm_demo.compare.references import REFERENCE_NFE
from dpm_demo.models.model import Model
from dpm_demo.quality import results as report
from dpm_demo.quality.results import Results
from dpm_demo.request.comparison import Comparison
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import refuse
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs.quality_small import (
    SAMPLES,
    SEEDS_OF_ERROR,
    SOLVERS_MAX,
    noise_sentence,
    read_small,
    run_small,
)
from dpm_demo.ui.widgets import advisor, links
from dpm_demo.ui.widgets.board import Board, metric_menu
from dpm_demo.ui.widgets.controls import ANY, LabelControls
from dpm_demo.ui.widgets.fields import named
from dpm_demo.ui.widgets.run_bar import RunBar

OFFERED = (
    "order=1",
    "order=2",
    "order=3",
    "order=2 method=singlestep",
    "order=3 method=singlestep",
    "order=2 schedule=karras",
    "order=2 corrector=true",
    "order=3 weights=published",
)

INTRO = """
**RMSE** and **PSNR** say how far a sample is from the
<dfn title="converged">converged</dfn> sample of its own noise, **FD**
(the Fréchet distance, called FID only with Inception's features) and **KID** how far the samples
are from real pictures in the features of a classifier, and **IS** how sure and how varied that
classifier finds them; RMSE, FD and KID are better low, PSNR and IS high.
"""
NONE_LANDED = (
    "No sweep is landed yet: `python -m dpm_demo evaluate --help` says how to make one. "
    "A small one can be run here."
)


def another(results: Results, model: Model) -> str:
    """Says that the figures are of other weights than the page's; nothing where they are not."""
    if results.digest == model.digest:
        return ""
    return (
        f"**These figures are of other weights** ({links.escape(results.digest[:16])}) than those "
        f"of {links.escape(model.name)} that this page samples ({model.digest})."
    )


#: What a file may raise that is JSON of the right names and of the wrong contents.
BROKEN = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError)


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, tab: gr.Tab
) -> None:
    """Builds the tab inside the current Blocks; what is landed is read when it is opened."""
    landed, now = Board("quality", filters=True), Board("now", filters=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            landed.menus()
            widgets = _small_controls(serving, models, first)
            now.menus(landed.metric)
        with gr.Column(scale=3, min_width=320, elem_classes="result-first"):
            bar = RunBar(serving, "quality", "Run a small sweep now")
            note = gr.Markdown(elem_id="now-note")
            now.results()
            noise = gr.Markdown(elem_id="now-noise")
            landed.results()
    gr.Markdown(INTRO)
    small = gr.State(None)  # this visitor's last results
    _wire_landed(serving, tab, landed, small)
    _wire_now(serving, bar, now, widgets, note, noise, landed.model, small)
    advisor.build(serving, models, first)


async def _landed(serving: Serving, name: str) -> Results:
    path = report.landed().get(name)
    if path is None:
        raise ValueError(f"results: there is no sweep of {name!r:.60}.")
    return await serving.encode(Results.read, path)


def _wire_landed(serving: Serving, tab: gr.Tab, board: Board, small: gr.State) -> None:
    results_of = partial(_landed, serving)

    async def view(now: Results | None, name: str, *values: Any) -> list[Any]:
        try:
            results = await results_of(name)
            shown = await board.show(serving, results, values, await beside(name, results))
            return [metric_menu(values[0], results, now), *shown]
        except BROKEN as error:
            sentence = str(error) if isinstance(error, ValueError) else type(error).__name__
            nothing = board.nothing(
                f"The sweep of {links.escape(str(name))} cannot be shown: "
                f"{links.escape(sentence[:200])}"
            )
            return [metric_menu(values[0], now), *nothing]

    async def switched(
        now: Results | None, name: str, metric: Any, solvers: Any, nfe: Any
    ) -> list[Any]:
        if not report.landed():
            return [gr.skip()] * len(board.outputs)
        try:  # whoever wins at the new metric is drawn too
            best = (await results_of(name)).ranking(str(metric))[:1]
        except BROKEN:
            best = []
        return (await view(now, name, metric, [*(solvers or ()), *best], nfe))[1:]

    async def beside(name: str, results: Results) -> str:
        try:
            return another(results, await serving.model(name))
        except gr.Error:  # the figures are worth showing without their model
            return ""

    async def opened(now: Results | None, name: str | None, *values: Any) -> list[Any]:
        names = list(report.landed())
        if not names:
            shown = [metric_menu(values[0], now), *board.nothing(NONE_LANDED)]
            return [gr.update(visible=False), *shown]
        name = name if name in names else names[0]
        menu = gr.update(choices=names, value=name, visible=True)
        return [menu, *await view(now, name, *values)]

    async def files(name: str, *values: Any) -> list[Any]:
        try:
            return await board.files(serving, await results_of(name), values)
        except BROKEN as error:
            raise refuse(error) from error

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    inputs = [board.model, *board.choices]
    outputs = [board.metric, *board.outputs]
    tab.select(opened, [small, *inputs], [board.model, *outputs], **quiet)
    board.metric.input(switched, [small, *inputs], board.outputs, **quiet)
    for menu in (board.model, board.solvers, board.nfe):
        menu.input(view, [small, *inputs], outputs, **quiet)
    board.make.click(files, inputs, board.downloads)


NOW = f"""
A few samples of each solver at each budget, measured at once: a look, not a measurement, as a sweep
has the samples that figures need. RMSE and PSNR need a converged sample too: for settings that were
not asked for before, {REFERENCE_NFE} evaluations for each of {SEEDS_OF_ERROR} seeds.
"""


@dataclass(frozen=True)
class SmallControls:
    """What describes a small sweep."""

    labels: LabelControls
    solvers: gr.Dropdown
    budgets: gr.Textbox
    count: gr.Slider
    seed: gr.Number

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [*self.labels.inputs, self.solvers, self.budgets, self.count, self.seed]


def _small_controls(
    serving: Serving, models: list[tuple[str, str]], first: Model | None
) -> SmallControls:
    most = min(SAMPLES[1], serving.limits.pictures)
    with gr.Accordion("Settings of the small sweep", open=False):
        gr.Markdown(NOW)
        labels = LabelControls(models, first, 1.0, start=ANY)
        solvers = gr.Dropdown(
            list(OFFERED),
            value=list(OFFERED[:3]),
            multiselect=True,
            allow_custom_value=True,
            max_choices=SOLVERS_MAX,
            label="Solvers",
            info=f"Up to {SOLVERS_MAX}, of the list or typed as field=value words.",
            elem_id="now-solvers",
        )
        budgets = gr.Textbox(
            "5, 10, 20",
            label="Budgets",
            info="Model evaluations of each sample.",
            max_lines=1,
            elem_id="now-budgets",
        )
        count = gr.Slider(
            min(SAMPLES[0], most),
            most,
            min(16, most),
            step=1,
            label="Samples",
            info="Of each solver at each budget. IS needs 20.",
        )
        seed = gr.Number(0, label="Seed", info="Of the first sample.")
    named(solvers=solvers, budgets=budgets, samples=count, seed=seed)
    return SmallControls(labels, solvers, budgets, count, seed)


def _wire_now(
    serving: Serving,
    bar: RunBar,
    board: Board,
    widgets: SmallControls,
    note: gr.Markdown,
    noise: gr.Markdown,
    landed: gr.Dropdown,
    done: gr.State,
) -> None:
    labels = widgets.labels
    n = len(labels.inputs)

    async def checked(*args: Any) -> tuple[Comparison, Model, str, Any]:
        texts, words, count_, seed_, name, metric = args[n:]
        values = labels.values(args[:n]) | {"seed": seed_, "count": count_}
        model = await serving.model(str(values["model"]))
        return read_small(values, texts, words, model, serving.limits), model, str(name), metric

    async def run(ready: tuple[Comparison, Model, str, Any]) -> AsyncGenerator[Any, None]:
        small, model, name, metric = ready
        same = [gr.skip()] * (3 + len(board.outputs))
        # nothing of an earlier run stands beside what this one says
        yield "", "", None, gr.skip(), *board.nothing("")
        try:
            beside = await _landed(serving, name)
        except BROKEN:
            beside = None
        async with aclosing(run_small(serving, small, model)) as stream:
            async for news in stream:
                if news.results is None:
                    yield news.text, *same
                    continue
                figures = await board.show(serving, news.results, (metric, None, None))
                said = noise_sentence(news.results)
                menu = metric_menu(metric, beside, news.results)
                yield news.text, said, news.results, menu, *figures

    async def view(results: Results | None, *values: Any) -> list[Any]:
        if results is None:
            return [gr.skip()] * len(board.outputs)
        return await board.show(serving, results, values)

    async def files(results: Results | None, *values: Any) -> list[Any]:
        if results is None:
            raise gr.Error("Run a sweep first.")
        return await board.files(serving, results, values)

    inputs = [*widgets.inputs, landed, board.metric]
    outputs = [note, noise, done, board.metric, *board.outputs]
    started = on_click(serving, "quality", bar.go.click, inputs, outputs, note, checked, run)
    bar.follows(started)
    # another metric may have been chosen while it ran
    started.success(view, [done, *board.choices], board.outputs, show_progress="hidden")
    bar.watches(widgets.inputs)
    labels.follow(serving, note)
    board.metric.input(view, [done, *board.choices], board.outputs, show_progress="hidden")
    board.make.click(files, [done, *board.choices], board.downloads)
