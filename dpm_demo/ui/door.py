"""What stands between visitors and the page: refusals in one sentence and one log line.

Gradio writes a traceback for whatever a handler raises, and sends the text of the exception. Here
a refusal is a line, what was sent in a wrong shape is a refusal, and a fault of ours is a line that
names its place (its traceback comes with the log's level DEBUG); who met it reads a sentence.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

import gradio as gr
from gradio.data_classes import BlocksConfigDict
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpm_demo.ui.lines import one_line

__all__ = ["OneSentence", "Page"]

log = logging.getLogger("dpm_demo")

TYPE = re.compile(r" \(type: <class '[^']*'>\)")
SHAPE = "what was sent does not fit the fields of this call; the page 'Use via API' names them."
SCHEMAS = {"api_info", "api_info_as_input", "api_info_as_output"}
FAULT = "Something went wrong here, and the log says what; please try again."


class Page(gr.Blocks):
    """The Blocks of the page, whose events end in a result or in one sentence."""

    async def preprocess_data(self, block_fn: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().preprocess_data(block_fn, *args, **kwargs)
        except gr.Error as error:  # a component's own, which quotes what came and its Python type
            said = one_line(TYPE.sub("", str(error.message)), 300)
            raise gr.Error(said) from error
        except Exception as error:
            name = block_fn.api_name or "this event"
            raise gr.Error(f"{name}: {SHAPE}") from error

    async def process_api(self, block_fn: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            log.info("refused: %s", one_line(error.message, 300))
            raise
        except Exception as error:
            log.error("an event failed: %s", one_line(_where(error), 300))
            log.debug("its traceback", exc_info=error)
            raise gr.Error(FAULT, print_exception=False) from error

    def get_config_file(self) -> BlocksConfigDict:
        """What a browser is sent, without the schemas of what only the page's own events use."""
        config = super().get_config_file()
        public = {
            part
            for event in config["dependencies"]
            if event["api_visibility"] != "private"
            for part in (*event["inputs"], *event["outputs"])
        }
        for component in config["components"]:
            if component["id"] not in public:
                component.update((name, {}) for name in SCHEMAS & component.keys())
        return config

    def short_queue(self) -> None:
        """Gives the queue's own refusal the words that a person can use."""
        queue = self._queue
        push = queue.push

        async def pushed(*args: Any, **kwargs: Any) -> Any:
            success, said, state = await push(*args, **kwargs)
            if state == "queue_full":
                said = f"{len(queue)} requests are waiting, which is the most; try again soon."
                log.info("refused: %s", said)
            return success, said, state

        queue.push = pushed  # type: ignore[method-assign]


def _where(error: BaseException) -> str:
    """A fault in one line: its kind, what it says, and the line of ours that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "dpm_demo" in frame.filename] or frames
    place = f"{own[-1].filename}:{own[-1].lineno}" if own else "nowhere"
    return f"{type(error).__name__}: {error} at {place}"


class OneSentence:
    """ASGI middleware: a request that fails outside of any event is answered by a sentence."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = False

        async def noting(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            log.warning(
                "refused: %s %s: %s",
                scope.get("method"),
                one_line(scope.get("path"), 200),
                one_line(f"{type(error).__name__}: {error}", 200),
            )
            if began:
                return
            body = (
                b'{"detail":"this request cannot be answered: there is nothing here that it fits"}'
            )
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 400, "headers": headers})
            await send({"type": "http.response.body", "body": body})
