"""The words of the page say what they mean: under the pointer, by keyboard, at a tap."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from dpm_demo.ui.widgets.glossary import TERMS
from tests.ui.visitor import Visitor

pytestmark = pytest.mark.browser


def says(page: Page, term: str) -> None:
    """Its sentence is on show, and no other."""
    shown = page.locator("#glossary [role=tooltip]").locator("visible=true")
    expect(shown).to_have_text([TERMS[term].text])


def test_every_word_says_what_it_means_by_pointer_by_key_and_by_finger(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1], has_touch=True)
    page = guest.page
    words = page.locator("[data-term]").locator("visible=true")
    shown = page.locator("#glossary [role=tooltip]").locator("visible=true")
    found: set[str] = set()

    def gather() -> None:
        found.update(words.evaluate_all("all => all.map((one) => one.dataset.term)"))

    page.get_by_text("the converged picture", exact=True).first.tap()
    says(page, "converged")
    page.get_by_role("heading", name="DPM-Solver, watched").tap()
    expect(shown).to_have_count(0)
    guest.asks()
    gather()
    guest.tab("Generate")
    word = page.get_by_text("Model evaluations (NFE)", exact=True).locator("visible=true")
    word.hover()
    says(page, "evaluations")
    shown.hover()  # which one may do to read it
    says(page, "evaluations")
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)
    word.focus()
    says(page, "evaluations")
    expect(word).to_have_accessible_description(TERMS["evaluations"].text)
    guest.drawer("More solver settings")
    # the drawer is drawn when it is opened, and its words are marked a frame later
    expect(page.locator("[data-term=corrector]").locator("visible=true")).to_have_count(1)
    gather()
    guest.tab("How it works")
    expect(page.locator("dfn").first).to_have_attribute("data-term", "lambda")
    gather()
    assert found == set(TERMS)
    guest.leave()
