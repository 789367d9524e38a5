"""Tab "Quality": landed sweeps as plots and tables, and a small one that a visitor can run."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import gradio as gr
import numpy as np

from dpm_demo.compare.references import (
    REFERENCE_NFE,
)
from dpm_demo.compare.run import ComparisonRun, check_measured
from dpm_demo.engine.events import Done, Preview
from dpm_demo.models.model import Model
from dpm_demo.quality import results as report
from dpm_demo.quality.extract import EMOJI_FEATURES, RealFeatures, open_extractor
from dpm_demo.quality.metrics import Scores, scores
from dpm_demo.quality.results import Line, Results, error_figures
from dpm_demo.request.codec import budgets_of_text, read, solver_of_text, solver_text
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.serving import STOPPED, Serving, ended, refuse
from dpm_demo.ui.tabs.base import Throttle
from dpm_demo.ui.widgets import advisor, links
from dpm_demo.ui.widgets.board import Board
from dpm_demo.ui.widgets.controls import ANY, LabelControls

SOLVERS_MAX = 4  # of a small sweep
SAMPLES = (8, 64)  # of each of its lines, at least and at most
SEEDS_OF_ERROR = 8  # its first ones, which get a converged sample
NEWS_SECONDS = 0.25  # between two messages of progress
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
**RMSE** and **PSNR** say how far a sample is from the converged sample of its own noise, **FD**
(the Fréchet distance, called FID only with Inception's features) and **KID** how far the samples
are from real pictures in the features of a classifier, and **IS** how sure and how varied that
classifier finds them; RMSE, FD and KID are better low, PSNR and IS high.
"""
NONE_LANDED = (
    "No sweep is landed yet: `python -m dpm_demo evaluate --help` says how to make one. "
    "A small one can be run below."
)
NOT_EMOJI = (
    "The embedded features know emoji only, so of this model just RMSE and PSNR are measured."
)


# ---------------------------------------------------------------- a small sweep


def read_small(
    values: Mapping[str, Any],
    texts: Sequence[str] | None,
    budgets: str,
    model: Model,
    limits: Limits,
) -> Comparison:
    """The checked small sweep: every solver at every budget, over `count` seeds.

    Raises ValueError, one sentence, for anything bad in it or more than one request may ask for.
    """
    plain = read(values)
    most = min(SAMPLES[1], limits.pictures)
    least = min(SAMPLES[0], most)
    if not least <= plain.count <= most:
        raise ValueError(f"samples must be {least} to {most}, not {plain.count}")
    rows = tuple(dict.fromkeys(_solver(text) for text in texts or ()))
    if not 1 <= len(rows) <= SOLVERS_MAX:
        raise ValueError(f"solvers must be 1 to {SOLVERS_MAX}, not {len(rows)}")
    small = Comparison(
        plain.model,
        plain.label,
        plain.guidance,
        plain.seed,
        plain.count,
        rows=rows,
        budgets=tuple(sorted(budgets_of_text(str(budgets)))),
    )
    if model.latents is not None:
        raise ValueError(f"model: {model.name} makes latents; models of pixels are measured here")
    solvers = [replace(row, nfe=nfe) for row in rows for nfe in small.budgets]
    wanted = Checked.of(small.sample, model)
    check_measured(limits, wanted, solvers, error_seeds=SEEDS_OF_ERROR)
    return small


def _solver(text: str) -> Solver:
    solver = solver_of_text(text)
    if solver.method == "adaptive" or solver.window:
        raise ValueError(
            f"solvers: {text!r:.80} does not spend the budgets that it is given; only solvers of "
            "fixed cost can be compared here"
        )
    return solver


@dataclass(frozen=True)
class News:
    """What there is to say of a small sweep, and in the end its results."""

    text: str
    results: Results | None = None


