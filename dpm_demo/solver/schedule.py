"""Noise schedules as clocks t <-> λ, the nodes they place, and the forward process.

The clock of everything here is λ = log(α/σ), the half log signal-to-noise ratio. The process is
variance preserving, α² + σ² = 1, so that λ says both. A schedule is a choice of nodes between two
ends, and every schedule fills exactly the span it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "COSINE_LAM_MIN",
    "add_noise",
    "alpha",
    "cosine_lam",
    "cosine_time",
    "lambdas_of_betas",
    "linear_time",
    "nodes",
    "sigma",
]

#: The cosine clock reaches α = 0 at t = 1; λ is clipped here, the customary bound.
COSINE_LAM_MIN = -5.1
#: The name of a schedule, or a function (n, lam_span) -> n + 1 nodes λ.
Schedule = str | Callable[[int, tuple[float, float]], Sequence[float]]
#: Smallest cumulative α² of a discrete schedule: one that ends in pure noise (β = 1) is clipped.
ALPHA_BAR_MIN = 2.0**-24

_COSINE_OFFSET = 0.008
_BETA_0, _BETA_1 = 0.1, 20.0
_KARRAS_RHO = 7.0


def log_alpha(lam: float) -> float:
    """log α(λ) = −½ log(1 + e^{−2λ}), exact to rounding for every λ, ±∞ included."""
    return -0.5 * (max(-2 * lam, 0.0) + math.log1p(math.exp(-abs(2 * lam))))


@overload
def alpha(lam: float) -> float: ...
@overload
def alpha(lam: Tensor) -> Tensor: ...
def alpha(lam: float | Tensor) -> float | Tensor:
    """Scale of the data at λ: α = √sigmoid(2λ); a float for a float, else a tensor like `lam`."""
    if isinstance(lam, Tensor):
        return torch.sigmoid(2 * lam).sqrt()
    return math.exp(log_alpha(lam))


@overload
def sigma(lam: float) -> float: ...
@overload
def sigma(lam: Tensor) -> Tensor: ...
def sigma(lam: float | Tensor) -> float | Tensor:
    """Scale of the noise at λ: σ = √sigmoid(−2λ); a float for a float, else a tensor like `lam`."""
    return alpha(-lam)


def add_noise(x0: Tensor, lam: float | Tensor, noise: Tensor) -> Tensor:
    """The forward process q(x_t | x0): x_t = α(λ) x0 + σ(λ) noise, with noise ~ N(0, 1).

    x0, noise: (n, *shape); lam: one float for all rows, or a tensor (n,). Keeps x0's dtype.
    """
    if isinstance(lam, Tensor) and lam.ndim:
        lam = lam.reshape(-1, *[1] * (x0.ndim - 1)).to(x0.device)
    if isinstance(lam, Tensor):
        # in float64: the sigmoid of a float32 loses the small one of α and σ
        lam = lam if lam.device.type == "mps" else lam.double()
        return alpha(lam).to(x0.dtype) * x0 + sigma(lam).to(x0.dtype) * noise
    return alpha(lam) * x0 + sigma(lam) * noise


# --- clocks ---------------------------------------------------------------------------------------


def cosine_lam(t: float, lam_min: float = COSINE_LAM_MIN) -> float:
    """λ of the cosine clock at t in [0, 1]: α = cos(½π (t+s)/(1+s)) / cos(½π s/(1+s)), s = 0.008.

    Clipped at `lam_min` near t = 1, where α = 0; t = 0 is λ = ∞. Nichol & Dhariwal 2102.09672 (17).
    """
    if not 0 <= t <= 1:
        raise ValueError(f"t must lie between 0 and 1, not {t}")
    log_a = math.log(math.cos(_cosine_angle(t)) / math.cos(_cosine_angle(0.0)))
    if log_a >= 0:
        return math.inf
    return max(lam_min, log_a - 0.5 * math.log(-math.expm1(2 * log_a)))


def cosine_time(lam: float) -> float:
    """t of the cosine clock at λ, the inverse of `cosine_lam` before its clip (and unclipped)."""
    cosine = min(1.0, alpha(lam) * math.cos(_cosine_angle(0.0)))
    return math.acos(cosine) * 2 / math.pi * (1 + _COSINE_OFFSET) - _COSINE_OFFSET


def _cosine_angle(t: float) -> float:
    return 0.5 * math.pi * (t + _COSINE_OFFSET) / (1 + _COSINE_OFFSET)


def linear_time(lam: float) -> float:
    """t of the linear-β clock at λ, in the form without cancellation (2206.00927, appendix D.4)."""
    twice = -2 * log_alpha(lam)
    return 2 * twice / (math.sqrt(_BETA_0**2 + 2 * (_BETA_1 - _BETA_0) * twice) + _BETA_0)


# --- nodes ----------------------------------------------------------------------------------------


def nodes(
    schedule: Schedule, n: int, lam_span: tuple[float, float], shift: float | None = None
) -> list[float]:
    """The n + 1 nodes λ_0 … λ_n of a schedule: both ends of `lam_span` exactly, and monotone.

    "logsnr" is even in λ, "cosine" and "linear" in the time of these clocks, "quadratic" in the
    square root of linear time, "karras" in σ̂^{1/7} with σ̂ = e^{−λ} (2206.00364, equation 5),
    "flow" in the time t of a flow x_t = (1 − t) x0 + t ε before its shift s, t' = st/(1 + (s−1)t),
    which is λ' = λ − log s; without a `shift` the one that centres the span, which for a span of
    ±4 − log s is the model's s. Only there may a span start at −∞ (t = 1; no `shift` is 1).

    A function places nodes of its own: schedule(n, lam_span) -> n + 1 λ. A descending span places
    the same nodes backwards. `ValueError` on an unknown schedule, n < 1, or a span that is empty
    or not finite.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if schedule == "calibrated":
        raise ValueError('schedule "calibrated" belongs to a model: there is none of a span alone')
    if schedule == "flow":
        return _flow_nodes(n, lam_span, shift)
    first, last = check_span(lam_span)
    if callable(schedule):
        own = [float(lam) for lam in schedule(n, (first, last))]
        if len(own) != n + 1:
            raise ValueError(f"the schedule must place {n + 1} nodes, not {len(own)}")
        return own
    from dpm_demo.solver.spacings import SPACINGS  # which are made of these

    if schedule in SPACINGS:
        rising = SPACINGS[schedule](n, min(first, last), max(first, last))
        return rising if first < last else rising[::-1]
    if schedule not in _CLOCKS:
        raise ValueError(
            f"schedule must be one of {', '.join(_CLOCKS)}, flow, "
            f"{', '.join(SPACINGS)}, not {schedule!r}"
        )
    clock, inverse = _CLOCKS[schedule]
    start, stop = clock(first), clock(last)
    inner = [inverse(start + (stop - start) * i / n) for i in range(1, n)]
    return [first, *inner, last]


