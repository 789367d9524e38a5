"""What the page remembers for its visitors, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import gradio as gr
import numpy as np

__all__ = ["Kept", "Newest", "kept_bytes"]

K = TypeVar("K")
T = TypeVar("T")


class Newest(OrderedDict[K, T]):
    """A dictionary that holds the newest `most` entries, so that visitors who left go too."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: T) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)


class Kept(Generic[T]):
    """What finished runs are remembered by, for their files; above `most_bytes` the oldest go.

    One for all tabs, by the run's own name. Bytes are those of arrays and of text (a player's
    pictures): all else is small. A run that alone is above the bound is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    def put(self, run: str, result: T) -> None:
        """Keeps what a run has made."""
        size = kept_bytes(result)
        with self._lock:
            if run in self._kept:
                self._bytes -= self._kept.pop(run)[1]
            self._kept[run] = result, size
            self._bytes += size
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def find(self, run: str) -> T | None:
        """What is remembered of a run, if anything."""
        with self._lock:
            return self._kept[run][0] if run in self._kept else None

    def get(self, run: str) -> T:
        """Raises gr.Error, one sentence, for a run that is not remembered."""
        if (found := self.find(run)) is None:
            raise gr.Error("This run is no longer kept; run it again, or a smaller one.")
        return found


def kept_bytes(value: Any) -> int:
    """Bytes of all arrays and texts in `value`, its fields, items and values; each counted once."""
    seen: set[int] = set()

    def count(one: Any) -> int:
        if isinstance(one, (int, float, type(None))) or id(one) in seen:
            return 0
        seen.add(id(one))
        if isinstance(one, (str, bytes)):
            return len(one)
        if isinstance(one, np.ndarray):  # a view counts as what it is of; torch's lie in a tensor
            return count(one.base) if isinstance(one.base, np.ndarray) else one.nbytes
        if is_dataclass(one):
            return sum(count(getattr(one, field.name)) for field in fields(one))
        if isinstance(one, Mapping):
            return sum(count(item) for item in one.values())
        return sum(count(item) for item in one) if isinstance(one, (tuple, list)) else 0

    return count(value)
