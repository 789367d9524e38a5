"""Models on their way: fetched, loaded, waited for, and what is said meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar

import gradio as gr

from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.ui.sentences import STOPPED, refuse, sentence_of
from dpm_demo.ui.stop import Left, stopping
from dpm_demo.ui.widgets import links

__all__ = ["LOOK", "Arrivals"]

T = TypeVar("T")

_FETCHES = 4  # downloads at once
LOOK = 0.25  # seconds between looks at a model that is on its way; what is quicker says nothing


class Arrivals:
    """The models of a library that are on their way, for all who wait for one.

    `load` gives a model where the request for it is to run.
    """

    def __init__(self, library: ModelLibrary, load: Callable[[str], Future[Model]]) -> None:
        self._library, self._load = library, load
        self._fetcher = ThreadPoolExecutor(_FETCHES, thread_name_prefix="fetch")
        self._fetching: dict[str, Future[None]] = {}
        self._ways: dict[Hashable, asyncio.Task[Model]] = {}

    async def model(self, name: str) -> Model:
        """The model of that name, loaded on first use. Raises gr.Error with one sentence."""
        try:
            if name.startswith("hub:"):
                # shielded: who leaves ends neither the download nor the others' waiting for it
                await asyncio.shield(asyncio.wrap_future(self._fetch(name)))
            return await asyncio.wrap_future(self._load(name))
        except ValueError as error:
            raise refuse(error) from error

    def _fetch(self, name: str) -> Future[None]:
        """The download of a model, one for all who ask; it computes nothing, so the engine goes on.

        For the event loop's thread.
        """
        future = self._fetching.get(name)
        if future is None:
            future = self._fetching[name] = self._fetcher.submit(self._library.fetch, name)
            future.add_done_callback(lambda _: self._fetching.pop(name, None))
        return future

    async def telling(self, name: str, work: Awaitable[T]) -> AsyncGenerator[str | T, None]:
        """The result of `work`, which waits for the model `name`, after sentences of its way.

        A sentence is Markdown for the tab's note: how far the download is, then that it is being
        loaded. None comes for a model that is there at once. If the work fails and sentences went
        before, the last one is the reason; then the error is raised, a ValueError as a refusal.
        """
        task = asyncio.ensure_future(work)
        told = ""
        try:
            while not (await asyncio.wait({task}, timeout=LOOK))[0]:
                if stopping():
                    yield STOPPED
                    raise Left
                if (sentence := self._standing(name)) not in ("", told):
                    told = sentence
                    yield sentence
            if told and not task.cancelled() and (error := task.exception()) is not None:
                yield f"**{links.escape(sentence_of(error))}**"
            try:
                result = task.result()
            except ValueError as error:
                raise refuse(error) from error
            yield result
        finally:
            task.cancel()

    async def way(self, name: str, of: Hashable) -> AsyncGenerator[str, None]:
        """The sentences of `telling` alone, and an empty one where they end well.

        For the event that a choice of a model makes. Of the ways with one `of` (a visitor's tab) a
        newer one ends those before.
        """
        if (older := self._ways.get(of)) is not None:
            older.cancel()
        task = self._ways[of] = asyncio.ensure_future(self.model(name))
        told = False
        try:
            async with aclosing(self.telling(name, task)) as steps:
                async for step in steps:
                    if isinstance(step, str):
                        told = True
                        yield step
        except gr.Error:
            return  # told; whatever needs the model raises it
        except asyncio.CancelledError:
            if not task.cancelled():  # it is this handler that is to end
                raise
        finally:
            if self._ways.get(of) is task:
                del self._ways[of]
        if told:
            yield ""

    def _standing(self, name: str) -> str:
        state, title = self._library.state(name), links.escape(self._library.title(name))
        if state.kind in ("ready", "failed"):  # whoever asked for it says more in a moment
            return ""
        if state.fraction is None:
            return f"loading {title} …"
        return f"fetching {title}: {math.floor(100 * state.fraction)} %"

    def close(self) -> None:
        self._fetcher.shutdown(wait=False, cancel_futures=True)
