"""The landed network that takes words, as a visitor meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.ui.visitor import Visitor

pytestmark = pytest.mark.browser


def test_words_are_drawn_and_one_that_is_not_known_is_named_with_those_near_it(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("?tab=generate&model=emoji-words&count=1&nfe=5")
    box: Any = visitor.page.locator(".prompt textarea").locator("visible=true")
    box.fill("red aple")
    visitor.generate()
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(visitor.page.locator(".refused-why")).to_contain_text("'aple' is not known here")
    expect(visitor.page.locator(".refused-why")).to_contain_text("apple")
    box.fill("red apple")
    visitor.generate()
    visitor.finished()
    expect(visitor.at("generate", "status")).to_contain_text("5 / 5")
    visitor.share()
    picture = visitor.page.get_by_role("button", name="PNG", exact=True).locator("visible=true")
    expect(picture).to_be_enabled()
    visitor.page.get_by_role("button", name="Recorded: from words").click()
    expect(visitor.at("generate", "status")).to_contain_text("recorded")
    expect(picture).to_be_disabled()  # a recording has no files


def is_orange(visitor: Visitor) -> bool:
    """Of the pixel in the middle of what the player shows."""
    red, green, blue, _ = visitor.at("generate", "canvas").first.evaluate(
        """shown => {
            const [x, y] = [shown.width >> 1, shown.height >> 1];
            return [...shown.getContext('2d').getImageData(x, y, 1, 1).data];
        }"""
    )
    return red > 200 and 90 < green < 160 and blue < 80


def test_a_link_to_the_network_opens_on_its_recording_and_one_that_asks_for_more_on_none(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("?tab=generate&model=emoji-words")
    visitor.until(lambda: is_orange(visitor))
    expect(visitor.at("generate", "status")).to_contain_text("recorded")
    box: Any = visitor.page.locator(".prompt textarea").locator("visible=true")
    expect(box).to_have_value("orange square")

    visitor = visit("?tab=generate&model=emoji-words&prompt=red+apple")
    expect(visitor.at("generate", "empty")).to_be_visible()
    visitor.page.get_by_role("button", name="Recorded: from words").click()
    visitor.until(lambda: is_orange(visitor))
    box = visitor.page.locator(".prompt textarea").locator("visible=true")
    expect(box).to_have_value("orange square")


def test_a_link_to_a_model_that_does_not_exist_leaves_what_the_page_opens_on(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("?tab=generate&model=no-such")
    expect(visitor.page.locator("#generate-note")).to_contain_text("The default is used.")
    expect(visitor.at("generate", "status")).to_contain_text("recorded")
