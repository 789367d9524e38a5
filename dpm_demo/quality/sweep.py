"""A sweep's solvers, and what its store adds up to: many solvers over the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch

from dpm_demo.compare.layout import work
from dpm_demo.compare.paired import ratios
from dpm_demo.compare.references import REFERENCE_NFE, reference_solver
from dpm_demo.models.model import Model
from dpm_demo.quality.metrics import scores
from dpm_demo.quality.results import Line, Results, error_figures
from dpm_demo.quality.store import Store
from dpm_demo.request.codec import solver_of_text, solver_text
from dpm_demo.request.comparison import NFE_OF_ROW
from dpm_demo.solver.catalogue import SAMPLERS, find
from dpm_demo.solver.settings import CHOICES, Solver

DDIM = "order=1"


def every_solver(model: Model) -> list[Solver]:
    """All settings of fixed cost that differ in what they do, the simplest name for each.

    Orders x methods x forms x schedules x weights, and UniPC: the corrector with the first of
    forms and weights. Two settings that make the same evaluations with the same weights (order 1
    under every name) are one.
    """
    axes = ("schedule", "order", "method", "prediction", "weights")
    found: dict[Any, Solver] = {}
    for values in product(*(CHOICES[a] for a in axes)):
        named = dict(zip(axes, values, strict=True))
        same = named["order"] == 1 and named["prediction"] == "noise"  # both forms are DDIM
        if named["method"] != "adaptive" and not same:
            solver = Solver(nfe=12, **named)
            found.setdefault(work(solver, model.lam_span), solver)
    for schedule, order in product(CHOICES["schedule"], CHOICES["order"]):
        solver = Solver(nfe=12, schedule=schedule, order=order, corrector=True)
        found.setdefault(work(solver, model.lam_span), solver)
    return list(found.values())


def read_solvers(texts: Sequence[str], model: Model, known: Results | None) -> list[Solver]:
    """Solvers as a command line names them: "order=3 method=singlestep", "all", "best:6".

    "catalogue" are the samplers of `solver.catalogue` that solve the ODE at a fixed cost, each with
    its own schedule, "catalogue karras" with that one. "best:N" are the N of least RMSE (geometric
    mean over the budgets) in `known`, and DDIM. Raises ValueError, one sentence.
    """
    found: list[Solver] = []
    for text in texts:
        if text == "all":
            found += every_solver(model)
        elif text.split()[:1] == ["catalogue"]:
            found += _catalogue(model, " ".join(text.split()[1:]))
        elif text.startswith("best:"):
            ranking = [] if known is None else known.ranking("rmse")
            count = text.removeprefix("best:")
            if not count.isdecimal() or not int(count):
                raise ValueError(f"solvers: {text!r:.60} is not best:N with a whole number N")
            if not ranking:
                raise ValueError(
                    f"solvers: {text!r:.60} needs errors in --out first; run `--solvers all "
                    "--metrics rmse,psnr`"
                )
            names = dict.fromkeys([*ranking[: int(count)], DDIM])
            found += [solver_of_text(name) for name in names]
        else:
            found.append(solver_of_text(text))
    cap = Solver(method="adaptive").nfe  # not that of a row: it chooses its own budget
    return list(dict.fromkeys(s if s.method != "adaptive" else replace(s, nfe=cap) for s in found))


def _catalogue(model: Model, schedule: str) -> list[Solver]:
    entries = [e for e in SAMPLERS.values() if e.comparable]
    solvers = [find(f"{e.name} {schedule}", NFE_OF_ROW) for e in entries]
    return list({work(solver, model.lam_span): solver for solver in reversed(solvers)}.values())


def line(
    store: Store,
    solver: Solver,
    seeds: Sequence[int],
    n_error: int,
    real: torch.Tensor | None,
) -> Line | None:
    """The figures of one setting over the seeds that are known of it; None if there are none."""
    known = store.rows(solver)
    return _line(solver, known, seeds, _squares(known, seeds[:n_error]), real)


def _line(
    solver: Solver,
    known: Mapping[int, Mapping[str, np.ndarray]],
    seeds: Sequence[int],
    squares: np.ndarray,
    real: torch.Tensor | None,
) -> Line | None:
    rows = [known[seed] for seed in seeds if seed in known]
    if not rows:
        return None
    figures: dict[str, Any] = {}
    if solver != reference_solver(solver):
        figures.update(error_figures(squares[np.isfinite(squares)].tolist()))
    looked = [row for row in rows if "features" in row]
    if real is not None and len(looked) == len(seeds) > 1:  # a part would have another n
        features = torch.from_numpy(np.concatenate([row["features"] for row in looked]))
        logits = torch.from_numpy(np.concatenate([row["logits"] for row in looked]))
        got = scores(features, logits, real, len(looked))
        figures.update(vars(got))
    if "difference" in rows[0]:
        figures["n"] = len(rows)
        for name in ("difference", "neighbour_psnr"):
            figures[name] = float(np.median([row[name] for row in rows]))
    return Line(solver_text(solver), _spent(rows), **figures) if figures else None


def _spent(rows: Sequence[Mapping[str, np.ndarray]]) -> int:
    """What a line says of the budget: an adaptive solver's own is a cap."""
    return round(float(np.mean([row["nfe"] for row in rows])))


