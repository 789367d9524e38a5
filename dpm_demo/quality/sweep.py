"""The sweep: many solvers over the same seeds, nothing computed twice, cut off at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from dpm_demo.compare.layout import work
from dpm_demo.compare.references import REFERENCE_NFE, reference_solver
from dpm_demo.models.model import Condition, Model
from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.measure import (
    BLOCK,
    Instrument,
    Order,
    Unit,
    blocks,
    unit_name,
    with_errors,
)
from dpm_demo.quality.metrics import scores
from dpm_demo.quality.results import Line, Results, error_figures
from dpm_demo.request.codec import solver_of_text, solver_text
from dpm_demo.solver.settings import CHOICES, Solver
from dpm_demo.training.data import Draw, Pictures

__all__ = [
    "DRAWN",
    "Store",
    "every_solver",
    "read_solvers",
    "results",
    "with_budgets",
]

DDIM = "order=1"
DRAWN = "drawn"  # for a label: that of a real picture, another one for each seed


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

    "best:N" are the N of least RMSE (geometric mean over the budgets) in `known`, and DDIM. Raises
    ValueError, one sentence.
    """
    found: list[Solver] = []
    for text in texts:
        if text == "all":
            found += every_solver(model)
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
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- what has been computed


class Store:
    """A folder of units, each a .npz of what was measured of every seed: rows, to be added up.

    Whatever the split into units, and in whatever order they were computed, the rows of a setting
    are the same (to rounding of the network), and so are all figures. With the label "drawn" each
    seed has the label of a picture drawn from `pictures` as training draws them, by that seed.
    `quick` samples in the processor's fast precision: enough for features, too coarse for errors.
    Raises ValueError where the folder holds the sweep of another model, label, guidance or
    extractor.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        label: str = "any",
        guidance: float = 1.0,
        look: Extractor | None = None,
        pictures: Pictures | None = None,
        quick: bool = False,
    ) -> None:
        self.model, self.label, self.guidance, self.look = model, label, guidance, look
        self.pictures, self.quick = pictures, quick
        if label == DRAWN and (pictures is None or dict(pictures.axes) != dict(model.labels)):
            raise ValueError(
                "label: drawn needs pictures with this model's labels to draw from, give --data."
            )
        self.conditions((0,))  # a label or guidance that cannot be is refused before any work
        self.instrument = Instrument(model, look, quick)
        self.units, self.locks = folder / "units", folder / "locks"
        self.units.mkdir(parents=True, exist_ok=True)
        self.locks.mkdir(exist_ok=True)
        self._identify(
            folder / "identity.json",
            {"model": model.digest or model.name, "label": label, "guidance": guidance},
        )
        if look is not None:
            how = {"name": look.name, "digest": look.digest, "quick": quick}
            self._identify(folder / "features.json", how)

    def _identify(self, path: Path, mine: dict[str, Any]) -> None:
        if not path.exists():
            path.write_text(json.dumps(mine) + "\n")
        elif json.loads(path.read_text()) != mine:
            raise ValueError(
                f"out: {path.parent} holds a sweep of other settings ({path.read_text().strip()}); "
                "choose another folder."
            )

    def conditions(self, seeds: Sequence[int]) -> list[Condition] | None:
        """What each seed's sample is asked to be."""
        if not self.model.labels:
            return None
        if self.label != DRAWN:
            return [self.model.condition(self.label, self.guidance)] * len(seeds)
        assert self.pictures is not None
        known = self.model.vocabulary
        told = known is not None and known.words == self.pictures.vocabulary
        width = None if told else len(self.model.labels)  # labels alone, or with each one's words
        rows = [Draw(self.pictures, seed)(1)[1][0, :width].tolist() for seed in seeds]
        return [Condition(tuple(row), self.guidance) for row in rows]

    def rows(
        self, solver: Solver, seeds: Sequence[int] | None = None
    ) -> dict[int, dict[str, np.ndarray]]:
        """What is known of a setting, by seed; a later file adds to what an earlier one has.

        With `seeds` (in ascending order) only files that may hold some of them are read.
        """
        found: dict[int, dict[str, np.ndarray]] = {}
        for path in sorted(self.units.glob(f"{unit_name(solver)},seeds=*.npz")):
            first, _, last = path.stem.rpartition("=")[2].partition("-")
            if seeds and (int(last) < seeds[0] or int(first) > seeds[-1]):
                continue
            try:
                with np.load(path, allow_pickle=False) as npz:
                    arrays = {k: npz[k] for k in npz.files}
            except (OSError, ValueError):  # a file of something else is no unit
                continue
            for k, seed in enumerate(arrays.pop("seeds").tolist()):
                found.setdefault(seed, {}).update({n: a[k] for n, a in arrays.items()})
        return found

    def solvers(self) -> list[Solver]:
        """Every setting that something is known of, with its budget, sorted by name."""
        found: dict[Solver, None] = {}
        for path in sorted(self.units.glob("*,nfe=*,seeds=*.npz")):
            text, _, rest = path.stem.partition(",nfe=")
            solver = solver_of_text(text.replace(",", " "))
            found[replace(solver, nfe=int(rest.partition(",")[0]))] = None
        return list(found)

    def missing(self, solver: Solver, seeds: Sequence[int], n_error: int) -> Iterator[Unit]:
        """The units that are still to be computed, references first."""
        known = self.rows(solver)
        errors = with_errors(solver, seeds, n_error)
        truth = reference_solver(solver)
        if errors and truth != solver:
            have = self.rows(truth)
            lacking = [s for s in seeds if s in errors and "sample" not in have.get(s, {})]
            yield from blocks(truth, lacking)
        yield from blocks(solver, [s for s in seeds if self._lacks(known.get(s), s in errors)])

    def rest(self, unit: Unit, errors: Set[int]) -> Unit | None:
        """What of a unit is still to be computed, now; `errors` are the seeds that need one."""
        known = self.rows(unit.solver, unit.seeds)
        truth = unit.solver == reference_solver(unit.solver)
        left = tuple(
            seed
            for seed in unit.seeds
            if self._lacks(known.get(seed), seed in errors)
            or (truth and "sample" not in known[seed])
        )
        return Unit(unit.solver, left) if left else None

    def _lacks(self, known: Mapping[str, np.ndarray] | None, error: bool) -> bool:
        return (
            known is None
            or (self.look is not None and "features" not in known)
            or (error and not np.isfinite(known.get("square", np.nan)))
        )

    def sample(
        self,
        solver: Solver,
        seeds: Sequence[int],
        on_progress: Callable[[int], None] = lambda nfe: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples `(n, *shape)`, float32, and the evaluations that each of them took."""
        return self.instrument.sample(solver, seeds, self.conditions(seeds), on_progress)

    def order(self, unit: Unit, n_error: int = 0) -> Order:
        """A unit with what this folder and the labels know of it."""
        truth: dict[int, np.ndarray] = {}
        reference = reference_solver(unit.solver)
        if n_error and unit.solver != reference:
            known = self.rows(reference, unit.seeds)
            truth = {s: known[s]["sample"] for s in unit.seeds if "sample" in known.get(s, {})}
        return Order(unit, self.conditions(unit.seeds), truth if n_error else None)

    def keep(self, unit: Unit, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes what was measured of a unit, in one atomic step."""
        path = self.units / f"{unit_name(unit.solver)},seeds={unit.seeds[0]}-{unit.seeds[-1]}.npz"
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)

    def compute(
        self, unit: Unit, n_error: int = 0, on_progress: Callable[[int], None] = lambda nfe: None
    ) -> None:
        """Draws the samples of a unit, measures them, and writes that down."""
        self.keep(unit, self.instrument.measure(self.order(unit, n_error), on_progress))

    def claim(self, unit: Unit) -> FileLock | None:
        """The lock of a unit's block, until it is released or this process ends.

        None where another program that sweeps into this folder has it.
        """
        lock = self._lock(unit)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def wait_for(self, unit: Unit) -> None:
        """Returns once no other program is at work on the unit's block."""
        with self._lock(unit):
            return

    def _lock(self, unit: Unit) -> FileLock:
        block = unit.seeds[0] // BLOCK
        return FileLock(self.locks / f"{unit_name(unit.solver)},block={block}", thread_local=False)


