"""The tick in the calling thread, for a process with no worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import replace

from dpm_demo.engine.errors import JobFailed
from dpm_demo.engine.events import Done, Event, Failed, Frame
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


def run_to_end(
    job: Job, on_event: Callable[[Event], None] | None = None, *, tick_ms: float = 200.0
) -> Done:
    """Runs a job in the calling thread to its end; `on_event` gets every event, the end's too.

    Raises JobFailed where no sample was finished.
    """
    for event in run_inline(job, tick_ms=tick_ms, preview_hz=float("inf") if on_event else 0.0):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Done):
            return event
        if isinstance(event, Failed):
            raise JobFailed(event.error)
    raise JobFailed("the run ended without a result")


def stream(job: Job) -> Generator[Frame, None, None]:
    """Yields the tensors of every trajectory point of a job, run in the calling thread.

    The last `Frame` of each trajectory is `final` and carries its sample. Raises `JobFailed` with
    the first failure once all trajectories have ended.
    """
    ticket = Ticket(replace(job, record=False))
    frames: deque[Frame] = deque()
    scheduler = Scheduler(float("inf"), preview_hz=0)
    scheduler.add(ticket, watch=frames.append)
    while not ticket.finished:
        scheduler.tick()
        while frames:
            yield frames.popleft()
    event = ticket.poll()
    error = event.error if isinstance(event, (Done, Failed)) else None
    if error is not None:
        raise JobFailed(error)