def solver_of(store: Store, line: Line, seeds: Sequence[int]) -> Solver:
    """The setting that a line of `results` over these seeds is of, with its budget or cap."""
    for solver in store.solvers():
        if solver_text(solver) == line.solver:
            known = store.rows(solver, seeds)
            rows = [known[seed] for seed in seeds if seed in known]
            if rows and _spent(rows) == line.nfe:
                return solver
    raise ValueError(f"solver: nothing is known of {line.solver!r} at {line.nfe} evaluations")


def _squares(known: Mapping[int, Mapping[str, np.ndarray]], seeds: Sequence[int]) -> np.ndarray:
    """The mean square error of each seed, NaN where it is not known."""
    return np.array([float(known.get(seed, {}).get("square", np.nan)) for seed in seeds])


def _beside_the_nearest(
    lines: Mapping[Solver, Line], squares: Mapping[Solver, np.ndarray]
) -> dict[Solver, Line]:
    """The lines with how far each is behind the nearest one at its budget, over the same seeds."""
    found = dict(lines)
    for nfe in {made.nfe for made in lines.values()}:
        whole = [
            solver
            for solver, made in lines.items()
            if made.nfe == nfe and made.rmse and made.n_error == len(squares[solver]) > 1
        ]
        if whole:
            errors = np.stack([squares[solver] for solver in whole])
            than = solver_text(whole[errors.mean(axis=1).argmin()])
            for solver, ends in zip(whole, ratios(errors), strict=True):
                low, high = map(math.sqrt, ends)
                found[solver] = replace(found[solver], low=low, high=high, than=than)
    return found


def results(
    store: Store,
    solvers: Sequence[Solver],
    seeds: Sequence[int],
    n_error: int,
    real: torch.Tensor | None = None,
    held_out: Line | None = None,
) -> Results:
    """All that the store knows of these solvers (with their budgets) over these seeds."""
    lines: dict[Solver, Line] = {}
    squares: dict[Solver, np.ndarray] = {}
    for solver in solvers:
        known = store.rows(solver)
        squares[solver] = _squares(known, seeds[:n_error])
        made = _line(solver, known, seeds, squares[solver], real)
        if made is not None:
            lines[solver] = made
    fast = [s for s in solvers if any("fast" in row for row in store.rows(s, seeds).values())]
    return Results(
        model=store.model.name,
        digest=store.model.digest,
        label=store.label,
        guidance=store.guidance,
        features=store.look.name if store.look else "no features",
        reference_nfe=REFERENCE_NFE,
        lines=tuple(_beside_the_nearest(lines, squares).values()),
        held_out=held_out,
        notes={"fast precision": f"samples of {len(fast)} settings"} if fast else {},
    )


def with_budgets(solvers: Sequence[Solver], budgets: Sequence[int]) -> list[Solver]:
    """Every solver at every budget; an adaptive one once, as it chooses its own."""
    return [
        replace(solver, nfe=nfe)
        for solver in solvers
        for nfe in (budgets if solver.method != "adaptive" else (solver.nfe,))
    ]
