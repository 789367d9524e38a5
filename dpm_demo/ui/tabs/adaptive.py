"""Tab "Error control": adaptive steps as they are chosen, beside fixed steps at the same cost."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from gradio.components.plot import PlotData
from plotly.subplots import make_subplots

from dpm_demo.compare.figures import rmse
from dpm_demo.compare.plots import COLOURS, tidy
from dpm_demo.compare.run import Measurement, check_measured
from dpm_demo.engine.events import Done, Preview, SampleRecord, SolverDecision
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read
from dpm_demo.request.job import Checked, checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import NFE_MAX, Solver
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.serving import Serving, awaited, ended, refuse
from dpm_demo.ui.tabs.base import on_click
from dpm_demo.ui.widgets.controls import PREDICTIONS, LabelControls
from dpm_demo.ui.widgets.run_bar import RunBar

METHODS = [("DPM-Solver-12 (orders 1 and 2)", 2), ("DPM-Solver-23 (orders 2 and 3)", 3)]
CONTROLLERS = [("PI: smoother", "pi"), ("I: as published", "i")]
ESTIMATORS = [("embedded pair", "embedded"), ("step doubling", "doubling")]
TOLERANCES = (0.2, 0.05, 0.0125, 0.003)  # of the table
SAMPLES_MAX = 4
PLOT_SECONDS = 0.33  # between two updates of a plot: the page draws each of them anew
PLOT_HEIGHT = 640
SHOWN_ERRORS = (1e-12, 1e12)  # what a logarithmic axis can show of 0 and of infinity
HEADERS = (
    "tolerance",
    "NFE (mean)",
    "NFE (range)",
    "accepted",
    "rejected",
    "RMSE adaptive",
    "RMSE fixed, same NFE",
    "note",
)

INTRO = """
An **adaptive** solver tries a step, estimates its own error from two orders that share their
evaluations, keeps the step if the error is within the tolerance (E ≤ 1) and tries a shorter one if
not. Every sample chooses for itself. Afterwards fixed steps spend the **same number of
evaluations** from the same noise.
"""


# ---------------------------------------------------------------- what was spent


@dataclass(frozen=True)
class Spent:
    """What the samples of one adaptive setting cost: one entry a sample."""

    nfe: tuple[int, ...]
    accepted: tuple[int, ...]
    rejected: tuple[int, ...]
    converged: tuple[bool, ...]

    @property
    def mean(self) -> float:
        return sum(self.nfe) / len(self.nfe)

    @property
    def fixed_nfe(self) -> int:
        """The budget of fixed steps at the same cost: the mean, rounded."""
        return max(1, round(self.mean))


def spent_of(nfe: Sequence[int], decisions: Sequence[Sequence[SolverDecision]]) -> Spent:
    """Counts the steps among the decisions of each sample, finished or still under way."""
    tried = [[c.data["accepted"] for c in own if c.kind == "step"] for own in decisions]
    ends = [[c.data["converged"] for c in own if c.kind == "end"] for own in decisions]
    return Spent(
        nfe=tuple(nfe),
        accepted=tuple(sum(steps) for steps in tried),
        rejected=tuple(len(steps) - sum(steps) for steps in tried),
        converged=tuple(all(own) for own in ends),
    )


def cap_sentence(spent: Spent, cap: int) -> str:
    """Says in words that the cap on evaluations was hit; nothing where it was not."""
    missed = spent.converged.count(False)
    if not missed:
        return ""
    who = "The sample" if len(spent.nfe) == 1 else f"{missed} of {len(spent.nfe)} samples"
    return (
        f"**Not converged.** {who} reached the cap of {cap} evaluations before the last step; "
        "what is shown there is the last data prediction, not the solution."
    )


def pooled(samples: Sequence[np.ndarray | None], truths: Sequence[np.ndarray | None]) -> float:
    """RMSE over all samples that have a truth; NaN where none has."""
    errors = [
        rmse(sample, truth)
        for sample, truth in zip(samples, truths, strict=True)
        if sample is not None and truth is not None
    ]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan


# ---------------------------------------------------------------- plots


def steps_figure(
    decisions: Sequence[SolverDecision], titles: Sequence[str], span: tuple[float, float]
) -> go.Figure:
    """Step size, local error and order of every tried step, over λ; one colour a sample."""
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.05)
    for k, title in enumerate(titles):
        steps = [c for c in decisions if c.tile == k and c.kind == "step"]
        kept = [c for c in steps if c.data["accepted"]]
        missed = [c for c in steps if not c.data["accepted"]]
        for own, name, mark in (
            (kept, title, {"mode": "lines+markers", "marker": {"size": 7}}),
            (missed, f"{title}, rejected", {"mode": "markers", "marker": {"symbol": "x-thin"}}),
        ):
            for row, value in ((1, _step_size), (2, _local_error)):
                _scatter(figure, row, own, value, name, k, mark)
        # samples of the same order would hide each other
        shift = 0.05 * (k - (len(titles) - 1) / 2)
        figure.add_scatter(
            x=[x for c in kept for x in (c.lam, c.lam + c.data["h"])],
            y=[c.data["order"] + shift for c in kept for _ in range(2)],
            mode="lines",
            line={"color": COLOURS[k % len(COLOURS)]},
            name=title,
            legendgroup=title,
            showlegend=False,
            hovertemplate="λ %{x:.3f}<extra>" + title + "</extra>",
            row=3,
            col=1,
        )
        changed = [c for c in decisions if c.tile == k and c.kind == "stability"]
        figure.add_scatter(
            x=[c.lam for c in changed],
            y=[c.data["order"] + shift for c in changed],
            text=[ACTIONS[c.data["action"]] for c in changed],
            mode="markers",
            marker={"symbol": "diamond-open", "size": 11, "color": COLOURS[k % len(COLOURS)]},
            name=f"{title}, stability",
            legendgroup=title,
            showlegend=False,
            hovertemplate="λ %{x:.3f}: %{text}<extra>" + title + "</extra>",
            row=3,
            col=1,
        )
    _axes(figure, span)
    return tidy(figure, PLOT_HEIGHT).update_layout(legend={"y": -0.12}, uirevision="steps")


ACTIONS = {
    "lower": "stability control lowered the order and halved the step",
    "restore": "stability control raised the order again",
}


def _step_size(decision: SolverDecision) -> float:
    return float(decision.data["h"])


def _local_error(decision: SolverDecision) -> float:
    return min(max(float(decision.data["error"]), SHOWN_ERRORS[0]), SHOWN_ERRORS[1])


def _scatter(
    figure: go.Figure,
    row: int,
    steps: Sequence[SolverDecision],
    value: Any,
    name: str,
    sample: int,
    mark: Mapping[str, Any],
) -> None:
    colour = COLOURS[sample % len(COLOURS)]
    rejected = mark["mode"] == "markers"
    marker = {"color": colour, "size": 9, **mark["marker"]}
    figure.add_scatter(
        x=[c.lam for c in steps],
        y=[value(c) for c in steps],
        customdata=[[c.nfe, c.data["h"], c.data["error"], c.data["order"]] for c in steps],
        mode=mark["mode"],
        line={"color": colour, "width": 1},
        # a thin cross has no area: its line carries the colour
        marker={**marker, "line": {"width": 2, "color": colour}} if rejected else marker,
        name=name,
        legendgroup=name,
        showlegend=row == 1 and bool(steps),
        hovertemplate="λ %{x:.3f}, h %{customdata[1]:.3g}, E %{customdata[2]:.3g}, "
        "order %{customdata[3]}, after %{customdata[0]} evaluations<extra>" + name + "</extra>",
        row=row,
        col=1,
    )


def _axes(figure: go.Figure, span: tuple[float, float]) -> None:
    figure.add_hline(y=1, line={"dash": "dot", "color": "#808080"}, row=2, col=1)
    figure.update_xaxes(range=[span[0] - 0.2, span[1] + 0.2])
    figure.update_xaxes(title_text="λ (noise left, picture right)", row=3, col=1)
    figure.update_yaxes(title_text="step size h", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title_text="local error E",
        type="log",
        exponentformat="power",
        nticks=6,
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="order", range=[0.6, 3.4], tickvals=[1, 2, 3], row=3, col=1)


def drawn(
    decisions: Sequence[SolverDecision], titles: Sequence[str], span: tuple[float, float]
) -> PlotData:
    """`steps_figure` as the page takes it, so that writing it out is done off the event loop."""
    return PlotData(type="plotly", plot=steps_figure(decisions, titles, span).to_json())


class Throttle:
    """Says at most once in `seconds` that it is time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


