"""Two Gradio components that ask the server for numbers and draw them in the page.

Each is one `gr.HTML` whose script builds its own controls; `server_functions` answer it without the
queue. What comes from the browser is validated by `answers`; what goes back are plain lists.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpm_demo.ui.player.script import Scripted, script

_HERE = Path(__file__).parent


class Playground(Scripted):
    """A canvas with controls of its own; `name` is "plane.js", "line.js" or "samplers.js".

    `functions` become `server.NAME(payload)` in the page, by their `__name__`.
    """

    def __init__(
        self, name: str, label: str, functions: list[Callable[..., Any]], **options: Any
    ) -> None:
        super().__init__(
            '<section class="dpm-playground"></section>',
            script(_HERE, ("../player/dom.js", "shared.js", name), "playground.css"),
            label=label,
            server_functions=functions,
            **options,
        )
