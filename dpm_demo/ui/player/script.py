"""Plain ES modules as the body of a component's script, and what every such component shares."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from gradio.events import EventListener

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


class CheapAttributes:
    """In front of `gr.HTML`: attributes that it lacks are answered without reading its script.

    Gradio searches the whole script for each of some hundred names it asks for when a session
    begins, as a script may trigger events of its own name. Ours trigger those in `EVENTS_SENT`.
    """

    EVENTS_SENT: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name in type(self).EVENTS_SENT:
            return partial(EventListener(event_name=name).listener, self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
