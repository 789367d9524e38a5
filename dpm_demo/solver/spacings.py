"""Where other programs place their nodes, as shares of a span; formulas from their papers.

Each is `(n, first, last) -> n + 1 λ` that fills the span exactly, as every schedule here does,
where those programs take the ends from their σ tables and add σ = 0. Spacings of discrete labels
are here spacings of the linear-β time; `labels` gives the whole labels themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from dpm_demo.solver.schedule import linear_lam, linear_time, nodes

__all__ = ["AYS", "SPACINGS", "beta_quantile", "labels"]

#: Align Your Steps, ten steps (2404.14507): σ lists as published, without their last 0.
AYS = {
    "ays_sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "ays_sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "ays_svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}

Spacing = Callable[[int, float, float], list[float]]
#: The part of a linear-quadratic schedule that its linear half covers (Movie Gen 2410.13720).
LINEAR_PART = 0.025


def beta_quantile(p: float, a: float, b: float) -> float:
    """x with I_x(a, b) = p, the quantile of Beta(a, b), to 1e-12, by bisection."""
    if p <= 0 or p >= 1:
        return min(1.0, max(0.0, p))
    whole = math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))

    def below(x: float) -> float:
        if x > 0.5:
            return whole - _beta_part(1 - x, b, a)
        return _beta_part(x, a, b)

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) < p * whole else (low, middle)
    return 0.5 * (low + high)


def _beta_part(x: float, a: float, b: float) -> float:
    """∫₀ˣ t^{a−1} (1−t)^{b−1} dt for x to ½, by the series of the second factor."""
    total, term = 0.0, 1.0
    for k in range(64):
        total += term / (a + k)
        term *= x * (k + 1 - b) / (k + 1)
    return total * x**a


@lru_cache(maxsize=64)
def _beta_shares(n: int, a: float, b: float) -> tuple[float, ...]:
    return tuple(1 - beta_quantile(1 - i / n, a, b) for i in range(n + 1))


def _in_time(shares: Sequence[float], first: float, last: float) -> list[float]:
    """Nodes at shares of the way in linear-β time."""
    start, stop = linear_time(first), linear_time(last)
    clock = [start + (stop - start) * share for share in shares]
    return [first, *(linear_lam(t) for t in clock[1:-1]), last]


def _beta(a: float, b: float) -> Spacing:
    """Quantiles of Beta(a, b) over the timesteps (2407.12173)."""
    return lambda n, first, last: _in_time(_beta_shares(n, a, b), first, last)


def _kl_optimal(n: int, first: float, last: float) -> list[float]:
    """σ = tan of a line in arctan σ (Align Your Steps, 2404.14507, equation 15)."""
    start, stop = math.atan(math.exp(-first)), math.atan(math.exp(-last))
    inner = (start + (stop - start) * i / n for i in range(1, n))
    return [first, *(-math.log(math.tan(angle)) for angle in inner), last]


def _linear_quadratic(n: int, first: float, last: float) -> list[float]:
    """In the time of a flow: half of the steps evenly over its first 2.5 %, then quadratic."""
    straight = n // 2
    if not straight:
        return [first, last]
    bent = n - straight
    gap = straight - LINEAR_PART * n
    square = gap / (straight * bent**2)
    slope = LINEAR_PART / straight - 2 * gap / bent**2
    rise = square * straight**2
    ramp = [
        i * LINEAR_PART / straight if i < straight else square * i * i + slope * i + rise
        for i in range(n)
    ]
    start, stop = (1 / (1 + math.exp(lam)) for lam in (first, last))
    times = [start + (stop - start) * share for share in ramp[1:]]
    return [first, *(math.log((1 - t) / t) for t in times), last]


def _listed(name: str) -> Spacing:
    """A published list, interpolated in log σ and its place, stretched in λ over the span."""

    def spacing(n: int, first: float, last: float) -> list[float]:
        lam = [-math.log(s) for s in AYS[name]]
        found = []
        for i in range(n + 1):
            place = i / n * (len(lam) - 1)
            k = min(int(place), len(lam) - 2)
            found.append(lam[k] + (place - k) * (lam[k + 1] - lam[k]))
        scale = (last - first) / (lam[-1] - lam[0])
        return [first, *(first + scale * (one - lam[0]) for one in found[1:-1]), last]

    return spacing


def _as(schedule: str) -> Spacing:
    return lambda n, first, last: nodes(schedule, n, (first, last))


SPACINGS: dict[str, Spacing] = {
    "exponential": _as("logsnr"),
    "polyexponential": _as("logsnr"),  # with ρ = 1, its default everywhere
    "normal": _as("linear"),
    "sgm_uniform": _as("linear"),
    "simple": _as("linear"),
    "ddim_uniform": _as("linear"),
    "beta": _beta(0.6, 0.6),
    "beta57": _beta(0.5, 0.7),
    "kl_optimal": _kl_optimal,
    "linear_quadratic": _linear_quadratic,
    **{name: _listed(name) for name in AYS},
}


def labels(name: str, n: int, trained: int = 1000) -> list[int]:
    """The whole labels, falling, at which a program evaluates a network of `trained` labels.

    As `timesteps=` with a model's own map they are those programs' nodes, after which σ = 0
    follows. From the programs' documents:

    "normal"        even from the last label to the first, both included
    "sgm_uniform"   even from the last label towards the first, which is left out
    "simple"        every trained/n-th of the table, from the last
    "ddim_uniform"  every ⌊trained/n⌋-th from 1 on: as many as there are, so more than n where n
                    does not divide `trained` (and one fewer, the first, where n is `trained`)

    Roundings differ between versions of those programs. `ValueError` for another name.
    """
    if not 1 <= n <= trained:
        raise ValueError(f"n must lie between 1 and {trained}, not {n}")
    top = trained - 1
    if name == "normal":
        return [round(top * (1 - i / max(1, n - 1))) for i in range(n)]
    if name == "sgm_uniform":
        return [round(top * (1 - i / n)) for i in range(n)]
    if name == "simple":
        return [top - int(i * trained / n) for i in range(n)]
    if name == "ddim_uniform":
        return [*range(1, trained, trained // n)][::-1]
    raise ValueError(
        f"labels are known for normal, sgm_uniform, simple and ddim_uniform, not {name!r}"
    )
