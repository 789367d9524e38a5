"""What the tests of the solver share: one exact problem, a driver that counts, and slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from benchmarks.solver_orders import GRID, NOISE, SPAN  # noqa: F401
from benchmarks.solver_orders import error as mixture_error
from dpm_demo.solver import Decision, Evaluation, Measure, trajectory
from dpm_demo.solver.settings import Solver


def paired(first: Sequence[Any], second: Sequence[Any], third: Sequence[Any]) -> list[Any]:
    """Cases of three axes in which every pair of values stands together, not every triple.

    first × second with the third rotated: a fault needs three values that conspire to escape. The
    third axis must be the shortest.
    """
    assert len(third) <= min(len(first), len(second))
    return [
        (a, b, third[(i + j) % len(third)])
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    ]


@dataclass
class Run:
    """One trajectory, driven by hand: what it asked for, what it decided, how it ended."""

    result: Tensor
    evaluations: list[Evaluation] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def nfe(self) -> int:
        return sum(len(e.x) for e in self.evaluations) // len(self.result)

    @property
    def points(self) -> list[float]:
        return [e.lam for e in self.evaluations if not e.stage]

    @property
    def end(self) -> dict[str, Any]:
        return self.decisions[-1].data


def drive(denoise: Any, x: Tensor, solver: Solver, **where: Any) -> Run:
    where.setdefault("lam_span", None if "lambdas" in where else SPAN)
    steps = trajectory(x, solver, **where)
    run, answer = Run(x), None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            run.result = stop.value
            return run
        answer = None
        if isinstance(event, Evaluation):
            run.evaluations.append(event)
            answer = denoise(event.x, event.lam)
        elif isinstance(event, Measure):
            answer = float(event.value)
        else:
            run.decisions.append(event)


def slopes(errors: list[float]) -> list[float]:
    """Measured orders between successive doublings."""
    return [math.log2(a / b) for a, b in pairwise(errors)]


def last_slope(span: tuple[float, float] = SPAN, **fields: Any) -> float:
    """The order between the two finest grids, without the taper (SOLVER.md, trap 12)."""
    fields.setdefault("lower_order_final", False)
    return slopes([mixture_error(Solver(nfe=n, **fields), span) for n in GRID[-2:]])[0]
