"""One engine in a process of a cluster, as an actor: what `engine.remote` talks to.

It owns whole requests: a job comes as bytes, its events go back as bytes, through a generator that
waits while the reader is slow; the engine then merges previews, so that none are queued.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from dpm_demo.engine.cluster import check_code, check_model
from dpm_demo.engine.errors import sentence
from dpm_demo.engine.events import Failed
from dpm_demo.engine.shipping import Part, parts_of, unpack
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker import Engine
from dpm_demo.models.device import pick_device
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.memory import weights_room


class WorkerActor:
    """Serves jobs of the models of its own library; many threads may call it."""

    def __init__(self, make_library: Callable[[], ModelLibrary], max_requests: int) -> None:
        self._library = make_library()
        self._engine = Engine(max_requests)
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}
        self._gone: deque[str] = deque(maxlen=1000)  # cancelled before they came

    def hello(self, code: str) -> dict[str, Any]:
        """Who it is. Raises `Refused` where it runs another version of this program."""
        check_code(code)
        import torch

        return {
            "pid": os.getpid(),
            "device": str(self._library.device),
            "threads": torch.get_num_threads(),
        }

    def have(self, name: str, digest: str) -> None:
        """Loads a model. Raises CheckpointError without it, `Refused` for other weights."""
        model = self._library.load(name, self._engine.call).result()
        check_model(model, digest)

    def report(self) -> dict[str, Any]:
        """What it serves, its speed and its memory (bytes of the process, of the device)."""
        import torch

        device = self._library.device
        on_device = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        return {
            **asdict(self._engine.stats()),
            "pid": os.getpid(),
            "memory": _resident(),
            "device_memory": on_device,
            "models": self._library.kept(),
        }

    def serve(self, ident: str, order: bytes) -> Iterator[bytes]:
        """The events of a job, pickled, to its last. Raises `Refused` before it begins."""
        job = self._unpacked(order)
        try:
            job = replace(job, device=self._library.device)
            ticket = self._engine.submit(job)
        except Exception as error:
            yield pickle.dumps(Failed(f"{sentence(error)}."))
            return
        with self._lock:
            self._tickets[ident] = ticket
            if ident in self._gone:
                ticket.cancel()
        try:
            for event in ticket:
                yield pickle.dumps(event, pickle.HIGHEST_PROTOCOL)
        finally:
            ticket.cancel()
            with self._lock:
                del self._tickets[ident]

    def cancel(self, ident: str) -> None:
        """Makes a job leave before the next tick, whether or not it has come."""
        with self._lock:
            self._gone.append(ident)
            ticket = self._tickets.get(ident)
        if ticket is not None:
            ticket.cancel()

    def call(self, order: bytes) -> bytes:
        """Runs other torch work between two ticks; the result, pickled."""
        result = self._engine.call(self._unpacked(order)).result()
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)

    def _unpacked(self, order: bytes) -> Any:
        return unpack(order, self._find)

    def _find(self, part: Part) -> Any:
        model = self._library.load(part.model, self._engine.call).result()
        check_model(model, part.digest)
        return parts_of(model)[part.attribute]


def worker_library(device: str, **options: Any) -> ModelLibrary:
    """The models of a worker, on the device that it was given; `options` are the library's."""
    # Ray shows each worker its own GPU alone, whose number is then 0
    where = pick_device("cuda" if device.startswith("cuda:") else device)
    return ModelLibrary(where, memory_bytes=weights_room(where), **options)


def _resident() -> int:
    """Bytes of memory that this process has, where the system tells."""
    try:
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
