"""What the tab "Error control" runs: adaptive steps, then fixed ones at the same cost."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from dpm_demo.compare.adaptive import (
    Spent,
    cap_sentence,
    fixed_solver,
    pooled,
    progress,
    spent_of,
    table,
    table_headline,
    verdict,
)
from dpm_demo.compare.adaptive_plots import hops_figure, steps_figure
from dpm_demo.compare.run import Measurement, check_measured
from dpm_demo.engine.events import Done, Preview, SampleRecord, SolverDecision
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read
from dpm_demo.request.job import Checked, checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver import nodes
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.runs import Throttle
from dpm_demo.ui.sentences import awaited, ended
from dpm_demo.ui.serving import Serving

TOLERANCES = (0.2, 0.05, 0.0125, 0.003)  # of the table
SAMPLES_MAX = 4
PLOT_SECONDS = 0.33  # between two updates of a plot: the page draws each of them anew


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


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class News:
    """What changed in the tab; None is no change. Plots are as a `gr.Plot` takes them."""

    text: str | None = None
    hops: Any = None
    adaptive: dict[str, Any] | None = None
    fixed: dict[str, Any] | None = None
    plot: Any = None

    def after(self, old: News) -> News:
        """What stands in the tab where `old` stood."""
        return replace(old, **{k: v for k, v in vars(self).items() if v is not None})


async def watch(serving: Serving, wanted: Checked) -> AsyncGenerator[News, None]:
    """Runs the adaptive solver, then fixed steps at the same cost, then says both errors."""
    request, span = wanted.request, wanted.model.lam_span
    titles = [f"seed {seed}" for seed in request.seeds]
    job = wanted.job(float32=True)
    wall = Wall(job, titles=titles)
    note = f"adaptive {request.model} tolerance={request.solver.tolerance:g}"
    throttle, decisions = Throttle(PLOT_SECONDS), list[SolverDecision]()
    async with aclosing(serving.play(job, wall, f"{note} count={request.count}")) as events:
        async for value, event in events:
            if isinstance(event, Preview):
                decisions += event.decisions
                # of the cap, which few runs need, nobody knows the time left
                value["status"]["left"] = None
                hops = None
                if decisions and throttle.due():
                    hops = await serving.plot(hops_figure, decisions, titles, span)
                yield News(progress(decisions), hops, value)
    rows = _rows(event)
    decisions = [decision for row in rows for decision in row.decisions]
    hops = await serving.plot(hops_figure, decisions, titles, span)
    plot = await serving.plot(steps_figure, decisions, titles, span)
    if not isinstance(event, Done):
        yield News(ended(event), hops, value, plot=plot)
        return
    spent = spent_of([row.nfe for row in rows], [row.decisions for row in rows])
    fixed = fixed_run(serving, wanted, [spent])
    where = nodes(fixed.solvers[0].schedule, spent.fixed_nfe, span)
    hops = await serving.plot(hops_figure, decisions, titles, span, where)
    text = " ".join([progress(decisions), cap_sentence(spent, request.solver.nfe)])
    yield News(text, hops, value, plot=plot)
    wall = Wall(fixed.job, titles=titles, shown=range(len(request.seeds)))
    note = f"fixed {request.model} nfe={spent.fixed_nfe} count={request.count}"
    async with aclosing(serving.measure(fixed, note)) as events:
        async for event in events:
            work = wall.live if isinstance(event, Preview) else wall.final
            painted = await serving.encode(work, event, serving.others)
            yield News(awaited(fixed) or None, fixed=painted)
    if not isinstance(event, Done):
        yield News(ended(event))
        return
    yield News(verdict(wanted, spent, rows, *measured_errors(fixed, [rows], 0)))


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
    pairs = [measured_errors(fixed, adaptive, k) for k in range(len(solvers))]
    errors = list(zip(*pairs, strict=True))
    text = ended(end) or table_headline(spent, *errors)
    yield table(solvers, spent, cap, *errors), text
