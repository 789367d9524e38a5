"""The page as a visitor meets it, in a real Chromium, with the landed checkpoint."""

from __future__ import annotations

import io
import json
import re
import threading
import urllib.request
import zipfile
from typing import Any

import pytest
from gradio_client import Client
from PIL import Image
from playwright.sync_api import Browser, expect

from dpm_demo.engine.job import Job
from dpm_demo.media.png import png_text
from dpm_demo.request.codec import comparison_of_query, read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.ui.page import make_serving
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser


def test_one_click_paints_frames_and_ends_with_a_complete_timeline(visitor: Visitor) -> None:
    visitor.tab("Generate")
    visitor.number("Model evaluations (NFE)", 100)
    visitor.page.evaluate(
        """() => { window.seen = new Set(); setInterval(() => {
        const n = document.querySelector('#generate-player [data-testid=player-nfe]');
        if (n) window.seen.add(n.textContent); }, 5); }"""
    )
    visitor.generate()
    visitor.finished()
    seen = visitor.page.evaluate("() => [...window.seen]")
    assert len(seen) >= 5, f"the count of evaluations did not rise: {seen}"
    visitor.number("Model evaluations (NFE)", 20)
    visitor.generate()
    expect(visitor.at("generate", "status")).to_contain_text("20 / 20", timeout=PATIENCE)
    visitor.finished()
    scrub = visitor.at("generate", "scrub")
    assert scrub.get_attribute("max") == "20"
    pictures = set()
    for k in range(21):
        scrub.fill(str(k))
        pictures.add(
            visitor.page.evaluate(
                """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
                () => done(document.querySelector(
                '#generate-player [data-testid=player-canvas]').toDataURL()))))"""
            )
        )
    assert len(pictures) >= 18, "positions of the scrubber show the same picture"


def test_the_png_carries_settings_that_give_the_same_picture_again(
    visitor: Visitor, served: tuple[Any, str]
) -> None:
    visitor.tab("Generate")
    visitor.number("Pictures", 2)
    visitor.number("Model evaluations (NFE)", 6)
    visitor.generate()
    visitor.finished()
    first = visitor.download("PNG")
    request = read(json.loads(png_text(first)["dpm-demo"]))
    assert (request.count, request.solver.nfe) == (2, 6)
    answer = Client(served[1], verbose=False).predict(
        model=request.model,
        label=request.label,
        guidance=request.guidance,
        seed=request.seed,
        count=request.count,
        solver={k: getattr(request.solver, k) for k in ("nfe", "order", "schedule", "corrector")},
        api_name="/generate",
    )
    again = _picture_of(answer["sheet"])
    ours = Image.open(io.BytesIO(first)).convert("RGB")
    worst = max(abs(a - b) for a, b in zip(ours.tobytes(), again.tobytes(), strict=True))
    assert ours.size == again.size and worst <= 1
    assert visitor.download("GIF of the denoising")[:6] == b"GIF89a"


def _picture_of(uri: str) -> Image.Image:
    with urllib.request.urlopen(uri) as reply:
        return Image.open(io.BytesIO(reply.read())).convert("RGB")


def test_stop_stops_and_the_engine_is_free_again(visitor: Visitor, served: tuple[Any, str]) -> None:
    visitor.tab("Generate")
    visitor.number("Model evaluations (NFE)", 100)
    visitor.number("Pictures", 16)
    visitor.generate()
    expect(visitor.at("generate", "status")).to_contain_text(
        re.compile(r"[1-9]\d / 100"), timeout=PATIENCE
    )
    visitor.page.locator("#generate-stop").click()
    visitor.until(lambda: served[0].engine.stats().requests == 0)
    expect(visitor.page.locator("#generate-note")).to_have_text("Stopped.")
    expect(visitor.at("generate", "status")).to_contain_text("stopped")
    assert visitor.at("generate", "status").inner_text().find("100 / 100") < 0
    expect(visitor.at("generate", "scrub")).to_be_enabled()  # what was computed can be looked at

    visitor.number("Model evaluations (NFE)", 3)
    visitor.generate()
    visitor.finished()
    expect(visitor.page.locator("#generate-stop")).to_be_hidden()  # nothing to stop
    expect(visitor.page.locator("#generate-note")).to_contain_text("16 × 3 evaluations")


