"""Compare as a visitor meets it: questions, fitted solvers, split view, a page that plays alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.test_page import PATIENCE, Visitor

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(browser: Browser, served: tuple[Any, str]) -> Iterator[Visitor]:
    guest = Visitor(browser, served[1], reduced_motion="reduce")
    yield guest
    guest.context.close()
    assert guest.errors == [], "an error in the console"
    assert guest.strays == [], "a request left the machine"


def run(guest: Visitor) -> None:
    guest.page.locator("#compare-go").click()
    guest.finished("compare")


def test_a_fitted_solver_stands_beside_a_named_one_with_the_error_of_each(
    visitor: Visitor,
) -> None:
    page = visitor.page
    visitor.asks("8")
    visitor.drawer("Solver rows")
    visitor.choose("Schedule 1", "calibrated: fitted to this model")
    page.get_by_label("More 2", exact=True).fill("dpmpp_2m karras")
    visitor.choose("Order 3", "off")
    run(visitor)
    rows = page.get_by_test_id("landing-row").locator("visible=true")
    for row, name in enumerate(("calibrated", "dpmpp_2m karras")):
        expect(rows.nth(row)).to_contain_text(name)
        expect(rows.nth(row).get_by_test_id("landing-error")).to_have_text(re.compile(r"^0\.\d+$"))
        tile = visitor.at("compare", "tile").nth(row)
        expect(tile).to_contain_text(re.compile(r"RMSE [\d.]+"))


def test_what_was_not_fitted_is_refused_in_one_sentence_and_the_page_goes_on(
    visitor: Visitor,
) -> None:
    visitor.asks("8, 9")
    visitor.drawer("Solver rows")
    visitor.choose("Schedule 1", "calibrated: fitted to this model")
    visitor.page.locator("#compare-go").click()
    refused = visitor.page.get_by_text("is not fitted for 9 evaluations")
    expect(refused).to_be_visible(timeout=PATIENCE)
    visitor.asks("8")
    run(visitor)


def test_only_a_model_that_something_was_fitted_to_offers_it(visitor: Visitor) -> None:
    visitor.asks()
    visitor.drawer("Solver rows")
    offered = visitor.page.get_by_role("option", name="calibrated: fitted to this model")
    menu = visitor.page.get_by_label("Schedule 1", exact=True)
    visitor.choose("Model", "mixture (exact)")
    menu.click()
    expect(offered).to_have_count(0)
    menu.press("Escape")
    visitor.choose("Model", "emoji-image")
    menu.click()
    expect(offered).to_be_visible()