async def run_small(
    serving: Serving, small: Comparison, model: Model
) -> AsyncGenerator[News, None]:
    """Draws all samples and what converged references are not kept, in one job, then measures."""
    began = time.monotonic()
    run = ComparisonRun(small, model, serving.references, error_seeds=SEEDS_OF_ERROR, record=False)
    throttle = Throttle(NEWS_SECONDS)
    async with aclosing(serving.measure(run, f"small sweep {small.model}")) as events:
        async for end in events:
            if isinstance(end, Preview) and throttle.due():
                yield News(progress(end))
    if not isinstance(end, Done):
        yield News(ended(end))
        return
    drawn = run.rows(end)
    notes = [f"**{links.escape(end.error)}**"] if end.error else []
    measured: list[Scores | None] = [None] * len(drawn)
    if knows_emoji(model):
        try:
            for k, rows in enumerate(drawn):
                if serving.stopping:
                    yield News(STOPPED)
                    return
                yield News(f"measuring {k + 1} of {len(drawn)} …")
                # one call a line: those of other visitors come between
                samples = [row.sample for row in rows if row.sample is not None]
                if len(samples) > 1:
                    call = partial(measure, np.stack(samples))
                    found = await asyncio.wrap_future(serving.engine.call(call))
                    measured[k] = found
        except (ValueError, OSError) as error:
            notes.append(f"**{links.escape(str(error))}**")
    else:
        notes.append(NOT_EMOJI)
    lines = [
        line_of(
            small.rows[cell.row],
            cell.solver.nfe,
            [error for error in run.errors(cell.track) if error is not None],
            measured[cell.track],
        )
        for cell in run.cells.cells
    ]
    results = Results(
        model=model.name,
        digest=model.digest,
        label=small.label,
        guidance=small.guidance,
        features="emoji features",
        reference_nfe=REFERENCE_NFE,
        lines=tuple(lines),
        notes={"seed": small.seed, "samples": small.count},
    )
    done = f"{len(lines)} lines in {time.monotonic() - began:.1f} s."
    yield News(" ".join([done, *notes]), results)


def progress(event: Preview) -> str:
    """How far a run is, with the seconds that are left at its speed so far."""
    done, of = event.nfe, event.budget
    left = event.seconds * (of - done) / done if done else None
    return f'<progress value="{done}" max="{of}"></progress> {done:,} of {of:,} evaluations' + (
        "" if left is None else f", about {math.ceil(left)} s left"
    )


def line_of(solver: Solver, nfe: int, errors: Sequence[float], measured: Scores | None) -> Line:
    """One line of the table from what was measured of it."""
    figures: dict[str, Any] = {} if measured is None else dict(vars(measured))
    figures.update(error_figures([error**2 for error in errors]))
    return Line(solver_text(solver), nfe, **figures)


