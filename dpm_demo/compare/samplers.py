"""Who is who, measured: every sampler of the catalogue on the exact mixture.

The figures are in `samplers.json` beside this file, written by `python -m benchmarks.samplers
--write`; `measure` makes them anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dpm_demo.models.exact import MIXTURE
from dpm_demo.request.codec import solver_text
from dpm_demo.solver.catalogue import Entry, named
from dpm_demo.solver.measure import Problem, errors, order, strong_errors
from dpm_demo.solver.settings import Solver

SPAN = (-5.02, 4.56)
FILE = Path(__file__).with_name("samplers.json")
#: Evaluations at which errors are told, and those that the slope is read off.
BUDGETS = (5, 8, 10, 20, 40)
ODE_BUDGETS, SDE_BUDGETS, CONVERGED = (192, 384), (24, 48, 96, 192), 1000


@dataclass(frozen=True)
class Row:
    """One name of the catalogue and its figures.

    order_measured  ODE: the slope of the error to the exact solution between 192 and 384
                    evaluations, without the taper; SDE: the strong order, the slope of the
                    distance to the solution along the same Brownian paths from 24 to 192;
                    None for adaptive steps
    errors          mean absolute error at `BUDGETS` evaluations (SDE: the strong one)
    evaluations     really spent for "20 steps" in other programs; None: depends on the sample
    """

    name: str
    aliases: tuple[str, ...]
    equation: str
    solver: str
    evaluations: int | None
    order_measured: float | None
    errors: tuple[float, ...]
    equals: str
    trap: str
    source: str


def rows(name: str | None = None) -> list[Row]:
    """The landed rows, or the one of a sampler's name. `ValueError` for an unknown one."""
    wanted = None if name is None else named(name).name
    values = json.loads(FILE.read_text(encoding="utf-8"))
    made = [
        Row(**{**row, "aliases": tuple(row["aliases"]), "errors": tuple(row["errors"])})
        for row in values
    ]
    return [row for row in made if wanted in (None, row.name)]


def measure(entry: Entry) -> Row:
    """The row of a sampler, computed now: a second or less."""
    solver = entry.solver()
    found: Sequence[float]
    slope: float | None = None
    if entry.noisy:
        own = solver if entry.name == "er_sde" else Solver(order=2, eta=1, lower_order_final=False)
        problem, converged = _noisy(own)
        found = strong_errors(solver, problem, BUDGETS, converged)
        fine = strong_errors(solver, problem, SDE_BUDGETS, converged)
        slope = math.log(fine[0] / fine[-1]) / math.log(SDE_BUDGETS[-1] / SDE_BUDGETS[0])
    else:
        problem = _plain(1 if solver.method == "adaptive" else 16)
        found = errors(solver, problem, BUDGETS)
        if solver.method != "adaptive":
            untapered = entry.solver(lower_order_final=False) if not solver.table else solver
            slope = order(ODE_BUDGETS, errors(untapered, problem, ODE_BUDGETS))
    return Row(
        name=entry.name,
        aliases=entry.aliases,
        equation="SDE" if entry.noisy else "ODE",
        solver=solver_text(solver),
        evaluations=entry.spent,
        order_measured=None if slope is None else round(slope, 2),
        errors=tuple(float(f"{error:.3g}") for error in found),
        equals=entry.equals,
        trap=entry.trap,
        source=entry.source,
    )


def listing(shown: Sequence[Row]) -> str:
    """Rows as lines for a terminal; one row alone with all that is known of it."""
    if len(shown) == 1:
        return "\n".join(f"{key:15} {_said(value)}" for key, value in asdict(shown[0]).items())
    width = max(len(row.name) for row in shown)
    lines = [f"{'name':{width}}  order  20 steps  error at {BUDGETS[2]}  what to know"]
    for row in shown:
        slope = "-" if row.order_measured is None else f"{row.order_measured:.2f}"
        note = f"equals {row.equals}" if row.equals else row.trap
        spent = row.evaluations or "varies"
        error = row.errors[2]
        lines.append(f"{row.name:{width}}  {slope:>5}  {spent:>8}  {error:11.1e}  {note}")
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


@cache
def _plain(rows: int) -> Problem:
    start = torch.randn(16, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = start[:rows]
    return Problem(MIXTURE.denoise, start, MIXTURE.flow(start, *SPAN), SPAN)


@cache
def _noisy(own: Solver) -> tuple[Problem, torch.Tensor]:
    """A problem of 64 paths, and where the SDE of `own` leads along them.

    All noisy samplers but er_sde solve one SDE (η = 1), so that one converged path is their truth.
    """
    start = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = Problem(MIXTURE.denoise, start, start, SPAN)
    return problem, problem.solve(own, CONVERGED)
