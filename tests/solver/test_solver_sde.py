"""The SDE: gain and variance without Monte Carlo; a Brownian path that belongs to the sample."""

import math
from itertools import pairwise

import pytest
import torch
from solver_cases import NOISE, SPAN, drive, slopes

from benchmarks.solver_orders import gain_and_variance, true_gain_and_variance
from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import integrate
from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.settings import Solver


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("order", [1, 2])
def test_gain_and_variance_converge_at_the_order_of_the_method(order, eta, method):
    found = [
        gain_and_variance(
            Solver(nfe=n, order=order, eta=eta, method=method, lower_order_final=False)
        )
        for n in (96, 192, 384)
    ]
    for i in (0, 1):
        errors = [abs(pair[i] / true_gain_and_variance(eta)[i] - 1) for pair in found]
        # the gain of the full SDE is exact at every step
        assert slopes(errors)[-1] > order - 0.25 or (eta == 1 and i == 0 and max(errors) < 1e-12)
        assert errors[-1] < {1: 6e-2, 2: 2e-3}[order]


def test_published_order_two_has_weak_order_two_as_well():
    solver = {"order": 2, "eta": 1.0, "weights": "published", "lower_order_final": False}
    found = [gain_and_variance(Solver(nfe=n, **solver))[1] for n in (192, 384)]
    assert slopes([abs(v / true_gain_and_variance(1.0)[1] - 1) for v in found])[0] > 1.75


def test_the_ode_has_no_variance():
    gain, variance = gain_and_variance(Solver(nfe=96, order=2, eta=0.0))
    assert variance == 0 and gain == pytest.approx(true_gain_and_variance(0.0)[0], rel=1e-2)


# --- the path -------------------------------------------------------------------------------------


def path_values(lambdas, seeds=(0,), shape=(20000,), eta=1.0):
    path = BrownianPath(seeds, shape, eta)
    like = torch.zeros((), dtype=torch.float64)
    return [path.increment(a, b, like) for a, b in pairwise(lambdas)]


@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_increments_are_independent_normals_of_variance_delta_tau(eta):
    lambdas = [-5.02, -3.0, -2.9999, 0.0, 0.00001, 1.7, 4.56]
    unit = []
    for value, lam, target in zip(
        path_values(lambdas, eta=eta), lambdas, lambdas[1:], strict=False
    ):
        lapse = math.exp(2 * eta * lam) * math.expm1(2 * eta * (target - lam))
        unit.append(value.flatten() / lapse**0.5)
    correlation = torch.stack(unit) @ torch.stack(unit).T / 20000
    torch.testing.assert_close(correlation, torch.eye(6, dtype=torch.float64), rtol=0, atol=0.04)
    kurtosis = (torch.stack(unit) ** 4).mean(1)
    torch.testing.assert_close(kurtosis, torch.full_like(kurtosis, 3.0), rtol=0, atol=0.25)


def test_the_path_is_the_same_however_finely_it_is_asked_for():
    coarse = path_values([-5.0, 0.0, 4.5], shape=(8,))
    fine = path_values([-5.0, -2.5, -1.1, 0.0, 1.0, 2.25, 4.5], shape=(8,))
    torch.testing.assert_close(coarse[0], sum(fine[:3]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(coarse[1], sum(fine[3:]), rtol=1e-12, atol=1e-10)


def test_nodes_closer_than_the_finest_cell_add_up():
    lambdas = [1.0001, 1.0002, 1.0003, 1.00035, 1.2]
    steps = path_values(lambdas, shape=(2000,))
    path = BrownianPath([0], (2000,), 1.0)
    like = torch.zeros((), dtype=torch.float64)
    stages = [path.increment(lambdas[0], lam, like) for lam in lambdas[1:4]]
    torch.testing.assert_close(stages[2], sum(steps[:3]), rtol=0, atol=1e-12)


def test_the_path_belongs_to_the_seed_and_not_to_the_batch():
    both, one = path_values([-1, 1], (3, 4), (5,))[0], path_values([-1, 1], (4,), (5,))[0]
    assert torch.equal(both[1:], one) and not torch.equal(both[:1], one)


def test_twice_the_budget_follows_the_same_path_and_another_seed_another():
    def sample(nfe, seed=0):
        solver = Solver(nfe=nfe, eta=1.0, lower_order_final=False)
        return integrate(MIXTURE.denoise, NOISE, solver, lam_span=SPAN, seeds=[seed])

    reference = sample(800)
    gaps = [(sample(nfe) - reference).abs().mean().item() for nfe in (50, 100, 200, 400)]
    assert all(fine < coarse for coarse, fine in pairwise(gaps))
    assert gaps[-1] < 0.02
    assert (sample(400, seed=1) - reference).abs().mean().item() > 0.3


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_samples_have_the_moments_of_the_data(eta):
    x = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solver = Solver(nfe=60, eta=eta)
    got = integrate(MIXTURE.denoise, x, solver, lam_span=SPAN, seeds=[0])
    exact = MIXTURE.flow(x, *SPAN)
    assert got.mean().item() == pytest.approx(exact.mean().item(), abs=0.03)
    assert got.std().item() == pytest.approx(exact.std().item(), rel=0.03)


def test_nodes_outside_the_paths_grid_get_one_sentence():
    with pytest.raises(ValueError, match="eta"):
        drive(MIXTURE.denoise, NOISE, Solver(eta=1.0), lam_span=(-40.0, 4.0), seeds=[0])