def test_a_stopped_comparison_keeps_its_finished_cells_and_goes_on_with_the_others(
    visitor: Visitor, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    submit = served[0].engine.submit
    monkeypatch.setattr(served[0].engine, "submit", lambda job: jobs.append(job) or submit(job))
    visitor.asks("2, 800")
    visitor.page.locator("#compare-go").click()
    expect(visitor.at("compare", "tile").first).to_have_attribute("data-state", "done")
    visitor.page.locator("#compare-go").click()
    expect(visitor.page.locator("#compare-note")).to_have_text("Stopped.")
    expect(visitor.at("compare", "status")).to_contain_text("stopped")
    expect(visitor.at("compare", "scrub")).to_be_enabled()
    visitor.until(lambda: served[0].engine.stats().requests == 0)
    expect(visitor.at("compare", "tile").first).to_have_attribute("data-state", "done")
    expect(visitor.at("compare", "tile").nth(1)).to_have_attribute("data-state", "stopped")

    expect(visitor.page.locator("#compare-go")).to_have_text("Continue")
    visitor.page.locator("#compare-go").click()
    expect(visitor.at("compare", "tile").nth(1)).to_have_attribute("data-state", "running")
    expect(visitor.at("compare", "tile").first).to_have_attribute("data-state", "done")
    assert [len(job.tracks) for job in jobs][1:] < [len(jobs[0].tracks)]
    visitor.page.locator("#compare-go").click()
    expect(visitor.page.locator("#compare-note")).to_have_text("Stopped.")
    visitor.until(lambda: served[0].engine.stats().requests == 0)

    visitor.asks("20")
    visitor.page.get_by_label("Seed", exact=True).locator("visible=true").fill("4321")
    visitor.number("Seeds", 3)
    visitor.page.locator("#compare-go").click()
    # one request: its cells have ended, and their reference is under way
    expect(visitor.page.locator("#compare-note")).to_contain_text(
        "computing the converged sample", timeout=PATIENCE
    )
    assert served[0].engine.stats().requests == 1
    visitor.page.locator("#compare-go").click()
    expect(visitor.page.locator("#compare-note")).to_have_text("Stopped.")
    visitor.until(lambda: served[0].engine.stats().requests == 0)
    expect(visitor.at("compare", "tile").nth(2)).to_have_attribute("data-state", "done")


def test_closing_the_tab_stops_the_work(
    browser: Browser, visitor: Visitor, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1])
    guest.tab("Generate")
    guest.number("Model evaluations (NFE)", 1000)  # minutes, unless it is stopped
    guest.number("Pictures", 16)
    guest.generate()
    guest.until(lambda: served[0].engine.stats().requests == 1)
    ticks = served[0].engine.stats().ticks
    guest.context.close()
    visitor.until(lambda: served[0].engine.stats().requests == 0)
    assert served[0].engine.stats().ticks - ticks < 900, "the run went on to its end"


def test_two_visitors_meet_in_one_forward_and_both_finish(
    browser: Browser, visitor: Visitor, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = served[0].engine
    # a busy machine's milliseconds decide nothing here
    monkeypatch.setattr(engine._scheduler, "_tick_ms", float("inf"))
    calls: list[int] = []
    charge = engine._scheduler._charge
    monkeypatch.setattr(
        engine._scheduler,
        "_charge",
        lambda pieces, ms: calls.append(len({p.run.request for p in pieces})) or charge(pieces, ms),
    )
    other = Visitor(browser, served[1])
    for guest in (visitor, other):
        guest.tab("Generate")
        guest.number("Model evaluations (NFE)", 12)
        guest.number("Pictures", 4)
    both_are_there = threading.Event()
    held = engine.call(lambda: both_are_there.wait(PATIENCE / 1000))
    for guest in (visitor, other):
        guest.generate()
    other.until(lambda: engine.stats().requests == 2, seconds=PATIENCE / 1000)
    both_are_there.set()
    assert held.result() is True
    for guest in (visitor, other):
        guest.finished()
    assert calls == [2] * 12
    other.leave()


def test_each_schedule_gives_another_picture_at_8_evaluations(served: tuple[Any, str]) -> None:
    client = Client(served[1], verbose=False)
    sheets = {
        schedule: client.predict(
            model="emoji-image", solver={"nfe": 8, "schedule": schedule}, api_name="/generate"
        )["sheet"]
        for schedule in ("logsnr", "cosine", "linear", "quadratic", "karras")
    }
    assert len(set(sheets.values())) == 5


def test_the_api_streams_every_state_and_ends_with_the_samples(served: tuple[Any, str]) -> None:
    job = Client(served[1], verbose=False).submit(
        model="emoji-image", count=2, solver={"nfe": 12, "order": 3}, api_name="/generate"
    )
    job.result(timeout=120)
    steps = job.outputs()
    assert len(steps) >= 3 and [s["final"] for s in steps] == [False] * (len(steps) - 1) + [True]
    counts = [s["nfe"] for s in steps]
    assert counts == sorted(counts) and counts[-1] == 12
    assert steps[-1]["settings"]["order"] == 3


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"solver": {"nfe": 0}}, "nfe must be a whole number from 1 to 1000"),
        ({"solver": {"nfe": -1}}, "nfe"),
        ({"solver": {"nfe": 1e9}}, "nfe"),
        ({"solver": {"nfe": "abc"}}, "nfe"),
        ({"solver": {"order": 4}}, "order"),
        ({"solver": "<b>"}, "solver must be"),
        ({"solver": {"nope": 1}}, "no setting"),
        ({"label": "dragons"}, "unknown"),
        ({"label": "'; DROP TABLE x; <script>alert(1)</script>"}, "unknown"),
        ({"model": "../../etc/passwd"}, "model"),
        ({"count": 100_000_000}, "at most 64"),
        ({"guidance": "NaN"}, "guidance"),
        ({"seed": -5}, "seed"),
    ],
)
def test_bad_input_through_the_api_is_one_clear_sentence(
    served: tuple[Any, str], bad: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words) as caught:
        Client(served[1], verbose=False).predict(
            **{"model": "emoji-image", **bad}, api_name="/generate"
        )
    assert "Traceback" not in str(caught.value)


