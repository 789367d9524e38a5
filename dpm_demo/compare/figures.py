"""Solvers side by side: the same noise, cost in evaluations, error against the converged sample.

Free of widgets: the tab, the command line and the tests use the same functions.
"""

from __future__ import annotations

import csv
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dpm_demo.engine.events import Done, Job, SampleRecord, Track
from dpm_demo.media.clips import labelled_grid
from dpm_demo.models.checkpoint import Model
from dpm_demo.request.generate import Comparison, solver_text
from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver

#: Evaluations of the reference, order 3. Doubling them moves a sample of `emoji-image` by an RMSE
#: that `python -m benchmarks.reference` prints (README, "Numbers").
REFERENCE_NFE = 200
ANOTHER_TARGET = "another target"


@dataclass(frozen=True)
class Cell:
    """One solver at one budget; `track` is the trajectory that computes it (maybe shared)."""

    row: int
    column: int
    solver: Solver
    track: int


@dataclass(frozen=True)
class Figures:
    """What stands under a cell: error to the reference over all seeds, cost."""

    nfe: int
    rmse: float | None = None
    rmse_by_seed: tuple[float, ...] = ()
    psnr: float | None = None
    ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """The cells of a comparison and the trajectories that compute them, equal work once."""

    cells: tuple[Cell, ...]
    solvers: tuple[Solver, ...]
    seeds: tuple[int, ...]

    def tile(self, cell: Cell, seed: int = 0) -> int:
        """Number of the engine's tile that shows `cell` for the seed of that index."""
        return cell.track * len(self.seeds) + seed


def layout(comparison: Comparison, model: Model) -> Layout:
    """Cells row by row; two cells of equal work share a trajectory.

    Equal work is the same sequence of evaluations with the same weights, form and finish: order 1
    is the same method under every name. A prefix of a longer run is *not* a shorter run.
    """
    cells: list[Cell] = []
    tracks: dict[Hashable, int] = {}
    solvers: list[Solver] = []
    for i, row in enumerate(comparison.rows):
        for j, nfe in enumerate(comparison.budgets):
            solver = replace(row, nfe=nfe)
            if comparison.no_taper and solver.method != "adaptive":
                solver = replace(solver, lower_order_final=False)
            key = work(solver, model)
            if key not in tracks:
                tracks[key] = len(solvers)
                solvers.append(solver)
            cells.append(Cell(i, j, solver, tracks[key]))
    return Layout(tuple(cells), tuple(solvers), comparison.seeds)


def work(solver: Solver, model: Model) -> Hashable:
    if solver.method == "adaptive" or solver.window or solver.eta:
        return solver
    moves = plan(solver, model.lam_span).moves
    return moves, solver.prediction, solver.threshold, solver.denoise_to_zero


def job_of(comparison: Comparison, model: Model, cells: Layout, record: bool = True) -> Job:
    """All cells as one job, in float32 (bf16 would be a floor of the size of order 3's error)."""
    cond = model.condition(comparison.label, comparison.guidance) if model.labels else None
    tracks = tuple(
        Track(solver, cells.seeds, cond=cond, lam_span=model.lam_span) for solver in cells.solvers
    )
    return Job(model.denoise_float32, model.shape, tracks, device=model.device, record=record)


# ---------------------------------------------------------------- the reference


@dataclass(frozen=True)
class Target:
    """What a converged sample depends on; two solvers with the same target share a reference."""

    model: str
    label: str
    guidance: float
    seed: int
    shape: tuple[int, ...]
    span: tuple[float, float]
    precision: str
    threshold: str | None
    finish: bool


def target_of(comparison: Comparison, model: Model, solver: Solver, seed: int) -> Target:
    guided = bool(model.labels)
    return Target(
        model.digest or model.name,
        comparison.label if guided else "",
        comparison.guidance if guided else 1.0,
        seed,
        model.shape,
        model.lam_span,
        "float32",
        solver.threshold,
        solver.denoise_to_zero,
    )


