"""The solver that is taken where none is named.

    default_solver(nfe=8, guidance=3.5, model=model)

What is fitted to the model, where it was nearer on held-out seeds than the setting it was fitted
from; otherwise at few evaluations order 2 with UniPC's corrector and nodes even in linear-β time,
which docs/defaults.md measures beside what other programs do unasked. `Solver(nfe=8)` itself stays
the plain order 2 with nodes even in λ, whatever the model.
"""

from __future__ import annotations

from typing import Any

from dpm_demo.solver.settings import Solver

FEW = 12  # evaluations up to which the plain solver was measured to be behind


def default_solver(nfe: int = 20, guidance: float = 1.0, model: Any = None) -> Solver:
    """The solver for `nfe` evaluations at `guidance`, and for `model` where one is given.

    `guidance` is 1 where no label is followed. Raises ValueError for a budget that is none.
    """
    plain = Solver(nfe=nfe)
    for fit in () if model is None else model.fits:
        low, high = fit.guidance
        if fit.nfe == nfe and low <= guidance <= high and fit.rmse < fit.plain_rmse:
            return Solver(nfe=nfe, schedule="calibrated")
    if nfe <= FEW:
        return Solver(nfe=nfe, schedule="linear", corrector=True)
    return plain


def why(solver: Solver) -> str:
    """In a sentence, why `default_solver` took this one."""
    if solver.schedule == "calibrated":
        return "fitted to this model, and nearer on noise that it was not fitted to."
    if solver.corrector:
        return (
            "nothing is fitted here; UniPC's corrector with linear-β nodes led at few evaluations."
        )
    return "nothing is fitted here, and the plain order 2 is what is taken unasked."
