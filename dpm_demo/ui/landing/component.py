"""The landing: a comparison at one budget, recorded or under way, in one Gradio component.

Python sends it one of

    {"scenes": [...],          recordings (scenes.py); it keeps each and shows the first
     "questions": [{"title", "query", "answer"}]}     a click fills in the form with the query, and
                               shows the recorded answer, or runs it where that is null
    a player's value of a grid (player/component.py) with six more entries:
        "budgets": [5, 8, ...]       evaluations of each column
        "errors": [0.1, null, ...]   error of each tile to the converged sample, where known
        "truth": uri                 the converged picture, where known
        "goal": str                  what the converged picture is
        "verdict": str               of a run that is done: what it says, in one sentence
        "continues": true            of one that was stopped: the same would go on

Everything else happens in the page: the budget, the line of wanted error, what plays.

A text by `widgets.estimate.TOLD` is what it says of a run's time, in three lines: with the noise
that the form names, with other noise, and what is computed in it.

Events: `input` asks for the same with other noise, `submit` for a run of the form as it is (which
goes on where it was stopped), `stop` for the run's end; `select` tells which recording is on show,
or which question is asked: once the form is filled in, `FILLED` makes it run. What it shows of a
run it hands on to a player that follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpm_demo.ui.player.script import Scripted, script

#: Scripts for the page: a run of that tab is over, or was refused; its settings have changed.
IDLE = "() => { document.dispatchEvent(new CustomEvent('dpm-idle', { detail: 'TAB' })); }"
CHANGED = "() => { document.dispatchEvent(new CustomEvent('dpm-changed', { detail: 'TAB' })); }"
#: The form holds what a recording or a question says.
FILLED = "() => { document.dispatchEvent(new CustomEvent('dpm-filled', { detail: 'TAB' })); }"

#: The same once a link has filled in the form; with run=1 in it, it runs. NO_SETTING: names in it
#: that fill in nothing.
LINKED = """() => {
  const asked = new URLSearchParams(location.search);
  if ((asked.get("tab") ?? "compare") !== "TAB") return;
  if ([...asked.keys()].every((key) => /^(NO_SETTING)$/.test(key))) return;
  document.dispatchEvent(new CustomEvent("dpm-changed", { detail: "TAB" }));
  if (asked.get("run") === "1") document.getElementById("TAB-go")?.click();
}"""

_HERE = Path(__file__).parent
_MODULES = (
    "../player/dom.js",
    "../player/read.js",
    "../player/share.js",
    "../player/over.js",
    "scene.js",
    "plot.js",
    "split.js",
    "view.js",
    "act.js",
)


class Landing(Scripted):
    """Rows at one budget beside the converged picture, with a slider over budgets and a plot.

    Args:
        value: see the module.
        tab: the name by which `IDLE` and `CHANGED` reach it.
        **options: passed on to `gr.HTML` (`elem_id`, ...).
    """

    TEMPLATE = '<section class="dpm-landing" data-testid="landing"></section>'

    @staticmethod
    def source() -> str:
        """Its script."""
        return script(_HERE, _MODULES, "landing.css")

    def __init__(
        self, value: dict[str, Any] | None = None, *, tab: str = "", **options: Any
    ) -> None:
        super().__init__(self.TEMPLATE, self.source(), value=value, tab=tab, **options)
