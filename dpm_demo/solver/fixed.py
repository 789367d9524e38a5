"""Every fixed-step method as one loop over its plan."""

from __future__ import annotations

from collections import deque

from torch import Tensor

from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.events import Evaluation, Trajectory
from dpm_demo.solver.plan import Plan
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.state import combine, prediction, threshold

__all__ = ["fixed"]


def fixed(x: Tensor, solver: Solver, made: Plan, path: BrownianPath | None) -> Trajectory:
    """Every fixed-step method: the plan says what each prediction is worth."""
    reach = max((len(u.weights) for m in made.moves for u in (m.update, m.correct) if u), default=1)
    history: deque[Tensor] = deque(maxlen=reach)  # the newest prediction first
    anchor, anchor_lam = x, made.moves[0].lam
    for move in made.moves:
        x0 = threshold((yield Evaluation(x, move.lam, move.stage)), solver.threshold)
        if move.update is None:
            return x0.to(x.dtype)
        history.appendleft(prediction(made.prediction, x, x0, move.lam))
        if move.correct is not None:
            x = combine(anchor, move.correct, history)
            if path is not None and move.correct.diffusion:
                step = path.increment(anchor_lam, move.lam, x)
                x.add_(step, alpha=move.correct.diffusion)
        if not move.stage:
            anchor, anchor_lam = x, move.lam
        x = combine(anchor, move.update, history)
        if path is not None and move.update.diffusion:
            x.add_(path.increment(anchor_lam, move.target, x), alpha=move.update.diffusion)
    return x
