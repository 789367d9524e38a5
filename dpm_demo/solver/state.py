"""What is done to a state and a prediction: drawn, combined, translated, kept in range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dpm_demo.solver.coefficients import Update
from dpm_demo.solver.schedule import alpha, sigma

__all__ = ["combine", "initial_noise", "prediction", "threshold"]


def initial_noise(seeds: Iterable[int], shape: Sequence[int]) -> Tensor:
    """Standard normal x_T: (n, *shape) float32 on the CPU, each row from its own seed.

    So sample k of seed s is the same alone, in a batch, and whatever device it is moved to.
    """
    rows = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(seed)))
        for seed in seeds
    ]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


def combine(x: Tensor, update: Update, predictions: Iterable[Tensor]) -> Tensor:
    """scale · x + Σ weights[k] · predictions[k]: p + 1 kernels for p predictions."""
    out = x * update.scale
    for weight, prediction in zip(update.weights, predictions, strict=False):
        if weight:
            out.add_(prediction, alpha=weight)
    return out


def prediction(form: str, x: Tensor, x0: Tensor, lam: float) -> Tensor:
    """What the form integrates: x0 itself ("data"), or the noise ε = (x − α x0)/σ ("noise").

    At λ = −∞ the state is the noise and says nothing of x0: there it is x0 in either form.
    """
    if form == "data" or lam == -math.inf:
        return x0
    return (x * (1 / sigma(lam))).sub_(x0, alpha=alpha(lam) / sigma(lam))


DYNAMIC_QUANTILE = 0.995


def threshold(
    x0: Tensor, kind: str | None, quantile: float = DYNAMIC_QUANTILE, most: float = math.inf
) -> Tensor:
    """Keep a data prediction in range, row by row; x0: (n, *shape) in [−1, 1] by intention.

    "static" clips to [−1, 1]. "dynamic" takes s, the 99.5th percentile of |x0| in the row (or that
    of `quantile`), clips to [−s, s] and divides by s where s > 1 (Saharia et al. 2205.11487,
    section 2.3). Trap: with an s of 1 at `most`, the default elsewhere, "dynamic" is only the
    static clip. None: as it is.
    """
    if kind is None:
        return x0
    if kind == "static":
        return x0.clamp(-1, 1)
    flat = x0.abs().flatten(1)
    position = quantile * (flat.shape[1] - 1)
    below = math.floor(position)
    # the few largest of each row, instead of a sort of all
    top = flat.topk(flat.shape[1] - below, dim=1).values
    upper = top[:, -2] if top.shape[1] > 1 else top[:, -1]
    s = torch.lerp(top[:, -1], upper, position - below).clamp_(1, most)
    s = s.reshape(-1, *[1] * (x0.ndim - 1))
    return torch.minimum(torch.maximum(x0, -s), s).div_(s)
