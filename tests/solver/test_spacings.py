"""Other programs' schedules: they fill the span, and are what their papers say."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule
from diffusers.schedulers import AysSchedules
from solver_cases import paired

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import integrate, nodes
from dpm_demo.solver.schedule import linear_time
from dpm_demo.solver.settings import SCHEDULES, Solver
from dpm_demo.solver.spacings import AYS, SPACINGS, beta_quantile, labels

SPANS = [(-5.02, 4.56), (-2.6, 3.5), (-1.0, 0.5)]


def test_every_named_schedule_is_known() -> None:
    assert set(SPACINGS) <= set(SCHEDULES)
    for name in set(SCHEDULES) - {"calibrated"}:  # which a model brings
        assert len(nodes(name, 3, SPANS[0])) == 4


@pytest.mark.parametrize(("name", "n", "span"), paired(list(SPACINGS), [1, 2, 3, 10, 37], SPANS))
def test_a_spacing_fills_the_span_and_rises(name, span, n) -> None:
    found = nodes(name, n, span)
    assert (found[0], found[-1], len(found)) == (*span, n + 1)
    assert all(a < b for a, b in pairwise(found))
    assert nodes(name, n, span[::-1]) == found[::-1]


@pytest.mark.parametrize("name", SPACINGS)
def test_the_error_falls_on_every_spacing(name) -> None:
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = MIXTURE.flow(x, *SPANS[0])
    errors = [
        (
            integrate(MIXTURE.denoise, x, Solver(nfe=n, order=2, schedule=name), lam_span=SPANS[0])
            - truth
        )
        .abs()
        .mean()
        .item()
        for n in (24, 48, 96)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.6), (0.5, 0.7), (1.0, 1.0), (2.0, 3.0)])
@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.5, 0.9, 1.0])
def test_the_quantile_of_beta_is_the_inverse_of_its_distribution(a, b, p) -> None:
    x = beta_quantile(p, a, b)
    # ∫ t^{a−1} (1−t)^{b−1} with t = sin²θ has no singular end above a, b = ½
    theta = torch.linspace(0, 1, 200_001, dtype=torch.float64)

    def below(top: float) -> float:
        angle = theta * math.asin(math.sqrt(top))
        inside = 2 * angle.sin() ** (2 * a - 1) * angle.cos() ** (2 * b - 1)
        return torch.trapezoid(inside, angle).item()

    assert below(x) / below(1.0) == pytest.approx(p, abs=2e-6)


def test_beta_is_even_in_time_where_both_are_one_and_dense_at_the_ends_otherwise() -> None:
    times = [linear_time(lam) for lam in nodes("beta", 20, SPANS[0])]
    gaps = [a - b for a, b in pairwise(times)]
    assert gaps[0] < gaps[10] / 2 and gaps[-1] < gaps[10] / 2
    assert gaps[0] == pytest.approx(gaps[-1], rel=1e-6)


def test_kl_optimal_is_a_line_in_the_arctangent_of_sigma() -> None:
    angles = [math.atan(math.exp(-lam)) for lam in nodes("kl_optimal", 9, SPANS[0])]
    gaps = [a - b for a, b in pairwise(angles)]
    assert gaps == pytest.approx([gaps[0]] * 9)


@pytest.mark.parametrize("n", [4, 9, 20])
def test_linear_quadratic_is_the_one_of_a_video_pipeline(n: int) -> None:
    span = (-30.0, 30.0)  # a flow's whole time, nearly
    times = [1 / (1 + math.exp(lam)) for lam in nodes("linear_quadratic", n, span)]
    theirs = linear_quadratic_schedule(n, 0.025)
    assert times[:-1] == pytest.approx(theirs, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("ays_sd15", "StableDiffusionSigmas"),
        ("ays_sdxl", "StableDiffusionXLSigmas"),
        ("ays_svd", "StableDiffusionVideoSigmas"),
    ],
)
def test_ays_lists_are_the_published_ones(name: str, theirs: str) -> None:
    assert list(AYS[name][:-1]) == AysSchedules[theirs][:-1]
    span = (-math.log(AYS[name][0]), -math.log(AYS[name][-1]))
    sigmas = [math.exp(-lam) for lam in nodes(name, 10, span)]
    assert sigmas == pytest.approx(AYS[name])


def test_labels_are_whole_and_fall() -> None:
    assert labels("normal", 5) == [999, 749, 500, 250, 0]
    assert labels("sgm_uniform", 4) == [999, 749, 500, 250]
    assert labels("simple", 4) == [999, 749, 499, 249]
    assert labels("ddim_uniform", 4) == [751, 501, 251, 1]
    assert labels("ddim_uniform", 400) == [*range(1, 1000, 2)][::-1]  # of every second, all
    with pytest.raises(ValueError, match="labels are known for"):
        labels("karras", 4)
