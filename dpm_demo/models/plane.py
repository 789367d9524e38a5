"""Mixtures of round Gaussians in the plane: data that one can see whole, with an exact denoiser."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_demo.solver.schedule import alpha, sigma

BLOBS_MAX = 24
REACH = 2.6  # half the side of the square that is shown, in units of the data
STD = 0.12


@dataclass(frozen=True)
class PlaneMixture:
    """Points of the plane drawn from Σ_k N(μ_k, s² I) / K, every blob as likely as another.

    Raises ValueError, one sentence, for no blob, too many, or one outside the square.
    """

    means: tuple[tuple[float, float], ...]
    std: float = STD

    def __post_init__(self) -> None:
        if not 1 <= len(self.means) <= BLOBS_MAX:
            raise ValueError(f"blobs must be 1 to {BLOBS_MAX} points, not {len(self.means)}")
        if not all(abs(v) <= REACH for mean in self.means for v in mean):  # false for NaN too
            raise ValueError(f"blobs must lie between -{REACH} and {REACH}")
        if not 0.02 <= self.std <= 1:
            raise ValueError(f"std must be a number from 0.02 to 1, not {self.std}")

    def _parts(self, x: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """α `(n, 1)`, V, the gaps x − α μ_k `(n, K, 2)` and log w_k N(x; α μ_k, V I) `(n, K)`."""
        at = torch.as_tensor(lam, dtype=torch.float64).reshape(-1, 1)
        a, s = alpha(at), sigma(at)
        variance = (a * self.std) ** 2 + s**2
        means = torch.tensor(self.means, dtype=x.dtype)
        gaps = x[:, None] - a[..., None] * means
        log_p = -0.5 * gaps.square().sum(-1) / variance - variance.log()
        return a, variance, gaps, log_p - math.log(2 * math.pi * len(self.means))

    def denoise(self, x: Tensor, lam: float | Tensor, cond: object = None) -> Tensor:
        """E[x0 | x_t = x] at λ: x `(n, 2)` float64, lam a float or `(n,)`."""
        a, variance, gaps, log_p = self._parts(x, lam)
        means = torch.tensor(self.means, dtype=x.dtype)
        guesses = means + (a * self.std**2 / variance)[..., None] * gaps
        return (log_p.softmax(1)[..., None] * guesses).sum(1)

    def density(self, x: Tensor, lam: float) -> Tensor:
        """p_t(x) `(n,)`."""
        return self._parts(x, lam)[3].logsumexp(1).exp()

    def velocity(self, x: Tensor, lam: float) -> Tensor:
        """dx/dλ = α (x0 − α x) `(n, 2)`: the probability flow of the variance-preserving state.

        In x̂ = x/α it is dx̂/dλ = x0 − x̂, and d log α/dλ = σ².
        """
        a = float(alpha(torch.tensor(lam, dtype=torch.float64)))
        return a * (self.denoise(x, lam) - a * x)


def _ring(count: int, radius: float) -> tuple[tuple[float, float], ...]:
    turns = [2 * math.pi * (k + 0.25) / count for k in range(count)]
    return tuple((radius * math.cos(t), radius * math.sin(t)) for t in turns)


def _moons() -> tuple[tuple[float, float], ...]:
    turns = [math.pi * k / 8 for k in range(9)]
    upper = [(1.1 * math.cos(t) - 0.5, 1.1 * math.sin(t) - 0.25) for t in turns]
    return tuple(upper + [(-x, -y) for x, y in upper])


#: What one can pick; the first is what the page starts with.
SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "islands": ((-1.3, -0.9), (1.35, -0.75), (0.1, 1.45), (0.35, -0.1)),
    "ring": _ring(8, 1.5),
    "moons": _moons(),
    "two": ((-0.8, 0.0), (0.8, 0.0)),
}


def shape(name: str) -> PlaneMixture:
    """The mixture of that name. Raises ValueError."""
    if name not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, not {name!r:.40}")
    return PlaneMixture(SHAPES[name])
