"""The landing: what is recorded is what the engine computes, and what the page makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import dpm_demo as dpm
from benchmarks.record_landing import sampled
from dpm_demo.compare.figures import rmse
from dpm_demo.compare.questions import QUESTIONS
from dpm_demo.media.pixels import uint8
from dpm_demo.models.library import ModelLibrary
from dpm_demo.request.codec import comparison_of_query, comparison_query
from dpm_demo.ui.landing.component import Landing
from dpm_demo.ui.landing.scenes import ANSWERS, BUDGETS, FOLDER, SCENES, read_answers, read_scenes
from tests.ui.alone import served_alone
from tests.ui.visitor import PATIENCE, Visitor

NFE = 8
NAME = "2-flag"


def picture(name: str, index: int) -> np.ndarray:
    """Picture `index` of a recording's first sheet, `(h, w, 3)`, uint8."""
    about = json.loads((FOLDER / f"{name}.json").read_text())
    sheet = np.asarray(Image.open(FOLDER / f"{name}.webp").convert("RGB"))
    y, x = divmod(index, about["columns"])
    h, w = about["height"], about["width"]
    return sheet[y * h : (y + 1) * h, x * w : (x + 1) * w]


def needed(errors: list[float], wanted: float) -> int | None:
    """The first recorded budget from which on all errors are within `wanted`."""
    good = [k for k in range(len(errors)) if max(errors[k:]) <= wanted]
    return BUDGETS[good[0]] if good else None


# ------------------------------------------------------------------------ the recordings


def test_the_engine_computes_what_is_recorded() -> None:
    about, scene = json.loads((FOLDER / f"{NAME}.json").read_text()), SCENES[NAME]
    model = dpm.load(scene.comparison.model, "cpu")
    solvers = [replace(row, nfe=NFE) for row in scene.comparison.rows]
    truth = picture(NAME, len(solvers) * len(BUDGETS)).transpose(2, 0, 1) / 127.5 - 1
    column = BUDGETS.index(NFE)
    for row, record in enumerate(sampled(model, scene, solvers, record=False)):
        assert record.sample is not None
        shown = picture(NAME, row * len(BUDGETS) + column)
        assert np.abs(uint8(record.sample).astype(int) - shown).max() <= 2
        # the converged picture is known to 8 bits, and clipped
        assert abs(rmse(record.sample, truth) - about["errors"][row][column]) < 0.01


def test_recordings_are_of_the_landed_weights_and_of_the_settings_that_they_name() -> None:
    digest = dpm.load("emoji-image", "cpu").digest
    found = read_scenes()
    assert [scene["name"] for scene in found] == list(SCENES)
    for scene in found:
        assert scene["digest"] == digest, "run python -m benchmarks.record_landing"
        assert scene["query"] == comparison_query(SCENES[scene["name"]].comparison)
        assert np.shape(scene["errors"]) == (3, len(BUDGETS))
        assert set(SCENES[scene["name"]].comparison.budgets) <= set(BUDGETS)


def test_each_question_has_its_recorded_answer_of_the_settings_that_it_sets() -> None:
    library = ModelLibrary("cpu")
    found = read_answers()
    assert list(found) == list(QUESTIONS)
    for title, answer in found.items():
        asked = QUESTIONS[title].comparison
        assert answer["digest"] == library.get(asked.model).digest, "record_landing --answers"
        assert answer["query"] == comparison_query(asked)
        assert np.shape(answer["errors"]) == (len(asked.rows), len(asked.budgets))
        errors = {
            k: dict(zip(asked.budgets, row, strict=True)) for k, row in enumerate(answer["errors"])
        }
        question = QUESTIONS[title]
        assert question.verdict(question.names or answer["rows"], errors) == answer["verdict"]


def test_the_recorded_answer_of_the_fitted_solver_is_of_the_landed_fits() -> None:
    (name,) = (n for n, title in ANSWERS.items() if "fitted" in title)
    asked = QUESTIONS[ANSWERS[name]].comparison
    model = dpm.load(asked.model, "cpu")
    for column, nfe in enumerate(asked.budgets):
        made = dpm.generate(
            model, replace(asked.rows[0], nfe=nfe), [asked.seed], asked.label, asked.guidance
        )
        shown = picture(name, column).astype(int)
        assert np.abs(uint8(np.asarray(made)[0]).astype(int) - shown).max() <= 2


def test_a_recording_whose_pictures_are_missing_is_left_out(tmp_path: Any) -> None:
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / f"{NAME}-way.webp").unlink()
    assert NAME not in [scene["name"] for scene in read_scenes(tmp_path)]


# ------------------------------------------------------------------------ in the page


def open_page(browser: Browser, address: str, query: str = "", motion: str = "reduce") -> Visitor:
    guest = Visitor(browser, address, query=query, reduced_motion=motion)
    expect(guest.page.get_by_test_id("landing-row").first).to_be_visible(timeout=PATIENCE)
    picture = guest.page.locator(".dpl-row:not([hidden]) canvas").first
    expect(picture).to_have_js_property("width", 32, timeout=PATIENCE)  # its sheet has come
    return guest


@pytest.fixture(scope="module")
def visitor(browser: Browser, served: tuple[Any, str]) -> Iterator[Visitor]:
    guest = open_page(browser, served[1])
    yield guest
    guest.leave()


def canvases(page: Page) -> list[str]:
    """What the pictures of the rows show, once the browser has painted."""
    return page.evaluate(
        """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
        done([...document.querySelectorAll('.dpl-row:not([hidden]) canvas')]
        .map(c => c.toDataURL())))))"""
    )


