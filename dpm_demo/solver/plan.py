"""Fixed-step solvers as plans: which λ is evaluated when, at which order, with which weights.

Weights depend on the nodes alone, so a plan is made once and holds Python numbers only. The loop
of `fixed` then runs every fixed-step method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from dpm_demo.solver.coefficients import Update, linear_update
from dpm_demo.solver.schedule import check_span, nodes
from dpm_demo.solver.settings import Solver

if TYPE_CHECKING:
    from dpm_demo.solver.table import Table

__all__ = ["Move", "Plan", "plan"]

#: A multistep method of order 3 that starts above this λ takes a singlestep first step of order 2:
#: below it the data prediction hardly moves, and a start at order 1 costs nothing. Fewer
#: evaluations than these lose more by the longer steps than they win (measured, docs/solvers.md).
MIDWAY, MIDWAY_NFE = -4.0, 8


@dataclass(frozen=True)
class Move:
    """One evaluation at `lam`, and the update that its prediction allows.

    stage    0: a trajectory point, which becomes the anchor; above 0: inside a singlestep step
    update   from the anchor to the state at `target`; None: the data prediction is the result
    correct  redo the step that led here, before anything else (UniPC)
    """

    lam: float
    stage: int
    target: float
    update: Update | None
    correct: Update | None = None


@dataclass(frozen=True)
class Plan:
    """What a fixed-step solver will do, told without running it.

    nodes        λ of the trajectory points, K + 1 of them
    orders       order of each of the K steps between them
    evaluations  (λ, stage) of each of the NFE evaluations, in sequence; stage 0 is a node
    moves        the same with its weights
    prediction   what the weights multiply: data predictions or noise predictions
    """

    nodes: tuple[float, ...]
    orders: tuple[int, ...]
    moves: tuple[Move, ...]
    prediction: str = "data"

    @property
    def evaluations(self) -> tuple[tuple[float, int], ...]:
        return tuple((move.lam, move.stage) for move in self.moves)

    @property
    def nfe(self) -> int:
        return len(self.moves)


def plan(
    solver: Solver,
    lam_span: tuple[float, float] | None = None,
    lambdas: Sequence[float] | None = None,
) -> Plan:
    """The plan of a fixed-step solver, over a span or over nodes of one's own.

    With `lam_span` the schedule places the nodes and `solver.nfe` is spent exactly. With `lambdas`
    the list rules: len(lambdas) − 1 evaluations and one more for `denoise_to_zero`; for
    "singlestep" it names the stages too; of a `table` it names the steps' ends alone.
    `lambdas[-1]` may be infinite. `lambdas[0]` may be −∞ (σ = 1: a flow, a schedule that ends in
    pure noise), as may the start of a span with schedule "flow": the first step is of order 1, and
    leaves nothing behind that a later one could interpolate. `ValueError` on method "adaptive", on
    both or neither of the two, and on nodes that coincide or turn back.
    """
    if solver.method == "adaptive":
        raise ValueError('method "adaptive" has no plan: it decides its steps as it goes')
    if lam_span is not None and lambdas is None:
        return _plan_span(solver, _check_span(solver, lam_span))
    if lambdas is not None and lam_span is None:
        return _plan_list(solver, check_nodes(solver, lambdas))
    raise ValueError("give either lam_span or lambdas")


def check_nodes(solver: Solver, lambdas: Sequence[float]) -> tuple[float, ...]:
    """`lambdas` as floats; `ValueError` with one sentence when they cannot be solver nodes."""
    if solver.schedule == "calibrated":
        raise ValueError('lambdas mean nothing with schedule "calibrated", which has its own nodes')
    listed = tuple(float(lam) for lam in lambdas)
    if len(listed) < (1 if solver.denoise_to_zero else 2):
        raise ValueError(f"lambdas must name at least two nodes, not {len(listed)}")
    inner = listed[:-1] if listed[-1] == math.inf else listed
    inner = inner[1:] if inner and inner[0] == -math.inf else inner
    if not all(abs(lam) <= 100 for lam in inner):
        raise ValueError(
            "lambdas must lie between -100 and 100; the first may be -inf and the last inf"
        )
    if listed[0] == -math.inf:
        _check_infinite_start(solver)
    gaps = [b - a for a, b in pairwise(listed)]
    if not (all(gap > 0 for gap in gaps) or all(gap < 0 for gap in gaps)):
        raise ValueError("lambdas must rise, or fall, at every node: no two may coincide")
    if solver.denoise_to_zero and listed[-1] == math.inf:
        raise ValueError("denoise_to_zero must be off when lambdas end at infinity")
    return listed


def _check_span(solver: Solver, lam_span: tuple[float, float]) -> tuple[float, float]:
    if lam_span[0] == -math.inf and solver.schedule == "flow":
        _check_infinite_start(solver)
        return -math.inf, check_span((-100.0, lam_span[1]))[1]
    return check_span(lam_span)


def _check_infinite_start(solver: Solver) -> None:
    if solver.eta > 0:
        raise ValueError(f"eta must be 0 with a first node of -inf, not {solver.eta}")


def _placed(solver: Solver, n: int, lam_span: tuple[float, float]) -> list[float]:
    """The nodes of the solver's schedule; those of a function are checked."""
    points = nodes(solver.schedule, n, lam_span, solver.shift)
    if callable(solver.schedule):
        try:
            check_nodes(solver, points)
            _check_direction(solver, points[0], points[-1])
        except ValueError as error:
            raise ValueError(f"schedule: its nodes are none of a solver: {error}") from error
    return points


