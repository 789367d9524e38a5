"""Samples in [-1, 1] as 8-bit pixels, and back."""

from __future__ import annotations

import numpy as np


def uint8(sample: np.ndarray) -> np.ndarray:
    """A sample `(3, ..., h, w)` in [-1, 1] as uint8, channels last, rounded as the engine does."""
    scaled = np.rint((np.clip(sample, -1, 1) + 1) * 127.5).astype(np.uint8)
    return np.moveaxis(scaled, 0, -1)


def to_data(picture: np.ndarray) -> np.ndarray:
    """uint8 `(h, w, c)` as float32 `(c, h, w)` in [-1, 1]: the inverse of `wall.uint8`."""
    return np.ascontiguousarray(np.moveaxis(picture.astype(np.float32) / 127.5 - 1, -1, 0))
