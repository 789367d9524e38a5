"""Several GPUs: an engine and a library of models for each, every request to the least busy one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from dpm_demo.engine.events import Stats
from dpm_demo.engine.job import Job
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker import Engine
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model

T = TypeVar("T")


class Pool:
    """The surface of one `Engine` over several, one a device.

    A request asks for its model first: `load` gives the copy of the device that serves the fewest
    requests (of equals, the one whose turn was longest ago), and `submit` follows the job's device.
    """

    def __init__(self, places: Sequence[tuple[Engine, ModelLibrary]]) -> None:
        devices = [library.device for _, library in places]
        if not devices or len(set(devices)) < len(devices):
            raise ValueError(f"places must be engines of different devices, got {devices}.")
        self._places = {library.device: (engine, library) for engine, library in places}
        self._lock = threading.Lock()
        self._turns = dict.fromkeys(devices, 0)

    def load(self, name: str) -> Future[Model]:
        """The model of that name on the least busy device, loaded there on first use."""
        engine, library = self._least_busy()
        return library.load(name, engine.call)

    def submit(self, job: Job) -> Ticket:
        """Queues a job where its model is; raises as `Engine.submit`, ValueError elsewhere."""
        if job.device not in self._places:
            known = ", ".join(map(str, self._places))
            raise ValueError(f"device: {job.device} is none of this pool's: {known}.")
        return self._places[job.device][0].submit(job)

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs torch work on the least busy engine's thread."""
        return self._least_busy()[0].call(function)

    def stats(self) -> Stats:
        """Sums over the engines; the milliseconds are those of the slowest last tick."""
        every = [engine.stats() for engine, _ in self._places.values()]
        return Stats(
            requests=sum(s.requests for s in every),
            ticks=sum(s.ticks for s in every),
            rows=sum(s.rows for s in every),
            ms=max(s.ms for s in every),
            ms_per_row=max(s.ms_per_row for s in every),
            device=", ".join(map(str, self._places)),
        )

    def close(self) -> None:
        """Closes every engine."""
        for engine, _ in self._places.values():
            engine.close()

    def _least_busy(self) -> tuple[Engine, ModelLibrary]:
        with self._lock:
            requests = {d: engine.stats().requests for d, (engine, _) in self._places.items()}
            device = min(self._turns, key=lambda d: (requests[d], self._turns[d]))
            self._turns[device] = max(self._turns.values()) + 1
        return self._places[device]