@lru_cache(maxsize=256)
def _plan_span(solver: Solver, lam_span: tuple[float, float]) -> Plan:
    _check_direction(solver, *lam_span)
    budget = solver.nfe - solver.denoise_to_zero
    if solver.table and budget:
        return _plan_table(solver, lam_span, budget)
    if budget == 0:
        return _compile(solver, lam_span[:1], (), ())
    if solver.method == "singlestep":
        orders = _allocate(solver, budget)
        if solver.schedule == "logsnr":
            points = nodes("logsnr", len(orders), lam_span)
        elif lam_span[0] == -math.inf:
            return _plan_list(solver, tuple(_placed(solver, budget, lam_span)))
        else:
            full = _placed(solver, budget, lam_span)
            points = [full[sum(orders[:i])] for i in range(len(orders) + 1)]
        inner = [
            _stages(lam, target, order)
            for lam, target, order in zip(points, points[1:], orders, strict=False)
        ]
        return _compile(solver, points, orders, inner)
    extra = _midway_stages(solver, lam_span[0], budget)
    points = _placed(solver, budget - extra, lam_span)
    inner = [()] * (budget - extra)
    if extra:
        inner[0] = _stages(points[0], points[1], extra + 1)
    far = points[0] == -math.inf
    return _compile(solver, points, _multistep_orders(solver, inner, far), inner)


@lru_cache(maxsize=256)
def _plan_list(solver: Solver, lambdas: tuple[float, ...]) -> Plan:
    _check_direction(solver, lambdas[0], lambdas[-1] if len(lambdas) > 1 else math.inf)
    budget = len(lambdas) - 1
    if solver.table and budget:
        return _finished(solver, _table(solver).plan(lambdas, solver.eta))
    far = lambdas[0] == -math.inf
    if solver.method == "multistep" or budget == 0:
        inner = [()] * budget
        return _compile(solver, lambdas, _multistep_orders(solver, inner, far), inner)
    orders = [1, *_allocate(solver, budget - 1)] if far else _allocate(solver, budget)
    if lambdas[-1] == math.inf and orders[-1] > 1:
        # the steps from and to infinity are of order 1
        orders = [1] * far + [*_allocate(solver, budget - 1 - far), 1]
    starts = [sum(orders[:i]) for i in range(len(orders) + 1)]
    stages = [lambdas[a + 1 : b] for a, b in pairwise(starts)]
    return _compile(solver, [lambdas[i] for i in starts], orders, stages)


def _table(solver: Solver) -> Table:
    from dpm_demo.solver.table import named

    return named(solver.table)


def _plan_table(solver: Solver, lam_span: tuple[float, float], budget: int) -> Plan:
    """As many steps of a table as the budget pays; what is left is spent on steps of order 1."""
    table = _table(solver)
    points: Sequence[float]
    if table.nodes:
        points = table.nodes_over(lam_span, budget)
    else:
        points = _placed(solver, table.steps(budget), lam_span)
    return _finished(solver, table.plan(points, solver.eta, budget))


def _finished(solver: Solver, made: Plan) -> Plan:
    if not solver.denoise_to_zero:
        return made
    last = Move(made.nodes[-1], 0, math.inf, None)
    return replace(made, moves=(*made.moves, last))


