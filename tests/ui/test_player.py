"""The player in a real Chromium: what a person sees of fake values whose every pixel is known.

In the fakes a tile's picture k (frame f) is one flat colour that names tile, k, f and view, so that
one pixel read back from the canvas says exactly what is shown.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_IS_E2E_TEST", "1")

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from dpm_demo.media.grid import sprite_sheet
from dpm_demo.media.png import data_uri, png
from dpm_demo.ui.player.component import Player
from tests.ui.alone import served_alone

pytestmark = pytest.mark.browser

PATIENCE = 120_000  # ms; only a failure waits that long
expect.set_options(timeout=PATIENCE)
DESK: Any = {"width": 1000, "height": 900}
NFE = 20
PACE = {"per second": 20.0}  # of a stream
VALUES: dict[str, Any] = {}  # what the page's "post" button sends, by name
VIEW_CODE = {"x0": 40, "x": 140, "diff": 240}


# ------------------------------------------------------------------------------------- the fakes


def code(tile: int, picture: int, frame: int, view: str) -> list[int]:
    """The colour of one picture: red is the picture, green tile and frame, blue the view."""
    return [10 + picture * 5, 10 + tile * 30 + frame * 3, VIEW_CODE[view]]


def code_sheet(tiles: list[int], pictures: list[int], frames: int, view: str, size: int) -> str:
    """A sheet of one row for each pair of (tile, picture)."""
    rows = [
        [np.full((size, size, 3), code(i, k, f, view), np.uint8) for f in range(frames)]
        for i, k in zip(tiles, pictures, strict=True)
    ]
    return data_uri(png(sprite_sheet(np.array(rows)), level=1))


def clock(k: int, n: int) -> dict[str, float]:
    return {"lam": -5 + 9.6 * k / n, "t": 1 - k / n}


def live_value(
    run: str, k: int, *, tiles: int = 4, frames: int = 1, size: int = 8, **more: Any
) -> dict[str, Any]:
    """The value after evaluation k of NFE."""
    index = list(range(tiles))
    return {
        "run": run,
        "seq": k,
        "final": False,
        "tile": {"w": size, "h": size, "frames": frames},
        "columns": 4,
        "row_titles": None,
        "column_titles": None,
        "tiles": [
            {"title": f"seed {i}", "state": "running", "nfe": k, "budget": NFE, **clock(k, NFE)}
            for i in index
        ],
        "live": {
            "index": index,
            "x0": code_sheet(index, [k] * tiles, frames, "x0", size),
            "x": code_sheet(index, [k] * tiles, frames, "x", size),
        },
        "status": {
            "text": "denoising",
            "seconds": k * 0.031,
            "ms": 31,
            "left": (NFE - k) * 0.031,
            "device": "cpu",
            "others": 2,
        },
        **more,
    }


def record(tile: int, n: int, *, frames: int = 1, size: int = 8, diff: bool = False) -> Any:
    """n evaluations and the sample: n + 1 points and as many pictures."""
    names = ["x0", "x", *(["diff"] if diff else [])]
    pictures = list(range(n + 1))
    sheets = {v: code_sheet([tile] * (n + 1), pictures, frames, v, size) for v in names}
    points = [{"nfe": min(k + 1, n), "stage": 0, "picture": k, **clock(k, n)} for k in range(n + 1)]
    return {**sheets, "points": points}


def final_value(
    run: str, *, tiles: int = 4, frames: int = 1, size: int = 8, diff: bool = False, **more: Any
) -> dict[str, Any]:
    value = live_value(run, NFE, tiles=tiles, frames=frames, size=size)
    del value["live"]
    for i, tile in enumerate(value["tiles"]):
        tile["state"] = "done"
        tile["record"] = record(i, NFE, frames=frames, size=size, diff=diff)
    return {**value, "final": True, "seq": NFE + 1, **more}


def compare_value(run: str, **more: Any) -> dict[str, Any]:
    """Two rows by three budgets; the last cell failed and the first column's best is marked."""
    budgets = [5, 10, 20]
    value = final_value(run, tiles=6, **more)
    value["row_titles"] = ["order 1, multistep", "order 2, multistep"]
    value["column_titles"] = [f"{n} evaluations" for n in budgets]
    for i, tile in enumerate(value["tiles"]):
        n = budgets[i % 3]
        tile |= {"title": "", "nfe": n, "budget": n, "caption": f"RMSE 0.0{i}1\n38.{i} dB · 31 ms"}
        tile["record"] = record(i, n, diff=True)
    value["tiles"][3]["best"] = True
    value["tiles"][5] |= {"state": "failed", "error": "The prediction was not finite."}
    del value["tiles"][5]["record"]
    value["diff_scale"] = 4
    return value


