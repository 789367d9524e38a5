"""Workers that come and go: actors of a Ray cluster, each a place where requests are served.

A place is up once its worker has said who it is; one of another version is refused, one that dies
is replaced, and there are more of them while much waits. Which of them a request goes to is
decided here; what a request is, `engine.remote` knows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from dpm_demo.engine.cluster import Refused, code_digest
from dpm_demo.engine.errors import Closed
from dpm_demo.engine.ticket import in_thread
from dpm_demo.engine.worker_actor import WorkerActor
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError, Model

log = logging.getLogger(__name__)

TOGETHER = 0.5  # what rows of the same model count for on a worker: they share its network calls
ROWS_EACH = 4000  # row evaluations that wait for each worker before another is started
CALM_SECONDS = 120.0  # without a request before workers beyond the least number end
REPORT_SECONDS = 3.0  # for which a worker's answer is waited for
STARTS = 3  # that may fail in a row before fewer workers are tried


@dataclass(eq=False)
class Work:
    """What a place is chosen for: row evaluations of a model still to do; a name for each place."""

    model: str
    left: int
    ident: str = field(default="", kw_only=True)
    place: Place | None = field(default=None, kw_only=True)


@dataclass(eq=False)
class Place:
    """One worker as this process sees it."""

    number: int
    actor: Any
    state: str = "starting"  # then ready; retiring: takes no more; dead; refused
    about: dict[str, Any] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)  # models that it has not, or other weights of
    work: set[Work] = field(default_factory=set)
    turn: int = 0


def price(place: Place, model: str) -> float:
    """Row evaluations before a newcomer's: what is to do there, that of its own model in part."""
    return sum(w.left * (TOGETHER if w.model == model else 1) for w in place.work)


