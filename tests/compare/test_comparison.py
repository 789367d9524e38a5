"""Comparisons: a cell is the same setting alone, equal work is done once, errors meet the truth."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpm_demo.compare import run as run_module
from dpm_demo.compare.figures import (
    ANOTHER_TARGET,
    HEADERS,
    best_cells,
    rmse,
    rows_of,
    slope,
)
from dpm_demo.compare.files import csv_text, grid_picture, settings_of, title_of
from dpm_demo.compare.layout import layout
from dpm_demo.compare.plots import slope_text
from dpm_demo.compare.references import REFERENCE_NFE, References, target_of
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Event, TrackResult
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Track
from dpm_demo.engine.scheduler import Scheduler
from dpm_demo.engine.ticket import Ticket
from dpm_demo.models.calibrated import Fit, with_fits
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.model import Condition, Model, Words
from dpm_demo.request.codec import comparison_of_values, comparison_query
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

MODEL = mixture_model(torch.device("cpu"))
BASE = Comparison(model="mixture", budgets=(5, 10), count=2)


def _run(comparison: Comparison, model: Model = MODEL):
    run = ComparisonRun(comparison, model, References())
    if run.exact is not None:
        run.keep(run.exact())
    for event in run_inline(run.job):
        run.take(event)
    assert isinstance(event, Done)
    return run.cells, run.samples, run.values


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


def test_a_cell_of_adaptive_steps_says_the_mean_of_what_its_seeds_spent() -> None:
    row = Solver(method="adaptive", order=3, tolerance=0.02)
    run = ComparisonRun(replace(BASE, rows=(row,), budgets=(200,), count=4), MODEL, References())
    run.keep(run.exact())
    for event in run_inline(run.job):
        run.take(event)
    (value,) = run.values.values()
    assert value.nfe == round(np.mean([*run.nfe.values()])) != run.nfe[0]


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


TARGET = target_of(Checked.of(BASE.sample, MODEL), Solver(), 0)


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
        {"threshold": "static"},
        {"finish": True},
    ],
)
def test_a_reference_is_keyed_by_everything_that_matters(change: dict) -> None:
    kept = References()
    kept.put(TARGET, np.zeros(1))
    assert kept.get(TARGET) is not None
    assert kept.get(replace(TARGET, **change)) is None


def test_the_store_is_bounded_in_bytes_and_drops_the_least_recently_used() -> None:
    sample = np.zeros(10, np.float32)
    kept = References(most_bytes=3 * sample.nbytes)
    for seed in range(3):
        kept.put(replace(TARGET, seed=seed), sample)
    kept.put(replace(TARGET, seed=1), sample)  # again: counted once
    kept.get(replace(TARGET, seed=0))
    kept.put(replace(TARGET, seed=3), sample)
    assert len(kept) == 3 and kept.bytes == 3 * sample.nbytes
    assert kept.get(replace(TARGET, seed=0)) is not None
    assert kept.get(replace(TARGET, seed=2)) is None
    kept.put(replace(TARGET, seed=4), np.zeros(40, np.float32))  # alone above the bound
    assert kept.bytes <= 3 * sample.nbytes and kept.get(replace(TARGET, seed=4)) is None


BLIND = replace(MODEL, exact_solution=None, digest="blind")


def _references(run: ComparisonRun) -> list[Track]:
    return list(run.job.tracks[len(run.solvers) :])


def test_threshold_and_finish_ask_for_their_own_reference() -> None:
    rows = (Solver(), Solver(denoise_to_zero=True), Solver(threshold="static"), Solver(order=3))
    run = ComparisonRun(replace(BASE, rows=rows, count=1), BLIND, References())
    finishes = [(t.solver.threshold, t.solver.denoise_to_zero) for t in _references(run)]
    assert len(finishes) == 3
    assert set(finishes) == {(None, False), (None, True), ("static", False)}
    assert all(t.solver.nfe == REFERENCE_NFE and not t.pictures for t in _references(run))


def test_a_converged_sample_is_computed_once_for_all_who_share_the_store() -> None:
    kept = References()
    first = ComparisonRun(BASE, BLIND, kept)
    for event in run_inline(first.job):
        first.take(event)
    again = ComparisonRun(replace(BASE, budgets=(7,), count=3), BLIND, kept)
    assert [t.seeds for t in _references(first)] == [(0, 1)]
    assert [t.seeds for t in _references(again)] == [(2,)]
    truth = MODEL.exact_solution(initial_noise(BASE.seeds, MODEL.shape), *MODEL.lam_span).numpy()
    for k, seed in enumerate(BASE.seeds):
        assert rmse(again.truth(0, seed), truth[k]) < 1e-3


def test_cells_are_there_though_their_reference_fails_or_is_stopped() -> None:
    def fails(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        if lam[0] > 0 and calls[0] > 100:
            return x * float("nan")
        calls[0] += 1
        return MODEL.denoise_float32(x, lam)

    calls = [0]
    run = ComparisonRun(BASE, replace(BLIND, denoise_float32=fails), References())
    for event in run_inline(run.job):
        run.take(event)
    assert isinstance(event, Done) and "not finite" in (event.error or "")
    assert len(run.values) == len(run.cells.cells)
    assert all(v.rmse is None and v.nfe in BASE.budgets for v in run.values.values())
    assert set(run.outcome(event).rows) == set(run.cells.cells)


def test_the_reference_is_counted_among_the_price() -> None:
    rows = tuple(
        Solver(threshold=t, denoise_to_zero=z)
        for t in (None, "static", "dynamic")
        for z in (False, True)
    )
    wanted = replace(BASE, rows=rows, budgets=(5, 5 + 5), count=8)
    own = 6 * 15 * 8
    references = 6 * REFERENCE_NFE * 8
    enough = Limits(pictures=96, cost=own + references)
    ComparisonRun.checked(wanted, BLIND, References(), enough)
    with pytest.raises(ValueError, match=f"would cost {own + references:,} network rows"):
        ComparisonRun.checked(wanted, BLIND, References(), replace(enough, cost=enough.cost - 1))
    ComparisonRun.checked(wanted, MODEL, References(), replace(enough, cost=own))


def test_the_error_of_a_finished_cell_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(run_module, "rmse", lambda a, b: made.append(1) or rmse(a, b))
    _run(BASE)
    assert len(made) == len(layout(BASE, MODEL).solvers) * BASE.count


def test_the_table_says_every_cell_and_the_csv_holds_the_same() -> None:
    cells, _, values = _run(BASE)
    lines = csv_text(BASE, cells, values).strip().splitlines()
    assert lines[0] == ",".join(HEADERS) and len(lines) == 1 + len(cells.cells)
    picture = np.zeros((8, 8, 3), np.uint8)
    grid = grid_picture(BASE, cells, values, {c: picture for c in cells.cells})
    assert grid.ndim == 3 and grid.shape[0] > 3 * 8 and (grid != 255).any()


def test_the_settings_beside_a_comparison_say_all_that_was_asked_for() -> None:
    asked = replace(BASE, prompt="a cat", negative_prompt="a dog", height=64, width=32, frames=5)
    assert title_of(asked).endswith(', 32 x 64 pixels, "a cat"')
    said = settings_of(asked)
    assert said.pop("link") == "?" + comparison_query(asked)
    apart = {name: said.pop(name) for name in ("rows", "budgets", "no_taper")}
    assert comparison_of_values(said, **apart) == asked


def test_a_slope_of_two_points_says_so() -> None:
    assert slope_text([5, 10], [0.4, 0.1]) == " (slope 2.00, of two points)"
    assert slope_text([5, 10, 20], [0.4, 0.1, 0.025]) == " (slope 2.00)"
    assert slope_text([5], [0.4]) == slope_text([5, 10], [0.4, 0.0]) == ""


class Slow:
    """A denoiser of eight seconds a row, on a clock of its own."""

    device = torch.device("cpu")

    def __init__(self, denoise) -> None:
        self.denoise, self.seconds, self.stops = denoise, 0.0, float("inf")

    def __call__(self, x: torch.Tensor, lam: torch.Tensor, **cond) -> torch.Tensor:
        self.seconds += 8.0 * len(x)
        return self.denoise(x, lam, **cond)

    @property
    def model(self) -> Model:
        return replace(BLIND, denoise=self, denoise_float32=self, digest="slow")

    def events(self, run: ComparisonRun) -> Iterator[Event]:
        scheduler, ticket = Scheduler(clock=lambda: self.seconds), Ticket(run.job)
        ticket.subscribed = True
        scheduler.add(ticket)
        while not ticket.finished:
            if self.seconds >= self.stops:
                ticket.cancel()
            scheduler.tick()
            yield run.take(ticket.poll())


def test_cells_of_a_slow_network_fill_column_by_column_and_the_reference_comes_last() -> None:
    slow = Slow(MODEL.denoise_float32)
    asked = replace(BASE, budgets=(10, 3, 5), count=1, no_taper=True)
    run = ComparisonRun(asked, slow.model, References())
    filled: dict[tuple[int, int], float] = {}  # when a cell had its sample
    for _ in slow.events(run):
        for cell in run.cells.cells:
            if run.cells.tile(cell) in run.samples:
                filled.setdefault((cell.solver.nfe, cell.row), slow.seconds)
    assert list(filled) == sorted((nfe, row) for nfe in (3, 5, 10) for row in range(3))
    spent = np.cumsum([nfe for nfe, _ in filled])
    assert list(filled.values()) == list(8.0 * spent), "nothing else was computed before"
    assert slow.seconds == 8.0 * (spent[-1] + REFERENCE_NFE)


@pytest.mark.parametrize(
    ("calls", "cells"), [((1,), 0), ((20,), 2), ((25, 20), 3), ((300,), 6)], ids=str
)
def test_a_stopped_comparison_goes_on_with_what_is_missing_alone(calls, cells) -> None:
    rows = (Solver(order=1), Solver(order=2), Solver(method="adaptive", tolerance=1.0))
    asked = replace(BASE, rows=rows, budgets=(5, 9), no_taper=True)
    slow = Slow(MODEL.denoise_float32)
    undisturbed = ComparisonRun(asked, slow.model, References())
    *_, whole = slow.events(undisturbed)
    assert isinstance(whole, Done)

    done: dict[int, TrackResult] = {}
    for stop in calls:  # it may be stopped again
        slow.seconds, slow.stops = 0.0, 8.0 * stop
        run = ComparisonRun(asked, slow.model, References(), done=done)
        *_, stopped = slow.events(run)
        assert isinstance(stopped, Cancelled) and done.keys() <= run.finished(stopped).keys()
        done = run.finished(stopped)
    assert len(done) == cells

    slow.seconds, slow.stops = 0.0, float("inf")
    run = ComparisonRun(asked, slow.model, References(), done=done)
    first, *_, again = slow.events(run)
    assert slow.seconds == 8.0 * (whole.nfe - sum(track.nfe for track in done.values()))
    tiles = [run.cells.tile(cell, k) for cell in run.cells.cells for k in range(2)]
    old = {t for t in tiles if t // 2 in done}
    assert {t for t in tiles if first.tiles[t].state == "done"} == old
    assert old <= first.pictures.keys() and old == first.samples.keys()
    assert isinstance(again, Done) and again.nfe == whole.nfe
    for one, other in zip(again.tracks, whole.tracks, strict=True):
        for mine, its in zip(one.rows, other.rows, strict=True):
            assert np.array_equal(mine.sample, its.sample) and np.array_equal(mine.x0, its.x0)
            assert (mine.points, mine.decisions) == (its.points, its.decisions)
    figures = [[r.values[c].rmse for c in r.cells.cells] for r in (run, undisturbed)]
    assert figures[0] == figures[1]


def test_a_budget_that_nothing_was_fitted_at_lacks_its_cell_and_no_other() -> None:
    nodes = tuple(np.linspace(*MODEL.lam_span, 6))
    fit = Fit(nodes, nodes[:-1], (0.5,) * 5, ((0.5,),) * 5, guidance=(1.0, 1.0))
    fitted = with_fits(MODEL, (fit,))
    asked = replace(BASE, rows=(Solver(order=1), Solver(schedule="calibrated")))
    cells, _, values = _run(asked, fitted)
    assert [(cell.row, cell.column) for cell in cells.cells if cell.lacks] == [(1, 1)]
    said = [values[cell].note for cell in cells.cells]
    assert said == ["", "", "", "not fitted at 10 evaluations"]
    assert [values[cell].rmse is None for cell in cells.cells] == [False, False, False, True]
    assert csv_text(asked, cells, values).count("not fitted at 10") == 1
    blank = np.zeros((8, 8, 3), np.uint8)
    assert grid_picture(asked, cells, values, {cells.cells[0]: blank}).shape[2] == 3
    with pytest.raises(ValueError, match="is not fitted for 10 evaluations"):
        layout(replace(asked, rows=asked.rows[1:], budgets=(10,)), fitted)
