"""Tables of a document that a command writes, each between its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["filled", "write"]


def filled(text: str, tables: Mapping[str, str]) -> str:
    """`text` with each table between `<!-- figures: NAME -->` and `<!-- end -->`.

    Raises ValueError where a name has no marks, or several.
    """
    for name, body in tables.items():
        pattern = rf"(<!-- figures: {re.escape(name)} -->\n).*?(<!-- end -->)"
        text, found = re.subn(pattern, lambda m, b=body: f"{m[1]}{b}\n{m[2]}", text, flags=re.S)
        if found != 1:
            raise ValueError(f"one mark <!-- figures: {name} --> is needed, not {found}")
    return text


def write(document: Path, tables: Mapping[str, str]) -> None:
    """Fills the tables of a document in place."""
    document.write_text(filled(document.read_text("utf-8"), tables), encoding="utf-8")
