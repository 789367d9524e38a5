"""Visitors' sessions that write down no configuration.

Gradio keeps, for each session, the configuration of every block of the page, and makes it anew for
each block that an event reads or changes, on the event loop (`docs/upstream/session_cost.py` shows
what that costs). It serves deep links, which this page does not have. What an event changes in a
block is kept as ever: the block itself.
"""

from __future__ import annotations

from typing import Any, cast

import gradio as gr
from gradio.blocks import BlocksConfig

__all__ = ["CAPACITY", "light_sessions"]

CAPACITY = 2000  # sessions that are remembered; an API call without one is one too


class _Unwritten(BlocksConfig):
    """The blocks and events of a session, of which nothing is written down."""

    def __copy__(self) -> _Unwritten:
        new = _Unwritten(self.root_block)
        vars(new).update(vars(super().__copy__()))
        return new

    @staticmethod
    def config_for_block(
        _id: int, rendered_ids: list[int], block: Any, renderable: Any = None
    ) -> dict[str, Any]:
        """What the page itself asks for (by `gr.render`), and nothing for the session."""
        if renderable is None:
            return {}
        return BlocksConfig.config_for_block(_id, rendered_ids, block, renderable)


class _Unconfigured:
    """What a `SessionState` reads of its page: the blocks and events, and none to configure."""

    def __init__(self, demo: gr.Blocks) -> None:
        own = demo.default_config
        self.default_config = _Unwritten(own.root_block)
        vars(self.default_config).update(vars(own))
        self.blocks: dict[int, Any] = {}


def light_sessions(demo: gr.Blocks) -> None:
    """Makes the sessions of a launched page light, from the next one on."""
    demo.state_holder.blocks = cast(gr.Blocks, _Unconfigured(demo))
