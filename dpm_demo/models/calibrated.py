"""Solvers fitted to one model: read from `calibrated.json` beside it, and found by what is asked.

The file names the weights that it was fitted to, and holds tables of numbers. A table is for one
number of evaluations and a range of guidance; outside them it is refused, never stretched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from dpm_demo.models.model import CheckpointError, Condition, Model
from dpm_demo.solver.coefficients import Update
from dpm_demo.solver.plan import Move
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.table import Table, register

FILE = "calibrated.json"
HISTORY_MAX = 8


@dataclass(frozen=True)
class Fit:
    """One fitted solver. Step i leads from λ_i to λ_{i+1}:

    x' = scale_i x + Σ_k weights_ik m_k, m_k the data predictions, newest first, each asked for with
    `told` in place of its λ. `guidance` are the ends of the range it was fitted over; `rmse` and
    `plain_rmse` the mean error over held-out seeds, of it and of the setting it started from.
    """

    lambdas: tuple[float, ...]
    told: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    guidance: tuple[float, float]
    rmse: float = math.nan
    plain_rmse: float = math.nan
    start: str = ""
    recipe: str = ""  # how it was made, where the file says it

    @property
    def nfe(self) -> int:
        return len(self.told)

    def table(self, name: str) -> Table:
        """This fit as a table of the solver."""
        return Table(name, "data", partial(_moves, self), nodes=self.lambdas)


def _moves(fit: Fit, points: Sequence[float], eta: float, full: int) -> list[Move]:
    if eta:
        raise ValueError(f"eta must be 0 with a calibrated solver, not {eta}")
    return [
        Move(told, 0, target, Update(scale, weights))
        for told, target, scale, weights in zip(
            fit.told, points[1:], fit.scales, fit.weights, strict=True
        )
    ]


#: What the names of fits mean in this process.
_REGISTERED: dict[str, Fit] = {}


def registered(fit: Fit, digest: str) -> str:
    """The name of a fit's table, the same in every process, which is known here from then on."""
    ends = "-".join(f"{g:g}".replace(".", "_") for g in fit.guidance)
    name = f"calibrated-{digest[:8]}-{fit.nfe}-{ends}"
    if _REGISTERED.get(name) != fit:  # plans are forgotten with each that is new
        register(name, fit.table(name))
        _REGISTERED[name] = fit
    return name


def resolved(solver: Solver, model: Model, condition: Condition | None) -> Solver:
    """`solver` with the table that its schedule "calibrated" means for this model and condition.

    Any other solver is returned as it is. Raises ValueError, one sentence that says what there is,
    where nothing was fitted for what is asked.
    """
    if solver.schedule != "calibrated":
        return solver
    fits: tuple[Fit, ...] = model.fits
    if not fits:
        raise ValueError(
            f'schedule "calibrated": nothing is fitted to {model.name}; choose another schedule '
            "(docs/solvers.md says how one is fitted)"
        )
    guided = condition is not None and model.rows(condition) == 2
    guidance = condition.guidance if guided and condition is not None else 1.0
    for fit in fits:
        if fit.nfe == solver.nfe and fit.guidance[0] <= guidance <= fit.guidance[1]:
            return Solver(
                nfe=solver.nfe,
                table=registered(fit, model.digest),
                threshold=solver.threshold,
            )
    known = "; ".join(
        f"{', '.join(str(f.nfe) for f in fits if f.guidance == ends)} at guidance {_range(ends)}"
        for ends in sorted({f.guidance for f in fits})
    )
    raise ValueError(
        f'schedule "calibrated" is not fitted for {solver.nfe} evaluations at guidance '
        f"{guidance:g} on {model.name}: there are {known}"
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"


def load_fits(path: Path, digest: str) -> tuple[Fit, ...]:
    """The fits in a file, known by their names from then on; none if there is no file.

    So a job that names one runs in every process that has loaded the model. Raises CheckpointError
    for other weights'.
    """
    if not path.exists():
        return ()
    found_digest, fits = read_fits(path)
    if found_digest != digest:
        raise CheckpointError(
            f"{path.parent.name}: {FILE} was fitted to other weights; remove it, then calibrate "
            "again."
        )
    for fit in fits:
        registered(fit, digest)
    return fits


def read_fits(path: Path) -> tuple[str, tuple[Fit, ...]]:
    """(digest of the weights, fits). Raises CheckpointError, one sentence, for any fault."""
    try:
        if path.stat().st_size > 1_000_000:
            raise ValueError("it is larger than a megabyte")
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        return str(values["digest"]), tuple(_fit(one) for one in values["fits"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path.parent.name}: {path.name} is damaged ({error}); fetch it again or remove it."
        ) from error


def _fit(values: dict[str, Any]) -> Fit:
    lambdas = _numbers(values["lambdas"])
    told, scales = _numbers(values["told"]), _numbers(values["scales"])
    weights = tuple(_numbers(row) for row in values["weights"])
    steps = len(lambdas) - 1
    if not 1 <= steps <= 1000 or not all(a < b for a, b in pairwise(lambdas)):
        raise ValueError("lambdas must rise")
    if not len(told) == len(scales) == len(weights) == steps:
        raise ValueError(f"told, scales and weights must be {steps} each")
    if not all(1 <= len(row) <= min(i + 1, HISTORY_MAX) for i, row in enumerate(weights)):
        raise ValueError("a step weighs more predictions than there are")
    low, high = _numbers(values["guidance"])
    return Fit(
        lambdas,
        told,
        scales,
        weights,
        (low, high),
        float(values.get("rmse", math.nan)),
        float(values.get("plain_rmse", math.nan)),
        str(values.get("start", ""))[:200],
        str(values.get("recipe", ""))[:200],
    )


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in values)
    if not all(abs(v) <= 1e6 for v in numbers):  # false for NaN too
        raise ValueError("a number is not finite, or larger than a million")
    return numbers


def with_fits(model: Model, fits: Sequence[Fit]) -> Model:
    """The same model with these fits."""
    return replace(model, fits=tuple(fits))
