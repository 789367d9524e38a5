"""What the engine answers where there is no result, and errors as sentences."""

from __future__ import annotations


class Busy(RuntimeError):
    """The engine serves as many requests as it admits; ask again in a moment."""


class Closed(RuntimeError):
    """The engine has been closed and takes no more work."""


class JobFailed(RuntimeError):
    """Every trajectory of a job failed, or the worker died under it."""


class JobCancelled(RuntimeError):
    """The job was cancelled before its end."""


def sentence(error: BaseException) -> str:
    """An error as the end of a sentence, short enough for a page."""
    text = " ".join(str(error).split())[:300].rstrip(".") or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
