"""The one formula: exponential-integrator weights by moment matching, in float64 on the host.

In scaled coordinates x̂ = x/α, with σ̂ = σ/α = e^{−λ}, a step from λ to λ' = λ + h is

    data form   x̂' = e^{−z} x̂ + (1 − e^{−z}) Σ w_k m_k      z = (1 + η) h, η = 0 the ODE
    noise form  x̂' = x̂ + σ̂ (e^{−h} − 1) Σ w_k ε_k           z = −h

where m_k and ε_k are the data and noise predictions at λ_k. The weights are those that integrate
every polynomial in λ of degree below their number exactly: over the nodes r_k = (λ_k − λ)/h,

    Σ_k w_k r_k^j = M_j(z) = ∫₀¹ t^j e^{zt} dt / ∫₀¹ e^{zt} dt,   j = 0 … p−1.

Multistep, singlestep, their stages, the corrector and the SDE differ only in their nodes.
Source: 2206.00927 (3.4), 2211.01095 (9), 2302.04867 (section 3), written as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dpm_demo.solver.schedule import alpha, linear_time, log_alpha

__all__ = ["Update", "fit", "linear_update", "moments"]


class Update(NamedTuple):
    """x' = scale · x + Σ_k weights[k] · prediction_k, in variance-preserving coordinates.

    Predictions are counted from the newest. `diffusion` multiplies the increment of the Brownian
    path in τ = e^{2ηλ} over the step (0 for the ODE).
    """

    scale: float
    weights: tuple[float, ...]
    diffusion: float = 0.0


def moments(z: float, count: int) -> list[float]:
    """M_0 … M_{count−1} at z, each relative to rounding: a series for |z| < 1, else a recurrence.

    The closed form divides differences of order z^{j+1} by z^{j+1}: at z = 1e−3 in float32 it is
    wrong by a factor of 60, and in float64 by 1e−7, hence the series.
    """
    if abs(z) < 1:
        integrals = [0.0] * count
        term = 1.0
        for k in range(24):  # 1/24! is below the rounding of the first term
            for j in range(count):
                integrals[j] += term / (j + k + 1)
            term *= z / (k + 1)
        return [integral / integrals[0] for integral in integrals]
    # ∫ t^j e^{zt} = (e^z − j ∫ t^{j−1} e^{zt}) / z, divided by ∫ e^{zt} = (e^z − 1)/z
    edge = 0.0 if z < -700 else 1 / -math.expm1(-z)
    values = [1.0]
    for j in range(1, count):
        values.append(edge - j * values[-1] / z)
    return values


def fit(nodes: Sequence[float], matched: Sequence[float]) -> tuple[float, ...]:
    """Weights w over `nodes` r with Σ w_k r_k^j = matched[j] for every j below len(nodes).

    w_k = Σ_j matched[j] · [t^j] Π_{i≠k} (t − r_i)/(r_k − r_i): Lagrange's basis in monomials.
    `ValueError` when two nodes coincide.
    """
    weights = []
    for k, node in enumerate(nodes):
        basis = [1.0]  # coefficients, the constant first
        for i, other in enumerate(nodes):
            if i == k:
                continue
            if node == other:
                raise ValueError(f"two nodes coincide at {node}: every evaluation needs its own")
            gap = node - other
            basis = [
                (low - other * high) / gap
                for low, high in zip([0.0, *basis], [*basis, 0.0], strict=True)
            ]
        weights.append(sum(c * m for c, m in zip(basis, matched, strict=False)))
    return tuple(weights)


_POINTS, _GAUSS = (0.5 * np.polynomial.legendre.leggauss(64)[k] + (0.5, 0.0)[k] for k in (0, 1))
_CLOCKS: dict[str, Callable[[float], float]] = {
    "rho": lambda lam: math.exp(-lam),
    "time": linear_time,
}


def _weights_in(
    variable: str, lam: float, target: float, known: Sequence[float], z: float
) -> tuple[float, ...]:
    """Weights exact on polynomials in u(λ) of degree below len(known), u counted in this step."""
    u = _CLOCKS[variable]
    start, length = u(lam), u(target) - u(lam)
    kernel = _GAUSS * np.exp(z * (_POINTS - (z > 0)))
    kernel /= kernel.sum()
    inside = np.array([(u(lam + (target - lam) * t) - start) / length for t in _POINTS])
    moments_in_u = [float(kernel @ inside**j) for j in range(len(known))]
    return fit([(u(node) - start) / length for node in known], moments_in_u)


def linear_update(
    lam: float,
    target: float,
    known: Sequence[float],
    *,
    noise_form: bool = False,
    eta: float = 0.0,
    published: str | None = None,
    variable: str = "lambda",
) -> Update:
    """The update from λ = `lam` to `target` that uses the predictions at the nodes `known`.

    `published` reproduces the formulas that people use instead of the exact weights; it names what
    the update is there: "predictor" (order 2 takes ½ for M₁; multistep order 3 lacks a factor 2
    in its second difference, and converges at order 2), "unipc" (a predictor with the corrector:
    order 2 takes ½, order 3 is exact), "corrector" (order 1 takes ½), "bh1" (both of these with ½
    of B₁(h) = h in place of B₂(h) = e^h − 1), "singlestep" (order 2 takes ½, order 3 leaves its
    middle node out), "stage" (exact).

    `variable` is what the predictions are polynomials of: "lambda" as above, "rho" = σ/α (of the
    noise form: Adams–Bashforth in ρ, which is LMS and ρAB-DEIS), or "time", the linear-β time
    (tAB-DEIS, 2204.13902). Their moments have no closed form and are integrated by Gauss's rule.

    `lam` may be −∞ (σ = 1, the start of a flow): the update is then of order 1 in data form
    whatever the form, x' = σ' x + α' x0.
    """
    if lam == -math.inf:  # α = 0, so e^{−h} α'/α is the ratio of the σ: x' = σ' x + α' x0
        return Update(math.exp(log_alpha(-target)), (alpha(target),))
    h = target - lam
    z = -h if noise_form else (1 + eta) * h
    r = [(node - lam) / h for node in known]
    m = moments(z, len(r))
    if published in ("predictor", "unipc", "singlestep", "corrector") and len(r) == 2:
        m[1] = 0.5
    if published == "bh1" and len(r) == 2:
        m[1] = -0.5 * z / math.expm1(-z)
    if published == "predictor" and len(r) == 3:
        m[2] /= 2
    if published == "singlestep" and len(r) == 3:
        newest, oldest = fit([r[0], r[2]], m[:2])
        weights: tuple[float, ...] = (newest, 0.0, oldest)
    elif variable != "lambda":
        weights = _weights_in(variable, lam, target, known, z)
    else:
        weights = fit(r, m)
    growth = math.exp(log_alpha(target) - log_alpha(lam))  # α'/α
    if noise_form:
        factor = alpha(target) * math.exp(-lam) * math.expm1(-h)
        return Update(growth, tuple(factor * w for w in weights))
    factor = alpha(target) * -math.expm1(-z)
    return Update(
        scale=growth * math.exp(-z),
        weights=tuple(factor * w for w in weights),
        diffusion=alpha(target) * math.exp(-(1 + eta) * target) if eta else 0.0,
    )
