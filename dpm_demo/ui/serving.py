"""What every tab shares: the engine, the models, the limits, and one way to run a job."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import gradio as gr
from gradio.components.plot import PlotData

from dpm_demo.compare.references import References
from dpm_demo.compare.run import Measurement
from dpm_demo.compare.shipped import with_shipped
from dpm_demo.engine.errors import Busy, Closed
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview, Stats
from dpm_demo.engine.forecast import Pace
from dpm_demo.engine.job import Job
from dpm_demo.engine.ticket import Ticket
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked, job_memory
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.admission import Admission, Place, Refused
from dpm_demo.ui.arrivals import Arrivals
from dpm_demo.ui.folder import own_folder
from dpm_demo.ui.kept import Kept, Newest
from dpm_demo.ui.metrics import Ledger
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.sentences import refuse
from dpm_demo.ui.sessions import CAPACITY
from dpm_demo.ui.stop import STOP, Left, Stop

log = logging.getLogger("dpm_demo")
T = TypeVar("T")

SPARE = 32  # events that may ask for a place beside those that have one
WRITING_MAX = 16  # runs whose files are being made or wait for it


def drawn(make: Callable[..., Any], *args: Any) -> PlotData:
    """The plotly figure that `make` makes, written out as the page takes it."""
    return PlotData(type="plotly", plot=make(*args).to_json())


class Runner(Protocol):
    """What runs torch for the page: an `Engine`, a `Pool` of them, `ZeroGPU` or `Remote`."""

    def submit(self, job: Job) -> Ticket: ...
    def call(self, function: Callable[[], T]) -> Future[T]: ...
    def stats(self) -> Stats: ...
    def close(self) -> None: ...


@dataclass
class Serving:
    """The running service. Handlers are async; torch runs on the engine's thread alone.

    `loader` gives a model where one engine's library is not the way to it; `note` is a sentence for
    the page about how requests are run.
    """

    engine: Runner
    library: ModelLibrary
    limits: Limits = field(default_factory=Limits)
    device_text: str = "cpu"
    loader: Callable[[str], Future[Model]] | None = None
    note: str = ""
    references: References = field(default_factory=with_shipped)

    def __post_init__(self) -> None:
        # one encoder, so that PNG work never takes a second core from the network
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        # and another one for files, which take seconds: previews do not wait for them
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="files")
        self._writing = 0
        self.arrivals = Arrivals(self.library, self.load)
        self.model, self.telling = self.arrivals.model, self.arrivals.telling
        self.files = own_folder() / "made"
        self.ledger = Ledger()
        self.pace = Pace()
        self.admission = Admission(self.limits)
        self.kept: Kept[Any] = Kept(self.limits.kept)
        self._running: set[Stop] = set()  # one of each run that has a job
        self._stops: dict[tuple[str, str | None], set[Stop]] = {}  # by tab and visitor
        self._begun: Newest[tuple[str, str | None], int] = Newest(CAPACITY)  # runs, by the same

    @property
    def engine_event(self) -> dict[str, Any]:
        """What every event that submits a job has: all that the engine admits run at once.

        `SPARE` more may ask, and are told what is full.

        Where its inputs are plain values it has `preprocess=False` too: Gradio would hand each of
        them to another thread and back, and the request's own check says what is wrong with one.
        """
        return {
            "concurrency_id": "engine",
            "concurrency_limit": self.limits.requests + SPARE,
            "show_progress": "hidden",
            "scroll_to_output": False,
        }

    @property
    def others(self) -> int:
        """Runs under way beside the one that asks."""
        return len(self._running) - (STOP.get() in self._running)

    def stoppable(
        self, tab: str, handler: Callable[..., AsyncGenerator[Any, None]], alone: bool = False
    ) -> Callable[..., AsyncGenerator[Any, None]]:
        """`handler` as an event that the Stop of its tab ends, and, `alone`, the next such event.

        Not by Gradio's `cancels`, which cuts the event off: this way the run sends its last value,
        with what was computed so far.
        """

        async def event(request: gr.Request, *args: Any) -> AsyncGenerator[Any, None]:
            of = (tab, request.session_hash)
            if alone:
                self._end(of)
                self._begun[of] = self._begun.get(of, 0) + 1
            with self._placed(request) as place:
                stop = Stop(place)
                self._stops.setdefault(of, set()).add(stop)
                STOP.set(stop)
                try:
                    async with aclosing(handler(*args)) as steps:
                        async for step in steps:
                            yield step
                except Left:
                    pass
                finally:
                    self._stops[of].discard(stop)
                    if not self._stops[of]:
                        del self._stops[of]

        event.__name__ = handler.__name__  # by which Gradio's messages call it
        return event

    def of_newest(
        self, tab: str, handler: Callable[..., Awaitable[list[Any]]]
    ) -> Callable[..., Awaitable[list[Any]]]:
        """`handler` as an event about a run that has ended, such as the making of its files.

        Its answer is nothing where the visitor has begun another run of the tab meanwhile.
        """

        async def event(request: gr.Request, *args: Any) -> list[Any]:
            of = (tab, request.session_hash)
            begun = self._begun.get(of)
            answer = await handler(*args)
            return answer if self._begun.get(of) == begun else [gr.skip()] * len(answer)

        event.__name__ = handler.__name__
        return event

    def begun_by(self, session: str | None) -> int | None:
        """How many runs a visitor has begun so far; None while one of them is under way."""
        if any(of[1] == session for of in self._stops):
            return None
        return sum(runs for of, runs in self._begun.items() if of[1] == session)

    @contextmanager
    def _placed(self, request: gr.Request) -> Iterator[Place]:
        host = getattr(getattr(request, "client", None), "host", None)
        try:
            with self.admission.place(str(request.session_hash or ""), str(host or "")) as place:
                yield place
        except Refused as error:
            self.ledger.refused += 1
            raise refuse(error) from error

    async def stop(self, tab: str, request: gr.Request) -> None:
        """Ends what the visitor runs in that tab; for the event loop's thread."""
        self._end((tab, request.session_hash))

    def _end(self, of: tuple[str, str | None]) -> None:
        for stop in self._stops.get(of, ()):
            stop.ask()

    async def leave(self, request: gr.Request) -> None:
        """Ends all that a visitor runs, who is gone; also what no stream of results ever told."""
        for of in self._stops:
            if of[1] == request.session_hash:
                self._end(of)

    def stops(self, tab: str, event: Callable[..., Any]) -> None:
        """Makes `event` (a button's `click`, say) the Stop of the tab's `stoppable` events."""

        async def ask(request: gr.Request) -> None:
            await self.stop(tab, request)

        event(ask, None, None, queue=False)

    def load(self, name: str) -> Future[Model]:
        """The model of that name where the request for it is to run; a CheckpointError if none."""
        if self.loader is not None:
            return self.loader(name)
        return self.library.load(name, self.engine.call)

    def time_a_sample(self, model: Model) -> None:
        """One small sample: the first estimate of a run's time is then a measured one."""
        request = GenerateRequest(model=model.name, solver=Solver(nfe=3), count=1)
        job = Checked.of(request, model).job()
        for event in self.engine.submit(job):
            if isinstance(event, Preview):
                self.pace.note(job, event)

    async def write(self, work: Callable[..., T], *args: Any) -> T:
        """`work`, which makes files, on a thread of its own. Raises gr.Error where many wait."""
        if self._writing >= WRITING_MAX:
            raise refuse(
                Refused(f"files of {self._writing} runs are being made; try again in a moment.")
            )
        self._writing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work, *args)
        except OSError as error:  # a full disk; its number says so to the operator
            log.error("files could not be written: %s", error)
            raise refuse(Refused("The files could not be written here.")) from error
        finally:
            self._writing -= 1

    async def encode(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoder, work, *args)

    async def plot(self, make: Callable[..., Any], *args: Any) -> Any:
        """The update of a `gr.Plot` with a plotly figure, which is drawn off the event loop."""
        return gr.update(value=await self.encode(drawn, make, *args), visible=True)

    async def run(
        self, job: Job, note: str
    ) -> AsyncGenerator[Preview | Done | Failed | Cancelled, None]:
        """Runs a job and yields its events; the work stops with the iterator.

        A closed tab leaves before the next tick; so does Stop, after a last event `Cancelled`.
        One log line a request.
        """
        began, stop = time.perf_counter(), STOP.get()
        own = ExitStack()
        try:
            if stop is None:  # a task that has no Stop is a run all the same
                stop = Stop(own.enter_context(self.admission.place()))
                STOP.set(stop)
            self.admission.hold(stop.place, job_memory(job))
            ticket: Ticket = self.engine.submit(job)
        except (Busy, Closed, Refused) as error:
            own.close()
            self.ledger.refused += 1
            raise refuse(error) from error
        self._running.add(stop)
        stop.tickets.add(ticket)
        if stop.asked:  # between two jobs
            ticket.cancel()
        end, rows, shown = "stopped", 0, False
        try:
            async for event in ticket:
                rows = event.nfe
                if not shown:
                    shown = True
                    self.ledger.first_frames.append(time.perf_counter() - began)
                if not isinstance(event, Preview):
                    end = type(event).__name__.lower()
                elif not self.others:  # a call of several runs says nothing of this one
                    self.pace.note(job, event)
                yield event
        finally:
            self.ledger.add(end, rows, time.perf_counter() - began)
            ticket.cancel()
            stop.tickets.discard(ticket)
            if not stop.tickets:
                self._running.discard(stop)
            own.close()
            if stop.place not in self.admission:
                STOP.set(None)  # it was of this job alone
            log.info("%s: %s in %.2f s", note, end, time.perf_counter() - began)

    async def measure(
        self, measured: Measurement, note: str
    ) -> AsyncGenerator[Preview | Done | Failed | Cancelled, None]:
        """The same for solvers and their reference; an event comes when its figures are taken."""
        exact = None
        if measured.exact is not None:
            try:
                exact = asyncio.wrap_future(self.engine.call(measured.exact))
            except Closed as error:
                raise refuse(error) from error
        try:
            async with aclosing(self.run(measured.job, note)) as events:
                async for event in events:
                    over = isinstance(event, (Done, Failed))
                    if exact is not None and (over or exact.done()):
                        measured.keep(await exact)
                        exact = None
                    yield await self.encode(measured.take, event)
        finally:
            if exact is not None:
                exact.cancel()

    async def play(
        self, job: Job, wall: Wall, note: str
    ) -> AsyncGenerator[tuple[dict[str, Any], Preview | Done | Failed | Cancelled], None]:
        """The same with the player's value beside each event; the last one is complete."""
        async with aclosing(self.run(job, note)) as events:
            async for event in events:
                work = wall.live if isinstance(event, Preview) else wall.final
                yield await self.encode(work, event, self.others), event

    def path(self, name: str) -> Path:
        """A fresh path for a generated file; the sweeper removes it after an hour."""
        self.files.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="made-", dir=self.files)) / name

    def close(self) -> None:
        self.engine.close()
        for pool in (self._encoder, self._writer):
            pool.shutdown(wait=False, cancel_futures=True)
        self.arrivals.close()