def test_without_a_click_pictures_errors_and_sentence_are_those_of_the_data(
    visitor: Visitor,
) -> None:
    about = read_scenes()[0]
    page = visitor.page
    for nfe in (8, 24):
        column = BUDGETS.index(nfe)
        page.get_by_test_id("landing-budget").fill(str(column))
        expect(page.get_by_test_id("landing-nfe")).to_have_text(str(nfe))
        for row, errors in enumerate(about["errors"]):
            text = page.get_by_test_id("landing-error").nth(row)
            expect(text).to_have_text(f"{float(f'{errors[column]:.2g}'):g}")
    sentence = page.get_by_test_id("landing-sentence")
    wanted = float(re.findall(r"within ([\d.]+)", sentence.inner_text())[0])
    for row, errors in enumerate(about["errors"]):
        budget = needed(errors, wanted)
        said = f"more than {BUDGETS[-1]}" if budget is None else str(budget)
        expect(sentence).to_contain_text(re.compile(rf"order {row + 1}( needs)? {said}\b"))


def test_the_slider_swaps_pictures_and_maps_and_the_line_of_wanted_error_rewrites_the_sentence(
    visitor: Visitor,
) -> None:
    page = visitor.page
    slider, sentence = (page.get_by_test_id(f"landing-{x}") for x in ("budget", "sentence"))
    slider.fill("0")
    few = canvases(page)
    slider.fill("37")
    many = canvases(page)
    assert len(few) == 6 and all(a != b for a, b in zip(few, many, strict=True))
    before = sentence.inner_text()
    page.get_by_test_id("landing-wanted").fill("20")
    expect(sentence).not_to_have_text(before)
    box = page.get_by_test_id("landing-plot").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 15)
    expect(slider).not_to_have_value("37")


def test_it_plays_by_itself_from_the_noise_and_not_where_motion_is_unwelcome(
    browser: Browser, served: tuple[Any, str], visitor: Visitor
) -> None:
    expect(visitor.page.get_by_test_id("landing-play")).to_have_attribute("aria-label", "Play")
    guest = open_page(browser, served[1], motion="no-preference")
    play = guest.page.get_by_test_id("landing-play")
    nfe = guest.page.get_by_test_id("landing-nfe")
    expect(play).to_have_attribute("aria-label", "Pause")
    expect(nfe).to_have_text(re.compile(r"\d+ of \d+"))
    expect(nfe).to_have_text("40", timeout=PATIENCE)  # then all budgets come by
    expect(play).to_have_attribute("aria-label", "Play", timeout=PATIENCE)
    guest.leave()


def test_another_recording_fills_in_the_form(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="where order 3 loses").click()
    expect(visitor.page.get_by_test_id("landing-why")).to_contain_text("Chosen")
    visitor.asks()
    wanted = SCENES["4-against"].comparison
    seed = visitor.page.get_by_label("Seed", exact=True).locator("visible=true")
    expect(seed).to_have_value(str(wanted.seed))
    label = visitor.page.get_by_label("Category", exact=True).locator("visible=true")
    expect(label).to_have_value("flags")


def test_a_link_with_run_computes_what_it_asks_and_the_page_shows_it(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = open_page(browser, served[1], "?model=mixture&budgets=4,9&row=order%3D2&run=1")
    page = guest.page
    expect(page.get_by_test_id("landing-why")).to_have_text("Computed just now.", timeout=PATIENCE)
    expect(page.get_by_test_id("landing-row").locator("visible=true")).to_have_count(1)
    page.get_by_test_id("landing-budget").fill("1")
    shown = page.get_by_test_id("landing-error").first.inner_text()
    tile = guest.at("compare", "tile").nth(1).inner_text()
    assert f"RMSE {shown}" in tile
    play = page.get_by_test_id("landing-play")
    play.click()  # and it is a pause button at once, until all budgets have come by
    expect(play).to_have_attribute("aria-label", "Play")
    expect(page.get_by_test_id("landing-nfe")).to_have_text("9")  # where it began
    go = page.get_by_test_id("landing-go")
    expect(go).to_have_text("Try your own noise")
    before = comparison_of_query([])[0].seed
    go.click()
    expect(go).to_have_text("Try your own noise", timeout=PATIENCE)
    expect(page.locator("#compare-link").locator("input, textarea")).to_have_value(
        re.compile(r"seed=[1-9]")
    )
    assert before == 0
    guest.leave()


def test_without_a_recording_there_is_a_button_with_words_and_an_error_of_zero_is_said(
    browser: Browser,
) -> None:
    exact = {
        "run": "exact", "final": True, "columns": 1, "row_titles": ["order 1", "order 3"],
        "column_titles": ["5"], "tiles": [{"state": "done", "nfe": 5, "budget": 5}] * 2,
        "budgets": [5], "errors": [0.1, 0],
    }  # fmt: skip
    with gr.Blocks() as demo:
        landing = Landing({"scenes": []})
        gr.Button("send").click(lambda: exact, None, landing, show_progress="hidden")
    with served_alone(demo) as address, browser.new_page() as page:
        page.goto(address)
        go, rows = page.get_by_test_id("landing-go"), page.get_by_test_id("landing-row")
        expect(go).to_have_text("Try your own noise")
        expect(rows.locator("visible=true")).to_have_count(0)
        page.get_by_role("button", name="send").click()
        expect(rows.locator("visible=true")).to_have_count(2)
        said = page.get_by_test_id("landing-sentence")
        expect(said).to_contain_text("Order 3 ends exactly at it, order 1 does not.")