# ---------------------------------------------------------------- requests


def read_request(
    values: Mapping[str, Any], model: Model, limits: Limits, settings: int = 1
) -> Checked:
    """The checked adaptive request; `settings` are the tolerances that are run with it.

    Its cost is all that it brings along: the cap, as much again for the fixed steps, and the
    reference. Raises ValueError, one sentence.
    """
    wanted = checked(read({**values, "method": "adaptive"}), model, limits)
    count, solver = wanted.request.count, wanted.request.solver
    if count > SAMPLES_MAX:
        raise ValueError(f"count must be at most {SAMPLES_MAX} here, not {count}")
    check_measured(limits, wanted, [solver] * settings, also=settings * solver.nfe)
    return wanted


def fixed_solver(solver: Solver, nfe: int) -> Solver:
    """Fixed multistep steps of the same order, form and target as an adaptive solver."""
    return Solver(
        nfe=nfe,
        order=solver.order,
        prediction=solver.prediction,
        threshold=solver.threshold,
        denoise_to_zero=solver.denoise_to_zero,
    )


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class News:
    """What changed in the tab; None is no change."""

    adaptive: dict[str, Any] | None = None
    fixed: dict[str, Any] | None = None
    plot: PlotData | None = None
    text: str | None = None

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.adaptive, self.fixed, self.plot, self.text


