"""Visitors' sessions that configure no block before it changes for them.

Gradio writes down the configuration of every block of the page for each new session, on the event
loop, and keeps it (`docs/upstream/session_cost.py` shows what that costs). It serves deep links,
which this page does not have; a block that an event changes is configured then, as ever.
"""

from __future__ import annotations

from typing import Any, cast

import gradio as gr

__all__ = ["CAPACITY", "light_sessions"]

CAPACITY = 2000  # sessions that are remembered; an API call without one is one too


class _Unconfigured:
    """What a `SessionState` reads of its page: the blocks and events, and none to configure."""

    def __init__(self, demo: gr.Blocks) -> None:
        self.default_config = demo.default_config
        self.blocks: dict[int, Any] = {}


def light_sessions(demo: gr.Blocks) -> None:
    """Makes the sessions of a launched page light, from the next one on."""
    demo.state_holder.blocks = cast(gr.Blocks, _Unconfigured(demo))
