"""Where no solver is named, what is nearest is taken; where one is, it is left alone."""

from dataclasses import replace

import pytest
import torch

import dpm_demo as dpm
from dpm_demo.calibrate.defaults import FEW
from dpm_demo.models.calibrated import Fit, with_fits

FIT = Fit((-5.0, 0.0, 4.6), (-5.0, 0.0), (1.0, 1.0), ((1.0,), (1.0, 0.0)), (1.5, 5.0), 0.1, 0.2)


def test_what_is_fitted_is_taken_in_its_range_and_only_there():
    model = with_fits(dpm.load("mixture", device="cpu"), [FIT])
    assert dpm.default_solver(2, 3.0, model).schedule == "calibrated"
    assert dpm.default_solver(2, 1.0, model).schedule != "calibrated"
    assert dpm.default_solver(3, 3.0, model).schedule != "calibrated"
    assert dpm.default_solver(2, 3.0).schedule != "calibrated"


def test_a_fit_that_did_not_win_is_not_taken():
    lost = replace(FIT, rmse=0.3)
    model = with_fits(dpm.load("mixture", device="cpu"), [lost])
    assert dpm.default_solver(2, 3.0, model).schedule != "calibrated"


def test_few_evaluations_are_corrected_and_many_are_plain():
    assert dpm.default_solver(FEW).corrector
    assert dpm.default_solver(FEW + 1) == dpm.Solver(nfe=FEW + 1)
    with pytest.raises(ValueError, match="nfe must be"):
        dpm.default_solver(0)


def test_the_default_is_nearer_than_the_plain_solver_at_few_evaluations():
    model = dpm.load("emoji-image", device="cpu")
    seeds = range(4)
    truth = dpm.generate(model, dpm.Solver(nfe=60, order=3), seeds=seeds, guidance=1.0)

    def error(solver: dpm.Solver) -> float:
        return float((dpm.generate(model, solver, seeds=seeds, guidance=1.0) - truth).pow(2).mean())

    assert error(dpm.default_solver(7)) < error(dpm.Solver(nfe=7))


def test_generate_without_a_solver_takes_the_default():
    model = dpm.load("mixture", device="cpu")
    expected = dpm.generate(model, dpm.default_solver(20, 1.0, model))
    assert torch.equal(dpm.generate(model), expected)