async def stream(run: str) -> AsyncIterator[dict[str, Any]]:
    for k in range(1, NFE + 1):
        yield live_value(run, k)
        await asyncio.sleep(1 / PACE["per second"])
    yield final_value(run)


def build_page() -> gr.Blocks:
    """A page with a player, and with ways to send it anything."""
    runs = iter(range(1000))

    async def run() -> AsyncIterator[dict[str, Any]]:
        async for value in stream(f"stream {next(runs)}"):
            yield value

    def selected(event: gr.SelectData) -> str:
        return f"tile {event.index}: {event.value}"

    with gr.Blocks() as page:
        player = Player(placeholder="Press run.", elem_id="the-player")
        name = gr.Textbox(label="name")
        sent = gr.Textbox(label="sent")
        gr.Button("post").click(
            lambda name: (VALUES[name], name), name, [player, sent], show_progress="hidden"
        )
        gr.Button("run").click(run, None, player, show_progress="hidden")
        out = gr.Textbox(label="selected")
        player.select(selected, None, out, show_progress="hidden")
    return page


# ---------------------------------------------------------------------------------- the machinery


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # the history would keep every value in the browser's storage, all pictures
    with served_alone(build_page().queue(), run_history=False) as url:
        yield url


class Visit:
    """One open page: its player, and what must not have happened on it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.errors: list[str] = []
        self.strays: list[str] = []
        self.page: Page = browser.new_page(viewport=DESK)
        self.page.set_default_timeout(PATIENCE)

        def stray(route: Route) -> None:
            self.strays.append(route.request.url)
            route.abort()

        self.page.route(re.compile(rf"^(?!{re.escape(url)}|data:|blob:)"), stray)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.screen = self.page.context.new_cdp_session(self.page)
        self.page.goto(url)
        expect(self.at("player-empty")).to_have_text("Press run.")

    def set_screen(self, width: int, height: int, density: float) -> None:
        self.screen.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": density, "mobile": False},
        )
        self.page.wait_for_function(
            "([w, d]) => innerWidth === w && devicePixelRatio === d", arg=[width, density]
        )

    def at(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def post(self, value: Any) -> None:
        """Sends a value the way an event does, and waits until the page has it."""
        name = f"value {len(VALUES)}"
        VALUES[name] = value
        self.page.get_by_label("name").fill(name)
        self.page.get_by_role("button", name="post", exact=True).click()
        expect(self.page.get_by_label("sent")).to_have_value(name)

    def pixel(self, canvas: Locator) -> list[int]:
        return canvas.evaluate(
            "c => [...c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 1, 1).data]"
        )

    def expect_pixel(self, index: int, colour: list[int], name: str = "player-canvas") -> None:
        # looked up each time: a value of another shape builds the canvases anew
        self.page.wait_for_function(
            """([name, index, want]) => {
              const c = document.querySelectorAll(`[data-testid=${name}]`)[index];
              const p = c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 1, 1).data;
              return want.every((v, i) => v === p[i]) && p[3] === 255;
            }""",
            arg=[name, index, colour],
        )

    def scrub(self, k: int) -> None:
        self.at("player-scrub").fill(str(k))

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


@pytest.fixture(scope="module")
def visited(address: str, browser: Browser) -> Visit:
    return Visit(browser, address)


@pytest.fixture
def visit(visited: Visit) -> Iterator[Visit]:
    """The page as the test before left it, with an empty player: loading it is slow."""
    visited.post(None)
    expect(visited.at("player-empty")).to_be_visible()
    yield visited
    assert visited.errors == [], "an error in the console"
    assert visited.strays == [], "a request left the machine"


@pytest.fixture
def phone(visit: Visit) -> Iterator[Visit]:
    visit.set_screen(390, 844, 3)
    yield visit
    visit.set_screen(DESK["width"], DESK["height"], 1)


# -------------------------------------------------------------------------------------- the claims

RECORD_WHAT_IS_PAINTED = """() => {
  window.seen = [];
  const look = () => {
    const c = document.querySelector('[data-testid=player-canvas]');
    const state = document.querySelector('[data-testid=player]').dataset.state;
    if (c && state === 'live') {
      const [red, , , alpha] = c.getContext('2d').getImageData(0, 0, 1, 1).data;
      if (alpha && window.seen.at(-1) !== red) window.seen.push(red);
    }
    if (state !== 'final') requestAnimationFrame(look);
  };
  look();
}"""


def test_a_stream_is_painted_live_and_ends_with_a_timeline_of_21_positions(visit: Visit) -> None:
    for per_second in (20, 10, 5, 2):  # a machine busy with something else gets more time
        PACE["per second"] = per_second
        visit.post(None)
        visit.page.evaluate(RECORD_WHAT_IS_PAINTED)
        visit.page.get_by_role("button", name="run", exact=True).click()
        expect(visit.at("player")).to_have_attribute("data-state", "final")
        seen = visit.page.evaluate("window.seen")
        assert seen == sorted(seen)  # never back in time
        if len(seen) >= 8:
            break
    assert len(seen) >= 8, seen
    expect(visit.at("player-nfe")).to_have_text("20 / 20")
    scrub = visit.at("player-scrub")
    expect(scrub).to_be_enabled()
    expect(scrub).to_have_attribute("max", "20")
    expect(scrub).to_have_value("20")
    visit.expect_pixel(3, code(3, 20, 0, "x0"))


def test_every_scrub_position_shows_its_own_picture_and_says_its_clock(visit: Visit) -> None:
    visit.post(final_value("scrub"))
    for k in (0, 1, 7, NFE - 1, NFE):
        visit.scrub(k)
        for tile in (0, 3):
            visit.expect_pixel(tile, code(tile, k, 0, "x0"))
        expect(visit.at("player-nfe")).to_have_text(f"{min(k + 1, NFE)} / 20")
        lam = f"{-5 + 9.6 * k / NFE:.2f}".replace("-", "−")
        expect(visit.at("player-lam")).to_have_text(lam)
        expect(visit.at("player-t")).to_have_text(f"{1 - k / NFE:.3f}")
        expect(visit.at("player-mark")).to_have_text("sample" if k == NFE else "")


def test_the_toggle_shows_the_noisy_state_at_the_same_position(visit: Visit) -> None:
    visit.post(final_value("toggle"))
    visit.scrub(7)
    visit.at("player-view-x").click()
    visit.expect_pixel(1, code(1, 7, 0, "x"))
    expect(visit.at("player-view-diff")).to_be_hidden()  # these records have no difference
    visit.at("player-view-x0").click()
    visit.expect_pixel(1, code(1, 7, 0, "x0"))


def test_the_keyboard_moves_plays_and_switches_the_view(visit: Visit) -> None:
    visit.post(final_value("keys"))
    player = visit.at("player")
    player.focus()
    for key, position in [("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", NFE)]:
        player.press(key)
        expect(visit.at("player-scrub")).to_have_value(str(position))
        visit.expect_pixel(0, code(0, position, 0, "x0"))
    player.press("x")
    visit.expect_pixel(0, code(0, NFE, 0, "x"))
    player.press("x")
    player.press("Home")
    player.press(" ")
    expect(visit.at("player-play")).to_have_attribute("aria-label", "Pause (space)")
    expect(visit.at("player-scrub")).not_to_have_value("0")
    player.press(" ")
    expect(visit.at("player-play")).to_have_attribute("aria-label", "Play (space)")
    stopped = visit.at("player-scrub").input_value()
    assert 0 < int(stopped) < NFE


def test_play_runs_to_the_end_and_stops_there(visit: Visit) -> None:
    visit.post(final_value("play"))
    visit.scrub(14)
    visit.at("player-play").click()
    expect(visit.at("player-scrub")).to_have_value("20")
    expect(visit.at("player-play")).to_have_attribute("aria-label", "Play (space)")


def test_a_value_of_the_same_run_keeps_the_scrub_position_and_a_new_run_resets_it(
    visit: Visit,
) -> None:
    value = final_value("same")
    visit.post(value)
    visit.scrub(5)
    later = json.loads(json.dumps(value))
    later["seq"] += 1
    later["tiles"][2]["caption"] = "RMSE 0.012"
    for tile in later["tiles"]:
        del tile["record"]  # may be left out: what is known stays
    visit.post(later)
    expect(visit.at("player-tile").nth(2)).to_contain_text("RMSE 0.012")
    expect(visit.at("player-scrub")).to_have_value("5")
    visit.expect_pixel(2, code(2, 5, 0, "x0"))
    visit.scrub(6)  # the listeners are still there
    visit.expect_pixel(2, code(2, 6, 0, "x0"))
    visit.post(final_value("newer"))
    expect(visit.at("player-scrub")).to_have_value("20")
    visit.expect_pixel(2, code(2, 20, 0, "x0"))


def test_a_late_value_of_the_same_run_is_dropped(visit: Visit) -> None:
    visit.post(live_value("late", 9))
    visit.expect_pixel(0, code(0, 9, 0, "x0"))
    visit.post(live_value("late", 4))
    visit.post(live_value("late", 10, tiles=4))
    visit.expect_pixel(0, code(0, 10, 0, "x0"))
    expect(visit.at("player-nfe")).to_have_text("10 / 20")


def test_a_live_sheet_repaints_only_the_tiles_it_lists(visit: Visit) -> None:
    visit.post(live_value("partial", 3))
    visit.expect_pixel(3, code(3, 3, 0, "x0"))
    value = live_value("partial", 4)
    value["live"] = {"index": [2, 0], "x0": code_sheet([2, 0], [4, 4], 1, "x0", 8)}
    visit.post(value)
    visit.expect_pixel(0, code(0, 4, 0, "x0"))
    visit.expect_pixel(2, code(2, 4, 0, "x0"))
    visit.expect_pixel(3, code(3, 3, 0, "x0"))


def test_inner_stages_are_marked_and_keep_the_picture_before(visit: Visit) -> None:
    value = final_value("stages", tiles=1)
    points = value["tiles"][0]["record"]["points"]
    points[4] |= {"stage": 1, "picture": 3}
    visit.post(value)
    visit.scrub(4)
    expect(visit.at("player-mark")).to_have_text("inner stage")
    visit.expect_pixel(0, code(0, 3, 0, "x0"))
    visit.scrub(5)
    expect(visit.at("player-mark")).to_have_text("")


def test_the_status_line_says_cost_time_device_and_company(visit: Visit) -> None:
    visit.post(live_value("status", 5))
    for words in (
        "denoising", "5 / 20 evaluations", "0.2 s", "31 ms per evaluation", "0.5 s left", "cpu",
        "2 other runs under way",
    ):  # fmt: skip
        expect(visit.at("player-status")).to_contain_text(words)
    expect(visit.at("player-progress")).to_have_attribute("aria-valuenow", "25")
    expect(visit.at("player-scrub")).to_be_disabled()
    value = live_value("minutes", 5)
    value["status"] |= {"seconds": 59.97, "left": 119.7}
    visit.post(value)
    expect(visit.at("player-status")).to_contain_text("1 min 0 s")
    expect(visit.at("player-status")).to_contain_text("2 min 0 s left")


def test_pictures_are_enlarged_by_a_whole_number_of_device_pixels(visit: Visit) -> None:
    for density in (1.5, 3, 1):
        visit.set_screen(DESK["width"], DESK["height"], density)
        visit.post(final_value(f"zoom {density}", size=32))
        visit.expect_pixel(0, code(0, 20, 0, "x0"))
        for view in ("player-canvas", "player-stage-canvas"):
            if view == "player-stage-canvas":
                visit.at("player-tile").first.get_by_role("button").click()
            canvas = visit.at(view).first
            width, rendering = canvas.evaluate(
                "c => [c.getBoundingClientRect().width, getComputedStyle(c).imageRendering]"
            )
            factor = width * density / 32
            assert factor >= 2 and math.isclose(factor, round(factor), abs_tol=1e-3)
            assert rendering == "pixelated"


def test_a_click_selects_and_enlarges_and_escape_closes(visit: Visit) -> None:
    visit.post(final_value("select"))
    visit.scrub(8)
    visit.at("player-tile").nth(2).get_by_role("button").click()
    expect(visit.page.get_by_label("selected")).to_have_value("tile 2: seed 2")
    expect(visit.at("player-stage")).to_be_visible()
    expect(visit.at("player-wall")).to_be_hidden()
    visit.expect_pixel(0, code(2, 8, 0, "x0"), "player-stage-canvas")
    visit.page.keyboard.press("ArrowRight")
    visit.expect_pixel(0, code(2, 9, 0, "x0"), "player-stage-canvas")
    visit.page.keyboard.press("Escape")
    expect(visit.at("player-stage")).to_be_hidden()
    expect(visit.at("player-tile").nth(2).get_by_role("button")).to_be_focused()


@pytest.mark.parametrize("way", ["shift", "button"])
def test_two_tiles_open_a_before_and_after_slider(visit: Visit, way: str) -> None:
    visit.post(final_value(f"pair by {way}", size=32))
    tiles = visit.at("player-tile").get_by_role("button")
    if way == "button":
        visit.at("player-pick").click()
    for index in (1, 3):
        tiles.nth(index).click(modifiers=["Shift"] if way == "shift" else [])
    expect(visit.at("player-pair")).to_be_focused()
    visit.expect_pixel(0, code(1, 20, 0, "x0"), "player-stage-canvas")
    visit.expect_pixel(0, code(3, 20, 0, "x0"), "player-stage-canvas-b")
    clip = "c => getComputedStyle(c).clipPath"
    for percent in (0, 80):
        visit.at("player-pair").fill(str(percent))
        shown = visit.at("player-stage-canvas-b").evaluate(clip)
        assert f" {percent}%" in shown if percent else "%" not in shown.replace("0%", "")
    visit.page.keyboard.press("Escape")
    expect(visit.at("player-stage")).to_be_hidden()


def test_a_grid_has_titles_captions_the_best_cell_and_the_error_of_a_failed_one(
    visit: Visit,
) -> None:
    visit.post(compare_value("grid"))
    wall = visit.at("player-wall")
    for words in ("order 1, multistep", "order 2, multistep", "5 evaluations", "20 evaluations"):
        expect(wall.get_by_text(words, exact=True).first).to_be_visible()
    tiles = visit.at("player-tile")
    expect(tiles.nth(4)).to_contain_text("RMSE 0.041")
    expect(tiles.nth(3)).to_contain_text("best")
    expect(tiles.nth(0).get_by_text("best")).to_be_hidden()
    expect(tiles.nth(5)).to_contain_text("The prediction was not finite.")
    boxes = [tiles.nth(i).bounding_box() for i in range(6)]
    lefts, tops = ([round(box[side]) for box in boxes if box] for side in ("x", "y"))
    assert lefts[:3] == lefts[3:] and len(set(tops)) == 2
    visit.scrub(8)  # past the first column's end: it keeps its sample
    visit.expect_pixel(0, code(0, 5, 0, "x0"))
    visit.expect_pixel(1, code(1, 8, 0, "x0"))
    expect(visit.at("player-scrub")).to_have_attribute("max", "20")
    label = visit.at("player-canvas").nth(3).get_attribute("aria-label") or ""
    assert "order 2, multistep, 5 evaluations" in label and "Best" in label


def test_the_difference_appears_with_the_data_and_states_its_scale(visit: Visit) -> None:
    visit.post(compare_value("difference"))
    choice = visit.at("player-view-diff")
    expect(choice).to_have_text("|difference| × 4")
    choice.click()
    visit.expect_pixel(1, code(1, 10, 0, "diff"))
    visit.post(final_value("no difference"))
    expect(choice).to_be_hidden()
    visit.expect_pixel(1, code(1, 20, 0, "x0"))


def test_a_video_loops_and_its_time_scrubs_apart_from_its_evaluations(visit: Visit) -> None:
    visit.post(final_value("video", tiles=2, frames=8, size=16, fps=30))
    expect(visit.at("player-frame")).to_have_text("8 / 8")  # it gets there by itself
    visit.at("player-time").fill("3")
    visit.expect_pixel(1, code(1, 20, 3, "x0"))
    visit.scrub(6)
    visit.expect_pixel(1, code(1, 6, 3, "x0"))
    expect(visit.at("player-frame")).to_have_text("4 / 8")
    visit.at("player-loop").click()
    expect(visit.at("player-frame")).not_to_have_text("4 / 8")


def test_a_clip_opens_beside_the_converged_one_at_the_same_frame(visit: Visit) -> None:
    truth = code_sheet([1], [3], 8, "x0", 16)
    visit.post(final_value("clip and truth", tiles=2, frames=8, size=16, truth=truth))
    visit.at("player-tile").first.get_by_role("button").click()
    visit.at("player-time").fill("5")
    visit.expect_pixel(0, code(0, 20, 5, "x0"), "player-stage-canvas")
    visit.expect_pixel(0, code(1, 3, 5, "x0"), "player-stage-canvas-b")


def test_the_film_strip_shows_every_frame(visit: Visit) -> None:
    visit.post(final_value("strip", tiles=1, frames=8, size=16))
    visit.at("player-strip").click()
    visit.page.wait_for_function(
        """() => {
          const c = document.querySelector("[data-testid=player-canvas]");
          const at = (x, y) => [...c.getContext('2d').getImageData(x, y, 1, 1).data];
          const found = new Set();
          for (let y = 8; y < c.height; y += 17)
            for (let x = 8; x < c.width; x += 17) found.add(at(x, y).join());
          return found.size === 8;
        }""",
    )
    visit.at("player-strip").click()
    canvas = visit.at("player-canvas").first
    expect(canvas).to_have_js_property("width", 16)  # painted anew, as the loop that it was
    assert visit.pixel(canvas)[:3] in [code(0, NFE, frame, "x0") for frame in range(8)]


def test_reduced_motion_shows_a_still_video_until_it_is_asked_to_loop(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    visit.post(final_value("still", tiles=1, frames=8, size=16, fps=30))
    visit.expect_pixel(0, code(0, 20, 0, "x0"))
    visit.page.wait_for_timeout(300)  # nine frames' time
    expect(visit.at("player-frame")).to_have_text("1 / 8")
    visit.at("player-time").fill("5")
    visit.expect_pixel(0, code(0, 20, 5, "x0"))
    visit.at("player-loop").click()
    expect(visit.at("player-frame")).not_to_have_text("6 / 8")
    visit.page.emulate_media(reduced_motion="no-preference")


def test_a_phone_shows_one_row_of_a_grid_at_a_time_and_never_scrolls_sideways(
    phone: Visit,
) -> None:
    phone.post(compare_value("phone"))
    row = phone.at("player-row")
    expect(row).to_be_visible()
    tiles = phone.at("player-tile")
    expect(tiles.nth(2)).to_be_visible()
    expect(tiles.nth(3)).to_be_hidden()
    row.select_option("order 2, multistep")
    expect(tiles.nth(3)).to_be_visible()
    expect(tiles.nth(3)).to_contain_text("5 evaluations")
    expect(tiles.nth(2)).to_be_hidden()
    phone.expect_pixel(3, code(3, 5, 0, "x0"))
    as_high = compare_value("rows of one height")
    as_high["tiles"][3]["best"] = False
    phone.post(as_high)
    phone.at("player-scrub").fill("2")
    row.select_option("order 1, multistep")
    phone.expect_pixel(0, code(0, 2, 0, "x0"))  # not that of the end
    row.select_option("order 2, multistep")
    phone.post(compare_value("phone again"))
    expect(row).to_have_value("order 2, multistep")  # as what is shown
    expect(tiles.nth(3)).to_be_visible()
    assert phone.overflow() <= 0
    tiles.nth(4).get_by_role("button").click()
    expect(phone.at("player-stage")).to_be_visible()
    assert phone.overflow() <= 0
    phone.at("player-close").click()
    for value in (
        final_value("phone pictures", tiles=8, size=32),
        final_value("phone video", tiles=2, frames=16, size=32),
        final_value("phone large", tiles=2, size=256),
    ):
        phone.post(value)
        assert phone.overflow() <= 0
    phone.post(final_value("phone strip", tiles=1, frames=16, size=32))
    phone.at("player-strip").click()
    assert phone.overflow() <= 0


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

GARBAGE: list[Any] = [
    None, "", "text", HOSTILE, 7, -1e308, True, [], [1, 2], {}, {"tiles": None}, {"tiles": 5},
    {"run": None, "tiles": [None, 1, "x", [], {}]},
    {"run": {}, "seq": "x", "final": "yes", "tile": "big", "columns": "many", "tiles": [{}],
     "row_titles": 3, "column_titles": {"a": 1}, "live": 4, "status": "fine", "fps": "fast"},
    {"run": "huge", "seq": 1e308, "final": True, "columns": 1e308, "fps": 1e308,
     "tile": {"w": 1e308, "h": -1e308, "frames": 1e308}, "diff_scale": 1e308,
     "tiles": [{"nfe": 1e308, "budget": 1e308, "lam": 1e308, "t": -1e308,
                "record": {"x0": "data:image/png;base64,AAAA",
                           "points": [{"nfe": -1e308, "picture": 1e308, "lam": 1e308}, None]}}],
     "status": {"seconds": 1e308, "ms": -5, "left": 1e308, "others": 1e308}},
    {"run": "away", "tiles": [{"record": {"x0": "http://example.com/a.png", "points": [{}]}}],
     "live": {"index": [0, 99, -3, "x", None, 1e308], "x0": "https://example.com/b.png"}},
    {"run": "broken", "tiles": [{}], "live": {"index": [0], "x0": "data:image/png;base64,!!"}},
    {"run": "proto", "__proto__": {"tiles": []}, "tiles": [{"__proto__": 1, "state": "toString"}]},
    {"run": "many", "tiles": [{}] * 5000, "row_titles": ["r"] * 5000, "column_titles": ["c"] * 500},
]  # fmt: skip


def test_a_last_value_without_records_leaves_the_pictures_as_they_are(visit: Visit) -> None:
    visit.post(live_value("stopped", 7))
    visit.expect_pixel(1, code(1, 7, 0, "x0"))
    value = live_value("stopped", 7)
    del value["live"]
    for tile in value["tiles"]:
        tile["state"] = "stopped"
    visit.post({**value, "final": True, "seq": 1 << 30})
    expect(visit.at("player-tile").first).to_have_attribute("data-state", "stopped")
    visit.expect_pixel(1, code(1, 7, 0, "x0"))
    expect(visit.at("player-scrub")).to_be_disabled()


def test_garbage_neither_throws_nor_stops_what_comes_after(visit: Visit) -> None:
    for value in GARBAGE:
        visit.post(value)
        assert visit.errors == [], value
    for key in ("tile", "tiles", "columns", "status", "seq", "row_titles"):  # partial values
        value = final_value(f"without {key}", tiles=1)
        del value[key]
        visit.post(value)
    visit.post(final_value("good at last", tiles=1))
    visit.expect_pixel(0, code(0, 20, 0, "x0"))


def test_hostile_strings_are_shown_as_text(visit: Visit) -> None:
    value = compare_value("hostile")
    value["row_titles"][0] = value["column_titles"][1] = HOSTILE
    value["status"] |= {"text": HOSTILE, "device": "${window.hacked=1} {{x}} `"}
    for tile in value["tiles"]:
        tile |= {"title": HOSTILE, "caption": HOSTILE}
    value["tiles"][5]["error"] = HOSTILE
    visit.post(value)
    expect(visit.at("player-tile").nth(5)).to_contain_text("<script>window.hacked=1</script>")
    expect(visit.at("player-status")).to_contain_text("${window.hacked=1} {{x}} `")
    visit.at("player-tile").nth(0).get_by_role("button").click()
    expect(visit.at("player-stage")).to_contain_text("onerror")
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("[data-testid=player] img").count() == 0


def test_every_picture_and_control_has_a_name(visit: Visit) -> None:
    visit.post(final_value("names", tiles=2, frames=4))
    unnamed = visit.at("player").evaluate(
        """root => [...root.querySelectorAll('button, input, select, [role]')]
          .filter(n => n.getAttribute('role') !== 'status')
          .filter(n => n.offsetParent && !(n.getAttribute('aria-label') || n.innerText).trim())
          .map(n => n.outerHTML)"""
    )
    assert unnamed == []
    label = visit.at("player-canvas").nth(1).get_attribute("aria-label") or ""
    assert "seed 1" in label and "data prediction after 20 evaluations" in label
    assert visit.at("player").get_attribute("aria-label") == "Player"


def test_what_the_page_holds_is_a_value_or_nothing() -> None:
    player = Player()
    assert player.preprocess("text") is None
    assert player.preprocess({"run": "a"}) == {"run": "a"}
