"""Samplers of other programs that no setting expresses, as plans; formulas from their papers.

In scaled coordinates x̂ = x/α with σ̂ = e^{−λ}, h = λ' − λ, data predictions m and noise
predictions ε = (x̂ − m)/σ̂. `catalogue` says which program calls which of them what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from dpm_demo.solver.coefficients import Update, fit, linear_update, moments
from dpm_demo.solver.plan import Move
from dpm_demo.solver.schedule import alpha
from dpm_demo.solver.table import Moves, Table, first_order, multistep, weighted

__all__ = ["TABLES"]

#: One step, from the points and the predictions' λ so far (this one first): its moves.
Step = Callable[[float, float, Sequence[float], float], Sequence[Move]]


def _scaled(
    lam: float, target: float, scale: float, weights: Sequence[float], std: float, eta: float
) -> Update:
    """x̂' = scale x̂ + Σ w m + std ξ in variance-preserving coordinates, ξ from the path of eta."""
    spread = 0.0
    if std:
        spread = std / math.sqrt(math.exp(2 * eta * target) - math.exp(2 * eta * lam))
    a = alpha(target)
    return Update(scale * a / alpha(lam), tuple(a * w for w in weights), a * spread)


def _steps(form: str, step: Step) -> Moves:
    """A method of steps that look back at trajectory points: a start at −∞ leaves none behind."""

    def moves(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        made: list[Move] = []
        known: list[float] = []
        for i, (lam, target) in enumerate(pairwise(points)):
            if lam == -math.inf or target == math.inf or (i >= full and not eta):
                made.append(first_order(form, lam, target))
            elif i >= full:
                made.append(_euler(form, lam, target, eta))
            else:
                made.extend(step(lam, target, [lam, *known], eta))
            if lam > -math.inf:
                known.insert(0, lam)
        return made

    return moves


def _down(lam: float, target: float, eta: float) -> tuple[float, float]:
    """σ_down and σ_up of an ancestral step: σ_up = η σ̂' √(1 − e^{−2h}), what is left of σ̂'."""
    s = math.exp(-target)
    if eta == 0:  # falling nodes too
        return s, 0.0
    up = eta * s * math.sqrt(-math.expm1(-2 * (target - lam)))
    return math.sqrt(s * s - up * up), up


def _euler(form: str, lam: float, target: float, eta: float) -> Move:
    """Euler's ancestral step, of order 1 with DDIM's η (2010.02502, equation 16)."""
    down, up = _down(lam, target, eta)
    ratio = down * math.exp(lam)
    scale, weight = (ratio, 1 - ratio) if form == "data" else (1.0, down - math.exp(-lam))
    return Move(lam, 0, target, _scaled(lam, target, scale, [weight], up, eta))


# --- of the noise prediction ----------------------------------------------------------------------


def _heun(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """The trapezoid in ρ (2206.00364, algorithm 1): its stage is at the end of the step."""
    return [
        Move(lam, 0, target, weighted("noise", lam, target, [1.0])),
        Move(target, 1, target, weighted("noise", lam, target, [0.5, 0.5])),
    ]


def _dpm_2(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """The midpoint in log σ, its noise for the whole step (2206.00364, algorithm 2)."""
    middle = 0.5 * (lam + target)
    return [
        Move(lam, 0, middle, weighted("noise", lam, middle, [1.0])),
        Move(middle, 1, target, weighted("noise", lam, target, [1.0, 0.0])),
    ]


def _lms(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """Adams–Bashforth of order 4 in ρ, with the weights of the real spacing."""
    update = linear_update(lam, target, known[:4], noise_form=True, variable="rho")
    return [Move(lam, 0, target, update)]


#: Adams–Bashforth on an even grid, taken whatever the spacing (2202.09778, equation 12).
ADAMS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


# --- of the data prediction -----------------------------------------------------------------------


def _res_3m(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """RES of order 3 on a multistep grid with the coefficient in print (2308.02157).

    b₃ = φ₂/(γ c₂ + c₃), b₂ = γ b₃ and γ = (3c₃³ − 2c₃)/(c₂(2 − 3c₂)), where the third-order
    condition has 3c₃²; they agree at c₃ = 1, and nowhere on a multistep grid.
    """
    return _res_3(lam, target, known, power=3)


def _res_3m_squared(lam: float, target: float, known: Sequence[float], eta: float) -> list[Move]:
    """The same with c₃², which meets the condition."""
    return _res_3(lam, target, known, power=2)


def _res_3(lam: float, target: float, known: Sequence[float], power: int) -> list[Move]:
    if len(known) < 3:
        return [Move(lam, 0, target, linear_update(lam, target, known))]
    h = target - lam
    c2, c3 = ((node - lam) / h for node in known[1:3])
    gamma = (3 * c3**power - 2 * c3) / (c2 * (2 - 3 * c2))
    b3 = moments(h, 2)[1] / (gamma * c2 + c3)
    weights = (1 - (1 + gamma) * b3, gamma * b3, b3)
    return [Move(lam, 0, target, weighted("data", lam, target, weights))]


def _lawson(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """Classical Runge–Kutta of order 4 in λ on e^λ x̂, whose slope is e^λ m (Lawson 1967)."""
    h = target - lam
    half, end = lam + h / 2, target

    def to(there: float, *weights: float) -> Update:  # the newest first; of slopes e^λ m
        at = [end, half, half, lam][4 - len(weights) :]
        parts = [h * w * math.exp(node - there) for node, w in zip(at, weights, strict=True)]
        return _scaled(lam, there, math.exp(lam - there), parts, 0.0, 0.0)

    return [
        Move(lam, 0, half, to(half, 1 / 2)),
        Move(half, 1, half, to(half, 1 / 2, 0)),
        Move(half, 2, end, to(end, 1, 0, 0)),
        Move(end, 3, end, to(end, 1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    ]


def _unipc_b1(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
    """UniPC of order 3 with B₁(h) = h (2302.04867): B₂ differs at order 2 only."""
    made: list[Move] = []
    known: list[float] = []
    orders: list[int] = []
    for i, (lam, target) in enumerate(pairwise(points)):
        correct = None
        before = points[i - 1] if i else -math.inf
        if lam > -math.inf:
            known.insert(0, lam)
        if before > -math.inf:
            reach = min(orders[-1] + 1, len(known))
            correct = linear_update(before, lam, known[:reach], published="bh1")
        order = min(3, max(1, len(known)), len(points) - 1 - i)
        orders.append(order)
        update = None
        if target < math.inf:
            near = known[:order] or [lam]
            update = linear_update(lam, target, near, published="bh1")
        made.append(Move(lam, 0, target, update, correct))
    return made


# --- with noise -----------------------------------------------------------------------------------


def _ancestral(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """DDIM with its own η, which is Euler's ancestral step."""
    return [_euler("data", lam, target, eta)]


def _sde(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """DPM-Solver++ SDE: a stage in the middle and the step itself, each ancestral from λ on."""
    middle = 0.5 * (lam + target)
    (down, up), (half_down, half_up) = _down(lam, target, eta), _down(lam, middle, eta)
    ratio, half_ratio = down * math.exp(lam), half_down * math.exp(lam)
    half = _scaled(lam, middle, half_ratio, [1 - half_ratio], half_up, eta)
    whole = _scaled(lam, target, ratio, [1 - ratio, 0.0], up, eta)
    return [Move(lam, 0, middle, half), Move(middle, 1, target, whole)]


def _ancestral_2s(lam: float, target: float, known: Sequence[float], eta: float) -> list[Move]:
    """DPM-Solver++(2S) to σ_down, and noise: the middle is halfway in log σ to σ_down."""
    down, up = _down(lam, target, eta)
    end = -math.log(down)
    middle = 0.5 * (lam + end)
    step = math.exp(lam - end)
    half = linear_update(lam, middle, [lam])
    whole = _scaled(lam, target, step, [1 - step, 0.0], up, eta)
    return [Move(lam, 0, middle, half), Move(middle, 1, target, whole)]


def _ancestral_dpm_2(lam: float, target: float, known: Sequence[float], eta: float) -> list[Move]:
    """dpm_2 to σ_down, and noise; as data predictions of the two states."""
    down, up = _down(lam, target, eta)
    middle = 0.5 * (lam - math.log(down))
    half = weighted("noise", lam, middle, [1.0])
    plain = weighted("noise", lam, target, [1.0, 0.0])
    slope = down - math.exp(-lam)
    spread = _scaled(lam, target, 1.0, [], up, eta).diffusion
    whole = Update(plain.scale, (alpha(target) * slope, 0.0), spread)
    return [Move(lam, 0, middle, half), Move(middle, 1, target, whole)]


def _sde_3m(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """DPM-Solver++(3M) SDE as k-diffusion prints it: D + φ₂ D₁ − φ₃ D₂ with φ of z = (1 + η) h."""
    if len(known) < 3:
        return [Move(lam, 0, target, linear_update(lam, target, known, eta=eta))]
    h = target - lam
    z = (1 + eta) * h
    r0, r1 = ((a - b) / h for a, b in pairwise(known[:3]))
    phi2 = math.expm1(-z) / z + 1
    phi3 = phi2 / z - 0.5
    first = np.array([1, -1, 0]) / r0, np.array([0, 1, -1]) / r1
    slope = first[0] + (first[0] - first[1]) * r0 / (r0 + r1)
    curve = (first[0] - first[1]) / (r0 + r1)
    weights = np.array([-math.expm1(-z), 0, 0]) + phi2 * slope - phi3 * curve
    std = math.exp(-target) * math.sqrt(-math.expm1(-2 * eta * h)) if eta else 0.0
    return [Move(lam, 0, target, _scaled(lam, target, math.exp(-z), weights.tolist(), std, eta))]


_POINTS, _GAUSS = np.polynomial.legendre.leggauss(48)


def _er_phi(s: np.ndarray | float) -> np.ndarray | float:
    return s * (np.exp(np.power(s, 0.3)) + 10)


def _er_sde(lam: float, target: float, known: Sequence[float], eta: float) -> Sequence[Move]:
    """ER-SDE-Solver-3 in its data form with φ(σ) = σ (e^{σ^0.3} + 10) (2309.06169).

    x̂' = (φ'/φ) x̂ + φ' ∫ m(σ) d(−1/φ) + √(σ'² − σ² (φ'/φ)²) ξ, m a polynomial in σ through the
    last three predictions, integrated by Gauss's rule. Predictions are interpolated, where the
    paper takes Taylor's terms with differences: of the same order, and not the same numbers.
    """
    if eta != 1:
        raise ValueError(f'eta must be 1 with table "er_sde", which is an SDE, not {eta}')
    s, e = math.exp(-lam), math.exp(-target)
    ratio = float(_er_phi(e) / _er_phi(s))
    depth = 0.5 * (target - lam) * (_POINTS + 1) + lam
    at = np.exp(-depth)
    slope = 1 / (np.exp(at**0.3) + 10)  # σ/φ; and d(1/φ) by its derivative in log σ
    grown = (1 + 0.3 * at**0.3 * np.exp(at**0.3) * slope) * slope / at
    kernel = _GAUSS * grown
    kernel *= (1 - ratio) / kernel.sum()
    nodes = [(math.exp(-node) - s) / (e - s) for node in known[:3]]
    inside = (at - s) / (e - s)
    weights = fit(nodes, [float(kernel @ inside**j) for j in range(len(nodes))])
    std = math.sqrt(max(0.0, e * e - (s * ratio) ** 2))
    return [Move(lam, 0, target, _scaled(lam, target, ratio, weights, std, eta))]


def _sa_solver(again: bool) -> Moves:
    """SA-Solver: stochastic Adams, predictor of order 3 and corrector of order 4 (2309.05019).

    Its τ² is η here; exact weights. `again`: PECE, which evaluates once more after correcting.
    """

    def moves(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        made: list[Move] = []
        known: list[float] = []
        for i, (lam, target) in enumerate(pairwise(points)):
            before = points[i - 1] if i else -math.inf
            if lam == -math.inf or target == math.inf:
                known = [lam, *known] if lam > -math.inf else known
                made.append(first_order("data", lam, target))
                continue
            known.insert(0, lam)
            correct = None
            if not again and before > -math.inf:
                correct = linear_update(before, lam, known[: min(4, i + 1)], eta=eta)
            update = linear_update(lam, target, known[: 3 if i < full else 1], eta=eta)
            if not again or i >= full:
                made.append(Move(lam, 0, target, update, correct))
                continue
            spaced = [w for pair in zip(update.weights, [0.0] * 3, strict=False) for w in pair]
            made.append(Move(lam, 0, target, update._replace(weights=tuple(spaced[:-1]))))
            fixed = linear_update(lam, target, [target, *known[:3]], eta=eta)
            newest, *rest = fixed.weights
            spaced = [w for pair in zip(rest, [0.0] * 3, strict=False) for w in pair][:-1]
            made.append(Move(target, 1, target, fixed._replace(weights=(newest, *spaced))))
        return made

    return moves


def _tables() -> dict[str, Table]:
    noise = {"heun": (_heun, 2), "dpm_2": (_dpm_2, 2), "lms": (_lms, 1)}
    data = {"res_3m": (_res_3m, 1), "res_3m_squared": (_res_3m_squared, 1), "lawson4": (_lawson, 4)}
    noisy: dict[str, tuple[str, Step, int]] = {
        "ddim": ("data", _ancestral, 1),
        "dpmpp_sde": ("data", _sde, 2),
        "dpmpp_2s_ancestral": ("data", _ancestral_2s, 2),
        "dpm_2_ancestral": ("noise", _ancestral_dpm_2, 2),
        "dpmpp_3m_sde": ("data", _sde_3m, 1),
        "er_sde": ("data", _er_sde, 1),
    }
    made = [Table(k, "noise", _steps("noise", s), calls) for k, (s, calls) in noise.items()]
    made += [Table(k, "data", _steps("data", s), calls) for k, (s, calls) in data.items()]
    made += [
        Table(k, form, _steps(form, s), calls, noisy=True) for k, (form, s, calls) in noisy.items()
    ]
    made += [
        multistep("ipndm", "noise", ADAMS),
        multistep("gradient_estimation", "noise", ((1.0,), (2.0, -1.0))),
        Table("uni_pc_bh1", "data", _unipc_b1),
        Table("sa_solver", "data", _sa_solver(again=False), noisy=True),
        Table("sa_solver_pece", "data", _sa_solver(again=True), calls=2, noisy=True),
    ]
    return {table.name: table for table in made}


TABLES = _tables()
