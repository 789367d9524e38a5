"""The tables beside the checkpoints are of those weights, and nearer than what they began as."""

from dataclasses import replace

import pytest

import dpm_demo as dpm
from dpm_demo.calibrate.run import HELD_SEED
from dpm_demo.models.calibrated import Fit
from dpm_demo.models.checkpoint import CHECKPOINTS, list_checkpoints
from dpm_demo.request.codec import solver_of_text

LANDED = [name for name in list_checkpoints() if (CHECKPOINTS / name / "calibrated.json").exists()]
LANDED += ["mixture"]


@pytest.mark.parametrize("name", LANDED)
def test_every_table_was_nearer_on_held_out_seeds_than_its_start(name: str):
    fits = dpm.load(name, device="cpu").fits
    assert fits and all(fit.rmse < fit.plain_rmse for fit in fits)


@pytest.mark.parametrize("name", LANDED)
def test_the_least_table_beats_its_start_here_too(name: str):
    model = dpm.load(name, device="cpu")
    fit: Fit = min(model.fits, key=_cost)
    count, nfe = (1, 20) if model.frames > 1 else (4, 40)  # a clip costs sixteen pictures
    own = {"seeds": range(HELD_SEED, HELD_SEED + count), "guidance": fit.guidance[0]}
    truth = dpm.generate(model, dpm.Solver(nfe=nfe, order=3), **own)

    def error(solver: dpm.Solver) -> float:
        return float((dpm.generate(model, solver, **own) - truth).square().mean())

    start = solver_of_text(fit.start)
    fitted = dpm.Solver(nfe=fit.nfe, schedule="calibrated")
    assert error(fitted) < error(replace(start, nfe=fit.nfe))


def _cost(fit: Fit) -> tuple[float, int]:
    return fit.guidance[1], fit.nfe
