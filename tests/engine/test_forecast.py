"""What a job will take: the time that it then takes, on a clock that only the network moves."""

from __future__ import annotations

import pytest
import torch

from dpm_demo.engine.events import Preview
from dpm_demo.engine.forecast import Pace, duration
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.scheduler import Scheduler
from dpm_demo.engine.ticket import Ticket
from dpm_demo.solver.settings import Solver

SPAN, SHAPE = (-5.0, 4.5), (3, 2, 2)


class Timed:
    """Fixed milliseconds a call and some a network row; a row of condition True is guided."""

    def __init__(self, fixed: float, each: float) -> None:
        self.fixed, self.each, self.seconds = fixed, each, 0.0

    def __call__(self, x: torch.Tensor, lam: torch.Tensor, cond: tuple) -> torch.Tensor:
        self.seconds += (self.fixed + self.each * self.network_rows(cond)) / 1e3
        return x * 0.5

    def network_rows(self, conds: tuple) -> int:
        return sum(1 + guided for guided in conds)


def _job(network: Timed, budgets: tuple[int, ...], guided: bool = False, seeds: int = 1) -> Job:
    own = tuple(range(seeds))
    tracks = [Track(Solver(nfe=n), own, guided, lam_span=SPAN) for n in budgets]
    return Job(network, SHAPE, tuple(tracks))


def _run(network: Timed, job: Job, pace: Pace) -> float:
    scheduler = Scheduler(clock=lambda: network.seconds, preview_hz=float("inf"))
    ticket = Ticket(job)
    ticket.subscribed = True
    scheduler.add(ticket)
    while not ticket.finished:
        scheduler.tick()
        event = ticket.poll()
        if isinstance(event, Preview):
            pace.note(job, event)
    return ticket.result(0).seconds


@pytest.mark.parametrize(("fixed", "each"), [(12.0, 3.2), (0.0, 15.0), (40.0, 60.0), (0.0, 8000.0)])
def test_forecast_is_the_time_that_the_job_then_takes(fixed: float, each: float) -> None:
    network, pace = Timed(fixed, each), Pace()
    for seeds in (1, 3):
        _run(network, _job(network, (5, 8), seeds=seeds), pace)
    for job in (
        _job(network, (5, 8, 10, 15, 20, 200)),
        _job(network, (20,), guided=True, seeds=2),
        _job(network, (5, 8, 10, 15) * 6, guided=True),
    ):
        foreseen = pace.seconds(job)
        assert foreseen is not None
        assert foreseen == pytest.approx(_run(network, job, pace), rel=0.15)


def test_what_has_not_been_timed_has_no_forecast() -> None:
    network, pace = Timed(10, 1), Pace()
    job = _job(network, (5,))
    assert pace.seconds(job) is None
    _run(network, job, pace)
    assert pace.seconds(job)
    assert pace.seconds(_job(Timed(10, 1), (5,))) is None, "another network"
    larger = Job(network, (3, 4, 4), job.tracks)
    assert pace.seconds(larger) is None, "another size"


def test_durations_read_as_one_says_them() -> None:
    times = (0.01, 0.44, 12.3, 170.0, 3 * 3600 + 65)
    assert [duration(t) for t in times] == ["0.1 s", "0.4 s", "12 s", "3 min", "3 h 1 min"]
