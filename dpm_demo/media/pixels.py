"""Samples in [-1, 1] as 8-bit pixels and back, and what a uint8 picture is.

The one formula: level = round(127.5 (clip(x, -1, 1) + 1)), and back x = level / 127.5 - 1, which
is exact to half a level. Halves are rounded to even, alike in numpy and torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Array = TypeVar("Array", np.ndarray, torch.Tensor)

MAX_SIDE = 8192  # of a written file; far above what the page asks for, far below all memory


def to_levels(x: Array) -> Array:
    """Values in [-1, 1] as uint8, whatever the shape; what lies outside is clipped."""
    if isinstance(x, torch.Tensor):
        return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)


def from_levels(levels: Array) -> Array:
    """uint8 as float32 in [-1, 1], whatever the shape: `to_levels` of it is `levels` again."""
    if isinstance(levels, torch.Tensor):
        return levels.float().div_(127.5).sub_(1.0)
    scaled: np.ndarray = levels.astype(np.float32) / 127.5 - 1
    return scaled


def to_uint8(x0: torch.Tensor) -> torch.Tensor:
    """Data predictions `(n, c, …)` in [−1, 1] as uint8 `(n, …, c)`, on the same device.

    Pictures become `(n, h, w, c)`, videos `(n, f, h, w, c)`, vectors stay as they are.
    """
    return to_levels(x0).movedim(1, -1).contiguous()


def uint8(sample: np.ndarray) -> np.ndarray:
    """A sample `(c, ..., h, w)` in [-1, 1] as uint8, channels last."""
    return np.moveaxis(to_levels(sample), 0, -1)


def to_data(picture: np.ndarray) -> np.ndarray:
    """uint8 `(h, w, c)` as float32 `(c, h, w)` in [-1, 1]: the inverse of `uint8`."""
    return np.ascontiguousarray(np.moveaxis(from_levels(picture), -1, 0))


def check_picture(array: Pixels, most: int | None = MAX_SIDE) -> Pixels:
    """A contiguous uint8 picture `(h, w, 3)` or `(h, w, 4)`, of sides up to `most`.

    Raises ValueError for others.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ValueError(
            f"a picture must be uint8 of shape (h, w, 3) or (h, w, 4), "
            f"got {array.dtype} {array.shape}."
        )
    if 0 in array.shape or (most is not None and max(array.shape[:2]) > most):
        raise ValueError(f"a picture's sides must be 1 to {most} pixels, got {array.shape}.")
    return np.ascontiguousarray(array)


def check_pictures(stack: Pixels | Sequence[Pixels], name: str) -> Pixels:
    """Pictures of one shape as one array. Raises ValueError for none, or for several shapes."""
    pictures = [check_picture(picture) for picture in stack]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"{name} must be one or more of one shape, got shapes {sorted(shapes)}.")
    return np.stack(pictures)
