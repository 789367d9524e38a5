"""What every tab shares: the engine, the models, the limits, and one way to run a job."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import gradio as gr

from ..events import Busy, Cancelled, Closed, Done, Failed, Job, Preview, Stats, Ticket
from ..models.checkpoint import Model
from ..models.shelf import ModelShelf
from ..request import Limits
from .wall import Wall

log = logging.getLogger("dpm_demo")
T = TypeVar("T")


class Runner(Protocol):
    """What runs torch for the page: an `Engine`, a `Pool` of them, or `ZeroGPU`."""

    def submit(self, job: Job) -> Ticket: ...
    def call(self, function: Callable[[], T]) -> Future[T]: ...
    def stats(self) -> Stats: ...
    def close(self) -> None: ...


class Kept(Generic[T]):
    """What finished runs are remembered by, for their files; above `most` the oldest go."""

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._kept: OrderedDict[str, T] = OrderedDict()

    def put(self, run: str, result: T) -> None:
        self._kept[run] = result
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def get(self, run: str) -> T:
        """Raises gr.Error, one sentence, for a run that is not remembered."""
        if run not in self._kept:
            raise gr.Error("This run is no longer kept; run it again.", print_exception=False)
        return self._kept[run]


@dataclass
class Serving:
    """The running service. Handlers are async; torch runs on the engine's thread alone.

    `loader` gives a model where one engine's shelf is not the way to it; `note` is a sentence for
    the page about how requests are run.
    """

    engine: Runner
    shelf: ModelShelf
    limits: Limits = field(default_factory=Limits)
    device_text: str = "cpu"
    loader: Callable[[str], Future[Model]] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        # one encoder, so that PNG work never takes a second core from the network
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.files = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        self.running = 0

    async def model(self, name: str) -> Model:
        """The model of that name, loaded on first use. Raises gr.Error with one sentence."""
        try:
            # a download computes nothing, so it need not hold up the engine
            await asyncio.to_thread(self.shelf.fetch, name)
            return await asyncio.wrap_future(self.load(name))
        except ValueError as error:
            raise refuse(error) from error

    def load(self, name: str) -> Future[Model]:
        """The model of that name where the request for it is to run; a CheckpointError if none."""
        if self.loader is not None:
            return self.loader(name)
        return self.shelf.load(name, self.engine.call)

    async def encode(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoder, work, *args)

    async def run(
        self, job: Job, note: str
    ) -> AsyncGenerator[Preview | Done | Failed | Cancelled, None]:
        """Runs a job and yields its events; the work stops with the iterator.

        A closed tab or Stop leaves before the next tick. One log line a request.
        """
        began = time.perf_counter()
        try:
            ticket: Ticket = self.engine.submit(job)
        except (Busy, Closed) as error:
            raise refuse(error) from error
        self.running += 1
        end = "stopped"
        try:
            async for event in ticket:
                if not isinstance(event, Preview):
                    end = type(event).__name__.lower()
                yield event
        finally:
            ticket.cancel()
            self.running -= 1
            log.info("%s: %s in %.2f s", note, end, time.perf_counter() - began)

    async def play(
        self, job: Job, wall: Wall, note: str
    ) -> AsyncGenerator[tuple[dict[str, Any], Preview | Done | Failed | Cancelled], None]:
        """The same with the player's value beside each event; the last one is complete."""
        async with aclosing(self.run(job, note)) as events:
            async for event in events:
                work = wall.live if isinstance(event, Preview) else wall.final
                yield await self.encode(work, event, self.running - 1), event

    def path(self, name: str) -> Path:
        """A fresh path for a generated file; the sweeper removes it after an hour."""
        self.files.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="made-", dir=self.files)) / name

    def close(self) -> None:
        self.engine.close()
        self._encoder.shutdown(wait=False, cancel_futures=True)


def _sentence(error: BaseException) -> str:
    text = str(error).strip()
    return text[:400] if text else type(error).__name__


def refuse(error: BaseException) -> gr.Error:
    """The one clear sentence that a visitor sees for bad input."""
    return gr.Error(_sentence(error), print_exception=False)
