"""How much of a long film a file holds: at most 64 frames, and a bound in bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

FRAMES_MAX = 64
FILM_BYTES = 256 * 2**20  # of the uncompressed frames of one file, as they are written


def chosen(count: int, most: int = FRAMES_MAX) -> list[int]:
    """1 … `count`, thinned to at most `most` numbers, evenly, the last among them."""
    kept = min(count, most)
    return [-(-(k + 1) * count // kept) for k in range(kept)]


def spread(count: int, most: int) -> list[int]:
    """0 … `count` - 1, thinned to at most `most` numbers, evenly, first and last among them."""
    return [round(float(k)) for k in np.linspace(0, count - 1, min(count, most))]


def at_or_before(kept: Sequence[int], number: int) -> int:
    """The place among those `kept` of what stands for a number: itself or the last before it."""
    return max(0, bisect_right(kept, number) - 1)  # below 0 before the first


def fitting(frame_bytes: int, scale: int, frames: int, most: int = FILM_BYTES) -> tuple[int, int]:
    """The largest scale up to `scale`, and then the frames up to `frames`, that fit into `most`.

    `frame_bytes` are those of a frame at scale 1. A smaller picture goes before a shorter film; of
    the film two frames stay, whatever they need.
    """
    while scale > 1 and frame_bytes * scale**2 * frames > most:
        scale -= 1
    return scale, max(2, min(frames, most // (frame_bytes * scale**2)))
