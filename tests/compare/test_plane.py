"""The numbers behind the pictures of order."""

import math

import numpy as np
import pytest
import torch

from dpm_demo.compare import plane
from dpm_demo.models.plane import SHAPES, PlaneMixture, shape
from dpm_demo.solver import integrate, nodes
from dpm_demo.solver.settings import Solver


def _misses(order: int, nfe: int) -> float:
    mixture, starts = shape("islands"), plane.particles(64, 0)
    ends = torch.from_numpy(plane.scene(mixture, starts).paths[:, -1])
    solver = Solver(nfe=nfe, order=order, lower_order_final=False)
    return float(np.median(plane.walk(mixture, starts, solver, ends).miss))


def test_the_denoiser_of_the_plane_is_the_mean_of_what_x_may_have_come_from():
    mixture = PlaneMixture(((0.0, 0.0),), std=0.5)
    x, lam = torch.tensor([[0.3, -0.7]], dtype=torch.float64), 0.4
    alpha2, sigma2 = 1 / (1 + math.exp(-2 * lam)), 1 / (1 + math.exp(2 * lam))
    expected = math.sqrt(alpha2) * 0.25 / (alpha2 * 0.25 + sigma2) * x
    assert torch.allclose(mixture.denoise(x, lam), expected, atol=1e-12)


def test_the_velocity_of_the_plane_is_what_a_small_exact_step_does():
    mixture = shape("moons")
    x = plane.particles(16, 1)
    h = 1e-4
    start = torch.from_numpy(
        plane.walk(mixture, x, Solver(nfe=1, order=1), torch.zeros_like(x)).points[0]
    )
    after = integrate(mixture.denoise, start, Solver(order=1), lambdas=[0.3, 0.3 + h])
    assert torch.allclose((after - start) / h, mixture.velocity(start, 0.3), atol=1e-3)


def test_the_density_integrates_to_one():
    axis = torch.linspace(-6, 6, 241, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    total = shape("ring").density(points, -1.0).sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_in_the_plane_too_an_order_is_an_order(order):
    slope = math.log2(_misses(order, 48) / _misses(order, 96))
    assert order - 0.2 < slope < order + 0.9  # some particles superconverge


def test_a_walk_has_a_point_for_every_evaluation_and_one_for_the_sample():
    starts = plane.particles(5, 0)
    solver = Solver(nfe=7, order=3, method="singlestep")
    walk = plane.walk(shape("two"), starts, solver, torch.zeros(5, 2))
    assert walk.points.shape == (8, 5, 2)
    assert len(walk.lam) == len(walk.stages) == 8
    assert any(walk.stages) and walk.stages[0] == walk.stages[-1] == 0


def test_halving_every_step_of_the_line_divides_its_error_by_two_to_the_order():
    for order in (1, 2, 3):
        made = plane.line(nodes("logsnr", 48, plane.SPAN), order)
        assert math.log2(made.error / made.halved) == pytest.approx(order, abs=0.25)


def test_the_polynomial_of_a_step_goes_through_the_predictions_it_knows():
    lambdas = nodes("logsnr", 6, plane.SPAN)
    made = plane.line(lambdas, 3)
    curve = dict(zip(made.curve[:, 0].round(6), made.curve[:, 1], strict=True))
    for lam, step in zip(lambdas, made.steps, strict=False):
        near = min(curve, key=lambda at: abs(at - lam))
        assert step[0, 1] == pytest.approx(curve[near], abs=0.1)
        assert step[0, 0] == pytest.approx(lam)


def test_the_printed_formula_falls_like_order_two_and_the_exact_weights_like_order_three():
    found = plane.printed_against_exact()
    for name, order in (("published", 2), ("exact", 3)):
        (n, e), (m, f) = found[name][-3], found[name][-1]
        assert -math.log(f / e) / math.log(m / n) == pytest.approx(order, abs=0.2)


def test_blobs_are_refused_in_one_sentence():
    for bad in ((), ((9.0, 0.0),), ((math.nan, 0.0),), SHAPES["ring"] * 4):
        with pytest.raises(ValueError, match=r"^blobs must"):
            PlaneMixture(bad)


def test_exact_paths_end_where_the_data_are():
    made = plane.scene(shape("two"), plane.particles(50, 3))
    ends = np.abs(made.paths[:, -1]) - np.array([0.8, 0.0])
    assert np.abs(ends).max() < 5 * 0.12
    assert made.density.shape == (plane.TIMES, plane.GRID, plane.GRID)
