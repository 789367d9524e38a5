"""Tab "Error control": what it counts, draws and says, and the tab itself in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_IS_E2E_TEST", "1")

import gradio as gr
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, Route, expect

import dpm_demo as dpm
from dpm_demo.compare.adaptive import HEADERS, Spent, spent_of
from dpm_demo.compare.adaptive_plots import SHOWN_ERRORS, hops_figure, steps_figure
from dpm_demo.compare.plots import COLOURS
from dpm_demo.engine.events import Done, SolverDecision
from dpm_demo.engine.inline import run_inline
from dpm_demo.models.exact import MIXTURE_NAME, mixture_model
from dpm_demo.request.limits import Limits, memory_needed
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.ui import runs
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import adaptive as tab
from dpm_demo.ui.tabs import adaptive_runs as errors
from dpm_demo.ui.tabs import adaptive_start
from tests.ui.alone import served_alone

MODEL = mixture_model(torch.device("cpu"))
PATIENCE = 120_000  # ms; only a failure waits that long


def request(limits: Limits | None = None, settings: int = 1, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "model": MIXTURE_NAME,
        "label": "any",
        "guidance": 1.0,
        "seed": 0,
        "count": 2,
        "nfe": 60,
        "order": 2,
        "tolerance": "0.05",
        "stability": True,
        **changes,
    }
    return errors.read_request(values, MODEL, limits or Limits(), settings)


def watched(serving: Serving, wanted: Any) -> list[errors.News]:
    async def collect() -> list[errors.News]:
        return [news async for news in errors.watch(serving, wanted)]

    return asyncio.run(collect())


def step(tile: int, lam: float, error: float, order: int = 2) -> SolverDecision:
    data = {"h": 0.5, "error": error, "order": order, "accepted": error <= 1}
    return SolverDecision(tile, 3, "step", lam, data)


# ------------------------------------------------------------------------- counting and drawing


def test_steps_are_counted_as_the_solver_itself_counts_them() -> None:
    wanted = request(controller="i", seed=5, stability=False)  # the published one, which rejects
    *_, done = run_inline(wanted.job(float32=True))
    assert isinstance(done, Done)
    rows = done.tracks[0].rows
    spent = spent_of([row.nfe for row in rows], [row.decisions for row in rows])
    ends = [row.decisions[-1].data for row in rows]
    assert spent.accepted == tuple(end["accepted"] for end in ends)
    assert spent.rejected == tuple(end["rejected"] for end in ends)
    assert spent.nfe == tuple(end["nfe"] for end in ends)
    assert spent.converged == (True, True)
    assert min(spent.accepted) > min(spent.rejected) > 0


def test_the_budget_of_fixed_steps_is_the_rounded_mean() -> None:
    assert Spent((24, 27), (0, 0), (0, 0), (True, True)).fixed_nfe == 26
    assert Spent((30, 31, 31), (0,) * 3, (0,) * 3, (True,) * 3).fixed_nfe == 31


def test_rejected_steps_are_drawn_apart_and_every_sample_has_its_own_colour() -> None:
    lowered = SolverDecision(1, 9, "stability", 0.2, {"order": 2, "action": "lower"})
    choices = [step(0, -1.0, 0.3), step(0, -0.5, 4.0), step(1, 0.2, 0.9, 3), lowered]
    figure = steps_figure(choices, ["seed 0", "seed 1"], (-5.0, 4.6))
    sizes = [trace for trace in figure.data if trace.yaxis == "y"]
    local = {trace.name: trace for trace in figure.data if trace.yaxis == "y2"}
    assert [list(trace.x) for trace in sizes] == [[-1.0], [-0.5], [0.2], []]
    assert [trace.mode for trace in sizes] == ["lines+markers", "markers"] * 2
    assert list(local["seed 0, rejected"].y) == [4.0]
    assert local["seed 0, rejected"].marker.symbol == "x-thin"
    assert local["seed 0"].marker.color == COLOURS[0] != local["seed 1"].marker.color
    assert figure.layout.yaxis2.type == "log"
    assert [(line.yref, line.y0, line.y1) for line in figure.layout.shapes] == [("y2", 1, 1)]
    orders = {trace.name: trace for trace in figure.data if trace.yaxis == "y3"}
    assert np.round(orders["seed 0"].y).tolist() == [2, 2]  # the rejected step took no one along
    assert np.round(orders["seed 1"].y).tolist() == [3, 3]
    assert "halved" in orders["seed 1, stability"].text[0]


def test_a_step_that_is_kept_lands_and_one_that_is_not_bounces_above_the_fixed_steps() -> None:
    choices = [step(0, -1.0, 4.0), step(0, -1.0, 0.3), step(1, 0.2, 0.9)]
    figure = hops_figure(choices, ["seed 0", "seed 1"], (-5.0, 4.6), [-5.0, 0.0, 4.6])
    marks = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    landed, bounced, fixed = marks.values()
    assert (list(landed.x), list(landed.y)) == ([-0.5, 0.7], [2, 1])
    assert (list(bounced.x), list(bounced.y)) == ([-0.5], [2])
    assert landed.marker.color != bounced.marker.color
    assert landed.marker.symbol != bounced.marker.symbol  # not by colour alone
    assert (list(fixed.x), list(fixed.y)) == ([0.0, 4.6], [0, 0])
    assert list(figure.layout.yaxis.ticktext) == ["seed 0", "seed 1", "fixed"]


def test_the_tab_opens_on_a_recorded_run_of_its_own_settings_in_which_steps_are_rejected() -> None:
    model = dpm.load("emoji-image")
    start = adaptive_start.recorded(model)
    assert re.match(r"### (Fixed|Adaptive) steps win: ", start.text or "")
    data = json.loads(start.hops.plot)["data"] if start.hops else []
    marks = {trace["name"]: len(trace["x"]) for trace in data if trace["mode"] == "markers"}
    wanted = errors.read_request(
        {"model": model.name, "label": "smileys", "guidance": 1.0, "seed": 0, "count": 2}
        | {"controller": tab.DEFAULT.controller, "stability": True, "nfe": tab.DEFAULT.nfe},
        model,
        Limits(),
    )
    *_, done = run_inline(wanted.job(float32=True))
    rows = done.tracks[0].rows
    spent = spent_of([row.nfe for row in rows], [row.decisions for row in rows])
    landed, bounced, fixed = marks.values()
    assert (landed, bounced, fixed) == (sum(spent.accepted), sum(spent.rejected), spent.fixed_nfe)
    assert bounced > 0


def test_errors_that_no_logarithm_can_show_are_drawn_at_the_edge() -> None:
    figure = steps_figure([step(0, 0.0, 0.0), step(0, 0.5, math.inf)], ["a"], (-5.0, 4.6))
    local = [y for trace in figure.data if trace.yaxis == "y2" for y in trace.y]
    assert local == [SHOWN_ERRORS[0], SHOWN_ERRORS[1]]


def test_a_throttle_lets_the_first_through_and_then_waits(monkeypatch: Any) -> None:
    now = [10.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    throttle = runs.Throttle(0.33)
    seen = []
    for now[0] in (10.0, 10.1, 10.3, 10.4, 10.7, 10.8):
        seen.append(throttle.due())
    assert seen == [True, False, False, True, False, True]


# ------------------------------------------------------------------------------ what may be asked


@pytest.mark.parametrize("bad", ["abc", "nan", "inf", "0", "-1", None, ""])
def test_a_tolerance_that_means_nothing_is_refused_in_a_sentence(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^tolerance must be"):
        request(tolerance=bad)


def test_the_cost_of_the_table_counts_every_tolerance_and_the_fixed_steps() -> None:
    limits = Limits(cost=2 * 2 * 60)
    request(limits)
    with pytest.raises(ValueError, match="would cost 960 network rows"):
        request(limits, settings=4)
    memory = Limits(memory=memory_needed([60] * 4, 3 * 32 * 32))
    request(memory)
    with pytest.raises(ValueError, match=r"would need about .* \(8 samples"):
        request(memory, settings=4)
    with pytest.raises(ValueError, match="at most 4"):
        request(count=5)


# --------------------------------------------------------------------------------------- one run


def test_a_run_spends_the_same_on_fixed_steps_and_tells_both_true_errors(serving: Serving) -> None:
    news = watched(serving, request())
    adaptive = [n.adaptive for n in news if n.adaptive][-1]
    fixed = [n.fixed for n in news if n.fixed][-1]
    assert adaptive["final"] and fixed["final"]
    spent = [tile["nfe"] for tile in adaptive["tiles"]]
    budget = round(sum(spent) / 2)
    assert {tile["nfe"] for tile in fixed["tiles"]} == {budget}

    noise = initial_noise((0, 1), MODEL.shape)
    truth = MODEL.exact_solution(noise, *MODEL.lam_span)
    solvers = Solver(method="adaptive", stability=True), Solver(nfe=budget, order=2)
    said = re.findall(r"\| ([\d.e-]+) \|$", news[-1].text or "", re.M)
    for solver, figure in zip(solvers, said, strict=True):
        sample = integrate(MODEL.denoise_float32, noise, solver, lam_span=MODEL.lam_span)
        assert float(figure) == pytest.approx(float((sample - truth).square().mean().sqrt()), 0.06)
    assert "Not converged" not in (news[-1].text or "")


def test_the_last_plot_has_every_step_up_to_the_end(serving: Serving) -> None:
    plots = [news.plot for news in watched(serving, request()) if news.plot]
    orders = [t for t in json.loads(plots[-1]["value"].plot)["data"] if t["yaxis"] == "y3"]
    ends = [max(t["x"]) for t in orders if "stability" not in t["name"]]
    assert ends == pytest.approx([MODEL.lam_span[1]] * 2)


@pytest.mark.parametrize("tolerance", ["1e-300", "1e-12"])
def test_a_run_that_meets_its_cap_says_in_words_that_it_did_not_converge(
    serving: Serving, tolerance: str
) -> None:
    news = watched(serving, request(tolerance=tolerance, nfe=20))
    assert "**Not converged.** 2 of 2 samples reached the cap of 20" in (news[-1].text or "")
    tiles = [n.adaptive for n in news if n.adaptive][-1]["tiles"]
    assert all(tile["nfe"] <= 20 for tile in tiles)


def test_an_absurdly_large_tolerance_ends_with_few_steps(serving: Serving) -> None:
    tiles = [n.adaptive for n in watched(serving, request(tolerance="1e9")) if n.adaptive][-1]
    assert all(tile["nfe"] <= 12 and tile["state"] == "done" for tile in tiles["tiles"])


def test_a_run_that_is_left_stops_working(serving: Serving) -> None:
    async def leave() -> None:
        stream = errors.watch(serving, request(tolerance="1e-9", nfe=1000))
        await anext(stream)
        assert serving.engine.stats().requests > 0
        await stream.aclose()
        for _ in range(200):
            if serving.engine.stats().requests == 0:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the engine still works for a visitor who has gone")

    asyncio.run(leave())


def test_the_table_costs_more_and_errs_less_as_the_tolerance_falls(serving: Serving) -> None:
    wanted = request(settings=4, count=1, nfe=60)

    async def collect() -> list[Any]:
        return [t async for t in errors.tabulate(serving, wanted)]

    lines, text = asyncio.run(collect())[-1]
    named = [dict(zip(HEADERS, line, strict=True)) for line in lines]
    assert [line["tolerance"] for line in named] == list(errors.TOLERANCES)
    nfe = [line["NFE (mean)"] for line in named]
    assert nfe == sorted(nfe) and nfe[-1] <= 60
    met = [line for line in named if not line["note"]]
    assert len(met) == 3  # the smallest tolerance wants more than the cap
    assert "not converged: 1 of 1 at the cap of 60" in named[-1]["note"]
    known = [line["RMSE adaptive"] for line in met]
    assert known == sorted(known, reverse=True) and known[0] > 2 * known[-1] > 0
    assert all(line["RMSE fixed, same NFE"] > 0 for line in named)
    won = sum(1.05 * line["RMSE adaptive"] <= line["RMSE fixed, same NFE"] for line in met)
    assert f"nearer at {won} of 3 tolerances that were met" in text


# ------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def page(serving: Serving, browser: Browser) -> Iterator[Page]:
    with gr.Blocks(analytics_enabled=False) as demo:
        tab.build(serving, serving.library.choices(), MODEL, demo)
    with served_alone(demo.queue()) as url:
        view = browser.new_page()
        view.set_default_timeout(PATIENCE)
        strays: list[str] = []

        def stray(route: Route) -> None:
            strays.append(route.request.url)
            route.abort()

        view.route(re.compile(rf"^(?!{re.escape(url)}|data:|blob:)"), stray)
        view.goto(url)
        yield view
        assert strays == [], "a request left the machine"
        view.close()


@pytest.mark.browser
def test_in_the_page_both_runs_end_complete_and_a_bad_tolerance_is_one_sentence(
    page: Page, tmp_path: Path
) -> None:
    expect.set_options(timeout=PATIENCE)
    page.locator("#errors-go").click()
    expect(page.locator("#errors-note")).to_contain_text("At this cost")
    for name in ("errors-player", "errors-fixed"):
        players = page.locator(f"#{name} [data-testid=player]")
        expect(players).to_have_attribute("data-state", "final")
    expect(page.locator("#errors-plot .js-plotly-plot")).to_be_visible()
    expect(page.locator("#errors-plot")).to_contain_text("step size h")
    expect(page.locator("#errors-hops")).to_contain_text("from noise to picture")
    link = page.locator("#errors-link").locator("input, textarea")
    expect(link).to_have_value(re.compile(r"\?tab=errors&"))

    tolerance = page.locator("#errors-tolerance input")
    tolerance.fill("abc")
    tolerance.press("Enter")
    page.locator("#errors-go").click()
    expect(page.get_by_text("tolerance must be a number, not 'abc'")).to_be_visible()

    page.locator("#errors-fill").click()  # it brings its own tolerances
    expect(page.locator("#errors-table")).to_contain_text("0.003")


@pytest.mark.browser
def test_in_the_page_a_stopped_run_says_so_and_keeps_what_it_computed(
    page: Page, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no tolerance that is met soon: both run until they are stopped
    monkeypatch.setattr(errors, "TOLERANCES", (1e-9,) * len(errors.TOLERANCES))
    expect.set_options(timeout=PATIENCE)
    note = page.locator("#errors-note")
    tolerance = page.locator("#errors-tolerance input")
    tolerance.fill("1e-9")
    tolerance.press("Enter")
    page.get_by_label("number input for Cap on evaluations").locator("visible=true").fill("1000")
    stopped, stop = threading.Event(), serving.stop

    async def stopping(*args: Any) -> None:
        await stop(*args)
        stopped.set()

    monkeypatch.setattr(serving, "stop", stopping)
    while serving.engine.stats().requests:  # the page is a module's: an earlier table may go on
        page.wait_for_timeout(10)
    for button in ("#errors-go", "#errors-fill"):
        stopped.clear()
        before = serving.engine.stats().ticks
        page.locator(button).click()
        # there is something to keep: the first five steps of this tolerance are rejected
        while serving.engine.stats().ticks < before + 20:
            page.wait_for_timeout(10)
        serving.engine.call(stopped.wait)  # it does not end before it is stopped
        page.locator("#errors-stop").click()
        expect(note).to_have_text("Stopped.")
        assert serving.engine.stats().requests == 0
    player = page.locator("#errors-player [data-testid=player]")
    expect(player).to_have_attribute("data-state", "final")
    expect(player.get_by_test_id("player-status")).to_contain_text("stopped")
    expect(player.get_by_test_id("player-scrub")).to_be_enabled()
