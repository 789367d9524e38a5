"""The cells of a comparison and the trajectories that compute them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from dpm_demo.models.model import Model
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver


@dataclass(frozen=True)
class Cell:
    """One solver at one budget; `track` is the trajectory that computes it (maybe shared)."""

    row: int
    column: int
    solver: Solver
    track: int


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

    Trajectories are in the order in which cells fill where the network is slow: column by column,
    the cheapest first, so that there are soon some to compare.
    """
    asked: list[tuple[int, int, Solver, Hashable]] = []
    wanted = Checked.of(comparison.sample, model)
    span = model.span_for(wanted.shape)
    for i, row in enumerate(comparison.rows):
        for j, nfe in enumerate(comparison.budgets):
            solver = replace(row, nfe=nfe)
            fixed = solver.table or solver.schedule == "calibrated"
            if comparison.no_taper and solver.method != "adaptive" and not fixed:
                solver = replace(solver, lower_order_final=False)
            asked.append((i, j, solver, work(model.resolved(solver, wanted.condition), span)))
    solvers: dict[Hashable, Solver] = {}
    for _, _, solver, key in sorted(asked, key=lambda one: (one[2].nfe, one[0])):
        solvers.setdefault(key, solver)
    tracks = {key: track for track, key in enumerate(solvers)}
    cells = [Cell(i, j, solver, tracks[key]) for i, j, solver, key in asked]
    return Layout(tuple(cells), tuple(solvers.values()), comparison.seeds)


def work(solver: Solver, span: tuple[float, float]) -> Hashable:
    """What a solver does: equal where the same evaluations meet the same weights and finish."""
    if solver.method == "adaptive" or solver.window or solver.eta:
        return solver
    made = plan(solver, span)
    # a function's moves say when it evaluates, and not what it does
    own = solver.table if any(move.update is None for move in made.moves) else ""
    return made.moves, made.prediction, solver.threshold, solver.denoise_to_zero, own
