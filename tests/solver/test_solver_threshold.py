"""Thresholding of the data prediction, row by row."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from solver_cases import SPAN, drive

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.state import threshold

WILD = 3 * torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_static_is_a_clip():
    assert torch.equal(threshold(WILD, "static"), WILD.clamp(-1, 1))


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (5, 7), (5, 1), (3, 2, 3, 4, 5)])
def test_dynamic_is_the_percentile_of_imagen_and_diffusers(shape):
    x0 = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scheduler = DPMSolverMultistepScheduler(thresholding=True, sample_max_value=1e9)
    theirs = scheduler._threshold_sample(x0[..., None]).reshape(shape)
    torch.testing.assert_close(threshold(x0, "dynamic"), theirs)
    assert threshold(x0, "dynamic").abs().max() <= 1


def test_dynamic_leaves_a_prediction_in_range_alone():
    tame = WILD / WILD.abs().max()
    assert torch.equal(threshold(tame, "dynamic"), tame)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_thresholding_is_row_by_row_and_changes_no_input(kind):
    before = WILD.clone()
    together = threshold(WILD, kind)
    for i in range(5):
        assert torch.equal(together[i : i + 1], threshold(WILD[i : i + 1], kind))
    assert torch.equal(WILD, before)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"method": "singlestep", "order": 3},
        {"method": "adaptive"},
        {"window": 4},
        {"corrector": True},
        {"eta": 1.0},
    ],
    ids=str,
)
def test_every_method_uses_the_thresholded_prediction(fields):
    def wild(x, lam):
        return 2.5 * MIXTURE.denoise(x, lam)

    def tame(x, lam):
        return wild(x, lam).clamp(-1, 1)

    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    by_solver = drive(wild, x, Solver(threshold="static", **fields), seeds=[0]).result
    by_hand = drive(tame, x, Solver(**fields), seeds=[0]).result
    assert torch.equal(by_solver, by_hand)


def test_thresholding_reaches_the_result_of_denoise_to_zero():
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(4))
    solver = Solver(nfe=5, denoise_to_zero=True, threshold="static")
    got = integrate(lambda x, lam: 9 * torch.ones_like(x), x, solver, lam_span=SPAN)
    assert torch.equal(got, torch.ones_like(x))