def _check_direction(solver: Solver, first: float, last: float) -> None:
    if last > first:
        return
    if solver.eta > 0:
        raise ValueError(f"eta must be 0 on the way from data to noise, not {solver.eta}")
    if solver.denoise_to_zero:
        raise ValueError("denoise_to_zero must be off on the way from data to noise")


def _stages(lam: float, target: float, order: int) -> tuple[float, ...]:
    """Inner nodes of a singlestep step: none, the half, or the thirds."""
    return tuple(lam + (target - lam) * i / order for i in range(1, order))


def _wanted(solver: Solver, spent: int, budget: int) -> int:
    """The order asked for once `spent` of `budget` evaluations are done."""
    if solver.order != "auto":
        return solver.order
    if 5 * spent < budget:
        return 1
    return 2 if 5 * spent < 3 * budget else 3


def _allocate(solver: Solver, budget: int) -> list[int]:
    """Orders of the singlestep steps, which sum to `budget` (2206.00927, appendix D.3).

    With the taper a remainder of three is spent as 2, 1: so order 3 runs 3 … 3, 2, 1 or 3 … 3, 1
    or 3 … 3, 2, as published.
    """
    orders: list[int] = []
    while (left := budget - sum(orders)) > 0:
        order = min(_wanted(solver, sum(orders), budget), left)
        if order == left == 3 and solver.lower_order_final:
            order = 2
        orders.append(order)
    return orders


def _multistep_orders(
    solver: Solver, inner: Sequence[tuple[float, ...]], far: bool = False
) -> list[int]:
    """Warm up from what is known, taper to order 1 when asked to.

    `far`: the first node is −∞, and its prediction cannot be interpolated.
    """
    steps = len(inner)
    orders = []
    spent = 0
    for i, stages in enumerate(inner):
        order = _wanted(solver, spent, steps + sum(map(len, inner)))
        order = len(stages) + 1 if stages else min(order, max(1, spent + 1 - far))
        if solver.lower_order_final:
            order = min(order, max(steps - i, len(stages) + 1))
        orders.append(order)
        spent += 1 + len(stages)
    return orders


def _midway_stages(solver: Solver, first: float, budget: int) -> int:
    """Inner evaluations of the first multistep step: 1 where an order-1 start would cost the order.

    One step of local order h³ does not lower the global order 3; one of h² makes it 2.
    """
    started_midway = first > MIDWAY and budget >= MIDWAY_NFE
    return int(started_midway and solver.order == 3 and solver.weights == "exact")


def _compile(
    solver: Solver,
    points: Sequence[float],
    orders: Sequence[int],
    inner: Sequence[tuple[float, ...]],
) -> Plan:
    """Weights for the steps `points[i] → points[i + 1]` with the stages `inner[i]` between."""
    if points[-1] == math.inf:  # whatever the order, that step returns the data prediction
        orders = [*orders[:-1], 1]
    noise_form = solver.prediction == "noise"
    published = solver.weights == "published"
    moves: list[Move] = []
    known: list[float] = []  # λ of the predictions so far, the newest first

    def update(lam: float, target: float, count: int, role: str) -> Update | None:
        if target == math.inf:
            return None
        return linear_update(
            lam,
            target,
            known[:count],
            noise_form=noise_form,
            eta=solver.eta,
            published=role if published else None,
            variable=solver.variable,
        )

    correct: Update | None = None
    for i, (order, stages) in enumerate(zip(orders, inner, strict=True)):
        lam, target = points[i], points[i + 1]
        reached = [*stages, target]
        for stage, (here, there) in enumerate(zip([lam, *stages], reached, strict=True)):
            known.insert(0, here)
            corrected = solver.corrector and i and points[i - 1] != -math.inf
            if not stage and corrected and not inner[i - 1]:
                last = min(orders[i - 1] + 1, len(known) - (points[0] == -math.inf))
                correct = update(points[i - 1], lam, last, "corrector")
            if not stages:
                role = "unipc" if solver.corrector else "predictor"
                count = order
            else:
                role = "stage" if there != target else "singlestep"
                count = stage + 1
            moves.append(Move(here, stage, there, update(lam, there, count, role), correct))
            correct = None
    if solver.denoise_to_zero:
        moves.append(Move(points[-1], 0, math.inf, None))
    return Plan(tuple(points), tuple(orders), tuple(moves), solver.prediction)


def forget_plans() -> None:
    """A table's name may mean another table now."""
    _plan_span.cache_clear()
    _plan_list.cache_clear()
