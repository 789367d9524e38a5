"""Files of long runs: thinned evenly, bounded in bytes, with names that lead nowhere else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpm_demo.compare.files import grid_frames, make_files
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.media import thin
from dpm_demo.media.thin import FRAMES_MAX, chosen, fitting
from dpm_demo.models.exact import mixture_model
from dpm_demo.request.codec import read
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.files import Clips, clip_files, denoising_gif
from dpm_demo.request.job import Checked
from dpm_demo.solver.settings import Solver

MODEL = mixture_model(torch.device("cpu"))


@given(st.integers(1, 5000), st.integers(2, 100))
def test_chosen_moments_are_even_rise_and_end_with_the_last(count: int, most: int) -> None:
    kept = chosen(count, most)
    assert len(kept) == min(count, most) and kept[-1] == count and kept[0] >= 1
    steps = {b - a for a, b in pairwise(kept)}
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)


@given(st.integers(1, 10**8), st.integers(1, 12), st.integers(2, 64))
def test_a_film_fits_its_bytes_or_is_as_short_and_small_as_can_be(
    frame: int, scale: int, frames: int
) -> None:
    large, many = fitting(frame, scale, frames, 10**9)
    assert 1 <= large <= scale and 2 <= many <= frames
    assert frame * large**2 * many <= 10**9 or (large, many) == (1, 2)


def _run(comparison: Comparison) -> tuple[ComparisonRun, Done]:
    run = ComparisonRun(comparison, MODEL, References())
    assert run.exact is not None
    run.keep(run.exact())
    for event in run_inline(run.job):
        run.take(event)
    assert isinstance(event, Done)
    return run, event


def test_files_of_a_long_comparison_hold_64_frames_and_fewer_where_bytes_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = Comparison(model="mixture", rows=(Solver(order=1),), budgets=(3, 200))
    run, event = _run(comparison)
    outcome = run.outcome(event)
    frames = grid_frames(outcome)
    assert len(frames) == FRAMES_MAX
    monkeypatch.setattr("dpm_demo.compare.files.fitting", lambda b, s, n: fitting(b, s, n, 10**6))
    small = grid_frames(outcome)
    assert small.nbytes <= 10**6 and 2 <= len(small) < FRAMES_MAX
    hub = replace(outcome, comparison=replace(comparison, model="hub:owner/name"))
    files = make_files(hub, tmp_path)
    assert {path.parent for path in files.values()} == {tmp_path}
    with Image.open(files["gif"]) as film:
        assert film.n_frames <= len(small)  # type: ignore[attr-defined]


def test_the_film_of_a_long_run_is_thinned(tmp_path: Path) -> None:
    wanted = Checked.of(read({"model": "mixture", "nfe": 200, "count": 1}), MODEL)
    *_, done = run_inline(wanted.job())
    with Image.open(denoising_gif(done, tmp_path / "a.gif")) as film:
        assert 2 <= film.n_frames <= FRAMES_MAX  # type: ignore[attr-defined]
    assert thin.FILM_BYTES >= 2**20


def test_the_film_of_more_samples_than_it_can_show_is_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Checked.of(read({"model": "mixture", "nfe": 2, "count": 9}), MODEL)
    *_, done = run_inline(wanted.job())
    monkeypatch.setattr("dpm_demo.request.files.MAX_SIDE", 2 * MODEL.shape[-1])
    monkeypatch.setattr("dpm_demo.request.files.SHOWN", 1)
    with Image.open(denoising_gif(done, tmp_path / "a.gif")) as film:
        assert film.width == film.height == 2 * MODEL.shape[-1]


def test_the_files_of_a_clip_of_the_hub_lie_in_the_folder_that_is_theirs(tmp_path: Path) -> None:
    request = read({"model": "hub:owner/name", "nfe": 2, "count": 1})
    files = clip_files(Clips(request, np.zeros((1, 3, 2, 8, 8), np.float32)), tmp_path)
    assert set(tmp_path.iterdir()) == set(files.values())
