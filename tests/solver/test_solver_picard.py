"""Parallel in time: the sequential sample in fewer ticks, for one row at a time."""

import math

import pytest
import torch
from solver_cases import SPAN, drive

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver.picard import PICARD_TOLERANCE
from dpm_demo.solver.settings import Solver

X = torch.randn(1, 256, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
KINDS = [
    {"order": 1},
    {"order": 2},
    {"order": 3},
    {"order": "auto"},
    {"order": 3, "method": "singlestep"},
    {"order": 2, "prediction": "noise"},
    {"order": 3, "denoise_to_zero": True},
    {"order": 2, "eta": 1.0},
    {"order": 2, "eta": 0.5, "method": "singlestep"},
    {"order": 2, "threshold": "dynamic"},
]


def run(window, nfe=50, denoise=MIXTURE.denoise, **fields):
    return drive(denoise, X, Solver(nfe=nfe, window=window, **fields), seeds=[0])


@pytest.mark.parametrize("window", [2, 7, 16, 64])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_sample_is_the_sequential_one_within_the_stated_tolerance(kind, window):
    parallel, sequential = run(window, **kind), run(0, **kind)
    gap = (parallel.result - sequential.result).pow(2).mean().sqrt().item()
    assert gap < PICARD_TOLERANCE / 5
    ticks = len(parallel.evaluations)
    assert ticks <= sequential.nfe
    assert all(len(e.x) == len(e.lam) <= window for e in parallel.evaluations)


def test_wider_windows_take_fewer_ticks_and_more_evaluations():
    runs = [run(window, nfe=100, order=3) for window in (4, 16, 64)]
    ticks = [len(r.evaluations) for r in runs]
    assert ticks[0] > ticks[1] > ticks[2] and ticks[2] <= 20
    assert runs[0].nfe < runs[1].nfe < runs[2].nfe
    for r in runs:
        assert r.end == {"ticks": len(r.evaluations), "nfe": r.nfe, "converged": True}


def test_each_sweep_is_an_event_and_settles_at_least_one_step():
    done = [d.data["done"] for d in run(8).decisions if d.kind == "sweep"]
    assert all(b > a for a, b in zip([0, *done], done, strict=False)) and done[-1] == 50


@pytest.mark.parametrize("nfe", [1, 2, 3])
def test_budgets_smaller_than_the_window_work(nfe):
    got = run(64, nfe=nfe)
    assert len(got.evaluations) <= nfe
    assert (got.result - run(0, nfe=nfe).result).pow(2).mean().sqrt() < PICARD_TOLERANCE / 5


def test_a_prediction_that_never_settles_still_ends_with_the_sequential_sample():
    def erratic(x, lam):  # so sensitive that no state settles before its turn
        return torch.sin(1e6 * x)

    got = run(16, denoise=erratic)
    assert len(got.evaluations) <= 50
    torch.testing.assert_close(got.result, run(0, denoise=erratic).result, rtol=0, atol=1e-6)


def test_a_prediction_that_is_not_finite_ends():
    got = run(16, denoise=lambda x, lam: x * math.nan)
    assert len(got.evaluations) <= 50 and got.result.isnan().all()


def test_one_evaluation_carries_a_lambda_for_each_of_its_rows():
    first = run(8).evaluations[0]
    assert first.lam.dtype == torch.float64 and first.lam.shape == (8,)
    assert first.lam[0] == SPAN[0] and (first.lam.diff() > 0).all()
