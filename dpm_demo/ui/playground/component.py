"""Two Gradio components that ask the server for numbers and draw them in the page.

Each is one `gr.HTML` whose script builds its own controls; `server_functions` answer it without the
queue. What comes from the browser is validated by `answers`; what goes back are plain lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from dpm_demo.ui.player.script import CheapAttributes

_HERE = Path(__file__).parent


def _script(name: str) -> str:
    """`name` with the style sheet and what both scripts share in front of it."""
    style, shared, own = (
        (_HERE / file).read_text(encoding="utf-8") for file in ("playground.css", "shared.js", name)
    )
    return f'"use strict";\nconst STYLE = {json.dumps(style)};\n{shared}\n{own}'


class Playground(CheapAttributes, gr.HTML):
    """A canvas with controls of its own; `script` is "plane.js" or "line.js".

    `functions` become `server.NAME(payload)` in the page, by their `__name__`.
    """

    def __init__(
        self, script: str, label: str, functions: list[Callable[..., Any]], **options: Any
    ) -> None:
        super().__init__(
            value=None,
            label=label,
            html_template='<section class="dpm-playground"></section>',
            css_template="",
            js_on_load=_script(script),
            apply_default_css=False,
            server_functions=functions,
            **options,
        )