def test_bad_input_in_the_page_is_a_sentence_and_the_next_run_works(visitor: Visitor) -> None:
    visitor.asks("5, abc, 10")
    visitor.page.locator("#compare-go").click()
    toast = visitor.page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("budgets must be whole numbers", timeout=PATIENCE)
    visitor.asks("4, 6")
    visitor.choose("Model", "mixture (exact)")
    visitor.page.locator("#compare-go").click()
    visitor.finished("compare")


def test_compare_fills_figures_plot_and_files_and_its_link_is_the_experiment(
    browser: Browser, visitor: Visitor, served: tuple[Any, str]
) -> None:
    visitor.asks()
    visitor.choose("Question", "Look back or look ahead?")
    expect(visitor.page.get_by_test_id("landing-go")).to_have_text("Changed: run again")
    visitor.choose("Model", "mixture (exact)")
    visitor.page.get_by_text("Solver rows", exact=True).click()
    expect(visitor.page.get_by_label("Order 4")).to_have_value("3")
    visitor.asks("6, 12")
    visitor.page.locator("#compare-go").click()
    visitor.finished("compare")
    tiles = visitor.at("compare", "tile")
    assert tiles.count() == 8
    for k in range(8):
        expect(tiles.nth(k)).to_contain_text(re.compile(r"RMSE [\d.e-]+ · [\d.]+ dB"))
    visitor.drawer("Plots, table and files")
    legend = visitor.page.locator("#compare-plot .legendtext")
    expect(legend).to_have_count(4)
    assert all("slope" in text for text in legend.all_text_contents())

    tiles.nth(5).click()
    expect(visitor.at("compare", "stage")).to_be_visible()
    visitor.page.keyboard.press("Escape")

    address = visitor.page.locator("#compare-link textarea, #compare-link input").input_value()
    pairs = [p.split("=", 1) for p in address.split("?", 1)[1].split("&")]
    decoded = [(k, urllib.request.unquote(v.replace("+", " "))) for k, v in pairs]
    comparison, complaints = comparison_of_query(decoded)
    assert complaints == [] and comparison.budgets == (6, 12) and len(comparison.rows) == 4

    files = _made(visitor, "csv", "png", "gif", "mp4", "html", "zip")
    assert len(files["csv"].decode().strip().splitlines()) == 9
    assert files["gif"][:6] == b"GIF89a" and files["mp4"][4:8] == b"ftyp"
    with zipfile.ZipFile(io.BytesIO(files["zip"])) as archive:
        kinds = sorted(n.rsplit(".", 1)[1] for n in archive.namelist())
        assert kinds == ["csv", "gif", "html", "json", "mp4", "png"]
        assert json.loads(archive.read("settings.json"))["budgets"] == [6, 12]
    assert png_text(files["png"])["dpm-demo"] in address
    guest = Visitor(browser, served[1], query="?" + address.split("?", 1)[1])
    guest.asks()
    expect(guest.page.locator("#compare-budgets input, #compare-budgets textarea")).to_have_value(
        "6, 12"
    )
    guest.page.locator("#compare-go").click()
    guest.finished("compare")
    assert _made(guest, "png") == {"png": files["png"]}
    guest.leave()


def _made(guest: Visitor, *kinds: str) -> dict[str, bytes]:
    guest.drawer("Plots, table and files")
    guest.page.locator("#compare-make").click()
    button = guest.page.get_by_role("button", name="ZIP", exact=True).locator("visible=true")
    expect(button).to_be_enabled(timeout=PATIENCE)
    return {kind: guest.download(kind.upper()) for kind in kinds}


