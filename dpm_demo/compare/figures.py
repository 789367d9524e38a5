"""Solvers side by side: the same noise, cost in evaluations, error against the converged sample.

Free of widgets: the tab, the command line and the tests use the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpm_demo.compare.layout import Cell, Layout
from dpm_demo.engine.events import SampleRecord
from dpm_demo.request.codec import solver_text
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver.catalogue import name_of

ANOTHER_TARGET = "another target"


@dataclass(frozen=True)
class Figures:
    """What stands under a cell: error to the reference over all seeds, cost."""

    nfe: int
    rmse: float | None = None
    rmse_by_seed: tuple[float, ...] = ()
    psnr: float | None = None
    ms: float | None = None
    note: str = ""
    latent_rmse: float | None = None  # the other figures are of decoded pixels then


def rmse(sample: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square difference of two samples, in units of their range [-1, 1]."""
    return float(np.sqrt(np.mean((sample.astype(np.float64) - truth) ** 2)))


def pooled(errors: Iterable[float | None]) -> float | None:
    """RMSE over all samples of which an error is known; None where none is."""
    known = [error for error in errors if error is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if known else None


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of an RMSE over a range of 2; infinite at 0."""
    return math.inf if error == 0 else 20 * math.log10(2 / error)


def caption(value: Figures) -> str:
    """Two short lines under a cell; what nothing computed has one."""
    if value.note and value.note != ANOTHER_TARGET:
        return value.note
    cost = f"NFE {value.nfe}" + ("" if value.ms is None else f" · {value.ms:.0f} ms")
    if value.note:
        return f"{cost}\n{value.note}"
    if value.rmse is None or value.psnr is None:
        return cost
    text = f"{cost}\nRMSE {value.rmse:.2g} · {value.psnr:.1f} dB"
    if value.latent_rmse is None:
        return text
    return f"{text} (pixels)\nRMSE {value.latent_rmse:.2g} (latents)"


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
                value.note
                or ("" if value.latent_rmse is None else f"latents: RMSE {value.latent_rmse:.4g}"),
            ]
        )
    return lines


def row_title(comparison: Comparison, row: int) -> str:
    """How a row is named, as `solver_of_text` reads it: other programs' name for it, or settings.

    Order 1 is "euler" beside other programs' names only.
    """
    solver = comparison.rows[row]
    if solver.schedule == "calibrated":
        return solver_text(solver).removeprefix("order=2 ")
    name = name_of(solver)
    if name.split()[:1] == ["euler"]:
        others = [r for r in comparison.rows if r.schedule != "calibrated" and r.order != 1]
        name = name if others and all(map(name_of, others)) else ""
    return name or solver_text(solver)


def brief(solver: str) -> str:
    """ "order=3 method=singlestep corrector=true" -> "order 3, singlestep, corrector"."""
    if "=" not in solver:  # another program's name
        return solver
    words = []
    for word in solver.split():
        name, _, value = word.partition("=")
        if value == "true":
            words.append(name)
        else:
            speaking = value.isalpha() and value not in ("false", "auto")
            words.append(value if speaking else f"{name} {value}")
    return ", ".join(words) or solver


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished comparison with what its files are made of."""

    comparison: Comparison
    cells: Layout
    values: dict[Cell, Figures]
    rows: dict[Cell, SampleRecord]

    @property
    def spans(self) -> dict[int, list[float]]:
        """λ of the evaluations at the largest budget, by row, where settings alone do not tell."""
        by_budget = sorted(self.rows.items(), key=lambda item: item[0].solver.nfe)
        return {
            cell.row: [point.lam for point in record.points]
            for cell, record in by_budget
            if cell.solver.method == "adaptive" or cell.solver.schedule == "calibrated"
        }
