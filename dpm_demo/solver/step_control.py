"""Step-size and stability control: what to do after a local error was measured."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Literal

__all__ = ["FIRST_STEP", "SHORTEST_STEP", "StabilityControl", "StepControl"]

#: The first step in λ, as published for DPM-Solver-12 and -23.
FIRST_STEP = 0.05

#: No step is shorter: at an impossible tolerance the cap on evaluations ends the trajectory.
SHORTEST_STEP = 1e-6

_SAFETY = 0.9
_ERROR_MIN = 1e-10  # an error of zero would make the next step infinite
_LAST_ERROR_MIN = 1e-4  # after a step that was far too small, the slope of the error says nothing


class StepControl:
    """The next step h from the error E of this one, E = 1 being the tolerance.

    i   h ← 0.9 h E^{−1/q}                               as published (2206.00927, appendix C)
    pi  h ← 0.9 h E^{−0.7/q} E_last^{0.4/q} within [h/5, 10h]    (Hairer & Wanner II, IV.2), E_last
        of the accepted step before; the published rule after a rejection; no growth right after it

    q is the order of the local error: E grows like h^q.
    """

    def __init__(self, kind: Literal["pi", "i"]) -> None:
        self.kind = kind
        self._last: float | None = None
        self._rejected = False

    def next_step(self, h: float, error: float, q: int) -> float:
        error = max(error, _ERROR_MIN)
        accepted = error <= 1
        factor = _SAFETY * error ** (-1 / q)
        if self.kind == "pi":
            if accepted and self._last is not None:
                factor = _SAFETY * error ** (-0.7 / q) * self._last ** (0.4 / q)
            factor = min(max(factor, 0.2), 1.0 if accepted and self._rejected else 10.0)
            self._last = max(error, _LAST_ERROR_MIN) if accepted else self._last
            self._rejected = not accepted
        return h * factor

    def forget(self) -> None:
        """The errors so far say nothing about the next one: the order has changed."""
        self._last = None


class StabilityControl:
    """Lowers the order while local errors keep growing, and raises it again when they fall.

    An error that grows three times running although the step did not grow means that the step is
    outside the region where the method is stable: there a lower order at half the step does better
    than a higher one. (Growth that a longer step explains is the controller finding its step.)
    """

    def __init__(self, order: int) -> None:
        self.wanted = self.order = order
        self._tries: deque[tuple[float, float]] = deque(maxlen=4)

    def observe(self, error: float, h: float) -> Literal["lower", "restore"] | None:
        """Take the error of a tried step; "lower": halve the step too (order 2 is the lowest)."""
        self._tries.append((error, h))
        if len(self._tries) < 4:
            return None
        pairs = list(pairwise(self._tries))
        if all(after[0] > before[0] and after[1] <= before[1] for before, after in pairs):
            self.order = max(2, self.order - 1)
            self._tries.clear()
            return "lower"
        if self.order < self.wanted and all(after[0] < before[0] for before, after in pairs):
            self.order += 1
            self._tries.clear()
            return "restore"
        return None
