"""One clear sentence each: of an error, of how a run ended, of what it waits for."""

from __future__ import annotations

import gradio as gr

from dpm_demo.compare.run import Measurement
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.ui.widgets import links

__all__ = ["STOPPED", "awaited", "capped", "ended", "refuse", "sentence_of", "spent"]

STOPPED = "Stopped."


def sentence_of(error: BaseException) -> str:
    text = str(getattr(error, "message", error)).strip()  # a gr.Error's text has quotes
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


def spent(done: Done) -> str:
    """ "4 × 12 to 15 evaluations in 0.31 s", of a run of one setting."""
    every = [row.nfe for row in done.tracks[0].rows]
    least, most = min(every), max(every)
    nfe = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(every)} × {nfe} evaluations in {done.seconds:.2f} s"


def capped(done: Done) -> str:
    """What there is to say of samples that did not come to their end."""
    if all(row.converged for row in done.tracks[0].rows):
        return ""
    return " **The cap on evaluations was reached before the end: not converged.**"


def refuse(error: BaseException) -> gr.Error:
    """The one clear sentence that a visitor sees for bad input."""
    return gr.Error(sentence_of(error), print_exception=False)
