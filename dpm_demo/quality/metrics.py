"""Distances between samples and real pictures in the features of a network; torchmetrics' own.

Features are computed once and kept; the metrics see them through a network that does nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SUBSET = 1000  # of the kernel distance, at most
_AT_ONCE = 1000  # rows turned into float64 at a time


class _Given(nn.Module):
    """Stands where torchmetrics expects a feature extractor: its pictures are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@contextmanager
def _seeded() -> Iterator[None]:
    """torchmetrics draws its subsets from the global generator: the same ones at every call."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")  # that it keeps all features: we know
        yield


def _check(made: Tensor, real: Tensor) -> None:
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1]:
        raise ValueError(
            "features must be (n, f) and (m, f) with the same f, "
            f"got {tuple(made.shape)} and {tuple(real.shape)}"
        )
    if min(len(made), len(real)) < 2:
        raise ValueError(f"features must be of at least 2 samples, got {len(made)} and {len(real)}")


def frechet_distance(made: Tensor, real: Tensor) -> float:
    """Fréchet distance of two sets of features `(n, f)` and `(m, f)`, in float64.

    |μ − μ'|² + tr(S + S' − 2 (S S')^½), with the sample means and covariances. From sums over rows,
    so that any order and any split gives the same value to rounding. Biased upwards by about 1/n:
    compare at equal n. Raises ValueError for fewer than two rows. Heusel et al. 2017 (FID, where
    the features are Inception's).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _check(made, real)
    with _seeded():
        metric = FrechetInceptionDistance(feature=_Given(made.shape[1]))
        for rows in made.split(_AT_ONCE):
            metric.update(rows.double(), real=False)
        for rows in real.split(_AT_ONCE):
            metric.update(rows.double(), real=True)
        return float(metric.compute())


def kernel_distance(made: Tensor, real: Tensor) -> tuple[float, float]:
    """KID and its deviation over 100 subsets of `min(n, m, 1000)` rows.

    Unbiased squared MMD with the kernel (x·y / f + 1)³, so it is comparable between different n.
    Raises ValueError for fewer than two rows. Bińkowski et al. 2018.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    _check(made, real)
    size = min(len(made), len(real), SUBSET)
    with _seeded():
        metric = KernelInceptionDistance(feature=_Given(made.shape[1]), subset_size=size)
        metric.update(made.float(), real=False)
        metric.update(real.float(), real=True)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def inception_score(logits: Tensor) -> tuple[float, float]:
    """exp E KL(p(y|x) ‖ p(y)) of logits `(n, classes)`, mean and deviation over ten parts.

    1 where every sample looks alike, the number of classes at best. Raises ValueError for fewer
    than 20 rows. Salimans et al. 2016 (there with Inception's classes).
    """
    from torchmetrics.image.inception import InceptionScore

    if logits.ndim != 2 or len(logits) < 20:
        raise ValueError(f"logits must be (n, classes) with n >= 20, got {tuple(logits.shape)}")
    with _seeded():
        metric = InceptionScore(feature=_Given(logits.shape[1]))
        metric.update(logits.double())
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


@dataclass(frozen=True)
class Scores:
    """All of them over `n` samples, or frames of `n` clips."""

    n: int
    fd: float
    kid: float
    kid_std: float
    inception_score: float | None
    inception_score_std: float | None


def scores(features: Tensor, logits: Tensor, real: Tensor, n: int) -> Scores:
    """The scores of samples against the features of real pictures."""
    kid, kid_std = kernel_distance(features, real)
    score, score_std = inception_score(logits) if len(logits) >= 20 else (None, None)
    return Scores(n, frechet_distance(features, real), kid, kid_std, score, score_std)
