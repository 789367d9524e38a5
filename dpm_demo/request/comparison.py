"""One comparison as a visitor asks for it: solvers at several budgets from the same noise."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver

ROWS_MAX = COLUMNS_MAX = 6
NFE_OF_ROW = 20  # a placeholder: the budgets of the columns rule


@dataclass(frozen=True)
class Comparison:
    """Solver settings (rows) at several budgets (columns), from the same seeds.

    The `nfe` of a row's solver means nothing here: the budgets rule. `no_taper` runs every row
    without the lower orders at the end, which hide a slope. Raises ValueError like the others.
    """

    model: str = "emoji-image"
    label: str = "any"
    guidance: float = 1.0
    seed: int = 0
    count: int = 1
    rows: tuple[Solver, ...] = (Solver(order=1), Solver(order=2), Solver(order=3))
    budgets: tuple[int, ...] = (5, 8, 10, 15, 20)
    no_taper: bool = False
    prompt: str = ""
    negative_prompt: str = ""
    height: int = 0
    width: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        _ = self.sample  # checks the fields that a single request has too
        if not 1 <= len(self.rows) <= ROWS_MAX:
            raise ValueError(f"rows must be 1 to {ROWS_MAX} solvers, not {len(self.rows)}")
        if not 1 <= len(self.budgets) <= COLUMNS_MAX:
            raise ValueError(f"budgets must be 1 to {COLUMNS_MAX} numbers, not {len(self.budgets)}")
        if len(set(map(repr, self.budgets))) != len(self.budgets):
            raise ValueError("budgets must differ from each other")
        if not isinstance(self.no_taper, bool):
            raise ValueError(f"no_taper must be true or false, not {self.no_taper!r:.60}")
        rows = tuple(replace(row, nfe=NFE_OF_ROW) for row in self.rows)
        object.__setattr__(self, "rows", rows)
        for row in self.rows:
            for nfe in self.budgets:
                replace(row, nfe=nfe)

    @property
    def sample(self) -> GenerateRequest:
        """What every cell draws, by whichever solver."""
        same = {
            f.name: getattr(self, f.name) for f in fields(GenerateRequest) if f.name != "solver"
        }
        return GenerateRequest(**same)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.sample.seeds

    def check(self, limits: Limits) -> None:
        """Raises ValueError for too many cells; `compare.run.check_measured` has the price."""
        cells = len(self.rows) * len(self.budgets) * self.count
        if cells > 2 * limits.pictures:
            raise ValueError(
                f"rows x budgets x seeds must be at most {2 * limits.pictures}, not {cells}"
            )
