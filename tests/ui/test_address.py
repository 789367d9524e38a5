"""The address bar as one works, and a picture that brings its settings back."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlparse

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from playwright.sync_api import Browser, expect

from dpm_demo.media.png import png, png_text
from dpm_demo.request.codec import read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.ui.widgets.history import brief
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "image/png" }));
  const target = document.querySelector("#generate-player");
  const about = { bubbles: true, cancelable: true, dataTransfer: files };
  for (const type of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(type, about));
}"""


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def asked(guest: Visitor) -> dict[str, str]:
    return dict(parse_qsl(urlparse(guest.page.url).query))


def selected(guest: Visitor, name: str) -> None:
    tab = guest.page.get_by_role("tab", name=name, exact=True).locator("visible=true")
    expect(tab).to_have_attribute("aria-selected", "true")


def test_each_tab_is_a_step_of_the_history_with_its_settings(visitor: Visitor) -> None:
    visitor.tab("Generate")
    visitor.until(lambda: asked(visitor).get("tab") == "generate")
    visitor.number("Model evaluations (NFE)", 7)
    visitor.until(lambda: asked(visitor).get("nfe") == "7")
    visitor.tab("Quality")
    visitor.until(lambda: asked(visitor) == {"tab": "quality"})
    visitor.page.go_back()
    selected(visitor, "Generate")
    assert asked(visitor)["nfe"] == "7"
    visitor.page.go_back()
    selected(visitor, "Compare")
    visitor.page.go_forward()
    selected(visitor, "Generate")
    visitor.tab("Compare")
    visitor.until(lambda: asked(visitor) == {"tab": "compare"})


def test_the_link_is_that_of_the_settings_on_show_whatever_changed_them(visitor: Visitor) -> None:
    visitor.tab("Generate")
    bar = visitor.page.locator("#generate-run")
    visitor.choose("Model", "mixture (exact)")
    visitor.until(
        lambda: (asked(visitor).get("model"), "label" in asked(visitor)) == ("mixture", False)
    )

    visitor.page.get_by_role("button", name="New seed").locator("visible=true").click()
    seed = visitor.page.locator("#generate-seed input")
    visitor.until(lambda: asked(visitor).get("seed") == seed.input_value() != "0")

    visitor.number("Pictures", 1)
    visitor.choose("Model", "emoji-image")
    visitor.choose("Model", "mixture (exact)")
    visitor.generate()  # for which one leaves the menu
    visitor.finished()
    expect(bar).to_have_attribute("data-running", "false")
    visitor.page.wait_for_timeout(300)
    expect(bar).to_have_attribute("data-changed", "false")
    visitor.generate()  # what is changed while it runs is not of that run
    visitor.number("Model evaluations (NFE)", 7)
    visitor.finished()
    expect(bar).to_have_attribute("data-running", "false")
    expect(bar).to_have_attribute("data-changed", "true")
    visitor.generate()
    visitor.finished()
    expect(bar).to_have_attribute("data-changed", "false")
    visitor.until(lambda: asked(visitor)["nfe"] == "7")
    budget = visitor.page.get_by_label("number input for Model evaluations (NFE)")
    budget = budget.locator("visible=true")
    budget.locator("xpath=..").get_by_role("button", name="Reset to default value").click()
    expect(budget).to_have_value("10")
    visitor.until(lambda: asked(visitor)["nfe"] == "10")
    expect(bar).to_have_attribute("data-changed", "true")

    visitor.page.get_by_role("button", name="Recorded: a smiley, order 2").click()
    visitor.until(lambda: asked(visitor).get("model", "emoji-image") == "emoji-image")


def test_what_would_draw_over_a_run_takes_no_click_while_it_runs(visitor: Visitor) -> None:
    visitor.tab("Generate")
    box: Any = visitor.page.locator(".prompt textarea").locator("visible=true")
    recording = visitor.page.get_by_role("button", name="Recorded: from words")
    running = "running => document.getElementById('generate-run').dataset.running = running"
    visitor.page.evaluate(running, "true")
    recording.click()
    visitor.page.wait_for_timeout(300)
    expect(box).to_have_count(0)
    visitor.page.evaluate(running, "false")
    recording.click()
    expect(box).to_have_value("orange square")


@pytest.mark.parametrize("name", ["view", "utm_source", "fbclid"])
def test_a_name_of_the_page_or_of_who_counts_visits_asks_a_form_for_nothing(
    visit: Callable[..., Visitor], name: str
) -> None:
    visitor = visit(f"?{name}=here", tab="Compare")
    visitor.page.wait_for_timeout(1000)  # it would have been read by now
    expect(visitor.page.locator("#compare-note")).not_to_contain_text("Link")
    expect(visitor.page.get_by_test_id("landing-go")).to_have_text("Try your own noise")


