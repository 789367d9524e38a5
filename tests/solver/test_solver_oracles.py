"""Other people's solvers as independent oracles, on the same nodes, handed over by `lambdas`."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import scheduling_dpmsolver_multistep
from solver_cases import SPAN, drive, slopes

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import Measure, integrate, nodes, plan, sigma, trajectory
from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.settings import Solver

X = torch.randn(1, 128, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
GRIDS = [nodes("logsnr", 12, SPAN), nodes("karras", 11, SPAN), nodes("linear", 10, (-3.0, 2.0))]
FORMS = {"data": "dpmsolver++", "noise": "dpmsolver"}


class DoubleTorch:
    """torch, with float64 where diffusers' multistep step casts the sample to float32."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture(autouse=True)
def double(monkeypatch):
    monkeypatch.setattr(scheduling_dpmsolver_multistep, "torch", DoubleTorch())


def diffusers_solve(cls, lambdas, x=X, noises=None, **config):
    """A diffusers scheduler on our nodes: its float32 sigmas are replaced by ours."""
    if cls is not DEISMultistepScheduler:
        config.setdefault("final_sigmas_type", "sigma_min")
    scheduler = cls(prediction_type="sample", **config)
    scheduler.set_timesteps(len(lambdas) - 1)
    sigmas = [math.exp(-lam) for lam in lambdas]
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    scheduler.set_begin_index(0)
    for i, t in enumerate(scheduler.timesteps):
        extra = {} if noises is None else {"variance_noise": noises[i]}
        x = scheduler.step(MIXTURE.denoise(x, lambdas[i]), t, x, **extra).prev_sample
    return x


def ours(lambdas, **fields):
    return integrate(MIXTURE.denoise, X, Solver(**fields), lambdas=lambdas)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lambdas", GRIDS, ids=len)
def test_published_multistep_is_diffusers(lambdas, order, prediction):
    theirs = diffusers_solve(
        DPMSolverMultistepScheduler,
        lambdas,
        solver_order=order,
        algorithm_type=FORMS[prediction],
        lower_order_final=True,
    )
    got = ours(lambdas, order=order, prediction=prediction, weights="published")
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("lambdas", GRIDS, ids=len)
def test_exact_order_two_is_diffusers_heun_variant(lambdas, prediction):
    theirs = diffusers_solve(
        DPMSolverMultistepScheduler,
        lambdas,
        solver_type="heun",
        algorithm_type=FORMS[prediction],
        lower_order_final=False,
    )
    got = ours(lambdas, prediction=prediction, lower_order_final=False)
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [2, 3])
def test_a_last_node_at_infinity_is_diffusers_last_sigma_zero(order):
    lambdas = [*nodes("karras", 11, SPAN), math.inf]
    theirs = diffusers_solve(
        DPMSolverMultistepScheduler, lambdas, solver_order=order, final_sigmas_type="zero"
    )
    got = ours(lambdas, order=order, weights="published")
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize(("order", "count"), [(1, 5), (2, 7), (2, 11)])
def test_published_singlestep_is_diffusers(order, count, prediction):
    lambdas = nodes("logsnr", count, SPAN)
    theirs = diffusers_solve(
        DPMSolverSinglestepScheduler,
        lambdas,
        solver_order=order,
        algorithm_type=FORMS[prediction],
        lower_order_final=True,
    )
    got = ours(
        lambdas, order=order, method="singlestep", prediction=prediction, weights="published"
    )
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("count", [6, 7, 8, 12, 13])
def test_exact_singlestep_order_three_is_diffusers_heun_variant(count, prediction):
    lambdas = nodes("linear", count, SPAN)
    theirs = diffusers_solve(
        DPMSolverSinglestepScheduler,
        lambdas,
        solver_order=3,
        algorithm_type=FORMS[prediction],
        solver_type="heun",
        lower_order_final=True,
    )
    got = ours(lambdas, order=3, method="singlestep", prediction=prediction)
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


