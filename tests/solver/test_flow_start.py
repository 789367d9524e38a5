"""A start at λ = −∞, the schedule of flows, and node lists as other programs take them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from dpm_demo.models.exact import MIXTURE
from dpm_demo.models.wrap import flow_span, wrap
from dpm_demo.solver import integrate, nodes, plan
from dpm_demo.solver.lists import lambdas_of_sigmas, sigmas_of_lambdas
from dpm_demo.solver.settings import Solver

X = torch.randn(2, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
END = 4.0


def flow_list(n: int, shift: float = 1.0) -> list[float]:
    """λ of n + 1 flow times from 1, even before the shift, the last at λ = END."""
    return nodes("flow", n, (-math.inf, END), shift)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_start_at_pure_noise_is_the_limit_of_late_starts(prediction, method, order) -> None:
    solver = Solver(order=order, method=method, prediction=prediction)
    inner = [-3.0, -1.5, 0.0, 1.5, 3.0, END]
    exact = integrate(MIXTURE.denoise, X, solver, lambdas=[-math.inf, *inner])
    assert torch.isfinite(exact).all()
    # the same by hand: one Euler step of the flow, then an ordinary start
    x0 = MIXTURE.denoise(X, torch.full((2,), -math.inf, dtype=torch.float64))
    near = torch.tensor(inner[0], dtype=torch.float64)
    first = torch.sigmoid(-2 * near).sqrt() * X + torch.sigmoid(2 * near).sqrt() * x0
    if method == "multistep":
        by_hand = integrate(MIXTURE.denoise, first, solver, lambdas=inner)
        assert torch.allclose(exact, by_hand, atol=1e-12, rtol=0)
    if order == 1 and prediction == "data":  # in noise form α'/α = e^27 would lose every digit
        late = integrate(MIXTURE.denoise, X, solver, lambdas=[-30.0, *inner])
        assert torch.allclose(exact, late, atol=1e-9, rtol=0)


def test_order_one_from_pure_noise_is_euler_on_the_flow() -> None:
    lam = flow_list(9, 3.0)
    sample = integrate(MIXTURE.denoise, X, Solver(order=1), lambdas=lam)
    times = sigmas_of_lambdas(lam, flow=True)
    state = X.clone()
    for lam_i, t, t_next in zip(lam, times, times[1:], strict=False):
        radius = math.hypot(1 - t, t)
        at = torch.full((2,), lam_i, dtype=torch.float64)
        velocity = (state - MIXTURE.denoise(state / radius, at)) / t
        state = state + (t_next - t) * velocity
    found = sample * math.hypot(1 - times[-1], times[-1])
    assert torch.allclose(found, state, atol=1e-12, rtol=0)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("corrector", [False, True])
def test_the_error_from_pure_noise_falls_at_the_order_of_the_solver(order, corrector) -> None:
    solver = Solver(order=order, corrector=corrector, lower_order_final=False)
    truth = MIXTURE.flow(X, -math.inf, END)

    def error(n: int) -> float:
        sample = integrate(MIXTURE.denoise, X, solver, lambdas=flow_list(n))
        return (sample - truth).abs().mean().item()

    assert math.log2(error(96) / error(192)) > order - 0.15


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("nfe", [1, 2, 3, 7, 20])
def test_a_flow_span_from_pure_noise_spends_the_budget(method, nfe) -> None:
    solver = Solver(nfe=nfe, order=3, method=method, schedule="flow")
    made = plan(solver, (-math.inf, END))
    assert made.nfe == nfe
    assert made.nodes[0] == -math.inf and made.nodes[-1] == END
    assert made.orders[0] == 1
    assert torch.isfinite(integrate(MIXTURE.denoise, X, solver, lam_span=(-math.inf, END))).all()


def test_noise_is_refused_from_an_infinite_start() -> None:
    with pytest.raises(ValueError, match="eta must be 0 with a first node of -inf"):
        plan(Solver(eta=1.0), lambdas=[-math.inf, 0.0, 1.0])


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_the_flow_schedule_is_even_in_time_before_the_shift(shift) -> None:
    span = flow_span(shift)
    for asked in (None, shift):  # the span's own shift is the model's
        shifted = sigmas_of_lambdas(nodes("flow", 10, span, asked), flow=True)
        even = [s / (shift - (shift - 1) * s) for s in shifted]  # the shift undone
        gaps = [a - b for a, b in pairwise(even)]
        assert gaps == pytest.approx([gaps[0]] * 10, abs=1e-12)


def test_the_shift_belongs_to_the_flow_schedule() -> None:
    with pytest.raises(ValueError, match="shift 3.0 belongs to schedule"):
        Solver(shift=3.0)
    for bad in (0.0, -1.0, math.nan, "3"):
        with pytest.raises(ValueError, match="shift must"):
            Solver(schedule="flow", shift=bad)


def test_a_function_is_a_schedule() -> None:
    def mine(n, span):
        return [span[0] + (span[1] - span[0]) * (i / n) ** 2 for i in range(n + 1)]

    solver = Solver(nfe=5, schedule=mine)
    assert list(plan(solver, (-4.0, 4.0)).nodes) == pytest.approx(mine(5, (-4.0, 4.0)))
    with pytest.raises(ValueError, match="the schedule must place 6 nodes, not 2"):
        plan(Solver(nfe=5, schedule=lambda n, span: list(span)), (-4.0, 4.0))


@pytest.mark.parametrize("fields", [{}, {"method": "singlestep"}, {"table": "ipndm"}], ids=str)
@pytest.mark.parametrize("own", [[0.0] * 5, [0, 1, 3, 2, 4], [0, 1, math.nan, 3, 4], [0, 500]])
def test_a_function_that_places_no_nodes_of_a_solver_is_refused(own, fields) -> None:
    solver = Solver(nfe=len(own) - 1, schedule=lambda n, span: own, **fields)
    with pytest.raises(ValueError, match="^schedule: its nodes are none of a solver: lambdas must"):
        plan(solver, (-4.0, 4.0))


def test_a_function_that_turns_round_is_refused_with_noise() -> None:
    with pytest.raises(ValueError, match="^schedule: .*eta must be 0 on the way from data"):
        plan(Solver(nfe=2, eta=1.0, schedule=lambda n, span: [2, 1, 0]), (-4.0, 4.0))


def test_sigmas_and_lambdas_are_inverse() -> None:
    lam = [-math.inf, -3.0, 0.0, 2.0, math.inf]
    assert lambdas_of_sigmas(sigmas_of_lambdas(lam, True), True) == pytest.approx(lam)
    assert lambdas_of_sigmas(sigmas_of_lambdas(lam[1:])) == pytest.approx(lam[1:])


def test_the_lists_of_a_solver_are_those_of_its_model() -> None:
    betas = torch.linspace(1e-4, 0.02, 1000)
    discrete = wrap(lambda x, t: x, "eps", betas=betas, shape=(1, 4, 4))
    flow = wrap(lambda x, t: x, "flow", shape=(1, 4, 4), shift=3.0, time=lambda s: 1000 * s)
    solver = Solver(nfe=8, order=2)
    labels = solver.timesteps(discrete)
    assert len(labels) == 8 and labels[0] > 900 and labels == sorted(labels, reverse=True)
    lam = solver.lambdas(discrete)
    assert len(lam) == 9 and (lam[0], lam[-1]) == discrete.lam_span
    assert solver.sigmas(discrete) == pytest.approx([math.exp(-one) for one in lam])
    assert solver.sigmas(flow) == pytest.approx(
        [1 / (1 + math.exp(one)) for one in solver.lambdas(flow)]
    )
    assert solver.timesteps(flow) == pytest.approx([1000 * s for s in solver.sigmas(flow)[:-1]])
    seen = []
    watched = wrap(
        lambda x, t: seen.append(float(t[0])) or x, "flow", shape=(4,), time=lambda s: 1000 * s
    )
    integrate(watched.denoise, X[:1, :4], solver, lam_span=watched.lam_span)
    assert solver.timesteps(watched) == pytest.approx(seen)
