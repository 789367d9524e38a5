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
