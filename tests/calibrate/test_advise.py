"""A race finds what is nearest to the converged sample, and says what it cannot tell apart."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

import dpm_demo as dpm
from dpm_demo.calibrate import advise
from dpm_demo.calibrate.race import Entrant, Race, entrants
from dpm_demo.compare.layout import work
from dpm_demo.models.calibrated import Fit, with_fits
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read
from dpm_demo.solver.catalogue import SAMPLERS, find


@pytest.fixture(scope="module")
def mixture() -> Model:
    return with_fits(dpm.load("mixture", device="cpu"), ())  # without the solvers fitted to it


def few(*texts: str, nfe: int = 8) -> list[Entrant]:
    return [Entrant(text, find(text, nfe)) for text in texts]


@pytest.fixture(scope="module")
def ended(mixture: Model) -> Race:
    names = ("euler", "dpmpp_2m", "dpmpp_2m karras", "ipndm", "res_3m", "deis", "uni_pc", "heun")
    race = Race(mixture, few(*names, "res_2m", "res_2s", "lms"), range(8))
    list(race.run())
    return race


def test_every_sampler_of_the_ode_takes_part_and_no_work_is_done_twice(mixture: Model):
    found = entrants(mixture, 8)
    keys = [work(one.solver, mixture.lam_span) for one in found]
    assert len(set(keys)) == len(keys)
    missing = [
        entry.name
        for entry in SAMPLERS.values()
        if not entry.noisy
        and entry.spent is not None
        and work(entry.solver(8), mixture.lam_span) not in keys
    ]
    assert missing == []


def test_errors_of_a_race_are_those_of_the_samples(mixture: Model, ended: Race):
    k = [one.name for one in ended.solvers].index("ipndm")
    truth = dpm.generate(mixture, dpm.Solver(nfe=200, order=3), seeds=range(8))
    sample = dpm.generate(mixture, find("ipndm", 8), seeds=range(8))
    expected = (sample - truth).square().flatten(1).mean(1).sqrt()
    assert torch.allclose(torch.tensor(ended.errors[k]), expected.double(), rtol=1e-4)


def test_the_first_of_a_ranking_has_the_least_error_of_all_that_ran_on_all_seeds(ended: Race):
    ranking = ended.ranking()
    full = [line for line in ranking if line.seeds == 8]
    assert ranking[: len(full)] == full
    assert full[0].rmse == np.nanmin(ended.errors[np.isfinite(ended.errors).all(1)].mean(1))
    assert full[0].name != "euler"


@pytest.mark.parametrize("seeds", [2, 3, 8, 12, 24])
def test_each_round_is_on_more_seeds_and_the_last_on_all(mixture: Model, seeds: int):
    rounds = Race(mixture, few("euler") * 700, range(seeds)).rounds()
    numbers = [number for number, _ in rounds]
    assert numbers == sorted(set(numbers)) and numbers[-1] == seeds and rounds[0][1] == 700


def test_a_race_spends_what_it_said(ended: Race):
    assert ended.spent == ended.total


def test_a_race_that_is_left_early_leaves_no_job_running(mixture: Model):
    steps: Iterator[object] = Race(mixture, few("euler", "heun"), range(4)).run()
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert next(steps, None) is None


def test_what_is_fitted_to_the_model_takes_part_and_stays(mixture: Model):
    fit = Fit((-5.0, 0.0, 4.6), (-5.0, 0.0), (1.0, 1.0), ((1.0,), (1.0, 0.0)), (1.0, 1.0))
    found = entrants(with_fits(mixture, [fit]), 2)
    assert [one.name for one in found if one.kept] == ["calibrated"]
    assert not [one for one in entrants(mixture, 2) if one.kept]
    race = Race(with_fits(mixture, [fit]), [*found[:60], found[-1]], range(8))
    list(race.run())
    assert next(line for line in race.ranking() if line.name == "calibrated").seeds == 8


@pytest.fixture(scope="module")
def advice(mixture: Model) -> advise.Advice:
    request = read({"model": "mixture", "nfe": 4, "count": 8, "guidance": 1})
    race = advise.race_of(request, mixture)
    race = Race(mixture, race.solvers[::12], race.seeds)
    list(race.run())
    return advise.advice(request, mixture, race)


def test_advice_has_a_ranking_nodes_and_code_that_runs(advice: advise.Advice, mixture: Model):
    assert list(advice.sigmas) == pytest.approx(advice.best.solver.sigmas(mixture))
    text = advise.listing(advice)
    assert advice.best.name in text and advise.summary(advice) in text
    scope: dict[str, object] = {}
    exec(advise.codes(advice)["Python"], scope)
    expected = dpm.generate(mixture, advice.best.solver, seeds=range(8))
    assert torch.allclose(scope["images"], expected)  # type: ignore[arg-type]


def test_a_summary_says_how_many_were_measured_on_all_seeds(advice: advise.Advice):
    text = advise.summary(advice)
    assert f"of {advice.tried} solvers tried, {len(advice.lines)} of them on all 8 seeds" in text
    assert f" of these {len(advice.lines)} " in text and advice.tried > len(advice.lines)
    whole = advise.summary(replace(advice, tried=len(advice.lines)))
    assert "them" not in whole and "these seeds." in whole


def test_code_for_comfyui_names_a_sampler_that_it_has(advice: advise.Advice):
    code = advise.codes(advice)["ComfyUI"]
    assert advice.known is not None
    assert f"sampler_name: {advice.known.name.split()[0]}\n" in code


def test_the_plot_shows_every_line_with_its_interval(advice: advise.Advice):
    (points,) = advise.figure(advice, most=5).data
    shown = advice.lines[:5][::-1]
    assert list(points.y) == [line.name for line in shown]
    assert np.allclose(np.add(points.x, points.error_x.array), [line.high for line in shown])


@pytest.mark.parametrize(("values", "field"), [({"nfe": 1}, "nfe"), ({"count": 2}, "count")])
def test_a_race_out_of_bounds_is_refused(mixture: Model, values: dict[str, int], field: str):
    request = read({"model": "mixture", "nfe": 4, "count": 8, "guidance": 1, **values})
    with pytest.raises(ValueError, match=f"^{field} must be"):
        advise.race_of(request, mixture)


def test_one_solver_alone_is_no_race(mixture: Model):
    with pytest.raises(ValueError, match="needs 2 seeds and 2 solvers"):
        Race(mixture, few("euler"), range(4))
    with pytest.raises(ValueError, match="nfe"):
        replace(find("euler", 8), nfe=0)
