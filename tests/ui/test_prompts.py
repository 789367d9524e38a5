"""A text-to-image pipeline on the page, from its folder to a link that draws the same picture."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import tiny

import dpm_demo as dpm
from dpm_demo.media.pixels import uint8
from dpm_demo.media.png import png_text
from dpm_demo.request.codec import read, to_query
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("models") / "tiny-sd"
    tiny.stable_diffusion().save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    demo, address = dpm.serve(dpm.load(folder), wait=False, quiet=True)
    yield address
    demo.close()


@pytest.fixture
def visitor(browser: Browser, page: str) -> Iterator[Visitor]:
    guest = Visitor(browser, page)
    yield guest
    guest.leave()


def prompt(guest: Visitor, text: str) -> None:
    guest.page.locator(".prompt textarea").locator("visible=true").fill(text)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_prompt_is_watched_and_the_link_of_its_png_asks_for_it_again(
    browser: Browser, visitor: Visitor, page: str, folder: Path
) -> None:
    visitor.tab("Generate")
    prompt(visitor, "a cat")
    visitor.number("Pictures", 1)
    visitor.number("Model evaluations (NFE)", 40)
    visitor.page.evaluate(
        """() => { window.seen = new Set(); setInterval(() => {
        const n = document.querySelector('#generate-player [data-testid=player-nfe]');
        if (n) window.seen.add(n.textContent); }, 5); }"""
    )
    foreseen = visitor.page.locator("#generate-estimate")
    expect(foreseen).to_have_text("40 evaluations, not timed here yet", timeout=PATIENCE)
    visitor.generate()
    visitor.finished()
    expect(foreseen).to_contain_text("40 evaluations, about", timeout=PATIENCE)
    assert len(visitor.page.evaluate("() => [...window.seen]")) >= 3, "no previews were streamed"
    first = visitor.download("PNG")
    request = read(json.loads(png_text(first)["dpm-demo"]))
    assert (request.prompt, request.guidance, request.solver.nfe) == ("a cat", 7.5, 40)

    model = dpm.load(folder)
    alone = dpm.generate(
        model, request.solver, seeds=request.seeds, prompt="a cat", guidance=request.guidance
    )
    assert np.abs(pixels(first) - uint8(alone[0].numpy())).max() <= 1

    guest = Visitor(browser, page, query=f"?tab=generate&{to_query(request)}")
    box = guest.page.locator(".prompt textarea").locator("visible=true")
    expect(box).to_have_value("a cat")
    nfe = guest.page.get_by_label("number input for Model evaluations (NFE)")
    expect(nfe.locator("visible=true")).to_have_value("40")
    guest.leave()


def test_three_orders_are_compared_on_one_prompt_with_their_errors(visitor: Visitor) -> None:
    visitor.asks("6")
    prompt(visitor, "a dog")
    visitor.page.locator("#compare-go").click()
    visitor.finished("compare")
    expect(visitor.page.locator("#compare-estimate")).to_contain_text("about", timeout=PATIENCE)
    tiles = visitor.at("compare", "tile")
    assert tiles.count() == 3
    for k in range(3):
        for space in ("pixels", "latents"):
            said = re.compile(rf"RMSE [\d.e-]+[^R]* \({space}\)")
            expect(tiles.nth(k)).to_contain_text(said, timeout=PATIENCE)
    link = visitor.page.locator("#compare-link textarea, #compare-link input").input_value()
    assert dict(parse_qsl(link.split("?", 1)[1]))["prompt"] == "a dog"


def test_the_code_to_copy_says_the_prompt_for_python_the_command_line_and_diffusers(
    visitor: Visitor,
) -> None:
    visitor.tab("Generate")
    prompt(visitor, "a cat's hat")
    visitor.share()
    code = visitor.page.locator(".cm-content").locator("visible=true")
    for kind, said in (
        ("Python", 'prompt="a cat\'s hat"'),
        ("Command line", "--prompt"),
        ("diffusers", "DPMScheduler.from_config"),
    ):
        visitor.page.get_by_label(kind, exact=True).locator("visible=true").check()
        expect(code).to_contain_text(said, timeout=PATIENCE)

    # and a bad size is one sentence
    visitor.page.get_by_label("Height", exact=True).locator("visible=true").fill("17")
    visitor.generate()
    expect(visitor.page.get_by_test_id("toast-body")).to_contain_text(
        "height and width must be multiples of 2", timeout=PATIENCE
    )


def test_the_same_through_the_api(page: str) -> None:
    from gradio_client import Client

    asked: dict[str, Any] = {"model": "tiny-sd", "guidance": 2.0, "solver": {"nfe": 3}}
    client = Client(page, verbose=False)
    answers = [client.predict(**asked, prompt=p, api_name="/generate") for p in ("a cat", "dog")]
    assert answers[0]["sheet"] != answers[1]["sheet"]
    assert answers[0]["settings"]["prompt"] == "a cat"
