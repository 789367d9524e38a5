"""Smoothing along time, after sampling: a Gaussian over the frames, with honest ends."""

from __future__ import annotations

import math

import numpy as np

SIGMA_MAX = 8.0  # in frames; far beyond it a clip of 16 frames is one still picture


def kernel(sigma: float) -> np.ndarray:
    """Gaussian weights `(2 r + 1,)` of width `sigma` frames, cut at r = ⌈4 sigma⌉, with sum 1.

    Raises ValueError unless 0 <= sigma <= 8; 0 is the weight 1 alone.
    """
    number = isinstance(sigma, (int, float)) and not isinstance(sigma, bool)
    if not number or not 0 <= sigma <= SIGMA_MAX:
        raise ValueError(f"sigma must be from 0 to {SIGMA_MAX:g} frames, not {sigma!r:.60}")
    if sigma == 0:
        return np.ones(1)
    reach = math.ceil(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    normed: np.ndarray = weights / weights.sum()
    return normed


def smooth(frames: np.ndarray, sigma: float, *, loop: bool = False, axis: int = 0) -> np.ndarray:
    """`frames` averaged along the time `axis` with Gaussian weights: y_t = Σ_k w_k x_(t + k).

    Beyond the ends stand the first and the last frame, or with `loop` the other end of the clip.
    Zeros there, the default of many libraries, would darken both ends. Weights sum to 1, so what
    does not move is not changed. Floats keep their dtype, uint8 is rounded.

    Raises ValueError for a `sigma` outside 0 ... 8 frames, and for a clip without frames.
    """
    weights = kernel(sigma)
    if not -frames.ndim <= axis < frames.ndim or frames.shape[axis] == 0:
        raise ValueError(f"frames must have at least one along axis {axis}, got {frames.shape}")
    if sigma == 0:
        return frames.copy()
    count, reach = frames.shape[axis], len(weights) // 2
    at = np.arange(-reach, count + reach)
    at = at % count if loop else at.clip(0, count - 1)
    # the weight that frame j has in frame t: one small matrix, whatever the ends are
    matrix = np.zeros((count, count))
    for t in range(count):
        np.add.at(matrix[t], at[t : t + len(weights)], weights)
    mixed = np.moveaxis(np.tensordot(matrix, frames, axes=(1, axis)), 0, axis)
    if np.issubdtype(frames.dtype, np.integer):
        mixed = np.rint(mixed)
    return np.ascontiguousarray(mixed.astype(frames.dtype))
