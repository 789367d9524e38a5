"""A link is the run: settings in the query string, written after a run, read when a page opens."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr

#: Puts a query (or the whole link already) into the address bar, if its tab is open (address.js),
#: and returns the whole link, which a Space's frame hides.
SHOW = "(q) => window.dpmAddress?.write(q) ?? q"

#: Once a link has filled in the form of its tab, marks that, and runs it if the link says run=1.
#: Where the scripts lie in the browser's cache, that may be before the tab has been drawn.
RUN = """() => {
  document.documentElement.classList.add("filled-TAB");
  const asked = new URLSearchParams(location.search);
  if (asked.get("tab") !== "TAB" || asked.get("run") !== "1") return;
  const press = () => {
    const go = document.getElementById("TAB-go");
    if (go) go.click();
    else requestAnimationFrame(press);
  };
  press();
}"""

#: Names in a query that say nothing to a form: those of the page, of Gradio, of who counts visits.
NO_SETTING = "tab|view|deep_link|__.*|utm_.*|[a-z]+clid"

#: Makes a query the whole link, whoever wrote it into the line.
WHOLE = "(q) => q.startsWith('?') ? new URL(q, location.origin + location.pathname).href : q"


def box(elem_id: str) -> gr.Textbox:
    """The line that shows a run's link, with a button to copy it."""
    line = gr.Textbox(
        label="Link to this run",
        interactive=False,
        buttons=["copy"],
        info="Opens the page with these settings.",
        placeholder="Run something, or change a setting: its link then stands here.",
        elem_id=elem_id,
    )
    line.change(None, line, line, js=WHOLE)
    return line


def follows(
    widgets: Sequence[Any],
    query: Callable[..., Awaitable[str]],
    line: gr.Textbox,
    pressed: Sequence[Any] = (),
) -> None:
    """Writes the link anew whenever a person changes a setting, also by a button.

    `pressed` are the events of those.
    """
    changed = partial(
        gr.on,
        [w.input for w in widgets if hasattr(w, "input")],
        show_progress="hidden",
        trigger_mode="always_last",
    )
    for event in (changed, *[button.success for button in pressed]):
        written_by(event, query, widgets, line)


def written_by(
    event: Callable[..., Any],
    query: Callable[..., Awaitable[str]],
    widgets: Sequence[Any],
    line: gr.Textbox,
) -> None:
    """At `event` (a listener's `success`, say) the link of what the widgets hold is written.

    Settings that are no use leave it as it is.
    """

    async def written(*args: Any) -> Any:
        try:
            return await query(*args)
        except ValueError:  # the button says what is wrong, once
            return gr.skip()

    event(fn=written, inputs=list(widgets), outputs=line).then(None, line, line, js=SHOW)


def pairs(request: gr.Request, tab: str) -> list[tuple[str, str]]:
    """What a visitor's link says to that tab: name and text, as often as they stand there.

    A link without a tab is for "compare".
    """
    found = list(request.query_params.multi_items()) if request.query_params else []
    wanted = dict(found).get("tab", "compare") == tab
    own = [(k, v) for k, v in found if k != "run" and not re.fullmatch(NO_SETTING, k)]
    return own if wanted else []


def note(complaints: list[str]) -> str:
    """One Markdown paragraph that names what a link's reader could not use."""
    return " ".join(f"**Link:** {escape(sentence)}" for sentence in complaints)


def escape(text: str) -> str:
    """A sentence that quotes a stranger's link, safe to show as Markdown."""
    return "".join(f"&#{ord(c)};" if c in "<>&*_`[]()!#\\|~$" else c for c in text)
