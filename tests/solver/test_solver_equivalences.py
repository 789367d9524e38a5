"""Different ways to the same sample: DDIM, forms, parametrisations, shapes, batches, dtypes."""

from itertools import pairwise

import pytest
import torch
from solver_cases import NOISE, SPAN, drive

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import add_noise, alpha, initial_noise, integrate, nodes, sigma, trajectory
from dpm_demo.solver.coefficients import linear_update
from dpm_demo.solver.settings import Solver

ALL = [
    {"order": order, "method": method, "prediction": prediction}
    for order in (1, 2, 3, "auto")
    for method in ("multistep", "singlestep")
    for prediction in ("data", "noise")
] + [
    {"corrector": True, "order": 3},
    {"threshold": "dynamic"},
    {"threshold": "static", "denoise_to_zero": True},
    {"eta": 1.0},
    {"eta": 0.4, "method": "singlestep"},
    {"window": 4, "order": 3},
    {"window": 3, "eta": 0.5},
    {"method": "adaptive"},
    {"method": "adaptive", "order": 3, "prediction": "noise"},
    {"method": "adaptive", "error": "doubling", "stability": True},
]


def solve(x, solver, **where):
    where = where or {"lam_span": SPAN}
    seeds = list(range(len(x))) if solver.eta else None
    return integrate(MIXTURE.denoise, x, solver, seeds=seeds, **where)


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_order_one_of_both_forms_is_ddim(method):
    x = NOISE
    placed = nodes("karras", 10, SPAN)
    for lam, target in pairwise(placed):  # DDIM, 2010.02502 (12), σ_t = 0
        x0 = MIXTURE.denoise(x, lam)
        eps = (x - alpha(lam) * x0) / sigma(lam)
        x = alpha(target) * x0 + sigma(target) * eps
    for prediction in ("data", "noise"):
        solver = Solver(nfe=10, order=1, method=method, prediction=prediction, schedule="karras")
        torch.testing.assert_close(solve(NOISE, solver), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_the_sde_with_eta_to_zero_is_the_ode(order):
    known = [0.1, -0.4][:order]
    ode = linear_update(0.1, 0.7, known)
    sde = linear_update(0.1, 0.7, known, eta=1e-14)
    assert sde.scale == pytest.approx(ode.scale, abs=1e-12)
    assert sde.weights == pytest.approx(ode.weights, abs=1e-12)
    quiet = solve(NOISE, Solver(nfe=12, order=order, eta=1e-26))
    torch.testing.assert_close(quiet, solve(NOISE, Solver(nfe=12, order=order)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("prediction", ["data", "noise"])
def test_networks_that_say_the_same_in_other_words_give_the_same_samples(prediction):
    def from_noise(x, lam):
        a, s = (f(lam).reshape(-1, 1) for f in (alpha, sigma))
        eps = (x - a * MIXTURE.denoise(x, lam)) / s
        return (x - s * eps) / a

    def from_velocity(x, lam):
        a, s = (f(lam).reshape(-1, 1) for f in (alpha, sigma))
        x0 = MIXTURE.denoise(x, lam)
        v = a * (x - a * x0) / s - s * x0
        return a * x - s * v

    solver = Solver(nfe=12, order=3, prediction=prediction)
    expected = solve(NOISE, solver)
    for network in (from_noise, from_velocity):
        got = integrate(network, NOISE, solver, lam_span=SPAN)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fields", ALL, ids=str)
def test_a_row_of_a_batch_is_that_row_alone_and_rows_may_be_permuted(fields):
    solver = Solver(nfe=9, **fields)
    x = NOISE.reshape(4, 64)
    together = solve(x, solver)
    for i in range(4):
        seeds = [i] if solver.eta else None
        alone = integrate(MIXTURE.denoise, x[i : i + 1], solver, lam_span=SPAN, seeds=seeds)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)
    order = [2, 0, 3, 1]
    permuted = integrate(
        MIXTURE.denoise, x[order], solver, lam_span=SPAN, seeds=order if solver.eta else None
    )
    torch.testing.assert_close(permuted, together[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("fields", ALL, ids=str)
def test_the_number_of_axes_changes_nothing(fields):
    solver = Solver(nfe=8, **fields)
    flat = NOISE.float().reshape(2, 128)
    image, video = flat.reshape(2, 2, 8, 8), flat.reshape(2, 2, 4, 4, 4)
    if solver.eta:  # the path is drawn in the sample's own shape, number after number
        assert torch.equal(solve(image, solver).flatten(1), solve(video, solver).flatten(1))
    expected = solve(flat, solver)
    for x in (image, video):
        got = solve(x, solver)
        assert got.shape == x.shape and got.dtype == x.dtype
        torch.testing.assert_close(got.flatten(1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", ["logsnr", "karras", "linear"])
@pytest.mark.parametrize("fields", [{}, {"order": 3}, {"order": 3, "corrector": True}], ids=str)
def test_the_same_nodes_however_they_were_made_give_the_same_sample(schedule, fields):
    solver = Solver(nfe=11, schedule=schedule, **fields)
    placed = nodes(schedule, 11, SPAN)
    assert torch.equal(solve(NOISE, solver), solve(NOISE, solver, lambdas=placed))


def test_singlestep_nodes_by_hand_are_those_of_the_span():
    solver = Solver(nfe=7, order=3, method="singlestep")
    run = drive(MIXTURE.denoise, NOISE, solver)
    by_hand = [e.lam for e in run.evaluations] + [SPAN[1]]
    assert torch.equal(solve(NOISE, solver, lambdas=by_hand), run.result)


@pytest.mark.parametrize("fields", ALL, ids=str)
def test_tensors_that_were_yielded_or_sent_are_never_changed(fields):
    solver = Solver(nfe=12, **fields)
    kept = []
    start = NOISE[:, :32].clone()
    steps = trajectory(start, solver, lam_span=SPAN, seeds=[0])
    answer = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration:
            break
        answer = None
        if hasattr(event, "x"):
            answer = MIXTURE.denoise(event.x, event.lam)
            kept += [(event.x, event.x.clone()), (answer, answer.clone())]
        elif hasattr(event, "value"):
            answer = float(event.value)
    assert torch.equal(start, NOISE[:, :32])
    assert all(torch.equal(tensor, copy) for tensor, copy in kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fields", ALL, ids=str)
def test_the_dtype_of_the_state_is_kept(fields, dtype):
    solver = Solver(nfe=6, **fields)
    x = NOISE[:, :16].to(dtype)
    run = drive(MIXTURE.denoise, x, solver, seeds=[0])
    # a network may answer in float32 whatever the state is
    wide = drive(lambda x, lam: MIXTURE.denoise(x.float(), lam), x, solver, seeds=[0])
    assert wide.result.dtype == dtype
    assert run.result.dtype == dtype
    assert all(e.x.dtype == dtype for e in run.evaluations)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_float32_stays_near_float64_at_500_evaluations(method, prediction):
    solver = Solver(nfe=500, order=3, method=method, prediction=prediction)

    def denoise(x, lam):  # the arithmetic under test is the solver's, not the mixture's
        return MIXTURE.denoise(x.double(), lam).to(x.dtype)

    single = integrate(denoise, NOISE.float(), solver, lam_span=SPAN)
    double = integrate(denoise, NOISE.float().double(), solver, lam_span=SPAN)
    assert (single - double).abs().max().item() < 1e-5


def test_noise_belongs_to_the_sample():
    batch = initial_noise([7, 8, 9], (3, 4, 4))
    assert batch.shape == (3, 3, 4, 4) and batch.dtype == torch.float32
    assert torch.equal(batch[1:2], initial_noise([8], (3, 4, 4)))
    assert not torch.equal(batch[0], batch[1])
    assert initial_noise([], (3,)).shape == (0, 3)
    many = initial_noise(range(200), (64,))
    assert many.mean().abs() < 0.03 and (many.std() - 1).abs() < 0.03


def test_starting_midway_from_a_noised_sample_returns_near_it():
    sample = MIXTURE.flow(NOISE, *SPAN)
    noised = add_noise(sample, 2.0, torch.randn(NOISE.shape, dtype=torch.float64))
    back = integrate(MIXTURE.denoise, noised, Solver(nfe=12, order=3), lam_span=(2.0, SPAN[1]))
    assert (back - sample).abs().mean() < 2 * sigma(2.0)


def test_condition_rows_go_to_the_denoiser_with_their_rows():
    seen = []

    def denoise(x, lam, cond):
        seen.append(tuple(cond))
        assert len(cond) == len(x) == len(lam)
        return MIXTURE.denoise(x, lam)

    x = NOISE.reshape(2, 128)
    integrate(denoise, x, Solver(nfe=2), lam_span=SPAN, cond=["a", "b"])
    assert seen == [("a", "b")] * 2
    seen.clear()
    integrate(denoise, x, Solver(nfe=4, window=4), lam_span=SPAN, cond=["a", "b"])
    assert seen[0] == ("a",) * 4 and seen[-1] == ("b",) * len(seen[-1])
    with pytest.raises(ValueError, match="cond"):
        integrate(denoise, x, Solver(), lam_span=SPAN, cond=["a"])
    with pytest.raises(ValueError, match="seeds"):
        integrate(denoise, x, Solver(), lam_span=SPAN, seeds=[1, 2, 3])


@pytest.mark.parametrize("fields", ALL, ids=str)
def test_no_sampler_waits_for_the_device_but_through_measure(fields):
    # a tensor on "meta" has no values: whatever reads one on the host would raise
    solver = Solver(nfe=9, **fields)
    start = torch.empty(1, 3, 8, 8, device="meta")
    steps = trajectory(start, solver, lam_span=SPAN, seeds=[0])
    answer = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            assert stop.value.shape == start.shape
            break
        answer = None
        if hasattr(event, "x"):
            answer = torch.empty_like(event.x)
        elif hasattr(event, "value"):
            answer = 1e-3