def _flow_nodes(n: int, lam_span: tuple[float, float], shift: float | None) -> list[float]:
    infinite = lam_span[0] == -math.inf
    first, last = (-math.inf, float(lam_span[1])) if infinite else check_span(lam_span)
    own = 0.0 if infinite else -0.5 * (first + last)
    log_shift = own if shift is None else math.log(shift)
    start = 1.0 if infinite else _flow_time(first + log_shift)
    stop = _flow_time(last + log_shift)
    inner = (start + (stop - start) * i / n for i in range(1, n))
    return [first, *(math.log((1 - t) / t) - log_shift for t in inner), last]


def _flow_time(lam: float) -> float:
    return 1 / (1 + math.exp(lam))


def check_span(lam_span: tuple[float, float]) -> tuple[float, float]:
    """`lam_span` as two floats; `ValueError` unless they are finite, apart, and within ±100."""
    first, last = (float(end) for end in lam_span)
    if not (abs(first) <= 100 and abs(last) <= 100 and first != last):
        raise ValueError(
            f"lam_span must be two different numbers between -100 and 100, not {lam_span}"
        )
    return first, last


def _root_linear_time(lam: float) -> float:
    return math.sqrt(linear_time(lam))


def _root_linear_lam(root: float) -> float:
    return linear_lam(root * root)


def linear_lam(t: float) -> float:
    """λ of the linear-β clock at t > 0: log α = −¼ (20 − 0.1) t² − ½ 0.1 t.

    Song et al. 2011.13456, appendix C, with β from 0.1 to 20.
    """
    log_a = -0.25 * (_BETA_1 - _BETA_0) * t * t - 0.5 * _BETA_0 * t
    return log_a - 0.5 * math.log(-math.expm1(2 * log_a))


_CLOCKS = {
    "logsnr": (lambda lam: lam, lambda lam: lam),
    "cosine": (cosine_time, lambda t: cosine_lam(t, -math.inf)),
    "linear": (linear_time, linear_lam),
    "quadratic": (_root_linear_time, _root_linear_lam),
    "karras": (
        lambda lam: math.exp(-lam / _KARRAS_RHO),
        lambda root: -_KARRAS_RHO * math.log(root),
    ),
}


# --- discrete schedules ---------------------------------------------------------------------------


def lambdas_of_betas(betas: Sequence[float] | np.ndarray | Tensor) -> np.ndarray:
    """λ of each label of a discrete schedule, (T,) float64 and decreasing.

    ᾱ = Π (1 − β) and λ = ½ log(ᾱ / (1 − ᾱ)), with ᾱ clipped at 2⁻²⁴ where it would reach 0.
    `ValueError` unless every β lies in (0, 1].
    """
    if isinstance(betas, Tensor):
        betas = betas.detach().cpu().double().numpy()
    beta = np.asarray(betas, dtype=np.float64)
    if beta.ndim != 1 or not len(beta) or not ((beta > 0) & (beta <= 1)).all():
        raise ValueError("betas must be a list of numbers above 0 and at most 1")
    with np.errstate(divide="ignore"):
        log_alpha_bar = np.maximum(np.cumsum(np.log1p(-beta)), math.log(ALPHA_BAR_MIN))
    return 0.5 * (log_alpha_bar - np.log(-np.expm1(log_alpha_bar)))