async def watch(serving: Serving, wanted: Checked) -> AsyncGenerator[News, None]:
    """Runs the adaptive solver, then fixed steps at the same cost, then says both errors."""
    request, model = wanted.request, wanted.model
    titles = [f"seed {seed}" for seed in request.seeds]
    job = wanted.job(float32=True)
    wall = Wall(job, device=str(model.device), titles=titles)
    note = f"adaptive {request.model} tolerance={request.solver.tolerance:g}"
    throttle, decisions = Throttle(PLOT_SECONDS), list[SolverDecision]()
    async with aclosing(serving.play(job, wall, f"{note} count={request.count}")) as events:
        async for value, event in events:
            if isinstance(event, Preview):
                decisions += event.decisions
                # of the cap, which few runs need, nobody knows the time left
                value["status"]["left"] = None
                plot = None
                if decisions and throttle.due():
                    plot = await serving.encode(drawn, decisions, titles, model.lam_span)
                yield News(adaptive=value, plot=plot)
    rows = _rows(event)
    decisions = [decision for row in rows for decision in row.decisions]
    plot = await serving.encode(drawn, decisions, titles, model.lam_span)
    if not isinstance(event, Done):
        yield News(value, plot=plot, text=ended(event))
        return
    spent = spent_of([row.nfe for row in rows], [row.decisions for row in rows])
    yield News(value, plot=plot, text=cap_sentence(spent, request.solver.nfe))
    fixed = fixed_run(serving, wanted, [spent])
    wall = Wall(fixed.job, device=str(model.device), titles=titles, shown=range(len(request.seeds)))
    note = f"fixed {request.model} nfe={spent.fixed_nfe} count={request.count}"
    async with aclosing(serving.measure(fixed, note)) as events:
        async for event in events:
            work = wall.live if isinstance(event, Preview) else wall.final
            yield News(
                fixed=await serving.encode(work, event, serving.others), text=awaited(fixed) or None
            )
    if not isinstance(event, Done):
        yield News(text=ended(event))
        return
    errors = measured_errors(fixed, [rows], 0)
    yield News(text=verdict(wanted, spent, rows, *errors))


