"""ZeroGPU: sampling in a forked process that Hugging Face lends a GPU for one request at a time.

    zero = ZeroGPU(models, gpu=spaces.GPU)         # before the page is launched
    ticket = zero.submit(Job(model.denoise, model.shape, tracks))

`ZeroGPU` has the surface of `Engine`, so that the page does not care. What differs is the way of a
job: it is pickled, with its model by name; a decorated *synchronous* generator unpickles it in a
forked worker and drives it with `run_inline`; its events, numpy only, come back through a queue, to
a thread that iterates the generator. A worker is used again, so the models are those that were
there before the first fork. No torch operation runs in the parent after they were loaded, and no
engine thread: a fork copies neither CUDA nor the threads of OpenMP. Visitors share no network call.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from dpm_demo.engine.errors import Closed
from dpm_demo.engine.events import Cancelled, Event, Failed, Preview, Stats
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job
from dpm_demo.engine.shipping import pack, parts_of, unpack
from dpm_demo.engine.ticket import Ticket, admitted, fulfil, in_thread, unfinished
from dpm_demo.models.model import CheckpointError, Model

log = logging.getLogger(__name__)
T = TypeVar("T")

#: What the page says of it.
NOTE = (
    "Each request runs by itself, on a GPU that is lent for its time only: "
    "visitors do not share network calls here, and may wait for one."
)

# What `seconds_of` asks for. Generous guesses: a request that outlives its time is ended, and time
# that was asked for and not used is given back. Not measured on ZeroGPU.
START_SECONDS = 10.0  # to move the models' weights, and CUDA's first call
CALL_SECONDS = 0.05  # of one network call, however small
PIXEL_SECONDS = 5e-7  # of a network row, by pixel and frame
SECONDS_MAX = 120.0  # what a visitor's quota commonly allows
OTHER_SECONDS = 15.0  # of work that is no job


def available() -> bool:
    """Whether this is a Space on ZeroGPU: `SPACES_ZERO_GPU` set and `spaces` importable."""
    if os.environ.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):
        return False
    try:
        import spaces  # noqa: F401
    except ImportError:
        return False
    return True


def seconds_of(job: Job) -> float:
    """Seconds of a GPU to ask for: a start, the calls in sequence, and all rows (guided: twice)."""
    calls = max(track.steps for track in job.tracks)
    pixels = math.prod(job.shape[1:])
    needed = START_SECONDS + CALL_SECONDS * calls + PIXEL_SECONDS * pixels * 2 * job.budget
    return min(math.ceil(needed), SECONDS_MAX)


class ZeroGPU:
    """Runs jobs of `models` one by one in processes that `gpu` (`spaces.GPU`) lends a GPU.

    `gpu(duration=f)` decorates a generator function; `f` gets the arguments of a call. At most
    `max_requests` jobs are admitted and unfinished at a time; one more raises `Busy`. Previews come
    for every tick, since closing the generator takes effect at its next `yield`; they are passed
    on `preview_hz` times a second.
    """

    def __init__(
        self,
        models: Iterable[Model],
        gpu: Callable[..., Callable[..., Any]],
        max_requests: int = 64,
        preview_hz: float = 15.0,
    ) -> None:
        self._models = {model.name: model for model in models}
        # a closure over the models: a forked worker has them without their being sent
        parts = {name: parts_of(model) for name, model in self._models.items()}

        def sampling(order: bytes, seconds: float) -> Generator[Any, None, None]:
            work = unpack(order, lambda part: parts[part.model][part.attribute])
            if isinstance(work, Job):
                yield from run_inline(work)
            else:
                yield work()

        self._lent = gpu(duration=lambda order, seconds: seconds)(sampling)
        self._max_requests, self._pause = max_requests, 1 / preview_hz
        self._lock = threading.Lock()
        self._open: set[Ticket] = set()
        self._stats = Stats()
        self._closed = False

    def load(self, name: str) -> Future[Model]:
        """The model of that name, which is there already: after the first fork none is loaded."""
        future: Future[Model] = Future()
        if name in self._models:
            future.set_result(self._models[name])
        else:
            future.set_exception(
                CheckpointError(f"model: {name[:80]!r} is not offered here; choose another.")
            )
        return future

    def submit(self, job: Job) -> Ticket:
        """Starts a job; raises `Busy` when too many are being served, `Closed` after `close`."""
        order = self._pack(job)
        ticket = Ticket(job, on_cancel=lambda: ticket.finish(Cancelled()))
        with self._lock:
            if self._closed:
                raise Closed("The engine has been closed.")
            self._open = admitted(ticket, self._open, self._max_requests)
        in_thread(self._drive, ticket, order, seconds_of(job))
        return ticket

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs other torch work there; it and its result are pickled, so no closure will do."""
        if self._closed:
            raise Closed("The engine has been closed.")
        future: Future[T] = Future()
        order = self._pack(function)

        def work() -> T:
            (result,) = self._lent(order, OTHER_SECONDS)
            return result

        in_thread(fulfil, future, work)
        return future

    def stats(self) -> Stats:
        """Requests being served, and the rows and milliseconds of the last preview's call."""
        with self._lock:
            self._open = unfinished(self._open)
            return replace(self._stats, requests=len(self._open))

    def close(self) -> None:
        """Ends all work: running jobs get `Failed`, and their processes stop after their tick."""
        with self._lock:
            self._closed = True
            tickets, self._open = self._open, set()
        for ticket in tickets:
            ticket.finish(Failed("The server is closing; please try again in a moment."))

    def _pack(self, work: Any) -> bytes:
        return pack(work, self._models.values())

    def _drive(self, ticket: Ticket, order: bytes, seconds: float) -> None:
        events = self._lent(order, seconds)
        try:
            self._pass_on(events, ticket)
            ticket.finish(Failed("The GPU was taken back before the end; please try again."))
        except Exception as error:
            # what `spaces` has to say of quotas and waiting is meant for the visitor
            log.warning("ZeroGPU: %s", _sentence(error))
            ticket.finish(Failed(f"{_sentence(error).rstrip('.')}."))
        finally:
            events.close()

    def _pass_on(self, events: Iterable[Event], ticket: Ticket) -> None:
        """Hands events to the reader; previews between two turns are merged into one."""
        waiting: Preview | None = None
        due = 0.0
        for event in events:
            if not isinstance(event, Preview):
                # and on to the generator's own end, when its worker is free
                ticket.finish(event)
                continue
            if ticket.finished:  # cancelled
                return
            with self._lock:
                each = event.ms / max(event.rows, 1)
                ticks = self._stats.ticks + 1
                self._stats = Stats(0, ticks, event.rows, event.ms, each, "ZeroGPU")
            waiting = event.onto(waiting)
            if time.perf_counter() >= due:
                ticket.offer(waiting)
                waiting, due = None, time.perf_counter() + self._pause


def _sentence(error: BaseException) -> str:
    # gradio's own errors quote their message when they are made text
    text = " ".join(str(getattr(error, "message", error)).split())
    return text[:400] or type(error).__name__
