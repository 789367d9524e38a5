"""Adaptive steps for one sample: DPM-Solver-12 and -23, and step doubling."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from dpm_demo.solver.coefficients import Update, linear_update
from dpm_demo.solver.events import Decision, Evaluation, Measure, Trajectory
from dpm_demo.solver.plan import check_nodes
from dpm_demo.solver.schedule import check_span
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.state import combine, prediction, threshold
from dpm_demo.solver.step_control import FIRST_STEP, SHORTEST_STEP, StabilityControl, StepControl

__all__ = ["adaptive", "ends"]

#: atol / rtol of the local error, as published: 0.0078 / 0.05.
ATOL_RATIO = 0.156


class _Steps:
    """Singlestep steps of one row, their evaluations counted against a budget."""

    def __init__(self, solver: Solver, budget: int) -> None:
        self.solver = solver
        self.budget = budget
        self.spent = 0

    def predict(self, x: Tensor, lam: float, stage: int) -> Trajectory:
        """One evaluation: returns the data prediction after thresholding."""
        self.spent += 1
        return threshold((yield Evaluation(x, lam, stage)), self.solver.threshold)

    def update(self, lam: float, target: float, known: Sequence[float], role: str) -> Update:
        return linear_update(
            lam,
            target,
            known,
            noise_form=self.solver.prediction == "noise",
            published=role if self.solver.weights == "published" else None,
        )

    def pair(
        self, x: Tensor, first: Tensor, lam: float, target: float, *, order: int, stage: int = 0
    ) -> Generator[Evaluation | Measure | Decision, Any, tuple[Tensor, Tensor]]:
        """States at `target` of order `order` and one below; `first` is the prediction at λ.

        The stages lie at the half (order 2) or the thirds (order 3) and serve both; they are
        marked from `stage` + 1 on.
        """
        known, predictions = [lam], [first]
        for i in range(1, order):
            there = lam + (target - lam) * i / order
            y = combine(x, self.update(lam, there, known, "stage"), predictions)
            y0 = yield from self.predict(y, there, stage + i)
            known.insert(0, there)
            predictions.insert(0, prediction(self.solver.prediction, y, y0, there))
        high = combine(x, self.update(lam, target, known, "singlestep"), predictions)
        low = combine(x, self.update(lam, target, known[1:], "singlestep"), predictions[1:])
        return high, low

    def doubled(
        self, x: Tensor, first: Tensor, lam: float, target: float, *, order: int
    ) -> Generator[Evaluation | Measure | Decision, Any, tuple[Tensor, Tensor]]:
        """States at `target` of order `order` + 1 and `order`, by Richardson's extrapolation.

        The lower one is two half steps; against one whole step their error is 2^p − 1 times less.
        """
        whole, _ = yield from self.pair(x, first, lam, target, order=order)
        middle = 0.5 * (lam + target)
        y, _ = yield from self.pair(x, first, lam, middle, order=order, stage=order - 1)
        y0 = yield from self.predict(y, middle, 2 * order - 1)
        second = prediction(self.solver.prediction, y, y0, middle)
        halves, _ = yield from self.pair(
            y, second, middle, target, order=order, stage=2 * order - 1
        )
        return halves + (halves - whole) / (2**order - 1), halves

    def cost(self, order: int) -> int:
        """Evaluations of one try, besides the first one at λ, which a rejected step keeps."""
        return order - 1 if self.solver.error == "embedded" else 3 * order - 2


def adaptive(x: Tensor, solver: Solver, lam: float, end: float) -> Trajectory:
    """DPM-Solver-12 and -23 (2206.00927, appendix C), and step doubling; for one sample.

    A step is accepted when E ≤ 1, with E = rms((x_high − x_low)/max(atol, rtol·max(|x_low|,
    |x_prev|))) in variance-preserving coordinates, x_prev the x_low of the step before; x_high
    goes on.
    """
    steps = _Steps(solver, solver.nfe - solver.denoise_to_zero)
    control = StepControl(solver.controller)
    stability = StabilityControl(int(solver.order))
    direction = math.copysign(1.0, end - lam)
    h, previous, x0 = FIRST_STEP, x, None
    accepted = rejected = 0
    converged = True
    while lam != end and converged:
        if steps.spent == steps.budget:
            converged = False
            break
        x0 = yield from steps.predict(x, lam, 0)
        first = prediction(solver.prediction, x, x0, lam)
        while True:
            order = stability.order
            if steps.spent + steps.cost(order) > steps.budget:
                converged = False
                break
            h = min(max(h, SHORTEST_STEP), abs(end - lam))
            target = end if h == abs(end - lam) else lam + direction * h
            attempt = steps.pair if solver.error == "embedded" else steps.doubled
            high, low = yield from attempt(x, first, lam, target, order=order)
            error = (yield Measure(_distance(high, low, previous))) / solver.tolerance
            if not math.isfinite(error * solver.tolerance):
                raise FloatingPointError(f"the data prediction is not finite after λ = {lam:.4g}")
            q = order + (solver.error == "doubling")  # the order of the lower state, plus one
            record = {"h": h, "error": error, "order": order, "accepted": error <= 1}
            yield Decision("step", lam, record)
            h = control.next_step(h, error, q)
            action = stability.observe(error, record["h"]) if solver.stability else None
            if action is not None:
                h = h / 2 if action == "lower" else h
                control.forget()
                record = {**record, "h": h, "order": stability.order, "action": action}
                yield Decision("stability", lam, record)
            if error <= 1:
                accepted += 1
                lam, x, previous = target, high, low
                break
            rejected += 1
    if solver.denoise_to_zero and (converged or x0 is None):
        x = (yield from steps.predict(x, lam, 0)).to(x.dtype)
    elif not converged and x0 is not None and direction > 0:
        x = x0.to(x.dtype)
    yield Decision(
        "end",
        lam,
        {
            "nfe": steps.spent,
            "accepted": accepted,
            "rejected": rejected,
            "converged": converged,
        },
    )
    return x


def _distance(high: Tensor, low: Tensor, previous: Tensor) -> Tensor:
    """E times the tolerance, a 0-d tensor; so a tiny tolerance cannot underflow on the way."""
    scale = torch.maximum(low.abs(), previous.abs()).clamp_(min=ATOL_RATIO)
    ratio = (high - low).div_(scale)
    wide = torch.float64 if ratio.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(ratio, dtype=wide) / math.sqrt(max(1, ratio.numel()))


def ends(
    solver: Solver, lam_span: tuple[float, float] | None, lambdas: Sequence[float] | None
) -> tuple[float, float]:
    """The ends of an adaptive trajectory, which places its own nodes between them."""
    if lambdas is not None and lam_span is None:
        listed = check_nodes(solver, lambdas)
        if len(listed) != 2:
            raise ValueError(
                f'method "adaptive" places its own nodes: lambdas must be its two ends, '
                f"not {len(listed)} nodes"
            )
        lam_span = (listed[0], listed[1])
    elif lam_span is None or lambdas is not None:
        raise ValueError("give either lam_span or lambdas")
    first, last = check_span(lam_span)
    if solver.denoise_to_zero and last < first:
        raise ValueError("denoise_to_zero must be off on the way from data to noise")
    return first, last