# ---------------------------------------------------------------- what it adds up to


def line(
    store: Store,
    solver: Solver,
    seeds: Sequence[int],
    n_error: int,
    real: torch.Tensor | None,
) -> Line | None:
    """The figures of one setting over the seeds that are known of it; None if there are none."""
    known = store.rows(solver)
    rows = [known[seed] for seed in seeds if seed in known]
    if not rows:
        return None
    squares = [float(known.get(seed, {}).get("square", np.nan)) for seed in seeds[:n_error]]
    figures: dict[str, Any] = {}
    if solver != reference_solver(solver):
        figures.update(error_figures([square for square in squares if np.isfinite(square)]))
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
    spent = round(float(np.mean([row["nfe"] for row in rows])))  # adaptive: its budget is a cap
    return Line(solver_text(solver), spent, **figures) if figures else None


def results(
    store: Store,
    solvers: Sequence[Solver],
    seeds: Sequence[int],
    n_error: int,
    real: torch.Tensor | None = None,
    held_out: Line | None = None,
) -> Results:
    """All that the store knows of these solvers (with their budgets) over these seeds."""
    lines = [line(store, solver, seeds, n_error, real) for solver in solvers]
    return Results(
        model=store.model.name,
        digest=store.model.digest,
        label=store.label,
        guidance=store.guidance,
        features=store.look.name if store.look else "no features",
        reference_nfe=REFERENCE_NFE,
        lines=tuple(x for x in lines if x is not None),
        held_out=held_out,
    )


def with_budgets(solvers: Sequence[Solver], budgets: Sequence[int]) -> list[Solver]:
    """Every solver at every budget; an adaptive one once, as it chooses its own."""
    return [
        replace(solver, nfe=nfe)
        for solver in solvers
        for nfe in (budgets if solver.method != "adaptive" else (solver.nfe,))
    ]
