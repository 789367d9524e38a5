"""The one formula: its moments to rounding, and every step exact on polynomials."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpm_demo.solver import alpha, integrate, sigma
from dpm_demo.solver.coefficients import fit, linear_update, moments
from dpm_demo.solver.settings import Solver

POINTS, GAUSS = np.polynomial.legendre.leggauss(60)
UNIT, MASS = 0.5 * (POINTS + 1), 0.5 * GAUSS


@settings(max_examples=200)
@given(st.floats(-20, 20))
def test_moments_are_the_integrals_they_claim_to_be(z):
    weight = MASS * np.exp(z * UNIT - max(z, 0))
    expected = [(weight * UNIT**j).sum() / weight.sum() for j in range(4)]
    np.testing.assert_allclose(moments(z, 4), expected, rtol=2e-13)


@pytest.mark.parametrize("z", [1e-3, -1e-3, 1e-9, 0.0])
def test_moments_keep_all_their_digits_where_the_closed_form_loses_them(z):
    # M_j → 1/(j+1) + z j/(2 (j+1) (j+2)) + O(z²)
    for j, moment in enumerate(moments(z, 4)):
        assert moment == pytest.approx(1 / (j + 1) + z * j / (2 * (j + 1) * (j + 2)), abs=1e-7)
    m = moments(z, 2)[1]
    assert moments(-z, 2)[1] == pytest.approx(1 - m, rel=1e-15)


def test_moments_stay_finite_for_steps_without_bound():
    assert moments(1e4, 3) == pytest.approx([1, 1, 1], abs=1e-3)
    assert moments(-1e4, 3) == pytest.approx([1, 0, 0], abs=1e-3)


def exact_step(lam, target, power, *, noise_form, eta):
    """x at `target` from x = 1 at λ when the prediction is λ^power, by Gauss quadrature."""
    h = target - lam
    s = lam + h * UNIT
    if noise_form:  # x̂' = x̂ − ∫ e^{−s} ε(s) ds
        scaled = 1 / alpha(lam) - h * (MASS * np.exp(-s) * s**power).sum()
    else:  # x̂' = e^{−z} x̂ + (1 + η) ∫ e^{−(1+η)(λ'−s)} m(s) ds
        rate = 1 + eta
        source = (MASS * np.exp(-rate * (target - s)) * s**power).sum()
        scaled = math.exp(-rate * h) / alpha(lam) + rate * h * source
    return alpha(target) * scaled


CASES = [(False, 0.0), (True, 0.0), (False, 0.3), (False, 1.0)]


@pytest.mark.parametrize(("noise_form", "eta"), CASES)
@pytest.mark.parametrize("known", [[0.4], [0.4, -0.3], [0.4, -0.3, -0.5], [1.3, 0.4, -0.3, -0.5]])
def test_one_update_is_exact_on_polynomials_below_its_order(known, noise_form, eta):
    lam, target = 0.4, 1.3
    update = linear_update(lam, target, known, noise_form=noise_form, eta=eta)
    for power in range(len(known)):
        got = update.scale + sum(
            w * node**power for w, node in zip(update.weights, known, strict=True)
        )
        expected = exact_step(lam, target, power, noise_form=noise_form, eta=eta)
        assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("noise_form", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_one_singlestep_step_is_exact_on_polynomials_below_its_order(order, noise_form):
    lam, target = -0.7, 0.9
    solver = Solver(
        nfe=order,
        order=order,
        method="singlestep",
        prediction="noise" if noise_form else "data",
        lower_order_final=False,
    )
    for power in range(order):

        def denoise(x, at, power=power):
            at = at.reshape(-1, 1)
            return (x - sigma(at) * at**power) / alpha(at) if noise_form else at**power + 0 * x

        x = torch.ones(1, 1, dtype=torch.float64)
        got = integrate(denoise, x, solver, lam_span=(lam, target)).item()
        expected = exact_step(lam, target, power, noise_form=noise_form, eta=0)
        assert got == pytest.approx(expected, abs=1e-12)


def test_the_published_multistep_order_three_is_not_exact_on_parabolas():
    known = [0.4, -0.3, -0.5]
    for power, exact in ((0, True), (1, True), (2, False)):
        update = linear_update(0.4, 1.3, known, published="predictor")
        got = update.scale + sum(
            w * node**power for w, node in zip(update.weights, known, strict=True)
        )
        gap = abs(got - exact_step(0.4, 1.3, power, noise_form=False, eta=0))
        assert gap < 1e-12 if exact else gap > 1e-3


def test_nodes_that_coincide_are_an_error_and_not_an_infinity():
    with pytest.raises(ValueError, match="coincide"):
        fit([0.0, -1.0, -1.0], [1, 0.5, 0.3])