class References:
    """Converged samples by target, the least recently used ones dropped above `most`."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._kept: OrderedDict[Target, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, target: Target) -> np.ndarray | None:
        with self._lock:
            if target in self._kept:
                self._kept.move_to_end(target)
            return self._kept.get(target)

    def put(self, target: Target, sample: np.ndarray) -> None:
        with self._lock:
            self._kept[target] = sample
            self._kept.move_to_end(target)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def reference_solver(solver: Solver, nfe: int = REFERENCE_NFE) -> Solver:
    """Order 3, many evaluations, the same target (threshold and finish) as `solver`."""
    return Solver(
        nfe=nfe, order=3, threshold=solver.threshold, denoise_to_zero=solver.denoise_to_zero
    )


def missing_references(
    comparison: Comparison, model: Model, cells: Layout, kept: References
) -> tuple[Job | None, list[Target]]:
    """The job that computes the references which are not kept, and their targets in order.

    Where the model's flow is known no job is needed: `exact_references` fills them in.
    """
    wanted: dict[Solver, list[Target]] = {}
    for solver in cells.solvers:
        if solver.eta == 0:
            targets = [target_of(comparison, model, solver, seed) for seed in cells.seeds]
            absent = [target for target in targets if kept.get(target) is None]
            if absent:
                wanted[reference_solver(solver)] = absent
    if not wanted:
        return None, []
    cond = model.condition(comparison.label, comparison.guidance) if model.labels else None
    tracks = tuple(
        Track(solver, tuple(t.seed for t in targets), cond=cond, lam_span=model.lam_span)
        for solver, targets in wanted.items()
    )
    job = Job(model.denoise_float32, model.shape, tracks, device=model.device, record=False)
    return job, [target for targets in wanted.values() for target in targets]


def keep_references(done: Done, targets: Sequence[Target], kept: References) -> None:
    samples = [row.sample for track in done.tracks for row in track.rows]
    for target, sample in zip(targets, samples, strict=True):
        if sample is not None:
            kept.put(target, sample)


# ---------------------------------------------------------------- figures


def rmse(sample: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square difference of two samples, in units of their range [-1, 1]."""
    return float(np.sqrt(np.mean((sample.astype(np.float64) - truth) ** 2)))


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of an RMSE over a range of 2; infinite at 0."""
    return math.inf if error == 0 else 20 * math.log10(2 / error)


def figures(
    cell: Cell,
    samples: Mapping[int, np.ndarray],
    cells: Layout,
    comparison: Comparison,
    model: Model,
    kept: References,
    nfe: int | None = None,
    ms: float | None = None,
) -> Figures:
    """The figures of a cell from the samples that have ended (by tile)."""
    spent = cell.solver.nfe if nfe is None else nfe
    if cell.solver.eta > 0:
        return Figures(spent, ms=ms, note=ANOTHER_TARGET)
    errors = []
    for k, seed in enumerate(cells.seeds):
        sample = samples.get(cells.tile(cell, k))
        truth = kept.get(target_of(comparison, model, cell.solver, seed))
        if sample is None or truth is None:
            return Figures(spent, ms=ms)
        errors.append(rmse(sample, truth))
    mean = float(np.sqrt(np.mean(np.square(errors))))
    return Figures(spent, mean, tuple(errors), psnr(mean), ms)


def caption(value: Figures) -> str:
    """Two short lines under a cell."""
    cost = f"NFE {value.nfe}" + ("" if value.ms is None else f" · {value.ms:.0f} ms")
    if value.note:
        return f"{cost}\n{value.note}"
    if value.rmse is None or value.psnr is None:
        return cost
    return f"{cost}\nRMSE {value.rmse:.2g} · {value.psnr:.1f} dB"


def best_cells(cells: Layout, values: Mapping[Cell, Figures]) -> set[Cell]:
    """The cell of least error in each column of at least two that can be compared."""
    best: set[Cell] = set()
    for column in {cell.column for cell in cells.cells}:
        known = [
            (value.rmse, cell)
            for cell in cells.cells
            if cell.column == column and (value := values.get(cell)) and value.rmse is not None
        ]
        if len(known) > 1:
            least = min(error for error, _ in known)
            best |= {cell for error, cell in known if error == least}
    return best


def slope(nfe: Sequence[float], error: Sequence[float]) -> float | None:
    """Order of convergence: minus the slope of log error over log NFE (least squares).

    None for fewer than two points, or an error of 0.
    """
    if len(set(nfe)) < 2 or min(error) <= 0:
        return None
    return -float(np.polyfit(np.log(nfe), np.log(error), 1)[0])


def rows_of(cells: Layout, values: Mapping[Cell, Figures]) -> Iterator[tuple[int, list[Figures]]]:
    """Row number and the figures of its cells that have an error, by NFE."""
    for row in sorted({cell.row for cell in cells.cells}):
        known = [values[c] for c in cells.cells if c.row == row and c in values]
        yield row, sorted((v for v in known if v.rmse is not None), key=lambda v: v.nfe)


HEADERS = ("row", "solver", "NFE", "RMSE", "PSNR (dB)", "ms", "best", "note")


def table(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> list[list[Any]]:
    """A line a cell, as in `HEADERS`."""
    best = best_cells(cells, values)
    lines = []
    for cell in cells.cells:
        value = values.get(cell, Figures(cell.solver.nfe))
        lines.append(
            [
                cell.row + 1,
                row_title(comparison, cell.row),
                value.nfe,
                None if value.rmse is None else float(f"{value.rmse:.4g}"),
                None if value.psnr is None else round(value.psnr, 2),
                None if value.ms is None else round(value.ms, 1),
                "★" if cell in best else "",
                value.note,
            ]
        )
    return lines


def row_title(comparison: Comparison, row: int) -> str:
    """How a row is named: what differs from the other rows, or all of it."""
    return solver_text(comparison.rows[row]) or "order=2"


def csv_text(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADERS)
    writer.writerows(table(comparison, cells, values))
    return out.getvalue()


def grid_picture(
    comparison: Comparison,
    cells: Layout,
    values: Mapping[Cell, Figures],
    pictures: Mapping[Cell, np.ndarray],
    scale: int = 4,
) -> np.ndarray:
    """The whole table as one picture, labels and figures burnt in.

    Without milliseconds: the same settings give the same bytes on the same idle machine.
    """
    columns = len(comparison.budgets)
    best = best_cells(cells, values)

    def by_row(items: list[Any]) -> list[list[Any]]:
        return [items[i : i + columns] for i in range(0, len(items), columns)]

    return labelled_grid(
        by_row([pictures.get(cell) for cell in cells.cells]),
        [row_title(comparison, k) for k in range(len(comparison.rows))],
        [f"{nfe} evaluations" for nfe in comparison.budgets],
        by_row(
            [caption(replace(values.get(c, Figures(c.solver.nfe)), ms=None)) for c in cells.cells]
        ),
        scale=scale,
        best=by_row([cell in best for cell in cells.cells]),
        title=f"{comparison.model}, {comparison.label}, seed {comparison.seed}",
    )


@dataclass
class Outcome:
    """A finished comparison with what its files are made of."""

    comparison: Comparison
    cells: Layout
    values: dict[Cell, Figures]
    rows: dict[Cell, SampleRecord]
    spans: dict[int, list[float]] = field(default_factory=dict)
