"""A finished comparison as one HTML file: what the tab Compare shows of it, and no network.

The landing and the player are the page's own scripts, with the run's last value in place of a
server; the policy in the page's head forbids whatever is not in the file.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpm_demo.ui.landing.component import Landing
from dpm_demo.ui.player.component import Player

__all__ = ["page"]

_HERE = Path(__file__).parent
_TAB = "alone"
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def page(
    title: str,
    value: Mapping[str, Any],
    settings: Mapping[str, Any],
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> str:
    """The whole file. `value` is the landing's last one of the run; the rest are tables."""
    style = (_HERE / "alone.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{html.escape(title)}</title><style>{style}</style></head><body><main>",
        f"<h1>{html.escape(title)}</h1>",
        f'<div id="landing">{Landing.TEMPLATE}</div><div id="player">{Player.TEMPLATE}</div>',
        "<h3>Figures</h3>",
        _table(rows, headers),
        "<h3>Settings</h3>",
        _table([(name, _said(said)) for name, said in settings.items()]),
        "</main><script>",
        f"const VALUE = {_json(value)};",
        _component("player", Player.source(), {"label": "All cells", "follow": _TAB}),
        _component("landing", Landing.source(), {"tab": _TAB, "offline": True}, "VALUE"),
        "</script></body></html>\n",
    ]
    return "\n".join(parts)


def _component(place: str, source: str, props: Mapping[str, Any], value: str = "null") -> str:
    """A component's script at work in `place`, as Gradio would have it."""
    source = source.replace("</script", "<\\/script")
    given = f"{{...{_json(props)}, value: {value}}}"
    body = f"((element, props, trigger, watch) => {{\n{source}\n}})"
    return f'{body}(document.getElementById("{place}"), {given}, () => {{}}, () => {{}});'


def _json(value: Any) -> str:
    """JSON that ends no script, whatever texts it holds."""
    return json.dumps(value).replace("<", "\\u003c")


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str] = ()) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        shown = ("" if cell is None else html.escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in shown) + "</tr>"

    head = f"<thead>{line(headers, 'th')}</thead>" if headers else ""
    body = "".join(line(row, "td") for row in rows)
    kind = ' class="figures"' if headers else ""
    return f'<div class="scrolls"><table{kind}>{head}<tbody>{body}</tbody></table></div>'
