"""One log line a message, whatever a visitor typed into it."""

from __future__ import annotations

import logging

__all__ = ["FORMAT", "OneLine", "one_line"]

FORMAT = "%(asctime)s %(levelname)s %(message)s"
LETTERS_MAX = 1000


def one_line(text: object, most: int = LETTERS_MAX) -> str:
    """`text` with every letter that does not print escaped, newlines included; `most` letters."""
    shown = str(text)[: most + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return escaped if len(escaped) <= most else f"{escaped[: most - 2]} …"


class OneLine(logging.Formatter):
    """Messages through `one_line`; the traceback of a fault of ours still follows its line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)
