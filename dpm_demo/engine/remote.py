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
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import uuid4

from dpm_demo.engine.cluster import LOCAL, Refused, code_digest, connect
from dpm_demo.engine.errors import Busy, Closed
from dpm_demo.engine.events import Cancelled, Done, Event, Failed, Preview, Stats
from dpm_demo.engine.job import Job
from dpm_demo.engine.shipping import pack
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker_actor import WorkerActor
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError, Model

__all__ = ["NOTE", "RESTARTED", "TWICE", "Remote"]

log = logging.getLogger(__name__)
T = TypeVar("T")

NOTE = "A request runs as a whole on the worker with the least to do."
RESTARTED = "restarted on another worker"
TWICE = "The worker of this request stopped, and so did the next; please try it again, smaller."
GONE = "No worker is left that can run this; please try again in a moment."
TOGETHER = 0.5  # what rows of the same model count for on a worker: they share its network calls
ROWS_EACH = 4000  # row evaluations that wait for each worker before another is started
CALM_SECONDS = 120.0  # without a request before workers beyond the least number end
REPORT_SECONDS = 3.0  # for which a worker's answer is waited for
STARTS = 3  # that may fail in a row before fewer workers are tried
_AHEAD = 2  # events that a worker makes before the first of them is read


@dataclass(eq=False)
class Place:
    """One worker as this process sees it."""

    number: int
    actor: Any
    state: str = "starting"  # then ready; retiring: takes no more; dead; refused
    about: dict[str, Any] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)  # models that it has not, or other weights of
    requests: dict[Ticket, Request] = field(default_factory=dict)
    turn: int = 0


@dataclass(eq=False)
class Request:
    """A job under way: its model and the row evaluations that are still to do."""

    ticket: Ticket
    order: bytes
    model: str
    left: int
    ident: str = ""
    place: Place | None = None
    deaths: int = 0
    newest: Preview | None = None

    @property
    def note(self) -> str:
        return RESTARTED if self.deaths else ""


def price(place: Place, model: str) -> float:
    """Row evaluations before a newcomer's: what is to do there, that of its own model in part."""
    return sum(r.left * (TOGETHER if r.model == model else 1) for r in place.requests.values())


