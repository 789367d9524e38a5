"""Fitted solvers: they start as what they are fitted from, and end nearer to the truth."""

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import dpm_demo as dpm
from dpm_demo.calibrate.fit import Fitted, Recipe, best_start, errors, exact_weights
from dpm_demo.calibrate.run import GUIDED, PLAIN, Plan, calibrate, conditions_for, draw
from dpm_demo.engine.inline import run_to_end
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.shipping import pack
from dpm_demo.models.calibrated import Fit, load_fits, read_fits, with_fits
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.solver.coefficients import fit as fit_weights
from dpm_demo.solver.coefficients import moments
from dpm_demo.solver.plan import plan

SMALL = Plan(budgets=(4,), samples=24, held=16, recipe=Recipe(iterations=25, batch=12))


@pytest.fixture(scope="module")
def mixture() -> Model:
    return with_fits(dpm.load("mixture", device="cpu"), ())  # without the solvers fitted to it


@pytest.fixture(scope="module")
def fitted(mixture: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fit]:
    out = tmp_path_factory.mktemp("fits") / "calibrated.json"
    return out, calibrate(mixture, out, SMALL)[0]


def test_the_differentiable_weights_are_the_solvers_own():
    r, h = [0.0, -0.7, -1.9], 0.8
    expected = fit_weights(r, moments(h, 3))
    found = exact_weights(
        torch.tensor(r, dtype=torch.float64), torch.tensor(h, dtype=torch.float64)
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_before_it_is_fitted_a_fit_is_the_solver_that_it_starts_from(mixture: Model, order: int):
    solver = dpm.Solver(nfe=6, order=order, schedule="linear")
    samples = draw(mixture, 0, 3, PLAIN, 64, Plan())
    sample = dpm.generate(mixture, solver, seeds=range(3))
    expected = (sample - samples.truth).square().flatten(1).mean(1).sqrt()
    found = errors(Fitted(solver, mixture.lam_span), samples)
    assert torch.allclose(found, expected, atol=1e-5)


def test_samples_are_drawn_and_fitted_to_where_the_model_computes(mixture: Model):
    def denoise(x: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(lam).view(-1, 1, 1, 1)

    there = replace(
        mixture,
        device=torch.device("cuda"),
        denoise_float32=denoise,
        exact_solution=lambda x, *span: denoise(x, torch.zeros(len(x), device="cuda")),
    )
    with FakeTensorMode():
        samples = draw(there, 0, 3, PLAIN, 64, Plan())
        assert samples.noise.device.type == samples.truth.device.type == "cuda"
        assert Fitted(dpm.Solver(nfe=4), mixture.lam_span)(samples).device.type == "cuda"


def test_a_fit_lowers_the_error_on_seeds_that_it_has_not_seen(fitted: tuple[Path, Fit]):
    assert fitted[1].rmse < 0.9 * fitted[1].plain_rmse


def test_what_was_measured_while_fitting_is_what_the_schedule_calibrated_does(
    mixture: Model, fitted: tuple[Path, Fit]
):
    held = draw(mixture, 2_000_000, 16, PLAIN, 200, SMALL)
    seeds = range(2_000_000, 2_000_016)
    model = with_fits(mixture, [fitted[1]])
    sample = dpm.generate(model, dpm.Solver(nfe=4, schedule="calibrated"), seeds=seeds)
    found = (sample - held.truth).square().flatten(1).mean(1).sqrt().mean()
    assert float(found) == pytest.approx(fitted[1].rmse, rel=1e-3)


def test_a_fit_may_begin_as_another_models_and_is_that_at_first(mixture: Model, fitted):
    begun = Fitted.like(fitted[1], mixture.lam_span).frozen(PLAIN)
    assert begun.lambdas == pytest.approx(fitted[1].lambdas)
    assert begun.told == pytest.approx(fitted[1].told)
    assert [pytest.approx(w, abs=1e-12) for w in fitted[1].weights] == list(begun.weights)


def test_the_better_start_of_another_model_is_taken(
    mixture: Model, fitted: tuple[Path, Fit], tmp_path: Path
):
    one = Recipe(iterations=1, batch=12)
    from_it = replace(SMALL, recipe=one, like=(fitted[1],))
    made = calibrate(mixture, tmp_path / "like.json", from_it)[0]
    assert made.start == "another model's table"
    assert made.plain_rmse == pytest.approx(fitted[1].rmse, rel=1e-4)
    elsewhere = replace(fitted[1], guidance=GUIDED)
    made = calibrate(mixture, tmp_path / "not.json", replace(from_it, like=(elsewhere,)))[0]
    assert made.start.startswith("order=")


def test_the_same_fit_twice_is_the_same(mixture: Model, fitted: tuple[Path, Fit], tmp_path: Path):
    again = calibrate(mixture, tmp_path / "calibrated.json", SMALL)[0]
    assert again.lambdas == pytest.approx(fitted[1].lambdas, abs=1e-5)


def test_a_file_is_extended_and_nothing_in_it_is_fitted_again(
    mixture: Model, fitted: tuple[Path, Fit], tmp_path: Path
):
    out = tmp_path / "calibrated.json"
    out.write_bytes(fitted[0].read_bytes())
    told: list[str] = []
    more = replace(SMALL, budgets=(3, 4))
    found = calibrate(mixture, out, more, lambda progress: told.append(progress.what))
    assert [one.nfe for one in found] == [4, 3] or {one.nfe for one in found} == {3, 4}
    assert fitted[1] in found
    assert not any(what.startswith("4 ") for what in told)


def test_what_was_not_fitted_is_refused_with_what_there_is(mixture: Model, fitted):
    model = with_fits(mixture, [fitted[1]])
    with pytest.raises(ValueError, match=r"not fitted for 9 evaluations.*there are 4"):
        dpm.generate(model, dpm.Solver(nfe=9, schedule="calibrated"))
    with pytest.raises(ValueError, match="nothing is fitted to mixture; choose another"):
        dpm.generate(mixture, dpm.Solver(nfe=4, schedule="calibrated"))
    with pytest.raises(ValueError, match="belongs to a model"):
        dpm.integrate(
            lambda x, lam: x, torch.zeros(1, 2), dpm.Solver(schedule="calibrated"), lam_span=(-1, 1)
        )


def test_a_fit_is_refused_on_nodes_that_are_not_its_own(mixture: Model, fitted):
    model, solver = with_fits(mixture, [fitted[1]]), dpm.Solver(nfe=4, schedule="calibrated")
    for count in (4, 5):
        foreign = [-2.0 + k for k in range(count)]
        with pytest.raises(ValueError, match='^lambdas mean nothing with schedule "calibrated"'):
            dpm.generate(model, solver, lambdas=foreign)
        with pytest.raises(ValueError, match="^lambdas must be the 5 nodes of table"):
            plan(model.resolved(solver), lambdas=foreign)
    assert plan(model.resolved(solver), lambdas=fitted[1].lambdas).nfe == 4


def test_nodes_of_ones_own_and_no_solver_named_take_a_plain_one(mixture: Model, fitted):
    model = with_fits(mixture, [replace(fitted[1], told=fitted[1].told * 5)])  # of 20 evaluations
    assert dpm.default_solver(model=model).schedule == "calibrated"
    assert dpm.generate(model, lambdas=[-2.0, 0.0, 2.0]).isfinite().all()


def test_a_start_with_fewer_steps_than_asked_for_is_no_start(mixture: Model):
    span = (-2.0, mixture.lam_span[1])
    samples = replace(draw(mixture, 0, 2, PLAIN, 64, Plan()))
    fitted, name = best_start(8, span, samples, [dpm.Solver(order=3), dpm.Solver(order=1)])
    assert name.startswith("order=1")
    assert fitted.frozen(PLAIN).nfe == 8


def test_nodes_alone_that_begin_as_another_models_take_its_nodes_alone(mixture: Model, fitted):
    begun = Fitted.like(fitted[1], mixture.lam_span, nodes_only=True).frozen(PLAIN)
    assert begun.lambdas == pytest.approx(fitted[1].lambdas)
    assert begun.told == begun.lambdas[:-1] != fitted[1].told


def test_the_nodes_of_a_fit_can_be_taken_to_other_programs(mixture: Model, fitted):
    model = with_fits(mixture, [fitted[1]])
    sigmas = dpm.Solver(nfe=4, schedule="calibrated").sigmas(model)
    assert len(sigmas) == 5
    assert sigmas == sorted(sigmas, reverse=True)


def test_a_file_of_other_weights_is_refused(fitted: tuple[Path, Fit], mixture: Model):
    with pytest.raises(CheckpointError, match="fitted to other weights"):
        load_fits(fitted[0], "0123")
    with pytest.raises(CheckpointError, match="fitted to other weights"):
        calibrate(replace(mixture, digest="0123"), fitted[0], SMALL)


@pytest.mark.parametrize(
    "change",
    [
        {"lambdas": [0, -1, 2, 3, 4]},
        {"told": [0, 1]},
        {"scales": [1, 1, 1, math.nan]},
        {"weights": [[1], [1], [1], [1, 1, 1, 1, 1]]},
        {"weights": "x"},
        {"guidance": [1]},
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(fitted, tmp_path: Path, change):
    values = json.loads(fitted[0].read_text(encoding="utf-8"))
    values["fits"][0].update(change)
    path = tmp_path / "calibrated.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"calibrated.json is damaged .*\.$"):
        read_fits(path)


ELSEWHERE = """
import pickle, sys
from dpm_demo.engine.inline import run_to_end
from dpm_demo.engine.shipping import parts_of, unpack
import dpm_demo as dpm

parts = parts_of(dpm.load("mixture", device="cpu"))
job = unpack(sys.stdin.buffer.read(), lambda part: parts[part.attribute])
sys.stdout.buffer.write(pickle.dumps(run_to_end(job).tracks[0].samples))
"""


def test_a_calibrated_job_runs_in_a_process_that_has_only_loaded_the_model():
    model = dpm.load("mixture", device="cpu")
    solver = model.resolved(dpm.Solver(nfe=5, schedule="calibrated"))
    job = Job(model.denoise, model.shape, (Track(solver, (0,), lam_span=model.lam_span),))
    ran = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=pack(job, [model]), capture_output=True, check=True
    )
    assert np.array_equal(pickle.loads(ran.stdout), run_to_end(job).tracks[0].samples)


def test_a_request_of_a_known_fit_forgets_no_plan(monkeypatch):
    model = dpm.load("mixture", device="cpu")
    monkeypatch.setattr("dpm_demo.models.calibrated.register", None)
    assert model.resolved(dpm.Solver(nfe=5, schedule="calibrated")).table


def test_a_plan_is_told_by_all_that_a_fit_depends_on():
    whole = Plan()
    one = Fit((-5.0, 4.6), (-5.0,), (1.0,), ((1.0,),), PLAIN)
    others = [{"prompts": ("a",)}, {"prompts": ("b",)}, {"like": (one,)}, {"held": 12}]
    texts = {replace(whole, **other).text(1, PLAIN) for other in ({}, *others)}
    assert len(texts) == 5 and all(len(text) < 200 for text in texts)
    landed = dpm.load("emoji-image", "cpu").fits
    assert {fit.recipe for fit in landed} - {""} == {whole.text(5, PLAIN)}
    recipe = Recipe(iterations=60, batch=4)  # as its README says
    clips = Plan(samples=32, held=16, recipe=recipe, like=landed).text(8, PLAIN)
    assert [fit.recipe for fit in dpm.load("emoji-video", "cpu").fits] == [clips]


def test_no_file_means_no_fits(tmp_path: Path):
    assert load_fits(tmp_path / "calibrated.json", "") == ()


def test_conditions_are_drawn_for_each_seed_by_itself_and_within_their_range():
    model = dpm.load("emoji-image", device="cpu")
    some = conditions_for(model, range(40), GUIDED)
    assert some is not None
    assert conditions_for(model, range(10, 20), GUIDED) == some[10:20]
    assert all(GUIDED[0] <= one.guidance <= GUIDED[1] for one in some)
    assert all(model.rows(one) == 2 for one in some)
    plain = conditions_for(model, range(40), PLAIN)
    assert plain is not None and all(model.rows(one) == 1 for one in plain)


def test_gradients_pass_guidance():
    model = dpm.load("emoji-image", device="cpu")
    samples = draw(model, 0, 2, GUIDED, 4, Plan())
    fitted = Fitted(dpm.Solver(nfe=2), model.lam_span)
    fitted(samples).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fitted.parameters())


def test_a_fitted_row_stands_beside_others_in_a_comparison(mixture: Model, fitted):
    from dpm_demo.compare.layout import layout
    from dpm_demo.request.comparison import Comparison

    model = with_fits(mixture, [fitted[1]])
    rows = (dpm.Solver(order=2), dpm.Solver(schedule="calibrated"))
    cells = layout(Comparison(model="mixture", rows=rows, budgets=(4,)), model)
    assert len({cell.track for cell in cells.cells}) == 2
