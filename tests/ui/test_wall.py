"""The player's value of an engine event, where the event has little to say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.models.exact import mixture_model
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.wall import Wall

MODEL = mixture_model(torch.device("cpu"))


def job(*budgets: int) -> Job:
    tracks = tuple(Track(Solver(nfe=n), (0, 1), lam_span=MODEL.lam_span) for n in budgets)
    return Job(MODEL.denoise, MODEL.shape, tracks)


def previews(wanted: Job) -> Iterator[Preview]:
    return (event for event in run_inline(wanted) if isinstance(event, Preview))


@pytest.mark.parametrize(("end", "state"), [(Cancelled(), "stopped"), (Failed("gone"), "failed")])
def test_a_run_that_ends_without_a_record_keeps_its_tiles_as_last_shown(
    end: Cancelled | Failed, state: str
) -> None:
    wall = Wall(job(2, 9))
    values = [wall.live(event) for event in previews(wall.job) if event.nfe < 16]
    final = wall.final(end)
    shown = values[-1]["tiles"]
    assert {tile["state"] for tile in shown} == {"done", "running"}
    assert [tile["state"] for tile in final["tiles"]] == ["done", "done", state, state]
    assert [tile["nfe"] for tile in final["tiles"]] == [tile["nfe"] for tile in shown]
    assert final["final"] and not any("record" in tile for tile in final["tiles"])


def test_milliseconds_of_an_evaluation_are_told_of_one_setting_alone() -> None:
    for budgets in ((3,), (3, 4)):
        wall = Wall(job(*budgets))
        values = []
        for event in run_inline(wall.job):
            assert isinstance(event, Preview | Done)
            values.append(wall.live(event) if isinstance(event, Preview) else wall.final(event))
        assert all((v["status"]["ms"] is None) == (len(budgets) > 1) for v in values)
