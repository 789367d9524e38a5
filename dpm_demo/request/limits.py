"""What one request may cost: pictures, network rows, memory; and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpm_demo.solver.settings import Solver


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and all of them together; an operator can set each.

    pictures    samples of one request
    cost        network rows of one request at most: samples x evaluations x (2 if guided) x frames
    requests    requests admitted at once, running or waiting
    memory      bytes that one request may need beside the weights (`memory_needed`)
    memory_sum  bytes that all requests under way may need together
    kept        bytes of finished runs that are remembered for their files
    session     requests of one open page at once
    address     requests of one network address at once; 0: half of `requests`
    """

    pictures: int = 64
    cost: int = 40_000
    requests: int = 64
    memory: int = 4 * 2**30
    memory_sum: int = 8 * 2**30
    kept: int = 512 * 2**20
    session: int = 8
    address: int = 0

    @property
    def of_address(self) -> int:
        """Requests of one address at once: so many that others find a place."""
        return self.address or max(1, self.requests // 2)


REPEATED = ", parallel in time each up to `window` times"


def check_cost(cost: int, limits: Limits, repeated: bool = False) -> None:
    """Raises ValueError for more network rows than one request may ask for."""
    if cost > limits.cost:
        raise ValueError(
            f"this request would cost {cost:,} network rows (samples x evaluations x 2 if guided "
            f"x frames{REPEATED if repeated else ''}) and one request may cost {limits.cost:,}: "
            "ask for fewer of something"
        )


STATES = 10  # float32 tensors of a sample at once: its states, predictions kept, copies on the way


ROWS_AT_ONCE = 16  # of one network call: eight rows, each doubled by guidance


NETWORK_BYTES = 600  # a number of a call's input; measured 400 to 570, `benchmarks.video`


def swept(solver: Solver) -> int:
    """Float32 tensors of a sample that sweeps keep, where steps are solved together.

    Of each step the state, the prediction and its noise; of the window what the network is called
    with, its answer, and how far that moved.
    """
    wide = min(solver.window, solver.nfe)
    return (2 + (solver.eta > 0)) * solver.nfe + 3 * wide if wide else 0


def memory_needed(budgets: Sequence[int], numbers: int, unrecorded: int = 0, swept: int = 0) -> int:
    """Bytes that samples of `numbers` numbers need at most, given the evaluations of each.

    Beside those of `budgets`, which are recorded, there are `unrecorded` ones. `swept` are those
    tensors of all samples.

    Their states, their record (x0 and x_t in 8 bits at each evaluation, 128 at most, and the 64 of
    the copy that is handed out), and one call of a network like the embedded ones.
    """
    shots = sum(min(nfe + 1, 128) + min(nfe + 1, 64) for nfe in budgets)
    samples = len(budgets) + unrecorded
    call = (ROWS_AT_ONCE if swept else min(2 * samples, ROWS_AT_ONCE)) * NETWORK_BYTES
    return numbers * (4 * (STATES * samples + swept) + 2 * shots + call)


def check_memory(
    budgets: Sequence[int], numbers: int, limits: Limits, unrecorded: int = 0, swept: int = 0
) -> None:
    """Raises ValueError for a request that needs more memory than one may, before it starts."""
    needed = memory_needed(budgets, numbers, unrecorded, swept)
    if needed > limits.memory:
        raise ValueError(
            f"this request would need about {needed / 1e9:.1f} GB of memory ({len(budgets)} "
            f"samples of {numbers:,} numbers, {sum(budgets):,} evaluations) and one request may "
            f"need {limits.memory / 1e9:.1f} GB: ask for fewer of something"
        )