def knows_emoji(model: Model) -> bool:
    """Whether the embedded extractor was trained on what the model draws: by its label axes.

    Where the extractor cannot be read the answer is yes, so that measuring says what is wrong.
    """
    try:
        axes = json.loads((EMOJI_FEATURES / "features.json").read_text(encoding="utf-8"))["axes"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(axes == {axis: len(names) for axis, names in model.labels.items()})


def measure(samples: np.ndarray) -> Scores:
    """The scores of samples `(n, 3, h, w)` against the real pictures (on the engine's thread)."""
    import torch

    look, real = _looker()
    features, logits = look(torch.from_numpy(samples))
    return scores(features, logits, real, len(samples))


@lru_cache(maxsize=1)
def _looker() -> Any:
    return open_extractor("emoji"), RealFeatures.load().train


def noise_sentence(results: Results) -> str:
    """How little so few samples say; stands under the table of a small sweep."""
    n = max((line.n for line in results.lines), default=0)
    seeds = max((line.n_error for line in results.lines), default=0)
    parts = []
    if n:
        parts.append(
            f"n = {n}: with so few samples FD is biased upwards and comparable only at equal n; "
            "KID's ± is over draws of the real pictures, not over other samples. The real pictures "
            "are of every label, so that one label alone scores worse."
        )
        if n < 20:
            parts.append("IS needs 20 samples.")
    if seeds:
        parts.append(f"RMSE and PSNR are from {seeds} seeds.")
    return " ".join(parts)


# ---------------------------------------------------------------- the tab


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
    gr.Markdown(INTRO)
    _build_landed(serving, tab)
    _build_now(serving, models, first)
    advisor.build(serving, models, first)


def _build_landed(serving: Serving, tab: gr.Tab) -> None:
    gr.Markdown("### Measured sweeps")
    board = Board("quality", filters=True)

    async def results_of(name: str) -> Results:
        path = report.landed().get(name)
        if path is None:
            raise ValueError(f"results: there is no sweep of {name!r:.60}.")
        return await serving.encode(Results.read, path)

    async def view(name: str, *values: Any) -> list[Any]:
        try:
            results = await results_of(name)
            return await board.show(serving, results, values, await beside(name, results))
        except BROKEN as error:
            sentence = str(error) if isinstance(error, ValueError) else type(error).__name__
            return board.nothing(
                f"The sweep of {links.escape(str(name))} cannot be shown: "
                f"{links.escape(sentence[:200])}"
            )

    async def switched(name: str, metric: Any, solvers: Any, nfe: Any) -> list[Any]:
        try:  # whoever wins at the new metric is drawn too
            best = (await results_of(name)).ranking(str(metric))[:1]
        except BROKEN:
            best = []
        return await view(name, metric, [*(solvers or ()), *best], nfe)

    async def beside(name: str, results: Results) -> str:
        try:
            return another(results, await serving.model(name))
        except gr.Error:  # the figures are worth showing without their model
            return ""

    async def opened(name: str | None, *values: Any) -> list[Any]:
        names = list(report.landed())
        if not names:
            return [gr.update(visible=False), *board.nothing(NONE_LANDED)]
        name = name if name in names else names[0]
        menu = gr.update(choices=names, value=name, visible=True)
        return [menu, *await view(name, *values)]

    async def files(name: str, *values: Any) -> list[Any]:
        try:
            return await board.files(serving, await results_of(name), values)
        except BROKEN as error:
            raise refuse(error) from error

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [board.model, *board.choices]
    tab.select(opened, inputs, [board.model, *board.outputs], **private)
    board.metric.input(switched, inputs, board.outputs, **private)
    for menu in (board.model, board.solvers, board.nfe):
        menu.input(view, inputs, board.outputs, **private)
    board.make.click(files, inputs, board.downloads, api_visibility="private")


def _build_now(serving: Serving, models: list[tuple[str, str]], first: Model | None) -> None:
    gr.Markdown(
        "### Run a small one now\n"
        "A few samples of each solver at each budget, measured at once. It is a look, not a "
        "measurement: a sweep has the samples that figures need. RMSE and PSNR need "
        f"a converged sample too, {REFERENCE_NFE} evaluations for each of {SEEDS_OF_ERROR} seeds."
    )
    most = min(SAMPLES[1], serving.limits.pictures)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            labels = LabelControls(models, first, 1.0, start=ANY)
        with gr.Column(scale=1, min_width=280):
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
        with gr.Column(scale=1, min_width=280):
            count = gr.Slider(
                min(SAMPLES[0], most),
                most,
                min(24, most),
                step=1,
                label="Samples",
                info="Of each solver at each budget. IS needs 20.",
            )
            seed = gr.Number(0, label="Seed", info="Of the first sample.")
    with gr.Row():
        go_ = gr.Button("Run", variant="primary", min_width=100, elem_id="now-go")
        stop = gr.Button("Stop", variant="stop", min_width=100, elem_id="now-stop")
    note = gr.Markdown(elem_id="now-note")
    board = Board("now", filters=False)
    noise = gr.Markdown(elem_id="now-noise")
    done = gr.State(None)  # this visitor's last results
    n = len(labels.inputs)

    async def checked(args: tuple[Any, ...]) -> tuple[Comparison, Model]:
        values = labels.values(args[:n])
        model = await serving.model(str(values["model"]))
        texts, words, count_, seed_ = args[n:]
        try:
            values |= {"seed": seed_, "count": count_}
            return read_small(values, texts, words, model, serving.limits), model
        except ValueError as error:
            raise refuse(error) from error

    async def run(*args: Any) -> AsyncGenerator[Any, None]:
        same = [gr.skip()] * (2 + len(board.outputs))
        async with aclosing(serving.telling(str(args[0]), checked(args))) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield step, *same
                else:
                    small, model = step
        yield "", *same
        async with aclosing(run_small(serving, small, model)) as stream:
            async for news in stream:
                if news.results is None:
                    yield news.text, *same
                    continue
                figures = await board.show(serving, news.results, (None, None, None))
                said = noise_sentence(news.results)
                yield news.text, said, news.results, *figures

    async def view(results: Results | None, *values: Any) -> list[Any]:
        if results is None:
            return [gr.skip()] * len(board.outputs)
        return await board.show(serving, results, values)

    async def files(results: Results | None, *values: Any) -> list[Any]:
        if results is None:
            raise gr.Error("Run a sweep first.", print_exception=False)
        return await board.files(serving, results, values)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    go_.click(
        serving.stoppable("quality", run),
        [*labels.inputs, solvers, budgets, count, seed],
        [note, noise, done, *board.outputs],
        **serving.engine_event,
    )
    serving.stops("quality", stop)
    labels.follow(serving, note)
    board.metric.input(view, [done, *board.choices], board.outputs, **private)
    board.make.click(files, [done, *board.choices], board.downloads, api_visibility="private")
