"""The heart: every order that is claimed is measured, on a mixture whose solution is known."""

from itertools import pairwise

import pytest
import torch
from solver_cases import GRID, NOISE, SPAN, last_slope, mixture_error, slopes

from dpm_demo.models.exact import MIXTURE, Mixture
from dpm_demo.solver import alpha, integrate, plan, sigma
from dpm_demo.solver.settings import CHOICES, Solver

FORMS = ("data", "noise")


def test_the_mixtures_flow_is_what_a_fine_solver_finds():
    solver = Solver(nfe=1000, order=3, lower_order_final=False)
    assert mixture_error(solver) < 1e-7


def test_the_flow_of_one_gaussian_is_linear_and_what_a_fine_solver_finds():
    gaussian = Mixture((1.0,), (0.4,), (0.3,))
    (a, before), (b, after) = (
        (alpha(lam), alpha(lam) ** 2 * 0.09 + sigma(lam) ** 2) for lam in SPAN
    )
    truth = b * 0.4 + (after / before) ** 0.5 * (NOISE - a * 0.4)
    torch.testing.assert_close(gaussian.flow(NOISE, *SPAN), truth, rtol=0, atol=1e-12)
    got = integrate(gaussian.denoise, NOISE, Solver(nfe=1000, order=3), lam_span=SPAN)
    torch.testing.assert_close(got, truth, rtol=0, atol=2e-7)


@pytest.mark.parametrize("prediction", FORMS)
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_method_of_order_p_converges_at_order_p(order, method, prediction):
    slope = last_slope(order=order, method=method, prediction=prediction)
    assert slope == pytest.approx(order, abs=0.15)


def test_the_errors_are_those_of_the_design():
    # SOLVER.md: mean error of 384 evaluations, λ-uniform nodes
    for order, method, error in (
        (1, "multistep", 3.6e-3),
        (2, "multistep", 3.1e-5),
        (3, "multistep", 4.2e-7),
    ):
        got = mixture_error(Solver(nfe=384, order=order, method=method, lower_order_final=False))
        assert error / 2 < got < error * 2


@pytest.mark.parametrize("prediction", FORMS)
def test_the_published_multistep_order_three_converges_at_order_two_only(prediction):
    slope = last_slope(order=3, weights="published", prediction=prediction)
    assert slope == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("prediction", FORMS)
@pytest.mark.parametrize(
    ("order", "method"), [(2, "multistep"), (2, "singlestep"), (3, "singlestep")]
)
def test_the_other_published_formulas_keep_their_order(order, method, prediction):
    slope = last_slope(order=order, method=method, prediction=prediction, weights="published")
    assert slope > order - 0.25


@pytest.mark.parametrize("prediction", FORMS)
@pytest.mark.parametrize("weights", ["exact", "published"])
@pytest.mark.parametrize("order", [1, 2])
def test_the_corrector_raises_the_order_by_one(order, prediction, weights):
    slope = last_slope(order=order, prediction=prediction, weights=weights, corrector=True)
    assert slope == pytest.approx(order + 1, abs=0.15)


def test_the_corrector_raises_order_three_towards_four():
    # the warm-up costs part of it: its second step is of order 2, corrected to 3
    assert last_slope(order=3, corrector=True) > 3.6
    corrected = mixture_error(Solver(nfe=96, order=3, corrector=True))
    assert corrected < mixture_error(Solver(nfe=96, order=3)) / 2


@pytest.mark.parametrize("prediction", FORMS)
@pytest.mark.parametrize("span", [(-1.0, 3.0), (-3.0, 4.56), (-0.5, 1.0)])
def test_order_three_started_midway_stays_of_order_three(span, prediction):
    assert last_slope(span, order=3, prediction=prediction) == pytest.approx(3, abs=0.15)
    # and it is the singlestep first step that does it: the published weights have none
    assert plan(Solver(nfe=12, order=3), span).evaluations[1][1] == 1
    assert all(not stage for _, stage in plan(Solver(nfe=12, order=3), SPAN).evaluations)


@pytest.mark.parametrize("prediction", FORMS)
@pytest.mark.parametrize(
    ("order", "method"), [(1, "multistep"), (2, "multistep"), (3, "multistep"), (3, "singlestep")]
)
def test_inversion_converges_at_the_same_order(order, method, prediction):
    slope = last_slope(SPAN[::-1], order=order, method=method, prediction=prediction)
    assert slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_round_trip_through_noise_improves_with_the_budget(order):
    sample = MIXTURE.flow(NOISE, *SPAN)
    gaps = []
    for nfe in (12, 24, 48, 96):
        solver = Solver(nfe=nfe, order=order)
        noise = integrate(MIXTURE.denoise, sample, solver, lam_span=SPAN[::-1])
        back = integrate(MIXTURE.denoise, noise, solver, lam_span=SPAN)
        gaps.append((back - sample).abs().mean().item())
    assert all(fine < coarse for coarse, fine in pairwise(gaps))
    assert gaps[-1] < gaps[0] / 6


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("schedule", CHOICES["schedule"])
def test_on_every_schedule_the_error_falls_with_the_budget(schedule, method):
    errors = [mixture_error(Solver(nfe=n, order=3, method=method, schedule=schedule)) for n in GRID]
    assert all(fine < coarse / 2 for coarse, fine in pairwise(errors))


@pytest.mark.parametrize("order", [2, 3])
def test_tapered_runs_stay_accurate_and_beat_the_untapered_where_it_matters(order):
    few = [
        mixture_error(Solver(nfe=5, order=order, lower_order_final=taper))
        for taper in (True, False)
    ]
    assert few[0] < few[1]
    assert mixture_error(Solver(nfe=20, order=order)) < {2: 2e-2, 3: 6e-3}[order]


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_order_auto_beats_order_one_and_converges(method):
    errors = [mixture_error(Solver(nfe=n, order="auto", method=method)) for n in GRID]
    assert all(fine < coarse / 2 for coarse, fine in pairwise(errors))
    assert errors[0] < mixture_error(Solver(nfe=GRID[0], order=1)) / 4


def test_slopes_reads_a_known_order():
    assert slopes([8.0, 1.0]) == [3.0]
