"""Comparisons: a cell is the same setting alone, equal work is done once, errors meet the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dpm_demo.compare.figures import (
    ANOTHER_TARGET,
    HEADERS,
    best_cells,
    figures,
    rmse,
    rows_of,
    slope,
)
from dpm_demo.compare.files import csv_text, grid_picture
from dpm_demo.compare.layout import job_of, layout
from dpm_demo.compare.plots import slope_text
from dpm_demo.compare.references import References, exact_references, missing_references, target_of
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.model import Condition, Words
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

MODEL = mixture_model(torch.device("cpu"))
BASE = Comparison(model="mixture", budgets=(5, 10), count=2)


def _done(job) -> Done:
    *_, last = run_inline(job)
    assert isinstance(last, Done)
    return last


def _run(comparison: Comparison):
    cells, kept = layout(comparison, MODEL), References()
    _, targets = missing_references(comparison, MODEL, cells, kept)
    for target, truth in zip(targets, exact_references(MODEL, targets), strict=True):
        kept.put(target, truth)
    done = _done(job_of(comparison, MODEL, cells))
    rows = [row for track in done.tracks for row in track.rows]
    samples = {k: row.sample for k, row in enumerate(rows)}
    values = {c: figures(c, samples, cells, comparison, MODEL, kept) for c in cells.cells}
    return cells, samples, values


def test_a_cell_equals_the_same_setting_run_alone() -> None:
    cells, samples, _ = _run(BASE)
    for cell in cells.cells:
        x = initial_noise(BASE.seeds, MODEL.shape)
        alone = integrate(MODEL.denoise_float32, x, cell.solver, lam_span=MODEL.lam_span)
        for k in range(2):
            assert np.allclose(samples[cells.tile(cell, k)], alone[k].numpy(), atol=1e-5)


def test_cells_of_equal_work_share_a_trajectory_and_others_do_not() -> None:
    rows = (
        Solver(order=1),
        Solver(order=1, method="singlestep"),
        Solver(order=1, schedule="cosine"),
        Solver(order=2),
    )
    cells = layout(replace(BASE, rows=rows), MODEL)
    track = {(cell.row, cell.column): cell.track for cell in cells.cells}
    assert track[0, 0] == track[1, 0] and track[0, 1] == track[1, 1]
    assert len({track[0, 0], track[0, 1], track[2, 0], track[3, 0]}) == 4
    assert len(cells.solvers) == 6


def test_a_prefix_of_a_longer_run_is_not_shared() -> None:
    cells = layout(replace(BASE, rows=(Solver(order=1),), budgets=(10, 20)), MODEL)
    assert len(cells.solvers) == 2


def test_figures_are_the_error_to_the_exact_solution() -> None:
    cells, samples, values = _run(BASE)
    x = initial_noise(BASE.seeds, MODEL.shape)
    truth = MODEL.exact_solution(x, *MODEL.lam_span).numpy()
    for cell in cells.cells:
        errors = [rmse(samples[cells.tile(cell, k)], truth[k]) for k in range(2)]
        assert values[cell].rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)
        assert values[cell].psnr == pytest.approx(20 * np.log10(2 / values[cell].rmse), rel=1e-6)


def test_slopes_on_the_exact_mixture_are_the_orders() -> None:
    comparison = replace(BASE, budgets=(24, 48, 96), no_taper=True, count=1)
    cells, _, values = _run(comparison)
    for row, known in rows_of(cells, values):
        measured = slope([v.nfe for v in known], [v.rmse for v in known])
        assert measured == pytest.approx(row + 1, abs=0.2)


def test_best_of_a_column_is_its_least_error() -> None:
    cells, _, values = _run(BASE)
    best = best_cells(cells, values)
    for column in (0, 1):
        errors = {c: values[c].rmse for c in cells.cells if c.column == column}
        assert {c for c in best if c.column == column} == {min(errors, key=errors.get)}


def test_a_row_with_its_own_noise_has_another_target_and_no_error() -> None:
    comparison = replace(BASE, rows=(Solver(eta=1.0), Solver()))
    cells, _, values = _run(comparison)
    noisy = [values[c] for c in cells.cells if c.row == 0]
    assert all(v.rmse is None and v.note == ANOTHER_TARGET for v in noisy)
    assert all(values[c].rmse is not None for c in cells.cells if c.row == 1)


TARGET = target_of(BASE, MODEL, Solver(), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"condition": Condition((1,), 1.0)},
        {"condition": Condition((), 3.0)},
        {"condition": Condition((), 1.0, Words("a cat"))},
        {"seed": 1},
        {"shape": (3, 64, 64)},
        {"span": (-5.0, 4.0)},
        {"precision": "bfloat16"},
        {"threshold": "static"},
        {"finish": True},
    ],
)
def test_a_reference_is_keyed_by_everything_that_matters(change: dict) -> None:
    kept = References()
    kept.put(TARGET, np.zeros(1))
    assert kept.get(TARGET) is not None
    assert kept.get(replace(TARGET, **change)) is None


def test_the_reference_cache_is_bounded_and_drops_the_least_recently_used() -> None:
    kept = References(most=3)
    for seed in range(3):
        kept.put(replace(TARGET, seed=seed), np.zeros(1))
    kept.get(replace(TARGET, seed=0))
    kept.put(replace(TARGET, seed=3), np.zeros(1))
    assert len(kept) == 3
    assert kept.get(replace(TARGET, seed=0)) is not None
    assert kept.get(replace(TARGET, seed=1)) is None


def test_threshold_and_finish_ask_for_their_own_reference() -> None:
    rows = (Solver(), Solver(denoise_to_zero=True), Solver(threshold="static"), Solver(order=3))
    comparison = replace(BASE, rows=rows, count=1)
    cells = layout(comparison, MODEL)
    job, targets = missing_references(comparison, MODEL, cells, References())
    assert job is not None and len(targets) == len(set(targets)) == 3
    finishes = {(t.solver.threshold, t.solver.denoise_to_zero) for t in job.tracks}
    assert finishes == {(None, False), (None, True), ("static", False)}


def test_the_table_says_every_cell_and_the_csv_holds_the_same() -> None:
    cells, _, values = _run(BASE)
    lines = csv_text(BASE, cells, values).strip().splitlines()
    assert lines[0] == ",".join(HEADERS) and len(lines) == 1 + len(cells.cells)
    picture = np.zeros((8, 8, 3), np.uint8)
    grid = grid_picture(BASE, cells, values, {c: picture for c in cells.cells})
    assert grid.ndim == 3 and grid.shape[0] > 3 * 8 and (grid != 255).any()


def test_a_slope_of_two_points_says_so() -> None:
    assert slope_text([5, 10], [0.4, 0.1]) == " (slope 2.00, of two points)"
    assert slope_text([5, 10, 20], [0.4, 0.1, 0.025]) == " (slope 2.00)"
    assert slope_text([5], [0.4]) == slope_text([5, 10], [0.4, 0.0]) == ""
