"""Schedules: the clock λ, nodes that fill the span, discrete schedules, the forward process."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from dpm_demo.solver import (
    add_noise,
    alpha,
    cosine_lam,
    cosine_time,
    lambdas_of_betas,
    linear_time,
    nodes,
    sigma,
)
from dpm_demo.solver.schedule import linear_lam
from dpm_demo.solver.settings import CHOICES

SCHEDULES = CHOICES["schedule"]


@given(st.floats(-60, 60))
def test_lambda_is_the_log_ratio_and_the_process_keeps_variance(lam):
    assert alpha(lam) ** 2 + sigma(lam) ** 2 == pytest.approx(1, abs=1e-15)
    assert math.log(alpha(lam)) - math.log(sigma(lam)) == pytest.approx(lam, abs=1e-12)
    tensor = torch.tensor(lam, dtype=torch.float64)
    assert alpha(tensor).item() == pytest.approx(alpha(lam), rel=1e-14)
    assert sigma(tensor).item() == pytest.approx(sigma(lam), rel=1e-14)


def test_the_ends_of_the_clock_are_pure_noise_and_pure_data():
    assert (alpha(math.inf), sigma(math.inf)) == (1.0, 0.0)
    assert (alpha(-math.inf), sigma(-math.inf)) == (0.0, 1.0)


@pytest.mark.parametrize("lam", [-3.0, 0.0, 2.5])
def test_the_forward_process_has_the_mean_and_variance_of_q(lam):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    x = add_noise(torch.full_like(noise, 0.7), lam, noise)
    assert x.mean().item() == pytest.approx(0.7 * alpha(lam), abs=4 * sigma(lam) / 200_000**0.5)
    assert x.var().item() == pytest.approx(sigma(lam) ** 2, rel=0.02)


def test_the_forward_process_takes_one_lambda_for_each_row_and_keeps_dtype():
    x0, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    lam = [-2.0, 0.0, 4.6]
    mixed = add_noise(x0, torch.tensor(lam), noise)
    assert mixed.dtype == torch.float32
    for i, one in enumerate(lam):
        alone = add_noise(x0[i : i + 1], one, noise[i : i + 1])
        torch.testing.assert_close(mixed[i : i + 1], alone, rtol=1e-6, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 60),
    st.floats(-8, -1),
    st.floats(0, 8),
    st.booleans(),
)
def test_every_schedule_fills_exactly_its_span_and_never_turns(schedule, n, low, high, falling):
    span = (high, low) if falling else (low, high)
    placed = nodes(schedule, n, span)
    assert len(placed) == n + 1 and (placed[0], placed[-1]) == span
    sign = -1 if falling else 1
    assert all(sign * (b - a) > 0 for a, b in pairwise(placed))
    np.testing.assert_allclose(placed, nodes(schedule, n, span[::-1])[::-1], atol=1e-6)


def test_each_schedule_is_even_in_its_own_clock():
    clocks = {
        "logsnr": lambda lam: lam,
        "cosine": cosine_time,
        "linear": linear_time,
        "quadratic": lambda lam: linear_time(lam) ** 0.5,
        "karras": lambda lam: math.exp(-lam) ** (1 / 7),
    }
    assert set(clocks) == set(SCHEDULES)
    for schedule, clock in clocks.items():
        gaps = np.diff([clock(lam) for lam in nodes(schedule, 10, (-5.0, 4.5))])
        np.testing.assert_allclose(gaps, gaps[0], rtol=1e-7)


def test_karras_nodes_are_those_of_diffusers():
    scheduler = DPMSolverMultistepScheduler(use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    theirs = -np.log(scheduler.sigmas[:10].double().numpy())
    np.testing.assert_allclose(nodes("karras", 9, (theirs[0], theirs[-1])), theirs, atol=2e-6)


@given(st.floats(-5.0, 9))
def test_clocks_invert_themselves(lam):
    assert cosine_lam(cosine_time(lam)) == pytest.approx(lam, abs=1e-6)
    assert linear_lam(linear_time(lam)) == pytest.approx(lam, abs=1e-6)


def test_the_cosine_clock_is_clipped_where_alpha_vanishes_and_its_time_follows_the_clip():
    assert cosine_lam(1.0) == -5.1
    assert cosine_lam(0.0) == math.inf
    assert 0.99 < cosine_time(-5.1) < 1
    assert cosine_lam(cosine_time(-5.1)) == pytest.approx(-5.1, abs=1e-6)


@pytest.mark.parametrize("steps", [1000, 100, 7])
@pytest.mark.parametrize("kind", ["linear", "squaredcos_cap_v2"])
def test_the_labels_of_a_discrete_schedule_fall_to_the_product_of_what_its_betas_leave(kind, steps):
    betas = DDPMScheduler(num_train_timesteps=steps, beta_schedule=kind).betas.double().numpy()
    lam = lambdas_of_betas(betas)
    assert np.all(np.diff(lam) < 0)
    assert alpha(lam[-1]) ** 2 == pytest.approx(max(np.prod(1 - betas), 2.0**-24), rel=1e-9)


def test_betas_may_be_a_tensor_of_any_precision_that_asks_for_gradients():
    betas = torch.tensor([0.125, 0.25, 0.5], dtype=torch.bfloat16, requires_grad=True)
    assert lambdas_of_betas(betas).tolist() == lambdas_of_betas([0.125, 0.25, 0.5]).tolist()


def test_a_discrete_schedule_that_ends_in_pure_noise_is_clipped():
    lam = lambdas_of_betas([0.1, 0.5, 1.0])
    assert np.isfinite(lam).all() and alpha(lam[-1]) ** 2 == pytest.approx(2.0**-24)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: nodes("nope", 3, (-1, 1)), "schedule"),
        (lambda: nodes("logsnr", 0, (-1, 1)), "n must"),
        (lambda: nodes("logsnr", 3, (1, 1)), "lam_span"),
        (lambda: nodes("logsnr", 3, (-math.inf, 1)), "lam_span"),
        (lambda: nodes("logsnr", 3, (math.nan, 1)), "lam_span"),
        (lambda: cosine_lam(1.5), "t must"),
        (lambda: lambdas_of_betas([]), "betas"),
        (lambda: lambdas_of_betas([0.5, 1.5]), "betas"),
    ],
)
def test_bad_schedules_get_one_sentence(call, names):
    with pytest.raises(ValueError, match=names):
        call()
