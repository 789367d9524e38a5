"""A field of the form: a refusal stands at it until it is changed, and it has a default."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.visitor import Visitor

pytestmark = pytest.mark.browser


def test_the_field_that_a_refusal_names_is_marked_and_says_why_until_it_is_changed(
    browser: Browser, served: tuple[Any, str]
) -> None:
    visitor = Visitor(browser, served[1], query="?model=mixture")  # in Compare, which opens first

    def refused(field: Any, go: str, why: str) -> None:
        visitor.page.locator(go).click()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(why)
        marked = visitor.page.locator(".refused")
        expect(marked).to_have_count(1)
        expect(marked.locator(".refused-why")).to_have_text(why)

    visitor.tab("Generate")
    seed = visitor.page.locator("#generate-seed input")
    seed.fill("1.5")
    why = "seed must be a whole number from 0 to 2147483647, not 1.5"
    refused(seed, "#generate-go", why)
    toast = visitor.page.get_by_test_id("toast-body")
    expect(toast).to_contain_text(why)
    assert toast.count() == 1
    seed.fill("2")
    expect(visitor.page.locator(".refused, .refused-why, [aria-invalid]")).to_have_count(0)

    visitor.tab("Compare")
    visitor.asks("5, zwölf")
    budgets = visitor.page.locator("#compare-budgets input, #compare-budgets textarea")
    why = "budgets must be whole numbers from 1 to 1000, not 'zwölf'"
    refused(budgets, "#compare-go", why)
    refused(budgets, "#compare-go", why)  # asked again, it is said again, once
    expect(toast.last).to_contain_text(why)
    visitor.asks("4")
    seed = visitor.page.get_by_label("Seed", exact=True).locator("visible=true")
    seed.fill("1.5")
    refused(seed, "#compare-go", "seed must be a whole number from 0 to 2147483647, not 1.5")
    visitor.page.locator("#compare-go").click()  # with a seed of its own
    expect(visitor.page.locator(".refused")).to_have_count(0)
    visitor.finished("compare")

    visitor.tab("Error control")
    tolerance = visitor.page.locator("#errors-tolerance input, #errors-tolerance textarea")
    tolerance.fill("-1")
    visitor.page.locator("#errors-go").click()
    expect(tolerance).to_have_attribute("aria-invalid", "true")
    visitor.leave()


def test_a_number_that_is_cleared_and_left_gives_its_default_back(visitor: Visitor) -> None:
    visitor.tab("Generate")
    seed = visitor.page.locator("#generate-seed input")
    nfe = visitor.page.get_by_label("number input for Model evaluations (NFE)")
    for field in (seed, nfe.locator("visible=true")):
        default = field.input_value()
        field.fill("3")
        field.press("Tab")
        field.fill("")
        field.press("Tab")
        expect(field).to_have_value(default)


def test_what_a_visitor_types_into_an_opened_drawer_stays_however_late_the_browser_paints(
    visitor: Visitor,
) -> None:
    visitor.page.evaluate(
        """() => {
            const paint = window.requestAnimationFrame.bind(window);
            window.requestAnimationFrame = done => setTimeout(() => paint(done), 200);
        }"""
    )
    visitor.tab("Quality")
    visitor.drawer("Settings of the small sweep")
    budgets = visitor.page.locator("#now-budgets input, #now-budgets textarea")
    budgets.fill("2")
    visitor.settle()
    expect(budgets).to_have_value("2")


@pytest.mark.parametrize(
    ("tab", "label"), [("Generate", "Dynamic order"), ("How it works", "field")]
)
def test_where_the_keyboard_is_can_be_seen(visitor: Visitor, tab: str, label: str) -> None:
    visitor.tab(tab)
    tick = visitor.page.get_by_label(label, exact=True).locator("visible=true")
    tick.focus()
    for key in ("Shift+Tab", "Tab"):
        visitor.page.keyboard.press(key)
    expect(tick).to_be_focused()
    expect(tick).to_have_css("outline-style", "solid")