def fixed_run(serving: Serving, wanted: Checked, spent: Sequence[Spent]) -> Measurement:
    """Fixed steps at the cost of each adaptive setting, and what both are measured against."""
    solvers = [fixed_solver(wanted.request.solver, s.fixed_nfe) for s in spent]
    return Measurement(
        wanted,
        solvers,
        serving.references,
        record=len(spent) == 1,
    )


def measured_errors(
    fixed: Measurement, adaptive: Sequence[Sequence[SampleRecord]], k: int
) -> tuple[float, float]:
    """RMSE over the samples of the k-th setting, adaptive and fixed; NaN where it is not known."""
    truths = [fixed.truth(k, seed) for seed in fixed.seeds]
    own = pooled([row.sample for row in adaptive[k]], truths)
    other = fixed.pooled(k)
    return own, math.nan if other is None else other


def _rows(event: Any) -> list[SampleRecord]:
    return [row for track in event.tracks for row in track.rows]


def method_name(solver: Solver) -> str:
    return f"DPM-Solver-{'12' if solver.order == 2 else '23'}"


def verdict(
    wanted: Checked,
    spent: Spent,
    rows: Sequence[SampleRecord],
    adaptive: float,
    fixed: float,
) -> str:
    """Cost and error of both, and what kept the adaptive run from its end if anything did."""
    solver, model = wanted.request.solver, wanted.model
    truth = "exact solution" if model.exact_solution is not None else "converged sample"
    lines = [
        f"| | NFE | RMSE to the {truth} |",
        "|---|---|---|",
        f"| adaptive, {method_name(solver)}, tolerance {solver.tolerance:g} | "
        f"{_mean_and_range(spent)} | {adaptive:.2g} |",
        f"| fixed, multistep order {solver.order}, even in λ | {spent.fixed_nfe} | {fixed:.2g} |",
        "",
    ]
    if adaptive > 0 and fixed > 0 and spent.fixed_nfe > 1:
        nearer, ratio = ("adaptive", fixed / adaptive)
        if ratio < 1:
            nearer, ratio = "fixed", 1 / ratio
        lines.append(f"At this cost the **{nearer}** steps end {_times(ratio)} times nearer.")
    count = len(spent.nfe)
    changes = sum(c.kind == "stability" for row in rows for c in row.decisions)
    lines.append(
        f"A sample took {sum(spent.accepted) / count:.3g} accepted and "
        f"{sum(spent.rejected) / count:.3g} rejected steps"
        + (f"; stability control stepped in {_often(changes)}." if changes else ".")
    )
    if wanted.rows == 2:
        lines.append("With guidance, an evaluation computes two network rows.")
    lines.append(cap_sentence(spent, solver.nfe))
    lines += sorted({f"**{row.error}**" for row in rows if row.error})
    return "\n".join(lines[:5]) + "\n" + " ".join(line for line in lines[5:] if line)