class Remote:
    """Serves jobs by `workers` actors of the cluster at `address` ("local": of this machine).

    `library` is this process's own; `make_library` makes that of a worker there. `need` are Ray's
    options of a worker: a GPU where there are any and `device` allows, else its share of this
    machine's cores, or one of a cluster's. With 0 `workers` it is as many as there is room for;
    more are started while much waits, up to `most`. At most `max_requests` jobs are admitted and
    unfinished at a time; one more raises `Busy`. A worker that dies is replaced. Raises ValueError,
    one sentence, where there is no such cluster or it has no worker of this version.
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
        self._need = need or (
            {"num_cpus": 0, "num_gpus": 1} if gpus else {"num_cpus": each, "num_gpus": 0}
        )
        workers = workers or max(1, gpus or int(has.get("CPU", 1)) // each)
        self._library, self._make_library = library, make_library
        self._max_requests, self._code = max_requests, code_digest()
        self._news = threading.Condition()
        self._places: list[Place] = []
        self._wanted, self._started, self._turns, self._failed_starts = 0, 0, 0, 0
        self._open: set[Ticket] = set()
        self._models: dict[str, Model] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="remote-load")
        self._closed = False
        self.restarts = 0  # requests that began anew on another worker
        self.refusals: list[str] = []  # why workers were refused
        self._least, self._most = workers, max(most, workers)
        self._idle: threading.Timer | None = None
        self.scale(workers)
        self._wait_for_one()

    # --- workers that come and go

    def scale(self, workers: int) -> None:
        """Makes it so many workers: new ones start, superfluous ones finish what they have."""
        with self._news:
            self._check_open()
            self._wanted = workers
            self._fill()

    def _adapt(self) -> None:
        """One worker more while much waits for each, and the least number after a calm time."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        left = sum(r.left for p in self._places for r in p.requests.values())
        if left > ROWS_EACH * self._wanted and self._wanted < self._most:
            # those asked for before are to be up first
            if not any(p.state == "starting" for p in self._places):
                self.scale(self._wanted + 1)
        elif self._wanted > self._least and not any(p.requests for p in self._places):
            self._idle = threading.Timer(CALM_SECONDS, self._shrink)
            self._idle.daemon = True
            self._idle.start()

    def _shrink(self) -> None:
        with self._news:
            if not self._closed and not any(p.requests for p in self._places):
                self.scale(self._least)

    def _fill(self) -> None:
        live = [p for p in self._places if p.state in ("starting", "ready")]
        for _ in range(self._wanted - len(live)):
            actor = self._ray.remote(
                **self._need,
                max_restarts=0,
                concurrency_groups={"requests": self._max_requests, "control": 4},
            )(WorkerActor)
            place = Place(self._started, actor.remote(self._make_library, self._max_requests))
            self._started += 1
            self._places.append(place)
            _start(self._greet, place)
        for place in sorted(live, key=lambda p: len(p.requests))[: len(live) - self._wanted]:
            place.state = "retiring"
            self._let_go(place)

    def _greet(self, place: Place) -> None:
        """Waits until a worker is up, however long its node takes, and asks who it is."""
        try:
            place.about = self._ray.get(self._ask(place, "hello", self._code))
        except Exception as error:
            with self._news:
                self._failed_starts += 1
                refused = isinstance(getattr(error, "cause", None), Refused)
                place.state = "refused"
                self.refusals.append(_line(error))
                log.warning("worker %d did not start: %s", place.number, _line(error))
                if refused or self._failed_starts > STARTS:  # the next would be no better
                    self._wanted = max(0, self._wanted - 1)
                elif not self._closed:
                    self._fill()
                self._news.notify_all()
            self._kill(place)
            return
        with self._news:
            if place.state == "starting":
                place.state = "ready"
                self._failed_starts = 0
                log.info("worker %d is up: %s", place.number, place.about)
            self._news.notify_all()
            models = list(self._models.values())
        for model in models:
            self._have(place, model)

    def _have(self, place: Place, model: Model) -> None:
        """Has a worker load a model beforehand, and notes if it cannot."""
        try:
            self._ray.get(self._ask(place, "have", model.name, model.digest))
        except Exception as error:
            if isinstance(getattr(error, "cause", None), CheckpointError | Refused):
                self._refused(place, model.name, _line(error))

    def _refused(self, place: Place, model: str, why: str) -> None:
        log.warning("worker %d is not asked for %s: %s", place.number, model, why)
        with self._news:
            place.refuses.add(model)
            self.refusals.append(why)
            self._news.notify_all()

    def _lost(self, place: Place) -> None:
        with self._news:
            if place.state != "dead":
                log.warning("worker %d is gone", place.number)
                place.state = "dead"
                if not self._closed:
                    self._fill()
            self._news.notify_all()
        self._kill(place)

    def _let_go(self, place: Place) -> None:
        """Ends a retired worker that has nothing left to do."""
        if place.state == "retiring" and not place.requests:
            place.state = "dead"
            self._kill(place)

    def _kill(self, place: Place) -> None:
        try:
            self._ray.kill(place.actor)
        except Exception as error:  # it is gone already, or the cluster is
            log.debug("worker %d: %s", place.number, error)

    def _wait_for_one(self) -> None:
        with self._news:
            self._news.wait_for(
                lambda: (
                    all(p.state != "starting" for p in self._places)
                    or any(p.state == "ready" for p in self._places)
                )
            )
            if any(p.state == "ready" for p in self._places):
                return
            why = self.refusals[-1] if self.refusals else "ray: no worker could be started."
        self.close()
        raise ValueError(why)

    def _ask(self, place: Place, method: str, *args: Any, **options: Any) -> Any:
        group = {"concurrency_group": "control", **options}
        return getattr(place.actor, method).options(**group).remote(*args)

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
        with self._news:
            new = self._models.get(model.name) is not model
            kept = {*self._library.kept(), model.name}
            self._models = {k: m for k, m in self._models.items() if k in kept}
            self._models[model.name] = model
            places = [p for p in self._places if p.state == "ready"]
        if new and not self._closed:
            for place in places:
                _start(self._have, place, model)

    def submit(self, job: Job) -> Ticket:
        """Sends a job to a worker; raises `Busy` when too many are served, `Closed` at the end."""
        with self._news:
            models = list(self._models.values())
        order, name = pack(job, models), _model_of(job, models)
        ticket = Ticket(job, on_cancel=lambda: self._cancel(request))
        request = Request(ticket, order, name, job.budget)
        with self._news:
            self._check_open()
            self._open = {t for t in self._open if not t.finished}
            if len(self._open) >= self._max_requests:
                raise Busy(
                    f"{len(self._open)} requests are being served, which is the most; "
                    "please try again in a moment."
                )
            self._open.add(ticket)
        _start(self._drive, request)
        return ticket

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs other torch work on a worker; it and its result are pickled: no closure will do."""
        with self._news:
            self._check_open()
            models = list(self._models.values())
        future: Future[T] = Future()
        order = pack(function, models)

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(self._called(order))
            except BaseException as error:  # whoever waits is told in any case
                future.set_exception(error)

        _start(work)
        return future

    def _called(self, order: bytes) -> Any:
        for _ in range(2):
            place = self._choose("", lambda: False)
            if place is None:
                raise RuntimeError(GONE)
            try:
                return pickle.loads(self._ray.get(self._ask(place, "call", order)))
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, Exception) else error from None
            except self._ray.exceptions.RayError:
                self._lost(place)
        raise RuntimeError(TWICE)

    def stats(self) -> Stats:
        """Sums over the workers; the milliseconds are those of the slowest last tick."""
        every = self.workers()
        with self._news:
            self._open = {t for t in self._open if not t.finished}
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
        with self._news:
            places = [p for p in self._places if p.state not in ("dead", "refused")]
            asked = (
                {p: self._ask(p, "report") for p in places if p.state != "starting"}
                if not self._closed
                else {}
            )
        ready, _ = (
            self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=REPORT_SECONDS)
            if asked
            else ([], [])
        )
        found = []
        for place in places:
            about: dict[str, Any] = {}
            if asked.get(place) in ready:
                try:
                    about = self._ray.get(asked[place])
                except self._ray.exceptions.RayError as error:
                    log.debug("worker %d: %s", place.number, error)
            with self._news:
                left = sum(r.left for r in place.requests.values())
                mine = {"requests": len(place.requests), "rows_left": left}
            device = {"device": place.about.get("device", "")}
            found.append({**about, **device, "worker": place.number, "state": place.state, **mine})
        return found

    def close(self) -> None:
        """Ends all work: running jobs get `Failed`, and the workers end."""
        with self._news:
            self._closed = True
            if self._idle is not None:
                self._idle.cancel()
            tickets, self._open = self._open, set()
            places, self._places = self._places, []
            self._news.notify_all()
        for ticket in tickets:
            ticket.finish(Failed("The server is closing; please try again in a moment."))
        for place in places:
            self._kill(place)
        self._loader.shutdown(wait=False, cancel_futures=True)
        if self._owns:
            self._ray.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The engine has been closed.")

    # --- one request

    def _drive(self, request: Request) -> None:
        ticket = request.ticket
        try:
            while not ticket.finished:
                place = self._choose(request.model, lambda: ticket.cancelled, request)
                if ticket.cancelled:
                    ticket.finish(Cancelled())
                elif place is None:
                    ticket.finish(Failed(GONE))
                else:
                    self._at(place, request)
        except Exception as error:
            log.exception("a request failed")
            ticket.finish(Failed(f"{_line(error)}."))
        finally:
            self._leave(request)

    def _at(self, place: Place, request: Request) -> None:
        """Runs a request on a worker to its end, or until the worker's."""
        ray, ticket = self._ray, request.ticket
        try:
            events = self._ask(
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
                self._refused(place, request.model, _line(error.cause))
            else:
                ticket.finish(Failed(f"{_line(error.cause or error)}."))
        except ray.exceptions.RayError:
            if not self._closed:
                self._lost(place)
                self._died(request)
        finally:
            self._leave(request)

    def _died(self, request: Request) -> None:
        ticket, old = request.ticket, request.newest
        request.deaths += 1
        request.left = ticket.job.budget
        if request.deaths > 1:
            ticket.finish(Failed(TWICE))
        elif not ticket.cancelled:
            with self._news:
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
                request.left = event.budget - event.nfe
                request.newest = preview
                request.ticket.offer(preview)
            elif isinstance(event, Done):
                request.ticket.finish(replace(event, note=request.note))
            else:
                request.ticket.finish(event)
        if not request.ticket.finished:
            request.ticket.finish(Failed("The worker ended without a result; please try again."))

    def _choose(
        self, model: str, gone: Callable[[], bool], request: Request | None = None
    ) -> Place | None:
        """The worker with the least to do before a newcomer of that model, once there is one.

        None where none can come. Of equals it is the one whose turn was longest ago.
        """
        with self._news:
            while True:
                can = [p for p in self._places if model not in p.refuses]
                ready = [p for p in can if p.state == "ready"]
                if gone() or (not ready and not any(p.state == "starting" for p in can)):
                    return None
                if ready:
                    break
                self._news.wait()
            place = min(ready, key=lambda p: (price(p, model), p.turn))
            self._turns += 1
            place.turn = self._turns
            if request is not None:
                request.place, request.ident = place, uuid4().hex
                place.requests[request.ticket] = request
                self._adapt()
            return place

    def _leave(self, request: Request) -> None:
        with self._news:
            place, request.place = request.place, None
            if place is not None:
                place.requests.pop(request.ticket, None)
                self._let_go(place)
                if not self._closed:
                    self._adapt()

    def _cancel(self, request: Request) -> None:
        """Tells the worker, which drops the job before its next tick."""
        if request.ticket.finished:
            return
        with self._news:
            self._news.notify_all()  # it may wait for a worker
            place, ident = request.place, request.ident
        if place is not None:
            self._ask(place, "cancel", ident)


def _model_of(job: Job, models: Iterable[Model]) -> str:
    for model in models:
        if job.denoise in (model.denoise, model.denoise_float32):
            return model.name
    raise ValueError("a job of a worker must be of a model that was loaded by `load`.")


def _start(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, name="dpm-remote", daemon=True).start()


def _line(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    text = " ".join(str(cause).split())
    return (text[:300] or type(cause).__name__).rstrip(".")
