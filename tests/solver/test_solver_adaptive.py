"""Adaptive steps: one sample by itself, honest at its cap, and never an endless loop."""

import math

import pytest
import torch
from solver_cases import SPAN, drive, paired

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.step_control import StabilityControl, StepControl

X = torch.randn(1, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TRUTH = MIXTURE.flow(X, *SPAN)
#: Of 16 the 8 in which every three values stand together.
KINDS = [
    {"order": order, "controller": controller, "error": error, "prediction": prediction}
    for i, order in enumerate((2, 3))
    for j, controller in enumerate(("pi", "i"))
    for k, error in enumerate(("embedded", "doubling"))
    for prediction in (("data", "noise")[(i + j + k) % 2],)
]


def adaptive(denoise=MIXTURE.denoise, x=X, span=SPAN, **fields):
    return drive(denoise, x, Solver(method="adaptive", **fields), lam_span=span)


def gap(run):
    return (run.result - TRUTH).abs().mean().item()


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("controller", ["pi", "i"])
def test_a_tenth_of_the_tolerance_divides_the_error_by_five(order, controller, prediction):
    fields = {"order": order, "controller": controller, "prediction": prediction}
    rows = torch.randn(3, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = MIXTURE.flow(rows, *SPAN)
    errors = []
    for tol in (0.05, 0.005, 0.0005):
        solver = Solver(method="adaptive", nfe=1000, tolerance=tol, **fields)
        got = integrate(MIXTURE.denoise, rows, solver, lam_span=SPAN)
        errors.append((got - truth).abs().mean().item())
    assert errors[0] > 25 * errors[2]
    if controller == "pi":  # the published one overshoots, so that its errors scatter
        assert errors[0] > 5 * errors[1] > 25 * errors[2]


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [2, 3])
def test_step_doubling_converges_with_the_tolerance_too(order, prediction):
    fields = {"order": order, "prediction": prediction, "error": "doubling", "nfe": 1000}
    errors = [gap(adaptive(tolerance=tol, **fields)) for tol in (0.05, 0.005, 0.0005)]
    assert errors[0] > 4 * errors[1] > 16 * errors[2] and errors[2] < 2e-4


def test_the_default_costs_about_thirty_evaluations():
    for order, most in ((2, 36), (3, 33)):
        run = adaptive(order=order)
        assert 20 <= run.nfe <= most and gap(run) < 1e-2


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_try_is_an_event_and_every_trajectory_point_one_evaluation(kind):
    run = adaptive(nfe=1000, tolerance=0.01, **kind)
    tries = [d for d in run.decisions if d.kind == "step"]
    accepted = [d for d in tries if d.data["accepted"]]
    assert all({"h", "error", "order", "accepted"} <= set(d.data) for d in tries)
    assert all((d.data["error"] <= 1) == d.data["accepted"] for d in tries)
    assert run.points == [d.lam for d in accepted]  # a rejected step evaluates its start no more
    assert len(set(run.points)) == len(run.points)
    for d, after in zip(accepted, [*run.points[1:], SPAN[1]], strict=True):
        assert d.lam + d.data["h"] == pytest.approx(after, abs=1e-12)
    assert run.end == {
        "nfe": run.nfe,
        "accepted": len(accepted),
        "rejected": len(tries) - len(accepted),
        "converged": True,
    }
    inner = {("embedded", 2): 1, ("embedded", 3): 2, ("doubling", 2): 4, ("doubling", 3): 7}
    per_try = inner[kind["error"], kind["order"]]
    assert run.nfe == len(accepted) + per_try * len(tries)


@pytest.mark.parametrize(
    ("kind", "nfe", "more"),
    paired(KINDS, [1, 2, 3, 5, 10, 19], [{}, {"denoise_to_zero": True}, {"stability": True}]),
    ids=str,
)
def test_the_cap_is_never_exceeded_and_is_said(kind, nfe, more):
    answers = []

    def denoise(x, lam):
        answers.append(MIXTURE.denoise(x, lam))
        return answers[-1]

    run = adaptive(denoise, nfe=nfe, tolerance=1e-4, **kind, **more)
    assert run.nfe <= nfe
    assert run.end["converged"] is False
    if answers:  # the last data prediction of a trajectory point
        points = [a for e, a in zip(run.evaluations, answers, strict=True) if not e.stage]
        assert torch.equal(run.result, points[-1])


@pytest.mark.parametrize(
    ("kind", "tolerance", "x"),
    paired(KINDS, [1e-300, 1e-12, 1e9, 1e300], [X, X.float()]),
    ids=lambda value: "x" if isinstance(value, torch.Tensor) else str(value),
)
def test_absurd_tolerances_end(kind, tolerance, x):
    run = adaptive(x=x, tolerance=tolerance, nfe=120, **kind)
    assert run.nfe <= 120 and torch.isfinite(run.result).all()
    assert run.end["converged"] is (tolerance > 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_network_that_is_not_finite_ends_with_one_sentence(bad):
    def broken(x, lam):
        return MIXTURE.denoise(x, lam) + (bad if lam > 0 else 0)

    with pytest.raises(FloatingPointError, match="not finite"):
        adaptive(broken)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_inverted_direction_ends_at_the_noise_it_came_from(kind):
    run = adaptive(x=TRUTH, span=SPAN[::-1], tolerance=1e-3, nfe=1000, **kind)
    assert run.end["converged"]
    assert (run.result - X).abs().mean() < 5e-3
    assert all(d.data["h"] > 0 for d in run.decisions if d.kind == "step")
    capped = adaptive(x=TRUTH, span=SPAN[::-1], tolerance=1e-6, nfe=40, **kind)
    assert capped.end["converged"] is False and torch.isfinite(capped.result).all()


def test_denoise_to_zero_is_inside_the_cap():
    plain, clean = adaptive(nfe=100), adaptive(nfe=100, denoise_to_zero=True)
    assert clean.nfe == plain.nfe + 1 == clean.end["nfe"]
    torch.testing.assert_close(clean.result, MIXTURE.denoise(plain.result, SPAN[1]))


def test_a_neighbours_outlier_or_nan_changes_no_bit_of_a_sample():
    solver = Solver(method="adaptive", order=3)
    alone = integrate(MIXTURE.denoise, X, solver, lam_span=SPAN)
    for outlier in (50.0, 1e6):
        together = integrate(MIXTURE.denoise, torch.cat([X, X * outlier, X]), solver, lam_span=SPAN)
        assert torch.equal(together[:1], alone) and torch.equal(together[2:], alone)


def test_published_weights_work_in_the_embedded_pairs():
    for order in (2, 3):
        errors = [
            gap(adaptive(order=order, weights="published", nfe=1000, tolerance=tol))
            for tol in (0.05, 0.005)
        ]
        assert errors[0] > 4 * errors[1]


def test_easier_samples_take_fewer_steps():
    easy = adaptive(lambda x, lam: torch.full_like(x, 0.3))
    assert easy.nfe < adaptive().nfe and easy.end["rejected"] == 0


# --- control --------------------------------------------------------------------------------------


def test_the_published_controller_is_its_formula():
    assert StepControl("i").next_step(0.3, 0.25, 2) == pytest.approx(0.9 * 0.3 * 0.25**-0.5)
    assert StepControl("i").next_step(0.3, 8.0, 3) == pytest.approx(0.9 * 0.3 / 2)


def test_the_pi_controller_remembers_and_bounds_the_step():
    control = StepControl("pi")
    assert control.next_step(1.0, 1e-9, 2) == pytest.approx(10)
    steady = StepControl("pi")
    steady.next_step(1.0, 0.5, 2)
    assert steady.next_step(1.0, 0.5, 2) == pytest.approx(0.9 * 0.5**-0.15)
    assert steady.next_step(1.0, 1e9, 2) == pytest.approx(0.2)
    assert steady.next_step(1.0, 1e-9, 2) == 1.0  # no growth right after a rejection


def test_an_error_of_zero_gives_a_finite_step():
    for kind in ("i", "pi"):
        assert math.isfinite(StepControl(kind).next_step(1.0, 0.0, 2))


def observe(control, errors, steps):
    return [control.observe(error, h) for error, h in zip(errors, steps, strict=True)]


def test_three_growing_errors_lower_the_order_and_three_falling_restore_it():
    control = StabilityControl(3)
    lowered = observe(control, (0.1, 0.2, 0.3, 0.4), (1, 1, 1, 0.9))
    assert lowered == [None, None, None, "lower"] and control.order == 2
    restored = observe(control, (0.4, 0.3, 0.2, 0.1), (1, 2, 3, 4))
    assert restored[-1] == "restore" and control.order == 3
    lowest = StabilityControl(2)
    assert observe(lowest, (1, 2, 3, 4), (1, 1, 1, 1))[-1] == "lower" and lowest.order == 2


def test_growth_that_a_longer_step_explains_is_no_instability():
    assert observe(StabilityControl(3), (0.1, 0.2, 0.3, 0.4), (1, 2, 4, 8)) == [None] * 4


def test_stability_control_lowers_and_restores_the_order_and_says_so():
    fields = {"order": 3, "nfe": 400}
    run = adaptive(stability=True, **fields)
    acted = [d for d in run.decisions if d.kind == "stability"]
    assert [d.data["action"] for d in acted] == ["lower", "restore"]
    tries = [d for d in run.decisions if d.kind == "step"]
    between = [d.data["order"] for d in tries if acted[0].lam < d.lam <= acted[1].lam]
    assert acted[0].data["order"] == 2 and set(between) == {2}
    at = tries.index(next(d for d in tries if d.lam == acted[0].lam))
    assert tries[at + 1].data["h"] == pytest.approx(acted[0].data["h"])
    assert run.end["converged"] and gap(run) < 5e-3
    silent = adaptive(**fields)
    assert not [d for d in silent.decisions if d.kind == "stability"]
    assert {d.data["order"] for d in silent.decisions if d.kind == "step"} == {3}


def test_one_evaluation_to_zero_is_the_data_prediction_at_the_first_node():
    """Nothing is left for a step, and x_T itself, pure noise, would be no sample."""
    solver = Solver(method="adaptive", nfe=1, denoise_to_zero=True)
    run = drive(MIXTURE.denoise, X, solver)
    assert torch.equal(run.result, MIXTURE.denoise(X, SPAN[0]))
    assert run.nfe == run.end["nfe"] == 1 and not run.end["converged"]
