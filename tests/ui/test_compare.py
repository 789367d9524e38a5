"""Compare as a visitor meets it: questions, fitted solvers, split view, a page that plays alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, expect

import dpm_demo as dpm
from dpm_demo.models.calibrated import with_fits
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.alone.page import page as page_alone
from dpm_demo.ui.widgets.controls import CALIBRATED, SolverControls, schedules
from dpm_demo.ui.widgets.solver_rows import SolverRows
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()


def run(guest: Visitor) -> None:
    guest.page.locator("#compare-go").click()
    guest.finished("compare")


@pytest.fixture(scope="module")
def ran(browser: Browser, served: tuple[Any, str]) -> Iterator[Visitor]:
    """Where the mixture was chosen and a comparison of it has run; what is said there is noted."""
    guest = Visitor(browser, served[1])
    guest.page.evaluate(
        """() => { window.said = []; new MutationObserver(() => window.said.push(
        ...[...document.querySelectorAll('.toast-body')].map((n) => n.innerText))
        ).observe(document.body, { childList: true, subtree: true }); }"""
    )
    guest.asks("4, 9")
    guest.choose("Model", "mixture (exact)")
    run(guest)
    yield guest
    guest.leave()


def test_a_model_without_labels_is_chosen_and_run_without_a_complaint(ran: Visitor) -> None:
    assert ran.page.evaluate("() => window.said") == []


def test_a_fitted_solver_stands_beside_a_named_one_and_lacks_the_cell_that_nothing_was_fitted_at(
    visitor: Visitor,
) -> None:
    page = visitor.page
    visitor.asks("8, 9")
    visitor.drawer("Solver rows")
    visitor.choose("Schedule 1", "calibrated: fitted to this model")
    page.get_by_label("More 2", exact=True).fill("dpmpp_2m karras")
    visitor.choose("Order 3", "off")
    run(visitor)
    lacks = "not fitted at 9 evaluations"
    tiles = visitor.at("compare", "tile")
    known = re.compile(r"RMSE [\d.]+")
    for k, words in enumerate((known, lacks, known, known)):
        expect(tiles.nth(k)).to_contain_text(words)
    rows = page.get_by_test_id("landing-row").locator("visible=true")
    for row, name in enumerate(("calibrated", "dpmpp_2m karras")):
        expect(rows.nth(row)).to_contain_text(name)
    errors = page.get_by_test_id("landing-error").locator("visible=true")
    error = re.compile(r"^0\.\d+$")
    for budget, shown in (("0", [error, error]), ("1", [lacks, error])):
        page.get_by_test_id("landing-budget").fill(budget)
        expect(errors).to_have_text(shown)


def test_only_a_model_that_something_was_fitted_to_offers_it() -> None:
    fitted = dpm.load("emoji-image", "cpu")
    bare = with_fits(fitted, ())
    assert CALIBRATED in schedules(fitted)
    assert CALIBRATED not in schedules(bare) and CALIBRATED not in schedules(None)
    with gr.Blocks():
        controls = SolverControls(Solver(), bare)
        rows = SolverRows((), bare)
    for model in (fitted, bare):
        updates = [u for u in rows.show((), model) if isinstance(u, dict) and "choices" in u]
        updates.append(controls.show(Solver(), model)[list(controls.widgets).index("schedule")])
        assert [u["choices"] for u in updates] == [schedules(model)] * 7


def test_a_question_has_a_recorded_answer_sets_everything_and_is_answered_live_from_the_figures(
    visitor: Visitor,
) -> None:
    page = visitor.page
    claim, why = (page.get_by_test_id(f"landing-{part}") for part in ("claim", "why"))
    answer = re.compile(
        r"No: as printed, order 3 converges at order [12]\.\d; with exact weights at [23]"
    )
    page.get_by_role("button", name="Is the printed order 3 really 3?").click()
    expect(claim).to_have_text(answer)
    expect(why).to_contain_text("Nothing was computed to show it")
    visitor.asks()
    expect(page.get_by_label("Model", exact=True).locator("visible=true")).to_have_value(
        re.compile("mixture")
    )
    expect(page.get_by_label("Without the final taper").locator("visible=true")).to_be_checked()
    expect(page.locator("#compare-budgets input, #compare-budgets textarea")).to_have_value(
        "24, 48, 96, 192"
    )
    page.locator("#compare-go").click()
    expect(why).to_have_text("Computed just now.", timeout=PATIENCE)
    # said whole, as others with these rows have asked nothing
    expect(claim).to_have_text(re.compile(rf"really 3\? {answer.pattern}"))


def border(guest: Visitor, of: str) -> str:
    return guest.page.locator(of).evaluate("node => node.style.getPropertyValue('--border')")


def test_a_picture_or_its_dot_opens_it_beside_the_converged_one_and_f_shows_them_in_turn(
    visitor: Visitor,
) -> None:
    page = visitor.page
    split = page.get_by_test_id("landing-split")
    page.get_by_test_id("landing-picture").nth(1).click()
    expect(split).to_be_visible()
    left, right = (page.get_by_test_id(f"landing-side-{k}") for k in (0, 1))
    expect(left.locator("option:checked")).to_have_text("order 2")
    expect(right.locator("option:checked")).to_have_text("the converged picture")
    one, other = (split.locator("canvas").nth(k) for k in (0, 1))
    shots = [canvas.evaluate("c => c.toDataURL()") for canvas in (one, other)]
    assert shots[0] != shots[1]
    right.select_option("order 2")
    page.wait_for_function(
        """() => { const [a, b] = document.querySelectorAll('[data-testid=landing-split] canvas');
        return a.toDataURL() === b.toDataURL(); }"""
    )
    split.get_by_text("A/B flicker").press("f")  # motion is unwelcome: each press is a turn
    before = border(visitor, ".dpl-over")
    page.keyboard.press("f")
    assert {before, border(visitor, ".dpl-over")} == {"0%", "100%"}
    page.keyboard.press("Escape")
    expect(split).to_be_hidden()
    x, y = page.evaluate(
        """() => { const dot = document.querySelectorAll('#compare-landing .dpl-dot')[2];
        const box = dot.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; }"""
    )
    page.mouse.click(x, y)
    expect(left.locator("option:checked")).to_have_text("order 3")


def test_a_cell_of_a_run_opens_beside_the_converged_one_and_lights_up_its_dot(
    ran: Visitor,
) -> None:
    visitor, page = ran, ran.page
    tile = visitor.at("compare", "tile").nth(3)
    tile.hover()
    lit = page.locator("#compare-landing .dpl-point.dpl-this")
    expect(lit).to_have_count(1)
    assert [lit.get_attribute(f"data-{k}") for k in ("row", "column")] == ["1", "1"]
    tile.get_by_role("button").click()
    names = visitor.player("compare").locator(".dpm-name")
    expect(names.nth(0)).to_have_text("A  order 2 · 9 NFE")
    expect(names.nth(1)).to_have_text("B  the converged picture")
    for key, side in (("a", "100%"), ("b", "0%")):
        page.keyboard.press(key)
        assert border(visitor, "#compare-player .dpm-stage-view") == side
    page.keyboard.press("Escape")
    expect(visitor.at("compare", "stage")).to_be_hidden()
    page.get_by_test_id("landing-row").nth(2).hover()
    lit_tile = visitor.player("compare").locator(".dpm-tile.dpm-lit")
    expect(lit_tile).to_have_attribute("data-index", re.compile("[45]"))
    visitor.drawer("Plots, table and files")
    lines = page.locator("#compare-table .virtual-row")
    lines.nth(2).hover()
    expect(lit_tile).to_have_attribute("data-index", "2")
    expect(lit).to_have_attribute("data-column", "0")
    tile.hover()
    expect(page.locator("#compare-table [data-lit=true]")).to_contain_text("order=2")
    expect(page.locator("#compare-table [data-lit=true] [data-col='2']")).to_contain_text("9")
    ticks = page.locator("#compare-axis .trace")
    opaque = ticks.evaluate_all("all => all.map((one) => getComputedStyle(one).opacity)")
    assert opaque == ["0.2", "1", "0.2"]


def test_the_file_of_a_comparison_plays_from_disk_without_any_network(
    browser: Browser, ran: Visitor, tmp_path: Path
) -> None:
    visitor = ran
    shown = visitor.page.get_by_test_id("landing-error").locator("visible=true").all_inner_texts()
    visitor.drawer("Plots, table and files")
    visitor.page.locator("#compare-make").click()
    file = tmp_path / "comparison.html"
    file.write_bytes(visitor.download("HTML"))

    context = browser.new_context(offline=True, reduced_motion="reduce")
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith("data:") else None)
    page.goto(file.as_uri())
    rows = page.get_by_test_id("landing-error").locator("visible=true")
    expect(rows).to_have_text(shown)
    page.get_by_test_id("landing-budget").fill("0")
    expect(rows).not_to_have_text(shown)
    expect(page.get_by_test_id("landing-plot").locator("circle.dpl-point")).to_have_count(6)
    expect(page.get_by_test_id("landing-go")).to_be_hidden()
    expect(page.get_by_test_id("player-tile")).to_have_count(6)
    scrub, canvas = page.get_by_test_id("player-scrub"), page.get_by_test_id("player-canvas").last
    pixels = "c => c.toDataURL()"
    page.wait_for_function("c => c.width > 1", arg=canvas.element_handle())
    end = canvas.evaluate(pixels)
    scrub.fill("0")
    page.wait_for_function(
        "([c, end]) => c.toDataURL() !== end", arg=[canvas.element_handle(), end]
    )
    expect(page.get_by_text("order=3")).to_have_count(3)  # a line a cell, and the settings
    context.close()
    assert errors == [] and asked == [file.as_uri()]


def test_no_text_of_a_visitor_ends_the_script_or_the_markup_of_that_file() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    made = page_alone(hostile, {"title": hostile}, {hostile: hostile}, [hostile], [[hostile]])
    assert "<img" not in made and made.count("</script") == 1