def _often(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _mean_and_range(spent: Spent) -> str:
    low, high = min(spent.nfe), max(spent.nfe)
    return f"{low}" if low == high else f"{spent.mean:.1f} ({low} … {high})"


# ---------------------------------------------------------------- the table


async def tabulate(
    serving: Serving, wanted: Checked
) -> AsyncGenerator[tuple[list[list[Any]], str], None]:
    """The table's lines as they fill: all tolerances advance together, then fixed steps.

    Beside them what there is to say: what it waits for, why it ended before its end.
    """
    request = wanted.request
    solvers = [replace(request.solver, tolerance=t) for t in TOLERANCES]
    tracks = [wanted.track(solver, pictures=False) for solver in solvers]
    count, cap = request.count, request.solver.nfe
    throttle, decisions = Throttle(PLOT_SECONDS), list[SolverDecision]()
    spent: list[Spent] = []
    note = f"tolerance table {request.model} count={count}"
    async with aclosing(serving.run(wanted.job(tracks, float32=True), note)) as events:
        async for event in events:
            if isinstance(event, Preview):
                decisions += event.decisions
                if throttle.due():
                    nfe = [tile.nfe for tile in event.tiles]
                    own = [[c for c in decisions if c.tile == k] for k in range(len(nfe))]
                    spent = [
                        spent_of(nfe[k : k + count], own[k : k + count])
                        for k in range(0, len(nfe), count)
                    ]
                    yield table(solvers, spent, cap), ""
    if not isinstance(event, Done):
        yield table(solvers[: len(spent)], spent, cap), ended(event)
        return
    adaptive = [list(track.rows) for track in event.tracks]
    spent = [spent_of([r.nfe for r in rows], [r.decisions for r in rows]) for rows in adaptive]
    lines = table(solvers, spent, cap)
    yield lines, ""
    fixed = fixed_run(serving, wanted, spent)
    async with aclosing(serving.measure(fixed, f"{note}, fixed")) as events:
        async for end in events:
            if isinstance(end, Preview) and (text := awaited(fixed)):
                yield lines, text
    errors = [measured_errors(fixed, adaptive, k) for k in range(len(solvers))]
    yield table(solvers, spent, cap, *zip(*errors, strict=True)), ended(end)


def table(
    solvers: Sequence[Solver],
    spent: Sequence[Spent],
    cap: int,
    adaptive: Sequence[float] = (),
    fixed: Sequence[float] = (),
) -> list[list[Any]]:
    """A line a tolerance, as in `HEADERS`; errors that are not known yet stay empty."""
    lines = []
    for k, (solver, s) in enumerate(zip(solvers, spent, strict=True)):
        low, high = min(s.nfe), max(s.nfe)
        missed = s.converged.count(False)
        lines.append(
            [
                solver.tolerance,
                round(s.mean, 1),
                f"{low} … {high}",
                round(sum(s.accepted) / len(s.nfe), 1),
                round(sum(s.rejected) / len(s.nfe), 1),
                _figure(adaptive, k),
                _figure(fixed, k),
                f"not converged: {missed} of {len(s.nfe)} at the cap of {cap}" if missed else "",
            ]
        )
    return lines


def _figure(errors: Sequence[float], k: int) -> float | None:
    known = k < len(errors) and math.isfinite(errors[k])
    return float(f"{errors[k]:.3g}") if known else None


# ---------------------------------------------------------------- the tab


def build(serving: Serving, models: list[tuple[str, str]], first: Model | None) -> None:
    """Builds the tab inside the current Blocks."""
    gr.Markdown(INTRO)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            labels = LabelControls(models, first, 1.0)
            widgets = _controls()
            fill = gr.Button(
                "Fill the table of tolerances",
                size="sm",
                elem_id="errors-fill",
                elem_classes="runs-errors",
            )
        with gr.Column(scale=3, min_width=300, elem_classes="result-first"):
            bar = RunBar(serving, "errors", "Run")
            with gr.Row():
                with gr.Column(min_width=200):
                    gr.Markdown("#### Adaptive steps")
                    player = Player(
                        elem_id="errors-player",
                        label="Adaptive steps",
                        placeholder="Press Run: every sample chooses its own steps.",
                    )
                with gr.Column(min_width=200):
                    gr.Markdown("#### Fixed steps, same cost")
                    beside = Player(
                        elem_id="errors-fixed",
                        label="Fixed steps at the same cost",
                        placeholder="Follows the adaptive run, from the same noise.",
                    )
            note = gr.Markdown(elem_id="errors-note")
    # its height is reserved (theme.CSS), as each update draws it anew; so hidden until there is one
    plot = gr.Plot(show_label=False, elem_id="errors-plot", visible=False)
    shown = gr.Dataframe(
        headers=list(HEADERS),
        interactive=False,
        label="Cost and error against tolerance",
        elem_id="errors-table",
        wrap=True,
        visible=False,
    )
    inputs = [*labels.inputs, *widgets.values()]
    n = len(labels.inputs)

    async def read_widgets(args: tuple[Any, ...], settings: int) -> Checked:
        flat = labels.values(args[:n]) | dict(zip(widgets, args[n:], strict=True))
        model = await serving.model(str(flat["model"]))
        try:
            return read_request(flat, model, serving.limits, settings)
        except ValueError as error:
            raise refuse(error) from error

    async def of_a_run(*args: Any) -> Checked:
        return await read_widgets(args, 1)

    async def of_the_table(*args: Any) -> Checked:
        # the table brings its own tolerances, so that field need not make sense
        at = n + list(widgets).index("tolerance")
        own = (*args[:at], TOLERANCES[0], *args[at + 1 :])
        return await read_widgets(own, len(TOLERANCES))

    async def run(wanted: Checked) -> AsyncGenerator[Any, None]:
        yield gr.skip(), None, gr.skip(), ""
        # What is unchanged is sent again, which costs an empty difference. A skip would be a
        # difference that empties, in the page, a value that it may not have read yet.
        known = News()
        async with aclosing(watch(serving, wanted)) as stream:
            async for news in stream:
                known = News(
                    *(new or old for new, old in zip(news.parts, known.parts, strict=True))
                )
                plot = gr.update(value=known.plot, visible=True) if known.plot else gr.skip()
                yield known.adaptive or gr.skip(), known.fixed, plot, known.text

    async def fill_table(wanted: Checked) -> AsyncGenerator[Any, None]:
        async with aclosing(tabulate(serving, wanted)) as stream:
            async for lines, text in stream:
                yield gr.update(value=lines, visible=True), text

    async def relabel(name: str) -> list[Any]:
        return labels.show(await serving.model(name))[1:]

    panes = [player, beside, plot, note]
    bar.follows(on_click(serving, "errors", bar.go, inputs, panes, note, of_a_run, run))
    table_panes = [shown, note]
    bar.follows(
        on_click(serving, "errors", fill, inputs, table_panes, note, of_the_table, fill_table)
    )
    bar.watches(inputs)
    labels.model.input(
        relabel, labels.model, [*labels.axes, labels.guidance], api_visibility="private"
    )


def _controls() -> dict[str, gr.components.Component]:
    """Widgets by the request's field that each of them sets."""
    default = Solver(method="adaptive", stability=True)
    w: dict[str, gr.components.Component] = {}
    w["tolerance"] = gr.Textbox(
        f"{default.tolerance:g}",
        max_lines=1,
        label="Tolerance",
        info="Local error aimed at: 0.2 is coarse, 0.05 as published, 0.0005 fine.",
        elem_id="errors-tolerance",
    )
    w["order"] = gr.Dropdown(METHODS, value=default.order, label="Method")
    with gr.Row():
        w["seed"] = gr.Number(0, label="Seed", min_width=120)
        w["count"] = gr.Slider(
            1,
            SAMPLES_MAX,
            2,
            step=1,
            label="Samples",
            min_width=120,
            info="Each a trajectory of its own.",
        )
    w["nfe"] = gr.Slider(
        5,
        NFE_MAX,
        default.nfe,
        step=5,
        label="Cap on evaluations",
        info="Where a run ends that cannot meet its tolerance; the page then says so.",
    )
    w["stability"] = gr.Checkbox(
        default.stability,
        label="Stability control",
        info="Three errors growing in a row lower the order and halve the step.",
    )
    with gr.Accordion("More", open=False):
        w["prediction"] = gr.Radio(PREDICTIONS, value=default.prediction, label="Prediction form")
        w["controller"] = gr.Radio(
            CONTROLLERS,
            value=default.controller,
            label="Step-size controller",
            info="I dares longer steps, and has more of them rejected.",
        )
        w["error"] = gr.Radio(
            ESTIMATORS,
            value=default.error,
            label="Error estimator",
            info="Two orders that share evaluations, or one step against two halves (dearer).",
        )
    return w