def test_a_link_to_another_model_does_not_open_error_control_on_the_recorded_run(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("?tab=errors&model=mixture&tolerance=0.2")
    expect(visitor.at("errors", "empty")).to_be_visible()
    expect(visitor.page.locator("#errors-note")).not_to_contain_text("steps win")
    expect(visitor.page.locator("#errors-tolerance input")).to_have_value("0.2")


def test_an_address_opens_the_tab_with_its_settings_and_runs_if_it_says_so(
    browser: Browser, served: tuple[Any, str]
) -> None:
    query = "?tab=errors&model=mixture&tolerance=0.2&controller=i&nfe=60&count=1&run=1"
    guest = Visitor(browser, served[1], query=query)
    selected(guest, "Error control")
    expect(guest.page.locator("#errors-note")).to_contain_text(
        "adaptive, DPM-Solver-12, tolerance 0.2"
    )
    guest.leave()


def test_a_picture_has_the_settings_that_made_it_for_the_api_and_for_who_drops_it(
    visit: Callable[..., Visitor], client: Client
) -> None:
    visitor = visit("?tab=generate&count=2&nfe=6&order=3")
    visitor.generate()
    visitor.finished()
    assert visitor.download("GIF of the denoising")[:6] == b"GIF89a"
    made = visitor.download("PNG")
    first = read(json.loads(png_text(made)["dpm-demo"]))
    assert (first.count, first.solver.nfe, first.solver.order) == (2, 6, 3)
    settings = {k: getattr(first, k) for k in ("model", "label", "guidance", "seed", "count")}
    solver = {k: getattr(first.solver, k) for k in ("nfe", "order", "schedule", "corrector")}
    answer = client.predict(**settings, solver=solver, api_name="/generate")
    with urllib.request.urlopen(answer["sheet"]) as reply:
        again = pixels(reply.read())
    assert again.shape == pixels(made).shape and np.abs(again - pixels(made)).max() <= 1

    visitor.number("Pictures", 1)
    visitor.number("Model evaluations (NFE)", 9)
    visitor.number("Order", 1)
    visitor.until(lambda: asked(visitor).get("order") == "1")
    visitor.page.evaluate(DROP, ["made.png", base64.b64encode(made).decode()])
    expect(visitor.page.locator("#generate-note")).to_contain_text("Settings restored")
    visitor.generate()
    expect(visitor.page.locator("#generate-note")).to_contain_text("2 × 6 evaluations")
    assert read(json.loads(png_text(visitor.download("PNG"))["dpm-demo"])) == first

    plain = png(np.zeros((8, 8, 3), np.uint8))
    visitor.page.evaluate(DROP, ["plain.png", base64.b64encode(plain).decode()])
    expect(visitor.page.get_by_text("carries no settings")).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"prompt": " red apple"}, "red apple"),
        ({"label": "food"}, "food"),
        ({}, "emoji-image"),
        ({"prompt": "long " * 60}, "long long long long long long long …"),
    ],
)
def test_a_run_of_before_is_named_by_what_it_draws(asked: dict[str, str], named: str) -> None:
    assert brief(GenerateRequest(**asked)) == [named, "order 2, 20 NFE"]


def test_a_run_of_before_comes_back_with_its_settings_and_two_stand_side_by_side(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("?tab=generate&count=1")
    for nfe in (3, 5):
        visitor.number("Model evaluations (NFE)", nfe)
        visitor.generate()
        expect(visitor.page.locator("#generate-note")).to_contain_text(f"1 × {nfe} evaluations")
    strip = visitor.page.locator("#generate-history")
    runs = strip.get_by_role("group").get_by_role("button")
    expect(runs).to_have_count(2)
    runs.nth(1).click()
    expect(visitor.page.locator("#generate-note")).to_contain_text("1 × 3 evaluations")
    expect(visitor.at("generate", "nfe")).to_have_text("3 / 3")
    visitor.until(lambda: asked(visitor).get("nfe") == "3")
    assert read(json.loads(png_text(visitor.download("PNG"))["dpm-demo"])).solver.nfe == 3

    strip.get_by_role("button", name="compare two runs").click()
    for k in (0, 1):
        runs.nth(k).press("Enter")
        expect(runs.nth(k)).to_be_focused()  # though the strip was drawn anew
    tiles = visitor.at("generate", "tile")
    expect(tiles).to_have_count(2)
    expect(tiles.first).to_contain_text("order 2, 5 NFE: seed")
    expect(tiles.nth(1)).to_contain_text("order 2, 3 NFE: seed")
