"""What `integrate` refuses, warns of and keeps: answers, budgets, gradients, 16-bit states."""

from __future__ import annotations

import math

import pytest
import torch
from solver_cases import SPAN

from dpm_demo.models.exact import MIXTURE
from dpm_demo.models.wrap import wrap
from dpm_demo.solver import integrate, plan
from dpm_demo.solver.settings import Solver

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("answer", [torch.zeros(3, 1), torch.zeros(8), torch.zeros(1, 8), None])
def test_an_answer_of_another_shape_is_refused_in_one_sentence(answer) -> None:
    with pytest.raises(ValueError, match=r"the denoiser answered .* to a state of shape \(3, 8\)"):
        integrate(lambda x, lam: answer, X, Solver(nfe=4), lam_span=SPAN)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0, 3])
def test_an_answer_that_is_not_finite_is_refused_with_its_lam(bad: float, where: int) -> None:
    calls = []

    def denoise(x, lam):
        calls.append(float(lam[0]))
        return torch.full_like(x, bad) if len(calls) == where + 1 else MIXTURE.denoise(x, lam)

    with pytest.raises(FloatingPointError, match="is not finite"):
        integrate(denoise, X, Solver(nfe=6), lam_span=SPAN)
    assert len(calls) == where + 1


def test_a_budget_that_contradicts_the_nodes_is_said() -> None:
    nodes = [-5.0, -2.0, 0.0, 2.0, 4.0]
    with pytest.warns(UserWarning, match="nfe 12 is ignored: the 5 nodes spend 4 evaluations"):
        integrate(MIXTURE.denoise, X, Solver(nfe=12), lambdas=nodes)


def test_a_budget_that_agrees_with_the_nodes_is_not_warned_of(recwarn) -> None:
    nodes = [-5.0, -2.0, 0.0, 2.0, 4.0]
    integrate(MIXTURE.denoise, X, Solver(nfe=4), lambdas=nodes)
    integrate(MIXTURE.denoise, X, Solver(), lambdas=nodes)
    assert not recwarn.list


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_error_of_a_16_bit_state_does_not_grow_with_the_budget(dtype: torch.dtype) -> None:
    seen = set()

    def denoise(x, lam):
        seen.add(x.dtype)
        return MIXTURE.denoise(x.double(), lam.double()).to(x.dtype)

    def error(nfe: int) -> float:
        solver = Solver(nfe=nfe, order=2)
        start = X.to(dtype)
        truth = integrate(MIXTURE.denoise, start.double(), solver, lam_span=SPAN)
        sample = integrate(denoise, start, solver, lam_span=SPAN)
        assert sample.dtype == dtype
        return (sample.double() - truth).square().mean().sqrt().item()

    few, many = error(20), error(1000)
    assert seen == {dtype}
    assert many < 2 * few + torch.finfo(dtype).eps


@pytest.mark.parametrize(
    "solver",
    [
        Solver(nfe=6, order=3),
        Solver(nfe=6, order=3, method="singlestep", prediction="noise"),
        Solver(nfe=6, corrector=True),
        Solver(nfe=6, threshold="dynamic"),
        Solver(nfe=60, order=3, method="adaptive"),
    ],
)
def test_differentiable_gives_the_gradient_of_the_sample(solver: Solver) -> None:
    x = X[:1].clone().requires_grad_()

    def denoise(x, lam):
        return MIXTURE.denoise(x, lam)

    sample = integrate(denoise, x, solver, lam_span=SPAN, differentiable=True)
    (slope,) = torch.autograd.grad(sample[0, 0], x)
    rough = 1e-2 if solver.method == "adaptive" else 1e-4  # its steps depend on the state
    step = torch.zeros_like(X[:1])
    step[0, 0] = 1e-6
    ends = [
        integrate(denoise, X[:1] + s * step, solver, lam_span=SPAN)[0, 0].item() for s in (-1, 1)
    ]
    assert slope[0, 0].item() == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=rough)
    assert not integrate(denoise, x, solver, lam_span=SPAN).requires_grad


def test_differentiable_reaches_the_parameters_of_the_denoiser() -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    sample = integrate(
        lambda x, lam: weight * MIXTURE.denoise(x, lam),
        X,
        Solver(nfe=5),
        lam_span=SPAN,
        differentiable=True,
    )
    (slope,) = torch.autograd.grad(sample.sum(), weight)
    assert slope.abs() > 0


def test_nodes_come_in_as_lambdas_sigmas_or_timesteps() -> None:
    solver = Solver(nfe=6, order=3)
    lam = list(plan(solver, SPAN).nodes)
    wanted = integrate(MIXTURE.denoise, X, solver, lambdas=lam)
    sigmas = [math.exp(-one) for one in lam]
    assert torch.allclose(
        integrate(MIXTURE.denoise, X, solver, sigmas=sigmas), wanted, atol=1e-12, rtol=0
    )
    times = [10 - one for one in lam]
    found = integrate(MIXTURE.denoise, X, solver, timesteps=times, lam_of=lambda t: 10 - t)
    assert torch.allclose(found, wanted, atol=1e-12, rtol=0)
    for bad in ({"timesteps": times}, {"sigmas": sigmas, "lambdas": lam}, {"sigmas": [1.0, -1.0]}):
        with pytest.raises(ValueError, match="lam_of|give one of|sigmas must"):
            integrate(MIXTURE.denoise, X, solver, **bad)


def test_a_network_of_ours_keeps_gradients_to_state_and_weights_where_they_are_asked_for() -> None:
    net = torch.nn.Conv2d(1, 1, 1)
    model = wrap(lambda x, t: net(x), "eps", span=SPAN, shape=(1, 2, 2))
    x = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    solver = Solver(nfe=4)
    assert not integrate(model.denoise, x, solver, lam_span=SPAN).requires_grad
    start = x.requires_grad_()
    sample = integrate(model.denoise, start, solver, lam_span=SPAN, differentiable=True)
    slopes = torch.autograd.grad(sample.sum(), [start, *net.parameters()])
    assert all(slope.abs().sum() > 0 for slope in slopes)
    sample = integrate(model.denoise, x.detach(), solver, lam_span=SPAN, differentiable=True)
    alone = torch.autograd.grad(sample.sum(), list(net.parameters()))
    assert all(map(torch.equal, alone, slopes[1:]))
