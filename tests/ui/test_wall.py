"""The player's value of an engine event, where the event has little to say."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.engine.inline import run_inline, run_to_end
from dpm_demo.engine.job import Job, Track
from dpm_demo.models.exact import mixture_model
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.sheets import RECORD_BYTES, kept_of
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.tabs.compare_runs import Painter

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


def test_no_time_left_is_below_zero() -> None:
    wall = Wall(job(3))
    event = next(previews(wall.job))
    assert wall.live(replace(event, nfe=2 * event.budget, seconds=60.0))["status"]["left"] == 0


def test_a_comparison_that_goes_on_shows_what_was_there_before_in_its_place() -> None:
    asked = Comparison(model="mixture", budgets=(3, 6), no_taper=True)
    model = replace(MODEL, exact_solution=None, digest="blind")
    before = ComparisonRun(asked, model, References())
    ended = before.take(run_to_end(before.job))
    assert isinstance(ended, Done)
    done = {track: ended.tracks[track] for track in (0, 2, 4)}
    run = ComparisonRun(asked, model, References(), done=done)
    painter = Painter(run)
    values = [painter(run.take(event), 0) for event in run_inline(run.job)]
    old = [k for k, cell in enumerate(run.cells.cells) if cell.track in done]
    assert len(old) == 3 and len(run.job.tracks) == 4
    assert all(values[0]["tiles"][k]["state"] == "done" for k in old)
    whole = Painter(before)(ended, 0)
    tiles = [[(t["state"], t["nfe"], t["record"]) for t in v["tiles"]] for v in (values[-1], whole)]
    assert tiles[0] == tiles[1]
    assert values[-1]["errors"] == whole["errors"] and None not in whole["errors"]


@pytest.mark.parametrize("diff", [None, 4])
def test_a_record_of_large_pictures_is_thinned_to_what_a_browser_can_hold(diff: int | None) -> None:
    shape = (3, 256, 256)
    track = Track(Solver(nfe=40, order=1), (0, 1, 2), lam_span=(-4.0, 4.0))
    wall = Wall(Job(lambda x, lam, cond=None: x.tanh(), shape, (track,)), diff_scale=diff)
    event = run_to_end(wall.job)
    assert isinstance(event, Done)
    wall.truth = {0: np.zeros((512, 512, 3), np.uint8)}  # as decoded, at twice the size
    raw = 0
    for tile in wall.final(event)["tiles"]:
        record = tile["record"]
        places = [point["picture"] for point in record["points"]]
        heights = set()
        for view in {"x0", "x", "diff"} & record.keys():
            with Image.open(io.BytesIO(base64.b64decode(record[view].split(",")[1]))) as sheet:
                heights.add(sheet.height)
                raw += sheet.width * sheet.height * 3
        assert len(places) == 41 and places == sorted(places) and places[0] == 0
        assert heights == {256 * (places[-1] + 1)} and 10 < places[-1] < 40
    assert raw <= RECORD_BYTES
    first = wall.final(event)["tiles"][0]["record"]
    assert ("diff" in first) == (diff is not None)


@pytest.mark.parametrize("count", [1, 2, 41])
@pytest.mark.parametrize("sheets", [2, 54, 10_000])
def test_of_a_thinned_record_the_noise_and_the_sample_are_kept(count: int, sheets: int) -> None:
    kept = kept_of(count, 3 * 256**2, sheets)
    assert kept[0] == 0 and kept[-1] == count - 1 and kept == sorted(set(kept))


def test_all_pictures_of_a_record_of_small_ones_are_kept() -> None:
    wall = Wall(job(40))
    event = run_to_end(wall.job)
    assert isinstance(event, Done)
    for tile in wall.final(event)["tiles"]:
        assert [point["picture"] for point in tile["record"]["points"]] == list(range(41))
