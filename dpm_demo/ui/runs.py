"""What every run of every tab has: a Stop that ends it, a note that says what it waits for.

A run is what a button starts: its inputs are checked against a model, which may have to be fetched
first, and then values stream to the page. Through here each of them is admitted and counted, ends
with Stop or with its page whatever it is waiting for, and refuses in one sentence.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import gradio as gr

from dpm_demo.ui.serving import Serving

__all__ = ["Throttle", "on_click"]

T = TypeVar("T")


def on_click(
    serving: Serving,
    tab: str,
    event: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    note: Any,
    prepare: Callable[..., Awaitable[T]],
    stream: Callable[[T], AsyncGenerator[Any, None]],
    **options: Any,
) -> Any:
    """Makes `event` (a button's `click`, say) start runs of the tab; returns what it gives.

    The first input is the model's name. `prepare(*args)` checks the inputs and may wait for that
    model: meanwhile `note`, one of `outputs`, says how far it is. `stream` of what it gave yields
    values of `outputs`. `serving.stops(tab, …)` makes the Stop of the tab's run. A newer run ends
    the one before, as both draw on the same outputs.
    """
    at = list(outputs).index(note)

    async def run(*args: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(serving.telling(str(args[0]), prepare(*args))) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield [step if k == at else gr.skip() for k in range(len(outputs))]
                else:
                    ready: T = step
        async with aclosing(stream(ready)) as values:
            async for value in values:
                yield value

    run.__name__ = stream.__name__  # type: ignore[attr-defined]  # by which messages call it
    return event(
        serving.stoppable(tab, run, alone=True), inputs, outputs, **serving.engine_event, **options
    )


class Throttle:
    """Says at most once in `seconds` that it is time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
