"""Tab "Quality": what it shows of a sweep, the small one that it runs, and the tab in Chromium."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pickle
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_IS_E2E_TEST", "1")

import gradio as gr
import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from dpm_demo.compare.figures import rmse
from dpm_demo.compare.references import References
from dpm_demo.models.exact import MIXTURE_NAME, mixture_model
from dpm_demo.models.model import Model
from dpm_demo.quality import results as report
from dpm_demo.quality.results import Line, Results
from dpm_demo.request.codec import read_leniently, solver_of_text
from dpm_demo.request.limits import Limits
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.page import TABS, build
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import quality
from dpm_demo.ui.tabs import quality_small as small_sweep
from dpm_demo.ui.widgets.board import (
    LABEL_PX,
    PLOT_PX,
    about,
    brief,
    choose,
    column,
    instead,
    make_files,
    metric_menu,
    plot_of,
    samples_query,
    table,
    verdict,
)
from tests.ui.alone import served_alone
from tests.ui.visitor import Visitor

MODEL = mixture_model(torch.device("cpu"))
LONG = "order=3 method=singlestep prediction=noise schedule=linear weights=published"


def sweep(digest: str = "exact", n: int = 500) -> Results:
    """Ten solvers at 5 and 10 evaluations; distances of the first two only, the second wins at 10.

    The others' errors fall from order=1 on, so that LONG has the least.
    """
    first = Line("order=1", 5, 64, 0.4, 14.0, n, 9.0, 0.05, 0.002, 3.0, 0.1)
    second = replace(first, solver="order=2", rmse=0.3, fd=9.5)
    lines = [first, second, replace(first, nfe=10, fd=8.0), replace(second, nfe=10, fd=7.0)]
    others = [f"order=2 eta={k / 10}" for k in range(1, 8)] + [LONG]
    for k, solver in enumerate(others):
        lines += [Line(solver, nfe, 64, 0.2 / (nfe * (k + 1)), 30.0) for nfe in (5, 10)]
    held = Line("", 0, n=2000, fd=3.0, kid=0.01)
    return Results(MIXTURE_NAME, digest, "any", 1.0, "emoji features", 200, tuple(lines), held)


def small(model: Model = MODEL, limits: Limits | None = None, **changes: Any) -> Any:
    values = {"model": MIXTURE_NAME, "label": "any", "guidance": 1.0, "seed": 0, "count": 8}
    own = {"solvers": ["order=1", "order=2"], "budgets": "2, 3"}
    own |= {k: changes.pop(k) for k in own if k in changes}
    return small_sweep.read_small(
        {**values, **changes}, own["solvers"], own["budgets"], model, limits or Limits()
    )


def ran(serving: Serving, wanted: Any, model: Model, kept: References | None = None) -> Any:
    async def collect() -> list[small_sweep.News]:
        serving.references = References() if kept is None else kept
        stream = small_sweep.run_small(serving, wanted, model)
        return [news async for news in stream]

    return asyncio.run(collect())


# ---------------------------------------------------------------------------- results, shown


def test_a_table_has_the_best_first_of_each_budget_with_n_and_the_deviation_it_has() -> None:
    results = sweep()
    fd = choose(results, "fd", None, None)
    assert fd is not None
    headers, rows = table(results, fd)
    assert headers == ["solver", "NFE", "FD (emoji features)", "n"]
    assert [row[:3] for row in rows] == [
        ["order=1", 5, 9.0],
        ["order=2", 5, 9.5],
        ["order=2", 10, 7.0],
        ["order=1", 10, 8.0],
    ]
    headers, rows = table(results, replace(fd, metric="kid", nfe=10, solvers=("order=1",)))
    assert headers[3:] == ["±", "n"] and rows == [["order=1", 10, 0.05, 0.002, 500]]
    assert [row[-1] for row in table(results, replace(fd, metric="psnr"))[1]] == [64] * 4
    behind = [
        replace(x, low=1.25, high=1.5, than=LONG) if x.rmse == 0.4 else x for x in results.lines
    ]
    choice = replace(fd, metric="rmse", nfe=5, solvers=("order=1", "order=2"))
    headers, rows = table(replace(results, lines=tuple(behind)), choice)
    assert headers[3:] == ["× best (95 %)", "n"]
    assert [row[3] for row in rows] == ["", "1.25 to 1.50"]
    assert [column(h) for h in ("FD (emoji features)", "RMSE to the converged sample")] == [
        "FD",
        "RMSE",
    ]


@pytest.mark.parametrize("odd", [None, [], ["a"], {"a": 1}, [[1]], 1.5, True, math.nan, "nothing"])
def test_whatever_a_menu_sends_something_is_shown(odd: Any) -> None:
    results = sweep()
    for values in ((odd, ["order=1"], "all"), ("fd", odd, "all"), ("fd", ["order=1"], odd)):
        choice = choose(results, *values)
        assert choice is not None and table(results, choice)[1] and verdict(results, choice)
        assert isinstance(instead(results, values[0], choice), str)


def test_at_first_the_orders_and_the_best_are_drawn_and_a_choice_is_kept_where_it_can_be() -> None:
    results = sweep()
    first = choose(results, None, None, None)
    assert first is not None and first.metric == "rmse" and first.nfe is None
    assert first.solvers == ("order=1", "order=2", LONG)
    kept = choose(results, "fd", ["order=1", LONG, "order=9"], "10")
    assert kept is not None and kept.solvers == ("order=1", LONG) and kept.nfe == 10
    other = choose(results, "fd", [LONG], "7")  # has no such figure, and there is no such budget
    assert other is not None and other.solvers == ("order=1", "order=2") and other.nfe is None
    assert choose(replace(results, lines=()), None, None, None) is None


def test_a_metric_that_is_on_offer_stays_as_it_was_chosen() -> None:
    first, second = list(sweep().measured())[:2]
    assert "value" not in metric_menu(first, sweep()) and "value" not in metric_menu(
        second, sweep()
    )
    assert metric_menu("no such", sweep())["value"] == first


def test_the_winner_is_named_at_its_budget_and_few_samples_are_warned_of() -> None:
    results = sweep()
    for metric, nfe, name in (("fd", 5, "order=1"), ("fd", 10, "order=2"), ("rmse", 10, LONG)):
        choice = choose(results, metric, ["order=1"], nfe)  # the winner of all, shown or not
        assert choice is not None
        assert f"At {nfe} evaluations **`{name}`**" in verdict(results, choice)
    assert "n = 500, below 2,000" in about(results, "fd")
    assert "held-out real pictures have 3 (n = 2,000)" in about(results, "fd")
    assert "below" not in about(sweep(n=2000), "fd") + about(results, "rmse")
    assert "n = 64; the converged sample is order 3 at 200" in about(results, "rmse")


def test_figures_of_other_weights_are_said_to_be_so() -> None:
    assert quality.another(sweep(MODEL.digest), MODEL) == ""
    assert "of other weights** (abc)" in quality.another(sweep("abc"), MODEL)


def test_the_legend_has_the_settings_values_and_the_hover_the_whole_name() -> None:
    assert brief(LONG) == "order 3, singlestep, noise, linear, published"
    assert brief("order=auto corrector=true lower_order_final=false eta=0.5") == (
        "order auto, corrector, lower_order_final false, eta 0.5"
    )
    choice = choose(sweep(), "rmse", [LONG, "order=1"], None)
    assert choice is not None
    drawn = json.loads(plot_of(sweep(), choice).to_json())
    assert [trace["name"] for trace in drawn["data"]] == ["order 1", brief(LONG)]
    assert LONG in drawn["data"][1]["hovertemplate"]
    assert drawn["layout"]["yaxis"]["title"]["text"] == "RMSE to the converged sample"


def test_a_few_lines_have_their_names_beside_their_ends_and_none_on_another() -> None:
    results = sweep()
    choice = choose(results, "rmse", None, None)
    assert choice is not None
    layout = json.loads(plot_of(results, choice).to_json())["layout"]
    labels = layout["annotations"]
    assert layout["showlegend"] is False and len(labels) == 3
    scale = [label["y"] for label in labels]
    pixel = 1.12 * (math.log10(0.4) - min(scale)) / PLOT_PX
    at = [label["y"] + label["yshift"] * pixel for label in labels]
    assert all(b - a > 0.99 * LABEL_PX * pixel for a, b in pairwise(at))
    every = choose(results, "rmse", results.ranking("rmse"), None)
    assert every is not None
    assert json.loads(plot_of(results, every).to_json())["layout"]["showlegend"] is True


def test_a_point_leads_to_samples_of_its_solver_at_its_budget() -> None:
    query = samples_query(sweep(), LONG, 10)
    pairs = dict(parse_qsl(query[1:]))
    assert pairs.pop("tab") == "generate" and pairs.pop("run") == "1"
    request, complaints = read_leniently(pairs)
    assert complaints == [] and request.model == MIXTURE_NAME
    assert request.solver == replace(solver_of_text(LONG), nfe=10)


def test_a_point_leads_to_the_seed_the_tab_and_the_budget_that_it_was_measured_with() -> None:
    def pairs(results: Results, solver: str) -> dict[str, str]:
        return dict(parse_qsl(samples_query(results, solver, 10)[1:]))

    own = sweep()
    assert pairs(replace(own, notes={"seed": 1000}), LONG)["seed"] == "1000"
    assert "nfe" not in pairs(own, "method=adaptive rtol=0.1")
    clips = replace(own, lines=tuple(replace(line, difference=2.0) for line in own.lines))
    assert pairs(clips, LONG)["tab"] == "video"
    assert samples_query(replace(own, label="drawn"), LONG, 10) == ""


def test_files_are_the_table_the_results_and_the_plot(serving: Serving) -> None:
    choice = choose(sweep(), "kid", None, 10)
    assert choice is not None
    made = make_files(sweep(), choice, "stem", serving)
    lines = made["csv"].read_text().splitlines()
    assert lines[0] == "solver,NFE,KID (emoji features),±,n" and len(lines) == 3
    assert Results.read(made["json"]) == Results.from_json(sweep().to_json())
    assert made["png"].read_bytes()[:4] == b"\x89PNG"
    page = made["html"].read_text()
    assert "order=2" in page and 'src="http' not in page  # opens without a network


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', sweep().to_json()[:-200], '{"lines": 3, "held_out": null}']
)
def test_a_file_of_something_else_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "quality.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="^results: "):
        Results.read(path)


@pytest.mark.parametrize("change", [{"rmse": "no"}, {"nfe": None}, {"solver": []}])
def test_what_a_file_of_wrong_contents_raises_is_caught_by_the_tab(change: Any) -> None:
    values = json.loads(sweep().to_json())
    values["lines"][0].update(change)
    with pytest.raises(quality.BROKEN):
        results = Results.from_json(json.dumps(values))
        choice = choose(results, "rmse", None, None)
        assert choice is not None
        table(results, choice)


# ---------------------------------------------------------------------------- a small sweep


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": "5, abc"}, "budgets must be whole numbers"),
        ({"budgets": "5, 5"}, "budgets must differ"),
        ({"budgets": ""}, "budgets must be"),
        ({"solvers": []}, "solvers must be 1 to 4, not 0"),
        ({"solvers": [f"order={k}" for k in (1, 2, 3, "auto")] + [LONG]}, "solvers must be 1 to 4"),
        ({"solvers": ["order=9"]}, "order must be"),
        ({"solvers": ["order=2 method=adaptive"]}, "does not spend the budgets"),
        ({"count": 7}, "samples must be 8 to 64, not 7"),
        ({"count": 65}, "samples must be 8 to 64, not 65"),
        ({"seed": -1}, "seed"),
        ({"label": "dragons"}, "unknown"),
        ({"count": 64, "budgets": "400"}, "would cost 51,200 network rows"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**change)


def test_the_converged_samples_of_eight_seeds_count_among_the_cost() -> None:
    blind = replace(MODEL, exact_solution=None)
    exactly = Limits(cost=10 * 2 * 5 + 8 * 200)
    small(blind, exactly, count=10)
    with pytest.raises(ValueError, match="would cost 1,700 network rows"):
        small(blind, replace(exactly, cost=exactly.cost - 1), count=10)


def test_each_line_has_the_error_of_its_solver_over_the_first_eight_seeds(serving: Serving) -> None:
    *before, last = ran(serving, small(count=9, seed=3), MODEL)
    results = last.results
    partial_ones = [set(news.results.lines) for news in before if news.results is not None]
    assert all(some < set(results.lines) for some in partial_ones)
    assert [(x.solver, x.nfe, x.n_error) for x in results.lines] == [
        ("order=1", 2, 8),
        ("order=1", 3, 8),
        ("order=2", 2, 8),
        ("order=2", 3, 8),
    ]
    noise = initial_noise(range(3, 11), MODEL.shape)
    truth = MODEL.exact_solution(noise, *MODEL.lam_span)
    for line in results.lines:
        solver = replace(solver_of_text(line.solver), nfe=line.nfe)
        sample = integrate(MODEL.denoise_float32, noise, solver, lam_span=MODEL.lam_span)
        assert line.rmse == pytest.approx(float((sample - truth).square().mean().sqrt()), 1e-3)
    # the mixture is no emoji: no distance in the emoji's features, and that is said
    assert results.measured() == ["rmse", "psnr"] and small_sweep.NOT_EMOJI in last.text
    assert small_sweep.noise_sentence(results) == "RMSE and PSNR are from 8 seeds."


def test_without_a_known_solution_the_reference_is_drawn_once_and_kept(serving: Serving) -> None:
    blind, kept = replace(MODEL, exact_solution=None, digest="blind"), References()
    wanted = small(blind, budgets="12", solvers=["order=3", "order=1 eta=1"])
    first = ran(serving, wanted, blind, kept)[-1].results
    assert len(kept) == 8
    order3, noisy = first.lines
    assert noisy.rmse is None and noisy.n_error == 0  # its own noise aims elsewhere
    noise = initial_noise(range(8), MODEL.shape)
    truth = MODEL.exact_solution(noise, *MODEL.lam_span).numpy()
    sample = integrate(
        MODEL.denoise_float32, noise, Solver(nfe=12, order=3), lam_span=MODEL.lam_span
    )
    assert order3.rmse == pytest.approx(rmse(sample.numpy(), truth), 0.02)
    before = serving.engine.stats().ticks
    again = ran(serving, wanted, blind, kept)[-1].results
    assert serving.engine.stats().ticks - before < 100  # the reference alone takes 200
    assert again == first


def test_a_model_of_emoji_is_measured_against_real_ones(serving: Serving) -> None:
    names = {"style": tuple("abc"), "category": tuple("defghijkl")}
    emoji = replace(MODEL, labels=names, digest="emoji")
    assert small_sweep.knows_emoji(emoji) and not small_sweep.knows_emoji(MODEL)
    wanted = small(emoji, solvers=["order=2"], budgets="3")
    (line,) = ran(serving, wanted, emoji)[-1].results.lines
    noise = initial_noise(range(8), MODEL.shape)
    sample = integrate(
        MODEL.denoise_float32, noise, Solver(nfe=3, order=2), lam_span=MODEL.lam_span
    )
    call = pickle.loads(
        pickle.dumps(partial(small_sweep.measure, sample.numpy()))
    )  # as for ZeroGPU
    direct = call()
    assert (line.n, line.inception_score) == (8, None)
    assert line.fd == pytest.approx(direct.fd, 1e-3) and line.kid == pytest.approx(direct.kid, 1e-3)
    said = small_sweep.noise_sentence(Results("m", "", "any", 1.0, "", 200, (line,)))
    assert said.startswith("n = 8: with so few samples FD is biased upwards") and "IS needs" in said


def test_a_visitor_who_leaves_a_small_sweep_ends_its_work(serving: Serving) -> None:
    async def leave() -> None:
        wanted = small(count=64, budgets="100, 200", limits=Limits(cost=10**9))
        stream = small_sweep.run_small(serving, wanted, MODEL)
        assert re.search(r"[\d,]+ of 38,400 evaluations", (await anext(stream)).text)
        assert serving.engine.stats().requests == 1
        await stream.aclose()
        for _ in range(200):
            if serving.engine.stats().requests == 0:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the engine still works for a visitor who has gone")

    asyncio.run(leave())


# ---------------------------------------------------------------------------------- the page


def test_the_page_has_the_tab_where_links_and_the_order_of_tabs_say(serving: Serving) -> None:
    blocks = build(serving, MODEL).blocks.values()
    assert tuple(block.id for block in blocks if isinstance(block, gr.Tab)) == TABS
    assert TABS.index("quality") == TABS.index("errors") + 1


@pytest.fixture(scope="module")
def address(serving: Serving) -> Iterator[str]:
    """The tab beside another, as it is read when it is opened."""
    with gr.Blocks(analytics_enabled=False) as demo, gr.Tabs():
        with gr.Tab("Another"):
            gr.Markdown("nothing")
        with gr.Tab("Quality") as tab:
            quality.build(serving, serving.library.choices(video=False), MODEL, tab)
    demo.queue(default_concurrency_limit=32)
    with served_alone(demo, allowed_paths=[str(serving.files)]) as where:
        yield where


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    guest = Visitor(browser, address, width=1400, tab="Quality")
    yield guest
    guest.leave()


def opened(guest: Visitor) -> Page:
    guest.tab("Quality")
    guest.drawer("Settings of the small sweep")
    return guest.page


def choose_in(page: Page, menu: str, option: str) -> None:
    page.locator(f"#{menu} input").click()
    page.get_by_role("option", name=option, exact=True).locator("visible=true").click()


@pytest.mark.browser
def test_in_the_page_a_metric_switch_changes_the_axis_and_a_broken_file_harms_nothing(
    visitor: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {MIXTURE_NAME: tmp_path / "good.json", "wrong": tmp_path / "wrong.json"}
    files[MIXTURE_NAME].write_text(sweep("abc").to_json())
    files["wrong"].write_text('{"model": "<script>alert(1)</script>"}')
    monkeypatch.setattr(report, "landed", lambda: files)
    page = opened(visitor)
    expect(page.locator("#quality-plot .ytitle")).to_have_text("RMSE to the converged sample")
    shown = page.locator("#quality-table")
    expect(shown).to_contain_text("weights=published")
    expect(page.locator("#quality-text")).to_contain_text("These figures are of other weights")
    choose_in(page, "quality-metric", "FD (emoji features)")
    expect(page.locator("#quality-plot .ytitle")).to_have_text("FD (emoji features)")
    expect(shown).not_to_contain_text("weights=published")
    choose_in(page, "quality-nfe", "10")
    expect(page.locator("#quality-text")).to_contain_text("At 10 evaluations order=2 has the best")
    expect(page.locator("#quality-text")).to_contain_text("n = 500, below 2,000")
    page.locator("#quality-make").click()
    csv = page.get_by_role("button", name="CSV", exact=True).locator("visible=true")
    expect(csv).to_be_enabled()
    with page.expect_download() as waiting:
        csv.click()
    assert waiting.value.path().read_text().splitlines()[1] == "order=2,10,7.0,500"
    choose_in(page, "quality-model", "wrong")
    expect(page.locator("#quality-text")).to_contain_text("The sweep of wrong cannot be shown")
    expect(page.locator("#quality-plot")).not_to_be_visible()
    choose_in(page, "quality-model", MIXTURE_NAME)
    expect(page.locator("#quality-plot .ytitle")).to_be_visible()


@pytest.mark.browser
def test_in_the_page_a_small_run_ends_with_a_figure_for_each_line_and_stop_leaves_it_usable(
    visitor: Visitor, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "landed", dict)
    monkeypatch.setattr(small_sweep, "knows_emoji", lambda model: True)
    page = opened(visitor)
    expect(page.locator("#quality-text")).to_contain_text("python -m dpm_demo evaluate --help")
    budgets = page.locator("#now-budgets input, #now-budgets textarea")
    note = page.locator("#now-note")

    budgets.fill("2, oops")
    page.locator("#quality-go").click()
    expect(page.get_by_text("budgets must be whole numbers from 1 to 1000")).to_be_visible()

    stopped, stop = threading.Event(), serving.stop

    async def stopping(*args: Any) -> None:
        await stop(*args)
        stopped.set()

    monkeypatch.setattr(serving, "stop", stopping)
    budgets.fill("200, 300")
    page.locator("#quality-go").click()
    expect(note).to_contain_text("of 24,000 evaluations")
    serving.engine.call(stopped.wait)  # it does not end before it is stopped
    page.locator("#quality-stop").click()
    expect(note).to_have_text("Stopped.")
    for _ in range(500):
        if serving.engine.stats().requests == 0:
            break
        page.wait_for_timeout(20)
    assert serving.engine.stats().requests == 0, "the engine works on after Stop"

    budgets.fill("2, 3")
    page.locator("#quality-go").click()
    expect(note).to_contain_text("6 lines in")
    expect(page.get_by_label("Metric", exact=True).locator("visible=true")).to_have_count(1)
    choose_in(page, "quality-metric", "FD (emoji features)")
    expect(page.locator("#now-plot .ytitle")).to_have_text("FD (emoji features)")
    for k in range(6):
        cells = [page.locator(f"#now-table [data-testid=cell-{k}-{c}]").last for c in range(4)]
        for cell, words in zip(cells, (r"order=[123]", r"[23]", r"\d+\.\d+", "16"), strict=True):
            expect(cell).to_have_text(re.compile(rf"^\s*{words}\s*$"))
    expect(page.locator("#now-noise")).to_contain_text("n = 16: with so few samples FD is biased")


@pytest.mark.browser
def test_a_small_run_of_one_visitor_leaves_anothers_figures_alone(
    browser: Browser, visitor: Visitor, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "landed", dict)
    other = Visitor(browser, address, width=1400, tab="Quality")
    page, beside = pages = opened(visitor), opened(other)
    for guest, words in ((page, "2"), (beside, "3")):
        guest.locator("#now-budgets input, #now-budgets textarea").fill(words)
    for guest in pages:
        guest.locator("#quality-go").click()
    for guest, nfe in ((page, "2"), (beside, "3")):
        expect(guest.locator("#now-note")).to_contain_text("3 lines in")
        choose_in(guest, "quality-metric", "PSNR to the converged sample (dB)")
        expect(guest.locator("#now-plot .ytitle")).to_have_text(re.compile("PSNR"))
        expect(guest.locator("#now-text")).to_contain_text(f"At {nfe} evaluations")
    other.leave()


def test_a_sample_that_is_exact_has_no_infinite_figure() -> None:
    line = small_sweep.line_of(Solver(order=3), 20, [0.0] * 3, None)
    assert (line.rmse, line.psnr, line.n_error) == (0.0, None, 3)
