"""The button of a tab: it starts a run, and is Stop while one is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dpm_demo.ui.serving import Serving


def _mark(bar: str, name: str, value: str) -> str:
    # an attribute, as Gradio writes an element's classes anew
    return f"() => {{ document.getElementById('{bar}').dataset.{name} = '{value}'; }}"


#: Gradio says a choice again when one leaves the menu, as for the button: that changes nothing.
_CHOSEN = """(value) => {
  const { dataset } = document.getElementById('%s');
  const name = 'menu%d', chosen = JSON.stringify(value);
  if (dataset[name] !== chosen) (%s)();
  dataset[name] = chosen;
}"""


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

    def watches(self, widgets: Sequence[Any]) -> None:
        """Says "changed" once a person has changed one of the settings on show.

        Called before what else follows them: the page runs the events of one change in turn.
        """
        changed = _mark(self.id, "changed", "true")
        others = [w for w in widgets if hasattr(w, "input") and not isinstance(w, gr.Dropdown)]
        gr.on([w.input for w in others], None, None, None, js=changed)
        for menu in widgets:
            if isinstance(menu, gr.Dropdown):
                menu.input(None, menu, None, js=_CHOSEN % (self.id, menu._id, changed))

    def follows_buttons(self, pressed: Sequence[Any]) -> None:
        """Says "changed" after these events, of buttons that change settings."""
        for event in pressed:
            event.success(None, None, None, js=_mark(self.id, "changed", "true"))
