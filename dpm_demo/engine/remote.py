"""Workers in other processes and on other machines: an engine each, as actors of a Ray cluster.

    remote = Remote("local", 2, library, make_library)
    ticket = remote.submit(Job(model.denoise, model.shape, tracks))

`Remote` has the surface of `Engine`. A worker owns whole requests: a job goes there as bytes, its
model by name, and its events come back through a streaming generator, in a thread that hands them
to the ticket. Seeds and plans determine a sample, so the requests of a worker that dies start
again on another, and end as if nothing had happened. The page's own process keeps a copy of the
models that it offers, for what it has to know of them, and computes nothing.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from dpm_demo.engine.cluster import LOCAL, Refused, connect
from dpm_demo.engine.events import Cancelled, Done, Event, Failed, Preview, Stats
from dpm_demo.engine.job import Job
from dpm_demo.engine.shipping import pack
from dpm_demo.engine.ticket import Ticket, admitted, fulfil, in_thread, unfinished
from dpm_demo.engine.workforce import Place, Work, Workforce, line
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError, Model

log = logging.getLogger(__name__)
T = TypeVar("T")

NOTE = "A request runs as a whole on the worker with the least to do."
RESTARTED = "restarted on another worker"
TWICE = "The worker of this request stopped, and so did the next; please try it again, smaller."
GONE = "No worker is left that can run this; please try again in a moment."
_AHEAD = 2  # events that a worker makes before the first of them is read


@dataclass(eq=False)
class Request(Work):
    """A job under way, `order` as it travels."""

    ticket: Ticket
    order: bytes
    deaths: int = 0
    newest: Preview | None = None

    @property
    def note(self) -> str:
        return RESTARTED if self.deaths else ""


class Remote:
    """Serves jobs by `workers` actors of the cluster at `address` ("local": of this machine).

    `library` is this process's own; `make_library` makes that of a worker there. `need` are Ray's
    options of a worker: a GPU where there are any and `device` allows, else its share of this
    machine's cores, or one of a cluster's. With 0 `workers` it is as many as there is room for;
    more are started while much waits; never above `most`. At most `max_requests` jobs are admitted
    and unfinished at a time; one more raises `Busy`. A worker that dies is replaced. Raises
    ValueError, one sentence, where there is no such cluster or it has no worker of this version.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        library: ModelLibrary,
        make_library: Callable[[], ModelLibrary],
        max_requests: int = 64,
        device: str = "auto",
        need: dict[str, Any] | None = None,
        most: int = 0,
    ) -> None:
        if workers < 0 or (most and most < workers):
            raise ValueError(f"workers must be a whole number from 0 to {most}, got {workers!r}.")
        self._owns = address == LOCAL
        each = max(1, (os.cpu_count() or 1) // max(1, workers)) if self._owns else 1
        self._ray = connect(address, max(workers * each, os.cpu_count() or 1))
        has = self._ray.cluster_resources()
        gpus = int(has.get("GPU", 0)) if device != "cpu" else 0
        need = need or (
            {"num_cpus": 0, "num_gpus": 1} if gpus else {"num_cpus": each, "num_gpus": 0}
        )
        room = max(1, gpus or int(has.get("CPU", 1)) // each)
        workers = workers or min(room, most or room)
        self._library, self._max_requests = library, max_requests
        self.force = Workforce(self._ray, need, make_library, max_requests, workers, most)
        self._open: set[Ticket] = set()
        # by id; those that the library has let go and a run still holds are among them
        self._alive: WeakValueDictionary[int, Model] = WeakValueDictionary()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="remote-load")
        self.restarts = 0  # requests that began anew on another worker
        self.force.scale(workers)
        if why := self.force.wait_for_one():
            self.close()
            raise ValueError(why)

    # --- the surface of an engine

    def load(self, name: str) -> Future[Model]:
        """The model of that name in this process; workers begin to load theirs."""
        future = self._library.load(name, self._loader.submit)
        future.add_done_callback(self._loaded)
        return future

    def _loaded(self, future: Future[Model]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        model = future.result()
        with self.force.news:
            self._alive[id(model)] = model
            known = self.force.models
            new = known.get(model.name) is not model
            kept = {*self._library.kept(), model.name}
            self.force.models = {k: m for k, m in known.items() if k in kept} | {model.name: model}
        if new and not self.force.closed:
            self.force.have(model)

    def submit(self, job: Job) -> Ticket:
        """Sends a job to a worker; raises `Busy` when too many are served, `Closed` at the end."""
        with self.force.news:
            models = list(self._alive.values())
        name = _model_of(job, models)
        order = pack(job, models)
        ticket = Ticket(job, on_cancel=lambda: self._cancel(request))
        request = Request(name, job.budget, ticket, order)
        with self.force.news:
            self.force.check_open()
            self._open = admitted(ticket, self._open, self._max_requests)
        in_thread(self._drive, request)
        return ticket

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs other torch work on a worker; it and its result are pickled: no closure will do."""
        with self.force.news:
            self.force.check_open()
            models = list(self._alive.values())
        future: Future[T] = Future()
        order = pack(function, models)
        in_thread(fulfil, future, partial(self._called, order))
        return future

    def _called(self, order: bytes) -> Any:
        for _ in range(2):
            place = self.force.choose("", lambda: False)
            if place is None:
                raise RuntimeError(GONE)
            try:
                return pickle.loads(self._ray.get(self.force.ask(place, "call", order)))
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, Exception) else error from None
            except self._ray.exceptions.RayError:
                self.force.lost(place)
        raise RuntimeError(TWICE)

    def stats(self) -> Stats:
        """Sums over the workers; the milliseconds are those of the slowest last tick."""
        every = self.workers()
        with self.force.news:
            self._open = unfinished(self._open)
            requests = len(self._open)
        return Stats(
            requests=requests,
            ticks=sum(w.get("ticks", 0) for w in every),
            rows=sum(w.get("rows", 0) for w in every),
            ms=max((w.get("ms", 0.0) for w in every), default=0.0),
            ms_per_row=max((w.get("ms_per_row", 0.0) for w in every), default=0.0),
            device=", ".join(sorted({w["device"] for w in every if w.get("device")})),
        )

    def workers(self) -> list[dict[str, Any]]:
        """Every worker that is not gone: state, requests, rows left, memory, milliseconds a row."""
        return self.force.report()

    def close(self) -> None:
        """Ends all work: running jobs get `Failed`, and the workers end."""
        with self.force.news:
            tickets, self._open = self._open, set()
            self.force.closed = True
        for ticket in tickets:
            ticket.finish(Failed("The server is closing; please try again in a moment."))
        self.force.close()
        self._loader.shutdown(wait=False, cancel_futures=True)
        if self._owns:
            self._ray.shutdown()

    # --- one request

    def _drive(self, request: Request) -> None:
        ticket = request.ticket
        try:
            while not ticket.finished:
                place = self.force.choose(request.model, lambda: ticket.cancelled, request)
                if ticket.cancelled:
                    ticket.finish(Cancelled())
                elif place is None:
                    ticket.finish(Failed(GONE))
                else:
                    self._at(place, request)
        except Exception as error:
            log.exception("a request failed")
            ticket.finish(Failed(f"{line(error)}."))
        finally:
            self.force.leave(request)

    def _at(self, place: Place, request: Request) -> None:
        """Runs a request on a worker to its end, or until the worker's."""
        ray, ticket = self._ray, request.ticket
        try:
            events = self.force.ask(
                place,
                "serve",
                request.ident,
                request.order,
                num_returns="streaming",
                concurrency_group="requests",
                _generator_backpressure_num_objects=_AHEAD,
            )
            if ticket.cancelled:
                self._cancel(request)
            self._pass_on((pickle.loads(ray.get(ref)) for ref in events), request)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CheckpointError | Refused):
                self.force.refused(place, request.model, line(error.cause))
            else:
                ticket.finish(Failed(f"{line(error.cause or error)}."))
        except ray.exceptions.RayError:
            if not self.force.closed:
                self.force.lost(place)
                self._died(request)
        finally:
            self.force.leave(request)

    def _died(self, request: Request) -> None:
        ticket, old = request.ticket, request.newest
        request.deaths += 1
        request.left = ticket.job.budget
        if request.deaths > 1:
            ticket.finish(Failed(TWICE))
        elif not ticket.cancelled:
            with self.force.news:
                self.restarts += 1
            if old is not None:
                empty = replace(old, seq=old.seq + 1, pictures={}, decisions=(), samples={})
                request.newest = replace(empty, latents={}, note=RESTARTED)
                ticket.offer(request.newest)

    def _pass_on(self, events: Iterable[Event], request: Request) -> None:
        """Hands events to the ticket, where a preview that nobody takes is merged into the next."""
        first = request.newest.seq if request.newest is not None else 0
        for event in events:
            if isinstance(event, Preview):
                preview = replace(event, seq=first + event.seq, note=request.note)
                request.left = max(0, event.budget - event.nfe)
                request.newest = preview
                request.ticket.offer(preview)
            elif isinstance(event, Done):
                request.ticket.finish(replace(event, note=request.note))
            else:
                request.ticket.finish(event)
        if not request.ticket.finished:
            request.ticket.finish(Failed("The worker ended without a result; please try again."))

    def _cancel(self, request: Request) -> None:
        """Tells the worker, which drops the job before its next tick."""
        if request.ticket.finished:
            return
        with self.force.news:
            self.force.news.notify_all()  # it may wait for a worker
            place, ident = request.place, request.ident
        if place is not None:
            self.force.ask(place, "cancel", ident)


def _model_of(job: Job, models: Iterable[Model]) -> str:
    for model in models:
        if job.denoise in (model.denoise, model.denoise_float32):
            return model.name
    raise ValueError("a job of a worker must be of a model that was loaded by `load`.")
