"""Adaptive runs in words and figures: what was spent, and who came nearer at the same cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpm_demo.compare import figures
from dpm_demo.compare.figures import rmse
from dpm_demo.compare.verdict import EQUAL, times
from dpm_demo.engine.events import SampleRecord, SolverDecision
from dpm_demo.request.job import Checked
from dpm_demo.solver.settings import Solver

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
    pairs = zip(samples, truths, strict=True)
    found = figures.pooled(rmse(a, b) for a, b in pairs if a is not None and b is not None)
    return math.nan if found is None else found


def fixed_solver(solver: Solver, nfe: int) -> Solver:
    """Fixed multistep steps of the same order, form and target as an adaptive solver."""
    return Solver(
        nfe=nfe,
        order=solver.order,
        prediction=solver.prediction,
        threshold=solver.threshold,
        denoise_to_zero=solver.denoise_to_zero,
    )


# ---------------------------------------------------------------- words and table


def method_name(solver: Solver) -> str:
    return f"DPM-Solver-{'12' if solver.order == 2 else '23'}"


def verdict(
    wanted: Checked,
    spent: Spent,
    rows: Sequence[SampleRecord],
    adaptive: float,
    fixed: float,
) -> str:
    """Who came nearer, first and large; then cost and error of both, and what went wrong."""
    solver, model = wanted.request.solver, wanted.model
    truth = "exact solution" if model.exact_solution is not None else "converged sample"
    changes = sum(c.kind == "stability" for row in rows for c in row.decisions)
    more = [
        f"Stability control stepped in {_often(changes)}." if changes else "",
        "With guidance, an evaluation computes two network rows." if wanted.rows == 2 else "",
        cap_sentence(spent, solver.nfe),
        *sorted({f"**{row.error}**" for row in rows if row.error}),
    ]
    lines = [
        headline(spent, adaptive, fixed, truth),
        " ".join([counted(spent), *filter(None, more)]),
        "",
        f"| | NFE | RMSE to the {truth} |",
        "|---|---|---|",
        f"| adaptive, {method_name(solver)}, tolerance {solver.tolerance:g} | "
        f"{_mean_and_range(spent)} | {adaptive:.2g} |",
        f"| fixed, multistep order {solver.order}, even in λ | {spent.fixed_nfe} | {fixed:.2g} |",
    ]
    return "\n".join(lines)


def progress(decisions: Sequence[SolverDecision]) -> str:
    """The same line of large type while the steps are tried."""
    tried = [bool(c.data["accepted"]) for c in decisions if c.kind == "step"]
    return f"### {sum(tried)} steps landed, {len(tried) - sum(tried)} bounced\n" if tried else ""


def headline(spent: Spent, adaptive: float, fixed: float, truth: str) -> str:
    """The verdict in a line of large type; nothing where the errors are not known."""
    if not (adaptive > 0 and fixed > 0 and spent.fixed_nfe > 1):
        return ""
    ratio = max(fixed / adaptive, adaptive / fixed)
    won = f"{'Adaptive' if adaptive < fixed else 'Fixed'} steps win: {times(ratio)} nearer"
    if ratio < EQUAL:
        won = "Neither wins: adaptive and fixed steps are equally near"
    return f"### {won} to the {truth}\nAt this cost, {spent.fixed_nfe} evaluations. "


def table_headline(
    spent: Sequence[Spent], adaptive: Sequence[float], fixed: Sequence[float]
) -> str:
    """How often adaptive steps come nearer, in a line of large type; of those that converged."""
    met = [
        (own, other)
        for s, own, other in zip(spent, adaptive, fixed, strict=True)
        if all(s.converged) and own > 0 and other > 0
    ]
    if not met:
        return ""
    won = sum(EQUAL * own <= other for own, other in met)
    equal = len(met) - won - sum(EQUAL * other <= own for own, other in met)
    which = "" if len(met) == len(spent) else " that were met"
    which += f", as near at {equal}" if equal else ""
    return (
        f"### Adaptive steps come nearer at {won} of {len(met)} tolerances{which}\n"
        "Fixed steps spend the same number of evaluations, from the same noise. "
    )


def counted(spent: Spent) -> str:
    """How many tried steps were kept and how many were not, a sample."""
    count = len(spent.nfe)
    return (
        f"A sample took {sum(spent.accepted) / count:.3g} accepted and "
        f"{sum(spent.rejected) / count:.3g} rejected steps."
    )


def _often(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _mean_and_range(spent: Spent) -> str:
    low, high = min(spent.nfe), max(spent.nfe)
    return f"{low}" if low == high else f"{spent.mean:.1f} ({low} … {high})"


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
