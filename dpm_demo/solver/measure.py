"""The order of a solver, measured on a problem whose solution is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from dpm_demo.solver.drive import Denoiser, integrate
from dpm_demo.solver.settings import Solver

__all__ = ["Problem", "errors", "order", "strong_errors"]


@dataclass(frozen=True)
class Problem:
    """denoise(x, lam), a state at the first node of `span`, and the ODE's exact state at the last.

    Rows are samples: each has a Brownian path of its own, of the seed of its place.
    """

    denoise: Denoiser
    start: Tensor
    truth: Tensor
    span: tuple[float, float]

    def solve(self, solver: Solver, nfe: int) -> Tensor:
        seeds = range(len(self.start)) if solver.eta else None
        return integrate(
            self.denoise, self.start, replace(solver, nfe=nfe), lam_span=self.span, seeds=seeds
        )


def errors(solver: Solver, problem: Problem, budgets: Sequence[int]) -> list[float]:
    """Mean absolute error to the exact solution of the ODE at each budget."""
    found = (problem.solve(solver, nfe) for nfe in budgets)
    return [(sample - problem.truth).abs().mean().item() for sample in found]


def strong_errors(
    solver: Solver, problem: Problem, budgets: Sequence[int], converged: Tensor
) -> list[float]:
    """Mean absolute distance to `converged`, the SDE's solution along the same Brownian paths.

    Pathwise: every budget sees the path of its sample, so that the distance is the strong error
    E|x_N − x|, and not a difference of distributions.
    """
    found = (problem.solve(solver, nfe) for nfe in budgets)
    return [(sample - converged).abs().mean().item() for sample in found]


def order(budgets: Sequence[int], measured: Sequence[float]) -> float:
    """The slope between the two largest budgets: p in error ~ budget^−p."""
    (few, many), (more, less) = budgets[-2:], measured[-2:]
    return math.log(more / less) / math.log(many / few)
