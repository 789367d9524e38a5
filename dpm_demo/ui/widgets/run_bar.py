"""The button of a tab: it starts a run, and is Stop while one is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dpm_demo.ui.serving import Serving


def _mark(bar: str, name: str, value: str) -> str:
    # an attribute, as Gradio writes an element's classes anew
    return f"() => {{ document.getElementById('{bar}').dataset.{name} = '{value}'; }}"


class RunBar:
    """Two buttons in one place, of which the page shows one (theme.CSS); on a phone it stays.

    The page switches them itself (run_bar.js), so that a second click is never ignored: at a click
    on `go`, and on any button of the class `runs-TAB`. While it is Stop, what is of the class
    `waits-TAB` takes no click.
    """

    def __init__(self, serving: Serving, tab: str, words: str = "Generate") -> None:
        self.serving, self.tab, self.id = serving, tab, f"{tab}-run"
        with gr.Row(elem_id=self.id, elem_classes="run-bar"):
            self.go = gr.Button(
                words, variant="primary", elem_id=f"{tab}-go", elem_classes=f"run-go runs-{tab}"
            )
            self.stop = gr.Button(
                "Stop", variant="stop", elem_id=f"{tab}-stop", elem_classes="run-stop"
            )
        serving.stops(tab, self.stop.click)

    def follows(self, started: Any) -> None:
        """Is Stop no longer at the end of `started`, the event that a click makes."""
        for over in (started.success, started.failure):  # `then` does not follow a refusal
            over(None, None, None, js=_mark(self.id, "running", "false"))
        started.failure(None, None, None, js=_mark(self.id, "changed", "true"))

    def watches(self, widgets: Sequence[Any], *pressed: Any) -> None:
        """Says "changed" once a person has changed one of the settings on show.

        `pressed` are events of buttons that change settings.
        """
        changed = _mark(self.id, "changed", "true")
        gr.on([w.input for w in widgets if hasattr(w, "input")], None, None, None, js=changed)
        for event in pressed:
            event.success(None, None, None, js=changed)
