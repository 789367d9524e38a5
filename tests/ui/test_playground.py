"""The playground: what its scripts may ask, and what a visitor sees of it."""

import pytest
from playwright.sync_api import Page, expect

from dpm_demo.ui.playground import answers

SPEC = {"shape": "islands", "particles": 20, "seed": 0}
WALKS = {**SPEC, "nfe": 6, "orders": [1, 3], "method": "multistep", "schedule": "logsnr"}


def test_an_answer_has_plain_numbers_for_every_evaluation():
    found = answers.answered(answers.walks, WALKS)
    assert [walk["order"] for walk in found["walks"]] == [1, 3]
    assert all(len(walk["lam"]) == 7 for walk in found["walks"])
    assert found["walks"][0]["miss"] > 0


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "x",
        {},
        {**WALKS, "shape": "__class__"},
        {**WALKS, "particles": 10**9},
        {**WALKS, "particles": True},
        {**WALKS, "nfe": 0},
        {**WALKS, "nfe": 1e9},
        {**WALKS, "orders": []},
        {**WALKS, "orders": [7]},
        {**WALKS, "orders": "123"},
        {**WALKS, "method": "adaptive"},
        {**WALKS, "schedule": "nowhere"},
        {**WALKS, "seed": -1},
        {**WALKS, "own": [[0, "1"]]},
        {**WALKS, "own": [[float("nan"), 0]]},
        {**WALKS, "own": [[0, 0]] * 1000},
        {**WALKS, "shape": "own", "blobs": []},
    ],
)
def test_what_makes_no_sense_is_answered_by_one_sentence(bad):
    error = answers.answered(answers.walks, bad)["error"]
    assert error and "\n" not in error and "Traceback" not in error


@pytest.mark.parametrize(
    "bad",
    [
        {"lambdas": [0], "order": 1},
        {"lambdas": [-5, 9], "order": 1},
        {"lambdas": [1, 1], "order": 1},
        {"lambdas": [0, 1], "order": 4},
        {"lambdas": ["a", 1], "order": 1},
        {"lambdas": [float("nan"), 1], "order": 1},
    ],
)
def test_a_line_that_is_none_is_answered_by_one_sentence(bad):
    assert "\n" not in answers.answered(answers.line, bad)["error"]


@pytest.fixture
def page(how_it_works: Page) -> Page:
    return how_it_works


@pytest.mark.browser
def test_fewer_evaluations_miss_by_more_and_a_click_starts_a_particle(page):
    plane = page.locator("#plane")
    verdict = plane.locator(".verdict")
    expect(verdict).to_contain_text("With 12 evaluations order 1 misses by")
    plane.get_by_role("slider", name="Evaluations").fill("3")
    expect(verdict).to_contain_text("With 3 evaluations order 1 misses by")
    before = verdict.inner_text()
    plane.locator("canvas").click(position={"x": 100, "y": 100})
    expect(verdict).not_to_have_text(before)
    time = plane.get_by_role("slider", name="Time")
    expect(time).to_have_value("1")  # where a new particle shows its end
    expect(time.locator("..")).to_contain_text("the sample")
    plane.get_by_role("button", name="Play").click()
    plane.get_by_role("button", name="draw").click()
    expect(verdict).to_contain_text("draw your own data")
    plane.get_by_role("button", name="Add one").press("Enter")  # as a click would, by the keyboard
    expect(verdict).to_contain_text("misses by")
    plane.get_by_role("button", name="Clear").click()
    expect(verdict).to_contain_text("draw your own data")
    time.fill("0.5")  # nothing moves, and nothing is wrong
    plane.locator("canvas").click(position={"x": 150, "y": 150})
    expect(verdict).to_contain_text("misses by")


@pytest.mark.browser
def test_a_parabola_gains_more_than_a_constant_from_halved_steps(page):
    line = page.locator("#line")
    line.scroll_into_view_if_needed()
    verdict = line.locator(".verdict")
    expect(verdict).to_contain_text("takes the prediction for a constant")
    line.get_by_role("button", name="3 · parabola").click()
    expect(verdict).to_contain_text("takes the prediction for a parabola")
    before = verdict.inner_text()
    box = line.locator("canvas").first
    box.focus()
    box.press("ArrowRight")
    expect(verdict).not_to_have_text(before)
    line.get_by_role("button", name="Halve every step").click()
    expect(verdict).to_contain_text("Mean error with 12 evaluations:")
    steps = line.get_by_role("slider", name="Steps")
    expect(steps).to_have_value("12")
    steps.fill("17")
    expect(line.get_by_role("button", name="Halve every step")).to_be_disabled()
    steps.fill("16")
    expect(line.get_by_role("button", name="Halve every step")).to_be_enabled()
    steps.fill("6")
    expect(verdict).to_contain_text("Mean error with 6 evaluations:")
    place = box.bounding_box()
    assert place is not None
    middle = place["x"] + 40 + (place["width"] - 56) / 2  # of seven nodes: that of the fourth
    before = verdict.inner_text()
    page.mouse.move(middle, place["y"] + place["height"] - 36)
    page.mouse.down()
    page.mouse.move(middle + 20, place["y"] + 40)
    expect(verdict).not_to_have_text(before)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    box.evaluate("canvas => canvas.releasePointerCapture(1)")  # as a touch that scrolls does
    page.mouse.move(middle + 40, place["y"] + 40)
    page.mouse.up()
    assert asked == []  # nobody holds the node
