"""Plain ES modules as the body of a component's script, and what every such component shares."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

_IMPORT = re.compile(r"^import \{[^}]*\} from \"[^\"]*\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|class)", re.MULTILINE)


@cache
def script(folder: Path, modules: Sequence[str], style: str) -> str:
    """The modules in that order in one scope, with the style sheet as `STYLE` in front of them.

    Gradio runs it once for each component, with `element`, `props`, `trigger` and `watch` in
    scope, so that what a module holds belongs to one component. Imports only name what the
    modules before (or after, for functions) define; no two modules may define the same name.

    The style sheet is not a `css_template`: Gradio compiles that as a Handlebars template and
    replaces the style element at every new value, which would restyle the page twenty times a
    second.
    """
    css = (folder / style).read_text(encoding="utf-8")
    parts = [(folder / name).read_text(encoding="utf-8") for name in modules]
    joined = "\n".join(_EXPORT.sub("", _IMPORT.sub("", part)) for part in parts)
    return f'"use strict";\nconst STYLE = {json.dumps(css)};\n{joined}'


class Scripted(gr.HTML):
    """A component that its script builds inside of `template`.

    The template never changes, so Gradio never touches what the script builds. Attributes that it
    lacks are answered without reading its script: Gradio searches that for each of some hundred
    names it asks for when a session begins, as a script may trigger events of its own name.
    """

    def __init__(self, template: str, source: str, **options: Any) -> None:
        super().__init__(
            html_template=template, js_on_load=source, apply_default_css=False, **options
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
