"""How sure it is that one solver is nearer than another: seeds drawn again, the same for both."""

from __future__ import annotations

import numpy as np

RESAMPLES, LEVEL = 2000, 95


def ratios(errors: np.ndarray) -> list[tuple[float, float]]:
    """95 % intervals of each row's mean over that of the best row, seeds drawn again in pairs.

    `errors` (solvers, seeds). Rows whose error is not finite have no interval (NaN).
    """
    errors = errors[:, np.isfinite(errors).all(axis=0)]
    if not errors.size:
        return [(np.nan, np.nan)] * len(errors)
    best = errors[errors.mean(axis=1).argmin()]
    return [ratio(row, best) for row in errors]


def ratio(errors: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % interval of mean(errors) / mean(other) over the same seeds, by a paired bootstrap."""
    draws = np.random.default_rng(0).integers(len(errors), size=(RESAMPLES, len(errors)))
    found = errors[draws].mean(axis=1) / other[draws].mean(axis=1)
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)
