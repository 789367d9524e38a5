"""Widgets whose value comes as it is, so that the request's own check says what is wrong.

Gradio's own look at it meets a visitor at the wrong time: a model that is chosen brings other
labels, and what was on its way with the old ones is refused in a toast that nobody asked for.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

__all__ = ["Dial", "Menu"]


class Dial(gr.Slider):
    """A slider."""

    def get_block_name(self) -> str:
        return "slider"  # the page knows no component of this name

    def preprocess(self, payload: Any) -> Any:
        return payload


class Menu(gr.Dropdown):
    """A menu whose choices change."""

    def get_block_name(self) -> str:
        return "dropdown"

    def preprocess(self, payload: Any) -> Any:
        return payload
