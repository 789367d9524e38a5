"""The cells of a comparison and the trajectories that compute them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from dpm_demo.models.model import Model
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver

NOBODY = -1  # instead of a trajectory, or a tile


@dataclass(frozen=True)
class Cell:
    """One solver at one budget; `track` is the trajectory that computes it (maybe shared).

    Where `lacks` says why there is none, nothing computes it, and `track` is `NOBODY`.
    """

    row: int
    column: int
    solver: Solver
    track: int
    lacks: str = ""


@dataclass(frozen=True)
class Layout:
    """The cells of a comparison and the trajectories that compute them, equal work once."""

    cells: tuple[Cell, ...]
    solvers: tuple[Solver, ...]
    seeds: tuple[int, ...]

    def tile(self, cell: Cell, seed: int = 0) -> int:
        """Number of the engine's tile that shows `cell` for the seed of that index, or `NOBODY`."""
        return NOBODY if cell.lacks else cell.track * len(self.seeds) + seed

    @property
    def computed(self) -> list[Cell]:
        """The cells that something computes."""
        return [cell for cell in self.cells if not cell.lacks]


def layout(comparison: Comparison, model: Model) -> Layout:
    """Cells row by row; two cells of equal work share a trajectory.

    Equal work is the same sequence of evaluations with the same weights, form and finish: order 1
    is the same method under every name. A prefix of a longer run is *not* a shorter run.
    A budget that nothing was fitted at lacks its cell; ValueError where all cells do.

    Trajectories are in the order in which cells fill where the network is slow: column by column,
    the cheapest first, so that there are soon some to compare.
    """
    asked: list[tuple[int, int, Solver, Hashable]] = []
    lacking: list[Cell] = []
    wanted = Checked.of(comparison.sample, model)
    span = model.span_for(wanted.shape)
    for i, row in enumerate(comparison.rows):
        for j, nfe in enumerate(comparison.budgets):
            solver = replace(row, nfe=nfe)
            fixed = solver.table or solver.schedule == "calibrated"
            if comparison.no_taper and solver.method != "adaptive" and not fixed:
                solver = replace(solver, lower_order_final=False)
            try:
                key = work(model.resolved(solver, wanted.condition), span)
            except ValueError as error:
                if solver.schedule != "calibrated" or not model.fits:
                    raise
                refusal = error
                lacking.append(Cell(i, j, solver, NOBODY, _unfitted(solver, model)))
            else:
                asked.append((i, j, solver, key))
    if not asked:
        raise refusal
    solvers: dict[Hashable, Solver] = {}
    for _, _, solver, key in sorted(asked, key=lambda one: (one[2].nfe, one[0])):
        solvers.setdefault(key, solver)
    tracks = {key: track for track, key in enumerate(solvers)}
    cells = [Cell(i, j, solver, tracks[key]) for i, j, solver, key in asked]
    in_place = sorted([*cells, *lacking], key=lambda cell: (cell.row, cell.column))
    return Layout(tuple(in_place), tuple(solvers.values()), comparison.seeds)


def _unfitted(solver: Solver, model: Model) -> str:
    if any(fit.nfe == solver.nfe for fit in model.fits):
        return f"not fitted at {solver.nfe} evaluations with this guidance"
    return f"not fitted at {solver.nfe} evaluations"


def work(solver: Solver, span: tuple[float, float]) -> Hashable:
    """What a solver does: equal where the same evaluations meet the same weights and finish."""
    if solver.method == "adaptive" or solver.window or solver.eta:
        return solver
    made = plan(solver, span)
    # a function's moves say when it evaluates, and not what it does
    own = solver.table if any(move.update is None for move in made.moves) else ""
    return made.moves, made.prediction, solver.threshold, solver.denoise_to_zero, own
