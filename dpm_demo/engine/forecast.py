"""How long a job will about take here, by what the network calls of jobs before it have taken."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import ceil

from dpm_demo.engine.active_job import expected, identity
from dpm_demo.engine.cost import Cost
from dpm_demo.engine.events import Preview
from dpm_demo.engine.job import Job, Track

TICK_MS = 200.0  # of an engine, unless it is told another
NETWORKS = 64  # of which the times are remembered, each at each size


class Pace:
    """What a call of a network takes, as the previews of jobs say, whoever computed them.

    For one thread. A call's rows are counted as the network sees them: twice where guided.
    """

    def __init__(self) -> None:
        self._costs: OrderedDict[Hashable, Cost] = OrderedDict()

    def note(self, job: Job, preview: Preview) -> None:
        """Takes a preview of a job that shared its last call with no other."""
        if preview.rows:
            key = (identity(job), job.shape)
            cost = self._costs.setdefault(key, Cost())
            self._costs.move_to_end(key)
            cost.add(ceil(preview.rows * _weight(job)), preview.ms)
            if len(self._costs) > NETWORKS:
                self._costs.popitem(last=False)

    def seconds(self, job: Job) -> float | None:
        """About what the job will take alone; None where such a call has not been seen."""
        cost = self._costs.get((identity(job), job.shape))
        if cost is None:
            return None
        weight, most = _weight(job), cost.rows_of_a_tick(TICK_MS)
        left = sorted(map(_rounds, job.tracks))
        ms, before = 0.0, 0
        for k, (rounds, _) in enumerate(left):  # those that go on after the ones before
            calls, rest = divmod(ceil(weight * sum(rows for _, rows in left[k:])), most)
            ms += (rounds - before) * (calls * cost.ms(most) + (cost.ms(rest) if rest else 0.0))
            before = rounds
        return ms / 1e3


def _rounds(track: Track) -> tuple[int, int]:
    """Evaluations in sequence of a track, and the rows of each."""
    wide = max(1, min(track.solver.window, track.steps))
    return ceil(expected(track) / wide), wide * len(track.seeds)


def _weight(job: Job) -> float:
    """Network rows of an evaluation of a sample, on average."""
    count = getattr(job.denoise, "network_rows", None)
    conds = [c for track in job.tracks for c in track.conditions or ()]
    return count(conds) / len(conds) if count and conds else 1.0


def duration(seconds: float) -> str:
    """ "0.4 s", "12 s", "3 min", "1 h 20 min"."""
    if seconds < 9.5:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
