"""A part of the page, served by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from dpm_demo.ui.player.component import Player


@contextmanager
def served_alone(demo: gr.Blocks, **more: Any) -> Iterator[str]:
    """Its address, until it is left."""
    _, address, _ = demo.launch(
        head=Player.page_script(),
        prevent_thread_lock=True,
        ssr_mode=False,
        _frontend=False,
        quiet=True,
        server_name="127.0.0.1",
        **more,
    )
    yield address
    demo.close()