class Workforce:
    """`least` to `most` workers of the cluster that `ray` is connected to, which need `need` each.

    `news` guards all of it and tells of changes. `models` are what a new worker loads beforehand.
    """

    def __init__(
        self,
        ray: Any,
        need: dict[str, Any],
        make_library: Callable[[], ModelLibrary],
        max_requests: int,
        least: int,
        most: int,
    ) -> None:
        self.ray, self.need = ray, need
        self._make_library, self._max_requests = make_library, max_requests
        self._least, self._most = least, max(most, least)
        self._code = code_digest()
        self.news = threading.Condition()
        self.places: list[Place] = []
        self.models: dict[str, Model] = {}
        self.refusals: list[str] = []  # why workers were refused
        self.closed = False
        self._wanted, self._started, self._turns, self._failed_starts = 0, 0, 0, 0
        self._idle: threading.Timer | None = None

    def scale(self, workers: int) -> None:
        """Makes it so many workers: new ones start, superfluous ones finish what they have."""
        with self.news:
            self.check_open()
            self._wanted = workers
            self._fill()

    def check_open(self) -> None:
        if self.closed:
            raise Closed("The engine has been closed.")

    def wait_for_one(self) -> str:
        """ "" once a worker is up; why there is none, once none can come any more."""
        with self.news:
            self.news.wait_for(
                lambda: (
                    all(p.state != "starting" for p in self.places)
                    or any(p.state == "ready" for p in self.places)
                )
            )
            if any(p.state == "ready" for p in self.places):
                return ""
            return self.refusals[-1] if self.refusals else "ray: no worker could be started."

    def ask(self, place: Place, method: str, *args: Any, **options: Any) -> Any:
        """Calls a method of the worker there; the reference of its answer."""
        group = {"concurrency_group": "control", **options}
        return getattr(place.actor, method).options(**group).remote(*args)

    def close(self) -> None:
        with self.news:
            self.closed = True
            if self._idle is not None:
                self._idle.cancel()
            places, self.places = self.places, []
            self.news.notify_all()
        for place in places:
            self._kill(place)

    # --- who serves what

    def choose(
        self, model: str, gone: Callable[[], bool], work: Work | None = None
    ) -> Place | None:
        """The worker with the least to do before a newcomer of that model, once there is one.

        None where none can come. Of equals it is the one whose turn was longest ago. `work` is its
        from then on, until it leaves.
        """
        with self.news:
            while True:
                can = [p for p in self.places if model not in p.refuses]
                ready = [p for p in can if p.state == "ready"]
                if gone() or (not ready and not any(p.state == "starting" for p in can)):
                    return None
                if ready:
                    break
                self.news.wait()
            place = min(ready, key=lambda p: (price(p, model), p.turn))
            self._turns += 1
            place.turn = self._turns
            if work is not None:
                work.place, work.ident = place, uuid4().hex
                place.work.add(work)
                self._adapt()
            return place

    def leave(self, work: Work) -> None:
        with self.news:
            place, work.place = work.place, None
            if place is not None:
                place.work.discard(work)
                self._let_go(place)
                if not self.closed:
                    self._adapt()

    def have(self, model: Model) -> None:
        """Has every worker that is up load a model beforehand."""
        with self.news:
            places = [p for p in self.places if p.state == "ready"]
        for place in places:
            in_thread(self._have, place, model)

    def refused(self, place: Place, model: str, why: str) -> None:
        """Notes that a worker has not that model."""
        log.warning("worker %d is not asked for %s: %s", place.number, model, why)
        with self.news:
            place.refuses.add(model)
            self.refusals.append(why)
            self.news.notify_all()

    def lost(self, place: Place) -> None:
        """Notes that a worker is gone; another one starts."""
        with self.news:
            if place.state != "dead":
                log.warning("worker %d is gone", place.number)
                place.state = "dead"
                if not self.closed:
                    self._fill()
            self.news.notify_all()
        self._kill(place)

    def report(self) -> list[dict[str, Any]]:
        """Every worker that is not gone: state, requests, rows left, memory, milliseconds a row."""
        with self.news:
            places = [p for p in self.places if p.state not in ("dead", "refused")]
            asked = (
                {p: self.ask(p, "report") for p in places if p.state != "starting"}
                if not self.closed
                else {}
            )
        ready, _ = (
            self.ray.wait(list(asked.values()), num_returns=len(asked), timeout=REPORT_SECONDS)
            if asked
            else ([], [])
        )
        found = []
        for place in places:
            about: dict[str, Any] = {}
            if asked.get(place) in ready:
                try:
                    about = self.ray.get(asked[place])
                except self.ray.exceptions.RayError as error:
                    log.debug("worker %d: %s", place.number, error)
            with self.news:
                left = sum(w.left for w in place.work)
                mine = {"requests": len(place.work), "rows_left": left}
            device = {"device": place.about.get("device", "")}
            found.append({**about, **device, "worker": place.number, "state": place.state, **mine})
        return found

    # --- coming and going

    def _adapt(self) -> None:
        """One worker more while much waits for each, and the least number after a calm time."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        left = sum(w.left for p in self.places for w in p.work)
        if left > ROWS_EACH * self._wanted and self._wanted < self._most:
            # those asked for before are to be up first
            if not any(p.state == "starting" for p in self.places):
                self.scale(self._wanted + 1)
        elif self._wanted > self._least and not any(p.work for p in self.places):
            self._idle = threading.Timer(CALM_SECONDS, self._shrink)
            self._idle.daemon = True
            self._idle.start()

    def _shrink(self) -> None:
        with self.news:
            if not self.closed and not any(p.work for p in self.places):
                self.scale(self._least)

    def _fill(self) -> None:
        live = [p for p in self.places if p.state in ("starting", "ready")]
        for _ in range(self._wanted - len(live)):
            actor = self.ray.remote(
                **self.need,
                max_restarts=0,
                concurrency_groups={"requests": self._max_requests, "control": 4},
            )(WorkerActor)
            place = Place(self._started, actor.remote(self._make_library, self._max_requests))
            self._started += 1
            self.places.append(place)
            in_thread(self._greet, place)
        for place in sorted(live, key=lambda p: len(p.work))[: len(live) - self._wanted]:
            place.state = "retiring"
            self._let_go(place)

    def _greet(self, place: Place) -> None:
        """Waits until a worker is up, however long its node takes, and asks who it is."""
        try:
            place.about = self.ray.get(self.ask(place, "hello", self._code))
        except Exception as error:
            with self.news:
                self._failed_starts += 1
                refused = isinstance(getattr(error, "cause", None), Refused)
                place.state = "refused"
                self.refusals.append(line(error))
                log.warning("worker %d did not start: %s", place.number, line(error))
                if refused or self._failed_starts > STARTS:  # the next would be no better
                    self._wanted = max(0, self._wanted - 1)
                elif not self.closed:
                    self._fill()
                self.news.notify_all()
            self._kill(place)
            return
        with self.news:
            if place.state == "starting":
                place.state = "ready"
                self._failed_starts = 0
                log.info("worker %d is up: %s", place.number, place.about)
            self.news.notify_all()
            models = list(self.models.values())
        for model in models:
            self._have(place, model)

    def _have(self, place: Place, model: Model) -> None:
        """Has a worker load a model beforehand, and notes if it cannot."""
        try:
            self.ray.get(self.ask(place, "have", model.name, model.digest))
        except Exception as error:
            if isinstance(getattr(error, "cause", None), CheckpointError | Refused):
                self.refused(place, model.name, line(error))

    def _let_go(self, place: Place) -> None:
        """Ends a retired worker that has nothing left to do."""
        if place.state == "retiring" and not place.work:
            place.state = "dead"
            self._kill(place)

    def _kill(self, place: Place) -> None:
        try:
            self.ray.kill(place.actor)
        except Exception as error:  # it is gone already, or the cluster is
            log.debug("worker %d: %s", place.number, error)


def line(error: BaseException) -> str:
    """An error, or the cause that another process had of it, as one line."""
    cause = getattr(error, "cause", None) or error
    text = " ".join(str(cause).split())
    return (text[:300] or type(cause).__name__).rstrip(".")
