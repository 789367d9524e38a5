"""What a network call costs: milliseconds by rows, and how many rows fit into memory."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

FIRST_ROWS = 1  # rows of the first call of a network whose speed nobody knows


EASY_ROWS = 8  # rows that a call may always grow to, where the measured speed allows


WORTH = 4.0  # a call is not split where its rows take less than this many times its fixed part


class Cost:
    """Milliseconds of one network call, a + b·rows, fitted to the fastest of recent calls.

    The fastest, because whatever else the machine does only ever adds to them: a busy machine
    must not make the batches small, which would make it busier.
    """

    def __init__(self) -> None:
        self.cap: int | None = None  # rows that fit into memory, once a call did not
        self._seen: OrderedDict[int, deque[float]] = OrderedDict()
        self._calls = 0
        self._fit: tuple[float, float] | None = None  # of what has been seen

    def add(self, rows: int, ms: float) -> None:
        self._fit = None
        self._calls += 1
        if self._calls == 2:
            self._seen.clear()  # the first call of a network also paid for its set-up
        self._seen.setdefault(rows, deque(maxlen=9)).append(ms)
        self._seen.move_to_end(rows)
        if len(self._seen) > 12:
            self._seen.popitem(last=False)

    def _line(self) -> tuple[float, float]:
        if self._fit is None:
            self._fit = self._fitted()
        return self._fit

    def _fitted(self) -> tuple[float, float]:
        rows = list(self._seen)
        times = [min(self._seen[n]) for n in rows]
        mean_rows, mean_time = sum(rows) / len(rows), sum(times) / len(rows)
        spread = sum((n - mean_rows) ** 2 for n in rows)
        if spread == 0:
            return 0.0, mean_time / mean_rows
        slope = (
            sum((n - mean_rows) * (t - mean_time) for n, t in zip(rows, times, strict=True))
            / spread
        )
        slope = min(max(slope, 1e-6), mean_time / mean_rows)
        return mean_time - slope * mean_rows, slope

    def ms(self, rows: int) -> float:
        """Expected time of a call; 0 while nothing is known."""
        if not self._seen:
            return 0.0
        fixed, each = self._line()
        return fixed + each * rows

    def rows_within(self, ms: float) -> int:
        """Rows of which a call takes so many milliseconds, at least 1."""
        if not self._seen:
            return FIRST_ROWS
        fixed, each = self._line()
        return self._possible((ms - fixed) / each)

    def rows_of_a_tick(self, ms: float) -> int:
        """Rows that a tick of so many milliseconds may take, or more where few would be a waste.

        Calls whose rows take less than `WORTH` times their fixed part are not made smaller. With
        one batch size measured nobody knows what is fixed, so twice as many rows are tried once.
        """
        if not self._seen:
            return FIRST_ROWS
        if ms == math.inf:
            return self._possible(ms)
        fixed, each = self._line()
        rows = max((ms - fixed) / each, WORTH * fixed / each)
        if len(self._seen) == 1 and fixed + each * max(self._seen) <= 2 * ms:
            rows = max(rows, 2 * max(self._seen))
        return self._possible(rows)

    def _possible(self, rows: float) -> int:
        # Beyond twice the largest batch measured, the line would be a guess.
        rows = min(rows, max(2 * max(self._seen), EASY_ROWS))
        return max(1, int(rows if self.cap is None else min(rows, self.cap)))
