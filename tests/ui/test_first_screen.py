"""The first screen: half of it is result, its button is there, and all tabs are in one row."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.page import RESULT, SHARE, SIZES
from tests.ui.test_axe import SHOWN, TABS
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser


def test_half_of_the_first_screen_is_result_and_its_button_is_in_it(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1])
    page = guest.page
    for name, (tab, selector) in zip(TABS, RESULT.items(), strict=True):
        guest.tab(name)
        expect(page.locator(SHOWN[name]).first).to_be_visible(timeout=PATIENCE)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => scrollTo(0, 0)")
            guest.until(lambda chosen=selector: page.evaluate(SHARE, chosen) >= 0.5)
            if tab != "explain":  # which has none
                expect(page.locator(f"#{tab}-go")).to_be_in_viewport(ratio=1)
            if (tab, width) == ("compare", 1400):  # all that one may ask, too
                expect(page.locator(".dpl-foot .dpl-chip").last).to_be_in_viewport(ratio=1)
    guest.leave()


def test_on_a_phone_the_tabs_are_a_row_that_finger_and_keys_move(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1], width=390, query="?tab=explain")
    page = guest.page
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_text(list(TABS))
    expect(tabs.last).to_be_in_viewport(ratio=0.99)  # the one that is open
    expect(tabs.first).not_to_be_in_viewport()
    page.mouse.move(200, (tabs.last.bounding_box() or {})["y"] + 5)
    page.mouse.wheel(-1000, 0)
    expect(tabs.first).to_be_in_viewport(ratio=0.99)
    row = "document.querySelector('#tabs [role=tablist]')"
    page.wait_for_function(f"{row}.scrollLeft === 0")  # the wheel has come to rest
    tabs.first.focus()
    for name in TABS[1:]:
        page.keyboard.press("ArrowRight")
        tab = page.get_by_role("tab", name=name, exact=True)
        expect(tab).to_be_focused()
        expect(tab).to_be_in_viewport(ratio=0.99)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(tabs.first).to_have_attribute("aria-selected", "true")
    guest.leave()