def test_a_bad_link_is_named_and_the_page_works(browser: Browser, served: tuple[Any, str]) -> None:
    guest = Visitor(
        browser, served[1], query="?budgets=5,oops&row=order%3D9&model=%3Cscript%3E&seed=3"
    )
    note = guest.page.locator("#compare-note")
    for word in ("budgets", "order", "model"):
        expect(note).to_contain_text(word)
    assert guest.page.locator("#compare-note script").count() == 0
    guest.leave()


def test_a_link_opened_or_made_can_be_copied_whole(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1], query="?model=mixture&budgets=3,4&seed=3")
    line = guest.page.locator("#compare-link textarea, #compare-link input")
    expect(line).to_have_value(re.compile(r"^http://.*\?.*budgets=3"))
    guest.page.locator("#compare-go").click()
    guest.finished("compare")
    expect(line).to_have_value(re.compile(r"^http://.*\?.*budgets=3"))
    guest.leave()


def test_a_seed_that_is_none_is_refused_in_one_sentence_said_once(visitor: Visitor) -> None:
    visitor.tab("Generate")
    visitor.page.locator("#generate-seed input").fill("1.5")
    visitor.generate()
    toast = visitor.page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("seed must be a whole number from 0 to 2147483647, not 1.5")
    assert toast.count() == 1


def test_choosing_the_same_model_again_keeps_the_label(visitor: Visitor) -> None:
    visitor.tab("Generate")
    label = visitor.page.get_by_label("Category", exact=True).locator("visible=true")
    visitor.choose("Category", "flags")
    visitor.choose("Model", "mixture (exact)")
    expect(label).to_have_count(0)
    visitor.choose("Model", "emoji-image")
    visitor.choose("Category", "flags")
    visitor.choose("Model", "emoji-image")
    visitor.page.wait_for_timeout(1000)
    expect(label).to_have_value("flags")


def test_the_best_known_solver_is_taken_by_a_click_and_says_why(visitor: Visitor) -> None:
    visitor.tab("Generate")
    schedule, note = visitor.page.get_by_label("Schedule"), visitor.page.locator("#generate-note")
    for nfe, chosen, said in ((8, "calibrated", "fitted to this model"), (7, "linear", "nothing")):
        visitor.number("Model evaluations (NFE)", nfe)
        visitor.page.locator("#generate-nearest").click()
        expect(note).to_contain_text(f"For {nfe} evaluations")
        expect(note).to_contain_text(said)
        expect(schedule.locator("visible=true")).to_have_value(re.compile(chosen))
    visitor.generate()
    visitor.finished("generate")


def test_on_a_phone_a_click_brings_the_player_into_view(
    browser: Browser, served: tuple[Any, str]
) -> None:
    guest = Visitor(browser, served[1], width=390)
    guest.tab("Generate")
    guest.page.locator("#generate-go").scroll_into_view_if_needed()
    guest.generate()
    guest.finished()
    expect(guest.player("generate")).to_be_in_viewport()
    guest.leave()


def test_the_forward_process_follows_its_slider_and_refuses_a_seed_that_is_none(
    visitor: Visitor,
) -> None:
    visitor.tab("How it works")
    picture = visitor.page.locator("#forward-picture img")
    before = picture.get_attribute("src")
    visitor.number("λ", -3)
    expect(visitor.page.locator("#forward-picture")).to_contain_text("λ = -3.00")
    assert picture.get_attribute("src") != before
    expect(visitor.page.locator(".js-plotly-plot").first).to_be_visible()
    visitor.page.get_by_label("Noise seed").fill("-1")
    expect(visitor.page.locator("#forward-picture")).to_contain_text("seed must be a whole number")


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, served: tuple[Any, str]) -> None:
    guest = Visitor(browser, served[1], width=390)
    for tab in ("Compare", "Generate", "How it works"):
        guest.tab(tab)
        if tab != "How it works":
            where = tab.lower()
            if where == "compare":
                guest.asks()
                guest.choose("Model", "mixture (exact)")
            guest.page.locator(f"#{where}-go").click()
            guest.finished(where)
        wide = guest.page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= 390, tab
    guest.leave()


def test_a_server_has_timed_its_network_before_the_first_visitor() -> None:
    serving, first = make_serving("cpu")
    try:
        assert first is not None
        job = Checked.of(GenerateRequest(model=first.name, count=2), first).job()
        assert 0 < (serving.pace.seconds(job) or 0) < 600
    finally:
        serving.close()


def test_healthz_says_what_an_operator_asks(served: tuple[Any, str]) -> None:
    with urllib.request.urlopen(served[1].rstrip("/") + "/healthz") as reply:
        health = json.loads(reply.read())
    assert health["status"] == "ok" and health["device"] == "cpu" and health["requests"] >= 0