def test_diffusers_midpoint_singlestep_three_differs_in_its_inner_stage_and_ours_is_nearer():
    # diffusers takes ½ for M₁ in the stage at 2/3, where the paper's algorithm 2 has φ₂ (exact)
    truth = MIXTURE.flow(X, *SPAN)
    errors = {"theirs": [], "ours": []}
    for count in (48, 96, 192):
        lambdas = nodes("logsnr", count, SPAN)
        theirs = diffusers_solve(
            DPMSolverSinglestepScheduler,
            lambdas,
            solver_order=3,
            algorithm_type="dpmsolver",
            lower_order_final=False,
        )
        got = ours(
            lambdas,
            order=3,
            method="singlestep",
            prediction="noise",
            weights="published",
            lower_order_final=False,
        )
        for name, result in (("theirs", theirs), ("ours", got)):
            errors[name].append((result - truth).abs().mean().item())
    assert all(mine < other for mine, other in zip(errors["ours"], errors["theirs"], strict=True))
    assert slopes(errors["ours"])[-1] > 2.75


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("lambdas", GRIDS, ids=len)
def test_published_corrector_is_unipc(lambdas, prediction, order):
    theirs = diffusers_solve(
        UniPCMultistepScheduler,
        lambdas,
        solver_order=order,
        solver_type="bh2",
        predict_x0=prediction == "data",
        lower_order_final=True,
    )
    got = ours(lambdas, order=order, prediction=prediction, weights="published", corrector=True)
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lambdas", GRIDS, ids=len)
def test_exact_noise_form_is_deis(lambdas, order):
    theirs = diffusers_solve(
        DEISMultistepScheduler, lambdas, solver_order=order, lower_order_final=True
    )
    got = ours(lambdas, order=order, prediction="noise")
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_published_sde_is_diffusers_with_the_noise_of_our_path(order):
    lambdas = GRIDS[0]
    path = BrownianPath([5], X.shape[1:], 1.0)
    noises = []
    for lam, target in pairwise(lambdas):
        scale = (math.exp(2 * target) - math.exp(2 * lam)) ** 0.5  # ξ = ΔB/√Δτ
        noises.append(path.increment(lam, target, X) / scale)
    theirs = diffusers_solve(
        DPMSolverMultistepScheduler,
        lambdas,
        noises=noises,
        solver_order=order,
        algorithm_type="sde-dpmsolver++",
        lower_order_final=True,
    )
    solver = Solver(order=order, eta=1.0, weights="published")
    got = integrate(MIXTURE.denoise, X, solver, lambdas=lambdas, seeds=[5])
    torch.testing.assert_close(got, theirs, rtol=0, atol=1e-10)


# --- k-diffusion, frozen by tests/fixtures/make_k_diffusion.py -----------------------------------

FROZEN = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "fixtures" / "k_diffusion.npz").items()
}
KNOISE = FROZEN["noise"]


def scaled(x, lam):
    """k-diffusion's state is x̂ = x/α."""
    return x / torch.sigmoid(torch.tensor(2 * lam, dtype=torch.float64)).sqrt()


@pytest.mark.parametrize("nfe", [7, 12, 20])
def test_published_singlestep_three_is_k_diffusions_dpm_fast(nfe):
    solver = Solver(nfe=nfe, order=3, method="singlestep", prediction="noise", weights="published")
    got = integrate(MIXTURE.denoise, KNOISE, solver, lam_span=SPAN)
    torch.testing.assert_close(scaled(got, SPAN[1]), FROZEN[f"fast_{nfe}"], rtol=0, atol=1e-10)


def test_published_multistep_two_is_k_diffusions_dpmpp_2m():
    lambdas = [*FROZEN["2m_lambdas"].tolist(), math.inf]
    solver = Solver(weights="published", lower_order_final=False)
    got = integrate(MIXTURE.denoise, KNOISE, solver, lambdas=lambdas)
    torch.testing.assert_close(got, FROZEN["2m"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [2, 3])
def test_k_diffusions_adaptive_steps_are_our_steps_on_its_accepted_nodes(order):
    ends = FROZEN[f"adaptive_{order}_t"].tolist()
    lambdas = [
        lam + (target - lam) * i / order for lam, target in pairwise(ends) for i in range(order)
    ] + ends[-1:]
    solver = Solver(
        order=order,
        method="singlestep",
        prediction="noise",
        weights="published",
        lower_order_final=False,
    )
    got = integrate(MIXTURE.denoise, KNOISE, solver, lambdas=lambdas)
    torch.testing.assert_close(
        scaled(got, ends[-1]), FROZEN[f"adaptive_{order}"], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("order", [2, 3])
def test_k_diffusions_adaptive_error_norm_differs_and_ours_reaches_the_truth_for_less(order):
    # it measures the error in x/α, up to 150 times larger states, with the same tolerances
    truth = MIXTURE.flow(KNOISE, *SPAN)
    theirs = FROZEN[f"adaptive_{order}"] / scaled(torch.ones(1), SPAN[1]).item()
    their_error = (theirs - truth).abs().mean().item()
    solver = Solver(method="adaptive", order=order, prediction="noise", tolerance=0.05)
    run = drive(MIXTURE.denoise, KNOISE, solver)
    assert (run.result - truth).abs().mean().item() < their_error / 2
    assert run.nfe <= 1.2 * int(FROZEN[f"adaptive_{order}_nfe"])


def test_the_oracles_would_notice_a_wrong_weight():
    lambdas = GRIDS[0]
    theirs = diffusers_solve(DPMSolverMultistepScheduler, lambdas, solver_order=3)
    assert (ours(lambdas, order=3) - theirs).abs().max() > 1e-3
    assert sigma(0.0) == pytest.approx(0.5**0.5) and plan(Solver(), SPAN).nfe == 20
    assert not isinstance(next(trajectory(X, Solver(), lam_span=SPAN)), Measure)
