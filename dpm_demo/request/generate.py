"""One request of a visitor: what is wanted, within which limits, and the same as a link or text.

Frozen, validated, free of torch. Whatever arrives from a widget, a query string, the API or a
command line goes through `read`, so a bad value becomes the same clear sentence everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dpm_demo.request.limits import Limits, check_cost, check_memory, swept
from dpm_demo.solver.settings import SEED_MAX, Solver, check_seed, most_evaluations

PROMPT_MAX = 2000


@dataclass(frozen=True)
class GenerateRequest:
    """Pictures or clips of one model with one solver; sample k has seed `seed + k`.

    A model that takes words has `prompt` and `negative_prompt`; height, width and frames of 0 are
    the model's own. Raises ValueError, one sentence that names the field, the value and what is
    allowed.
    """

    model: str = "emoji-image"
    label: str = "any"
    guidance: float = 3.5
    seed: int = 0
    count: int = 4
    solver: Solver = field(default_factory=Solver)
    prompt: str = ""
    negative_prompt: str = ""
    height: int = 0
    width: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        for name in ("model", "label", "prompt", "negative_prompt"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, not {getattr(self, name)!r:.60}")
            if len(getattr(self, name)) > PROMPT_MAX:
                raise ValueError(f"{name} must have at most {PROMPT_MAX} letters")
        for name in ("height", "width", "frames"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 4096:
                raise ValueError(f"{name} must be a whole number up to 4096, not {value!r:.60}")
        object.__setattr__(self, "seed", check_seed(self.seed))
        whole = isinstance(self.count, int) and not isinstance(self.count, bool)
        if not whole or self.count < 1:
            raise ValueError(f"count must be a whole number from 1, not {self.count!r:.60}")
        if isinstance(self.guidance, bool) or not isinstance(self.guidance, (int, float)):
            raise ValueError(f"guidance must be a number from 0 to 20, not {self.guidance!r:.60}")
        if not 0 <= self.guidance <= 20:
            raise ValueError(f"guidance must be a number from 0 to 20, not {self.guidance!r:.60}")

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple((self.seed + k) % (SEED_MAX + 1) for k in range(self.count))

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels; None for the model's own."""
        if not (self.height or self.width):
            return None
        return self.height or self.width, self.width or self.height

    def check(self, limits: Limits, rows_a_sample: int = 1, numbers: int = 0) -> None:
        """Raises ValueError if the request is larger than `limits` (also said there).

        `numbers` are those of one sample: 3 x frames x height x width.
        """
        if self.count > limits.pictures:
            raise ValueError(f"count must be at most {limits.pictures}, not {self.count}")
        solver = self.solver
        evaluations = self.count * most_evaluations(solver.nfe, solver.window)
        check_cost(evaluations * rows_a_sample, limits, solver.window > 0)
        kept = self.count * swept(solver)
        check_memory([solver.nfe] * self.count, numbers, limits, swept=kept)
