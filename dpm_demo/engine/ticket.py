"""The two ends of a job under way: the engine puts events in, one reader takes them out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from dpm_demo.engine.errors import Busy, JobCancelled, JobFailed
from dpm_demo.engine.events import Cancelled, Done, Event, Failed, Preview
from dpm_demo.engine.job import Job

T = TypeVar("T")


@dataclass(eq=False)
class Ticket:
    """The two ends of one job: the engine puts events in, one reader takes them out.

    Of previews only the newest waits to be taken; the final event never is dropped, and a new
    reader gets it again. `for event in ticket` and `async for event in ticket` end after it.
    `with ticket:` cancels at its end, which does nothing to a finished job.
    """

    job: Job
    on_cancel: Callable[[], None] = lambda: None
    submitted: float | None = None  # on the engine's clock; None: when the scheduler takes it
    cancelled: bool = field(default=False, init=False)
    subscribed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._preview: Preview | None = None
        self._final: Done | Failed | Cancelled | None = None
        self._wakers: list[Callable[[], None]] = []

    # The engine's end.

    def offer(self, preview: Preview) -> None:
        """Replaces the waiting preview, keeping its pictures of tiles that have no newer one."""
        with self._news:
            if self._final is not None:
                return
            self._preview = preview.onto(self._preview)
            self._notify()

    def finish(self, event: Done | Failed | Cancelled) -> None:
        """Puts the final event; a second one is ignored."""
        with self._news:
            if self._final is None:
                self._final, self._preview = event, None
                self._notify()

    def _notify(self) -> None:
        self._news.notify_all()
        wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    # The reader's end.

    @property
    def finished(self) -> bool:
        return self._final is not None

    def cancel(self) -> None:
        """Makes the job leave before the next tick; its last event is then `Cancelled`."""
        self.cancelled = True
        self.on_cancel()

    def poll(self) -> Event | None:
        """The next event if one is there."""
        with self._news:
            return self._pop()

    def _pop(self) -> Event | None:
        if self._final is not None:
            return self._final
        event, self._preview = self._preview, None
        return event

    def result(self, timeout: float | None = None) -> Done:
        """Waits for `Done`; raises `JobFailed`, `JobCancelled`, or `TimeoutError` (seconds)."""
        with self._news:
            self._news.wait_for(lambda: self._final is not None, timeout)
            event = self._final
        if isinstance(event, Done):
            return event
        if isinstance(event, Failed):
            raise JobFailed(event.error)
        if isinstance(event, Cancelled):
            raise JobCancelled("The job was cancelled.")
        raise TimeoutError(f"The job has not ended within {timeout} seconds.")

    def __iter__(self) -> Iterator[Event]:
        self.subscribed = True
        while True:
            with self._news:
                self._news.wait_for(lambda: self._final is not None or self._preview is not None)
                event = self._pop()
            if event is None:  # another reader was faster
                continue
            yield event
            if not isinstance(event, Preview):
                return

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        self.subscribed = True
        loop = asyncio.get_running_loop()
        while True:
            arrived = loop.create_future()
            with self._news:
                event = self._pop()
                if event is None:
                    self._wakers.append(lambda arrived=arrived: _wake(loop, arrived))  # type: ignore[misc]
            if event is None:
                await arrived
                continue
            yield event
            if not isinstance(event, Preview):
                return

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Future[None]) -> None:
    """Resolves a future of another thread's event loop, which may have been closed meanwhile."""

    def resolve() -> None:
        if not arrived.done():
            arrived.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def unfinished(tickets: Iterable[Ticket]) -> set[Ticket]:
    return {ticket for ticket in tickets if not ticket.finished}


def admitted(ticket: Ticket, tickets: Iterable[Ticket], most: int) -> set[Ticket]:
    """The unfinished tickets with this one more; raises `Busy` where they are `most` already."""
    served = unfinished(tickets)
    if len(served) >= most:
        raise Busy(
            f"{len(served)} requests are being served, which is the most; "
            "please try again in a moment."
        )
    return served | {ticket}


def fulfil(future: Future[T], function: Callable[[], T]) -> None:
    """Runs `function` for whoever waits for `future`, who is told whatever it raises."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)


def in_thread(function: Callable[..., None], *arguments: Any) -> None:
    """Runs it in a thread that knows whose request it is: `spaces` charges the visitor's quota."""
    context = copy_context()
    threading.Thread(
        target=context.run, args=(function, *arguments), name="dpm-request", daemon=True
    ).start()
