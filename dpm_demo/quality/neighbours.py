"""Is a sample new, or a training picture seen again? Its nearest one in the features says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_demo.media.grid import labelled_grid
from dpm_demo.media.pixels import from_levels, to_uint8
from dpm_demo.quality.extract import Extractor
from dpm_demo.training.data import Pictures

_AT_ONCE = 512


@dataclass(frozen=True)
class Neighbours:
    """Of each sample: the number of its nearest training picture, and its distance."""

    index: np.ndarray
    distance: np.ndarray


def training_features(
    pictures: Pictures, look: Extractor, on_progress: Callable[[int], None] = lambda rows: None
) -> Tensor:
    """Features `(n, f)` of all pictures as they are (a classifier sees little of mirroring)."""
    parts = []
    for rows in torch.arange(len(pictures)).split(_AT_ONCE):
        parts.append(look(from_levels(pictures.data[rows]))[0])
        on_progress(len(rows))
    return torch.cat(parts)


def nearest(features: Tensor, train: Tensor) -> Neighbours:
    """Euclidean: rows of `(n, f)` against all of `(m, f)`. Raises ValueError if either is empty."""
    if not len(features) or not len(train):
        raise ValueError(f"features must not be empty, got {len(features)} and {len(train)} rows")
    found = [torch.cdist(x, train).min(1) for x in features.float().split(_AT_ONCE)]
    return Neighbours(
        torch.cat([f.indices for f in found]).numpy(), torch.cat([f.values for f in found]).numpy()
    )


def share_nearer(samples: np.ndarray, held: np.ndarray) -> float:
    """How often a sample is nearer to its training picture than a held-out picture is to its own.

    P(d < d') + P(d = d')/2 over all pairs of their distances: 0.5 if samples keep the distance
    that unseen real pictures keep, 1 if they are copies.
    """
    if not len(samples) or not len(held):
        raise ValueError(f"distances must not be empty, got {len(samples)} and {len(held)}")
    ordered = np.sort(held)
    above = len(held) - np.searchsorted(ordered, samples, side="right")
    not_below = len(held) - np.searchsorted(ordered, samples, side="left")
    return float(np.mean((above + not_below) / 2) / len(held))


def neighbours_sheet(
    samples: Tensor, found: Neighbours, train: Pictures, columns: int = 8
) -> np.ndarray:
    """Pairs, the sample left and its nearest training picture right, with the distance below."""
    pictures = to_uint8(samples).numpy()
    cells: list[np.ndarray | None] = []
    captions = []
    for k, (index, distance) in enumerate(zip(found.index, found.distance, strict=True)):
        real = np.moveaxis(train.data[int(index)].numpy(), 0, -1)
        cells.append(np.concatenate([pictures[k], real], axis=1))
        captions.append(f"{distance:.2f}")
    cells += [None] * (-len(cells) % columns)
    captions += [""] * (-len(captions) % columns)
    rows = range(0, len(cells), columns)
    return labelled_grid(
        [cells[r : r + columns] for r in rows],
        [str(r) for r in rows],
        [""] * columns,
        [captions[r : r + columns] for r in rows],
        title="sample | nearest training picture, with their distance in the features",
    )
