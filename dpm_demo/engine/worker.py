"""The engine: the one worker thread of the serving process that runs torch.

    engine = Engine()
    ticket = engine.submit(Job(model.denoise, model.shape, tracks))
    async for event in ticket: ...        # Preview …, then one Done, Failed or Cancelled

Other threads hand over plain values and get uint8 and float32 numpy arrays back: two teams of
OpenMP threads on two cores starve each other, so *all* torch work goes through `submit` or `call`.
`inline` drives the same tick in the calling thread, for a process with no worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from dpm_demo.engine.errors import Closed
from dpm_demo.engine.events import Failed, Stats
from dpm_demo.engine.job import Job
from dpm_demo.engine.scheduler import Scheduler
from dpm_demo.engine.ticket import Ticket, admitted, fulfil, unfinished

log = logging.getLogger(__name__)
T = TypeVar("T")


class Engine:
    """Serves jobs from one worker thread, which starts with the first of them.

    At most `max_requests` jobs are admitted and unfinished at a time; one more raises `Busy`.
    `tick_ms` bounds the milliseconds of one network call (always at least one row), and with it
    how long a newcomer waits; `preview_hz` the previews of a job a second.
    """

    def __init__(
        self, max_requests: int = 64, tick_ms: float = 200.0, preview_hz: float = 15.0
    ) -> None:
        if max_requests < 1:
            raise ValueError(f"max_requests must be at least 1, got {max_requests!r}.")
        self._max_requests = max_requests
        self._new_scheduler: Callable[[], Scheduler] = lambda: Scheduler(tick_ms, preview_hz)
        self._scheduler = self._new_scheduler()
        self._news = threading.Condition()
        self._inbox: list[Ticket] = []
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._open: set[Ticket] = set()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Job) -> Ticket:
        """Queues a job; raises `Busy` when too many are being served, `Closed` after `close`."""
        ticket = Ticket(job, on_cancel=self._wake, submitted=time.perf_counter())
        with self._news:
            self._check_open()
            self._open = admitted(ticket, self._open, self._max_requests)
            self._inbox.append(ticket)
            self._ensure_worker()
        return ticket

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs torch work between two ticks on the worker thread; raises `Closed` after `close`.

        Called on the worker itself, it runs at once.
        """
        future: Future[T] = Future()
        if threading.current_thread() is self._worker:
            fulfil(future, function)
            return future
        with self._news:
            self._check_open()
            self._calls.append((future, function))
            self._ensure_worker()
        return future

    def stats(self) -> Stats:
        """Requests being served, and the last tick's rows and milliseconds."""
        with self._news:
            self._open = unfinished(self._open)
            return replace(self._scheduler.stats, requests=len(self._open))

    def close(self, timeout: float | None = 10.0) -> None:
        """Ends all work: running jobs get `Failed`, and the worker stops after its tick."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join(timeout)
        self._bury("The server is closing; please try again in a moment.")

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The engine has been closed.")

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    def _ensure_worker(self) -> None:
        """Starts a worker where there is none: the first job, after a death, after a fork."""
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, name="dpm-engine", daemon=True)
            self._worker.start()
        self._news.notify_all()

    def _work(self) -> None:
        try:
            while self._serve():
                pass
        except BaseException as error:
            log.exception("the worker thread died")
            # Whatever ends this thread, those who wait must hear of it, and the next job starts
            # a new one: nothing of the old worker's state is kept.
            self._bury(
                f"The worker stopped unexpectedly ({type(error).__name__}) and has been "
                "restarted; please try again."
            )

    def _serve(self) -> bool:
        """Waits for work, and does one tick of it; False once the engine is closed."""
        with self._news:
            self._open = unfinished(self._open)
            while not (self._inbox or self._calls or self._scheduler.busy or self._closed):
                self._news.wait()
            if self._closed:
                return False
            arrived, self._inbox = self._inbox, []
            call = self._calls.popleft() if self._calls else None
        for ticket in arrived:
            self._scheduler.add(ticket)
        if call is not None:
            fulfil(*call)
        self._scheduler.tick()
        return True

    def _bury(self, sentence: str) -> None:
        """Answers everyone who waits, and forgets the worker with all it held."""
        with self._news:
            tickets, self._open = self._open, set()
            calls, self._calls = self._calls, deque()
            self._inbox = []
            self._scheduler = self._new_scheduler()
            self._worker = None
        for ticket in tickets:
            ticket.finish(Failed(sentence))
        for future, _ in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(RuntimeError(sentence))
