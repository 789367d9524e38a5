"""One clear sentence each: of an error, of how a run ended, of what it waits for."""

from __future__ import annotations

import gradio as gr

from dpm_demo.compare.run import Measurement
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.ui.widgets import links

__all__ = ["STOPPED", "awaited", "ended", "refuse", "sentence_of"]

STOPPED = "Stopped."


def sentence_of(error: BaseException) -> str:
    text = str(error).strip()
    return text[:400] if text else type(error).__name__


def awaited(measured: Measurement) -> str:
    """What the note of a tab says while only the reference is under way."""
    if (waiting := measured.waiting) is None:
        return ""
    spent, of = waiting
    return f"computing the converged sample: {spent:,} of {of:,} evaluations …"


def ended(event: Preview | Done | Failed | Cancelled | None) -> str:
    """What the note of a tab says of a run's event: why it failed, that it was stopped."""
    if isinstance(event, Cancelled):
        return STOPPED
    error = getattr(event, "error", None)
    return f"**{links.escape(error)}**" if error else ""


def refuse(error: BaseException) -> gr.Error:
    """The one clear sentence that a visitor sees for bad input."""
    return gr.Error(sentence_of(error), print_exception=False)
