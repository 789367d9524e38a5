"""The tick in the calling thread, for a process with no worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace

from dpm_demo.engine.errors import JobFailed
from dpm_demo.engine.events import (
    Done,
    Event,
    Failed,
    Frame,
)
from dpm_demo.engine.job import Job
from dpm_demo.engine.scheduler import Scheduler
from dpm_demo.engine.ticket import Ticket


def run_inline(
    job: Job, *, tick_ms: float = 200.0, preview_hz: float = float("inf")
) -> Generator[Event, None, None]:
    """Runs a job in the calling thread, with a preview for every tick, to its final event.

    No worker is started, no thread-local context spans a `yield`, and events can be pickled, so
    it may be the body of a ZeroGPU generator. Closing the generator ends the work.
    """
    ticket = Ticket(job)
    ticket.subscribed = preview_hz > 0
    scheduler = Scheduler(tick_ms, preview_hz)
    scheduler.add(ticket)
    while not ticket.finished:
        scheduler.tick()
        event = ticket.poll()
        if event is not None:
            yield event


def stream(job: Job, *, tick_ms: float = float("inf")) -> Generator[Frame, None, None]:
    """Yields the tensors of every trajectory point of a job, run in the calling thread.

    The last `Frame` of each trajectory is `final` and carries its sample. Raises `JobFailed` with
    the first failure once all trajectories have ended.
    """
    ticket = Ticket(replace(job, record=False))
    frames: deque[Frame] = deque()
    scheduler = Scheduler(tick_ms, preview_hz=0)
    scheduler.add(ticket, watch=frames.append)
    while not ticket.finished:
        scheduler.tick()
        while frames:
            yield frames.popleft()
    event = ticket.poll()
    error = event.error if isinstance(event, (Done, Failed)) else None
    if error is not None:
        raise JobFailed(error)
