"""The page as a visitor meets it, in a real Chromium, with the landed checkpoint."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, expect

from dpm_demo.engine.job import Job
from dpm_demo.media.png import png_text
from dpm_demo.models.library import ModelLibrary, Offer
from dpm_demo.request.codec import comparison_of_query
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.ui.page import make_serving
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


def test_one_click_paints_frames_and_ends_with_a_complete_timeline(visit: Visit) -> None:
    visitor = visit("?tab=generate&count=1&nfe=40")
    visitor.page.evaluate(
        """() => { window.seen = new Set(); setInterval(() => {
        const n = document.querySelector('#generate-player [data-testid=player-nfe]');
        if (n) window.seen.add(n.textContent); }, 5); }"""
    )
    visitor.generate()
    visitor.finished()
    seen = visitor.page.evaluate("() => [...window.seen]")
    assert len(seen) >= 5, f"the count of evaluations did not rise: {seen}"
    expect(visitor.at("generate", "status")).to_contain_text("40 / 40")
    scrub = visitor.at("generate", "scrub")
    assert scrub.get_attribute("max") == "40"
    pictures = set()
    for k in range(0, 41, 2):
        scrub.fill(str(k))
        pictures.add(
            visitor.page.evaluate(
                """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
                () => done(document.querySelector(
                '#generate-player [data-testid=player-canvas]').toDataURL()))))"""
            )
        )
    assert len(pictures) >= 18, "positions of the scrubber show the same picture"


def test_stop_stops_and_the_engine_is_free_again(
    visit: Visit, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = visit("?tab=generate&model=mixture&count=2&nfe=20")
    scheduler, calls = served[0].engine._scheduler, 0
    stopped, stop, charge = threading.Event(), served[0].stop, scheduler._charge

    async def stopping(*args: Any) -> None:
        await stop(*args)
        stopped.set()

    def held(*args: Any) -> None:
        nonlocal calls
        charge(*args)
        calls += 1
        if calls == 5:  # it does not end before it is stopped
            stopped.wait(PATIENCE / 1000)

    monkeypatch.setattr(served[0], "stop", stopping)
    monkeypatch.setattr(scheduler, "_charge", held)
    monkeypatch.setattr(scheduler, "_pause", 0.0)  # every tick is shown
    visitor.generate()
    expect(visitor.at("generate", "status")).to_contain_text(re.compile(r"\b[1-4] / 20"))
    visitor.page.locator("#generate-stop").click()
    visitor.until(lambda: served[0].engine.stats().requests == 0)
    expect(visitor.page.locator("#generate-note")).to_have_text("Stopped.")
    expect(visitor.at("generate", "status")).to_contain_text("stopped")
    assert visitor.at("generate", "status").inner_text().find("20 / 20") < 0
    expect(visitor.at("generate", "scrub")).to_be_enabled()  # what was computed can be looked at

    visitor.number("Model evaluations (NFE)", 3)
    visitor.generate()
    visitor.finished()
    expect(visitor.page.locator("#generate-stop")).to_be_hidden()  # nothing to stop
    expect(visitor.page.locator("#generate-note")).to_contain_text("2 × 3 evaluations")


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

    visitor.asks("2")
    visitor.page.get_by_label("Seed", exact=True).locator("visible=true").fill("4321")
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


def test_leaving_the_page_stops_the_work(browser: Browser, served: tuple[Any, str]) -> None:
    guest = Visitor(browser, served[1], query="?tab=generate&count=1&nfe=1000")  # much, to its end
    guest.generate()
    guest.until(lambda: served[0].engine.stats().requests == 1)
    ticks = served[0].engine.stats().ticks
    guest.leave()
    limit = time.monotonic() + PATIENCE / 1000
    while served[0].engine.stats().requests:
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert served[0].engine.stats().ticks - ticks < 900, "the run went on to its end"


def test_two_visitors_meet_in_one_forward_and_both_finish(
    visit: Visit, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = served[0].engine
    # of a model that was never timed the first tick takes one request, to see what it costs
    served[0].time_a_sample(served[0].load("mixture").result())
    # a busy machine's milliseconds decide nothing here
    monkeypatch.setattr(engine._scheduler, "_tick_ms", float("inf"))
    calls: list[int] = []
    charge = engine._scheduler._charge
    monkeypatch.setattr(
        engine._scheduler,
        "_charge",
        lambda pieces, ms: calls.append(len({p.run.request for p in pieces})) or charge(pieces, ms),
    )
    guests = [visit("?tab=generate&model=mixture&count=1&nfe=4") for _ in range(2)]
    both_are_there = threading.Event()
    held = engine.call(lambda: both_are_there.wait(PATIENCE / 1000))
    for guest in guests:
        guest.generate()
    guests[1].until(lambda: engine.stats().requests == 2)
    both_are_there.set()
    assert held.result() is True
    for guest in guests:
        guest.finished()
    assert calls == [2] * 4


def test_each_schedule_gives_another_picture_at_8_evaluations(client: Client) -> None:
    sheets = {
        schedule: client.predict(
            model="emoji-image", solver={"nfe": 8, "schedule": schedule}, api_name="/generate"
        )["sheet"]
        for schedule in ("logsnr", "cosine", "linear", "quadratic", "karras")
    }
    assert len(set(sheets.values())) == 5


def test_the_api_streams_every_state_and_ends_with_the_samples(client: Client) -> None:
    job = client.submit(
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
    client: Client, bad: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words) as caught:
        client.predict(**{"model": "emoji-image", **bad}, api_name="/generate")
    assert "Traceback" not in str(caught.value)


def test_compare_fills_figures_plot_and_files_and_its_link_is_the_experiment(
    visit: Visit, served: tuple[Any, str]
) -> None:
    visitor = visit()
    visitor.asks()
    visitor.choose("Question", "Is the printed order 3 really 3?")
    expect(visitor.page.get_by_test_id("landing-go")).to_have_text("Changed: run again")
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
    assert address.startswith(served[1])
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

    guest = visit("?" + address.split("?", 1)[1])
    guest.asks()
    expect(guest.page.locator("#compare-budgets input, #compare-budgets textarea")).to_have_value(
        "6, 12"
    )
    link = guest.page.locator("#compare-link textarea, #compare-link input")
    expect(link).to_have_value(address)
    guest.page.locator("#compare-go").click()
    guest.finished("compare")
    expect(link).to_have_value(address)


def _made(guest: Visitor, *kinds: str) -> dict[str, bytes]:
    guest.drawer("Plots, table and files")
    guest.page.locator("#compare-make").click()
    button = guest.page.get_by_role("button", name="ZIP", exact=True).locator("visible=true")
    expect(button).to_be_enabled(timeout=PATIENCE)
    return {kind: guest.download(kind.upper()) for kind in kinds}


def test_a_bad_link_is_named_and_the_page_works(visit: Visit) -> None:
    guest = visit("?budgets=5,oops&row=order%3D9&model=%3Cscript%3E&seed=3")
    note = guest.page.locator("#compare-note")
    for word in ("budgets", "order", "model"):
        expect(note).to_contain_text(word)
    assert guest.page.locator("#compare-note script").count() == 0


def test_choosing_the_same_model_again_keeps_the_label(visit: Visit) -> None:
    visitor = visit("?tab=generate&label=flags&count=1&nfe=1")
    label = visitor.page.get_by_label("Category", exact=True).locator("visible=true")
    expect(label).to_have_value("flags")
    visitor.choose("Model", "mixture (exact)")
    expect(label).to_have_count(0)
    visitor.choose("Model", "emoji-image")
    visitor.choose("Category", "flags")
    visitor.choose("Model", "emoji-image")
    visitor.generate()  # which is asked for after what the choice has asked for
    visitor.finished()
    expect(label).to_have_value("flags")


def test_the_best_known_solver_is_taken_by_a_click_and_says_why(visit: Visit) -> None:
    visitor = visit("?tab=generate&count=1")
    schedule, note = visitor.page.get_by_label("Schedule"), visitor.page.locator("#generate-note")
    for nfe, chosen, said in ((8, "calibrated", "fitted to this model"), (7, "linear", "nothing")):
        visitor.number("Model evaluations (NFE)", nfe)
        visitor.page.locator("#generate-nearest").click()
        expect(note).to_contain_text(f"For {nfe} evaluations")
        expect(note).to_contain_text(said)
        expect(schedule.locator("visible=true")).to_have_value(re.compile(chosen))
    visitor.generate()
    visitor.finished("generate")


def test_on_a_phone_a_click_brings_the_player_into_view(visit: Visit) -> None:
    guest = visit("?tab=generate&count=1&nfe=4", width=390)
    guest.page.locator("#generate-go").scroll_into_view_if_needed()
    guest.generate()
    guest.finished()
    expect(guest.player("generate")).to_be_in_viewport()
    assert guest.page.evaluate("() => document.documentElement.scrollWidth") <= 390


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
    budget = visitor.page.get_by_label("range slider for Evaluations").locator("visible=true")
    nodes = visitor.page.locator(".js-plotly-plot", has_text="noise on the left")
    drawn = nodes.last.inner_html()
    budget.press("ArrowRight")
    visitor.until(lambda: nodes.last.inner_html() != drawn)
    visitor.page.get_by_label("Noise seed").fill("-1")
    expect(visitor.page.locator("#forward-picture")).to_contain_text("seed must be a whole number")


def test_the_page_opens_with_what_is_recorded_though_another_model_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offers = tuple(Offer(name, name, "checkpoint") for name in ("emoji-words", "emoji-image"))
    monkeypatch.setattr(ModelLibrary, "offered", lambda library: offers)
    serving, first = make_serving("cpu")
    serving.close()
    assert first is not None and first.name == "emoji-image"


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
