"""The tab "Video" in a real Chromium, on the exact moving model, and the files it gives."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from playwright.sync_api import expect

from dpm_demo.request.codec import read
from dpm_demo.request.files import FPS, Clips, clip_files, wall_of_clips
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.tabs.video import before_and_after
from tests.ui.visitor import PATIENCE, Visitor


def _clips(size: tuple[int, int] = (9, 7), count: int = 3, frames: int = 5) -> Clips:
    shape = (count, 3, frames, *size)
    samples = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return Clips(GenerateRequest(model="a/b", seed=4, count=count, solver=Solver(nfe=6)), samples)


def test_all_files_hold_every_frame_and_the_webp_and_pngs_lose_nothing(tmp_path: Path) -> None:
    clips = _clips()
    files = clip_files(clips, tmp_path)
    wall = wall_of_clips(clips.pixels())
    assert wall.shape == (5, 18, 14, 3)  # two columns
    scale = 384 // 18
    with imageio.get_reader(files["mp4"]) as video:
        frames = [np.asarray(frame) for frame in video]
        assert video.get_meta_data()["fps"] == FPS
    assert [f.shape for f in frames] == [(18 * scale, 14 * scale, 3)] * 5
    with Image.open(files["webp"]) as webp:
        assert webp.n_frames == 5 and webp.info["loop"] == 0
        for k in range(5):
            webp.seek(k)
            assert np.array_equal(np.asarray(webp.convert("RGB"))[::scale, ::scale], wall[k])
    with Image.open(files["gif"]) as film:
        assert film.n_frames == 5
    with zipfile.ZipFile(files["zip"]) as archive:
        assert len(archive.namelist()) == 3 * 5 + 1
        frame = Image.open(io.BytesIO(archive.read("seed-5/frame-02.png")))
        assert np.array_equal(np.asarray(frame), clips.pixels()[1, 2])
        about = json.loads(archive.read("settings.json"))
    assert about.pop("smoothing") == {"sigma": 0.0, "loop": True} and about.pop("fps") == FPS
    assert read(about) == clips.request


def test_smoothing_is_in_the_files_and_beside_the_sample_as_it_was() -> None:
    clips = _clips(count=2)
    rough, smooth = (
        np.abs(np.diff(clips.pixels(sigma).astype(int), axis=1)).mean() for sigma in (0.0, 1.5)
    )
    assert smooth < 0.5 * rough
    tile = {"w": 7, "h": 9, "frames": 5}
    sampled = {"tiles": [{"nfe": 9, "budget": 10}, {"nfe": 10, "budget": 10}], "tile": tile}
    value = before_and_after(clips, sampled, 1.5, True)
    assert [t["title"] for t in value["tiles"]] == [
        "seed 4, as sampled",
        "seed 4, smoothed, σ = 1.5",
        "seed 5, as sampled",
        "seed 5, smoothed, σ = 1.5",
    ]
    assert value["tile"] == tile and value["columns"] == 2
    assert [t["nfe"] for t in value["tiles"]] == [9, 9, 10, 10]  # what the run did cost
    moved = [float(t["caption"].split()[-3]) for t in value["tiles"]]
    assert moved[1] < 0.5 * moved[0] and moved[3] < 0.5 * moved[2]


@pytest.mark.browser
def test_a_clip_is_watched_plays_is_smoothed_and_downloaded(visitor: Visitor) -> None:
    visitor.page.emulate_media(reduced_motion="no-preference")
    visitor.tab("Video")
    if visitor.page.get_by_label("Model", exact=True).locator("visible=true").input_value() != (
        "mixture (exact), moving"
    ):
        visitor.choose("Model", "mixture (exact), moving")
    visitor.number("Model evaluations (NFE)", 40)
    visitor.number("Smoothing over time (σ, frames)", 1)  # nothing is made yet
    expect(visitor.page.locator("#video-note")).to_contain_text("made with Generate")
    visitor.number("Smoothing over time (σ, frames)", 0)
    visitor.page.evaluate(
        """() => { window.seen = new Set(); setInterval(() => {
        const n = document.querySelector('#video-player [data-testid=player-nfe]');
        if (n) window.seen.add(n.textContent); }, 5); }"""
    )
    visitor.page.locator("#video-go").click()
    visitor.finished("video")
    assert len(visitor.page.evaluate("() => [...window.seen]")) >= 3
    assert visitor.at("video", "scrub").get_attribute("max") == "40"
    time = visitor.at("video", "time")
    assert time.get_attribute("max") == "15"

    # frames of the loop differ, and so do evaluations
    visitor.at("video", "loop").click()
    shots = set()
    for k in (0, 5, 10):
        time.fill(str(k))
        shots.update(_painted(visitor, "video"))
    visitor.at("video", "scrub").fill("2")
    shots.update(_painted(visitor, "video"))
    assert len(shots) == 4
    visitor.at("video", "strip").click()
    expect(visitor.at("video", "frame")).to_have_text("all 16")
    visitor.at("video", "strip").click()
    visitor.at("video", "loop").click()
    _plays(visitor)
    visitor.share()
    link = visitor.page.locator("#video-link").locator("input, textarea")
    expect(link).to_have_value(re.compile(r"\?tab=video&.*nfe=40"))
    files = _downloads(visitor)
    assert files["MP4"][4:8] == b"ftyp" and files["GIF"][:6] == b"GIF89a"
    plain = _first_frames(files["ZIP of PNGs"])

    box = visitor.page.locator("#video-sigma input[type=number]")
    box.fill("2")
    box.press("Enter")
    pair = visitor.at("video", "tile")
    expect(pair).to_have_count(2, timeout=PATIENCE)
    expect(pair.nth(1)).to_contain_text("smoothed, σ = 2")
    _plays(visitor)
    smoothed = _first_frames(_downloads(visitor)["ZIP of PNGs"])
    moved = [np.abs(np.diff(clip.astype(int), axis=0)).mean() for clip in (plain, smoothed)]
    assert moved[1] < 0.8 * moved[0]

    visitor.page.locator("#video-go").click()  # the next one too
    expect(pair).to_have_count(1, timeout=PATIENCE)
    expect(pair).to_have_count(2, timeout=PATIENCE)
    visitor.page.locator("#video-sigma").get_by_role("button", name="Reset to default").click()
    expect(pair).to_have_count(1)

    visitor.page.set_viewport_size({"width": 390, "height": 800})
    assert visitor.page.evaluate("() => document.documentElement.scrollWidth") <= 390


def _painted(visitor: Visitor, where: str) -> list[str]:
    """What every tile of a player shows, once the browser has painted."""
    return visitor.page.evaluate(
        """where => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
        done([...document.querySelectorAll(`#${where}-player [data-testid=player-canvas]`)]
            .map(canvas => canvas.toDataURL())))))""",
        where,
    )


def _plays(visitor: Visitor) -> None:
    """The clip loops in the player by itself: four of its frames come by."""
    visitor.page.evaluate("() => { window.frames_seen = new Set(); }")
    visitor.page.wait_for_function(
        """() => { const n = document.querySelector('#video-player [data-testid=player-frame]');
        window.frames_seen.add(n.textContent); return window.frames_seen.size > 3; }""",
        timeout=PATIENCE,
    )


def _downloads(visitor: Visitor) -> dict[str, bytes]:
    names = ("MP4", "GIF", "WebP (lossless)", "ZIP of PNGs")
    files = {name: visitor.download(name) for name in names}
    with Image.open(io.BytesIO(files["WebP (lossless)"])) as webp:
        assert webp.n_frames == 16
    return files


def _first_frames(archive: bytes) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = sorted(n for n in files.namelist() if n.endswith(".png"))
        assert len(names) == 16
        return np.stack([np.asarray(Image.open(io.BytesIO(files.read(n)))) for n in names])


@pytest.mark.browser
def test_clips_are_compared_in_step_and_the_grids_files_show_the_loop(
    visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = visit("?model=mixture-video&budgets=4", reduced_motion="no-preference")
    visitor.page.locator("#compare-go").click()
    visitor.finished("compare")
    tiles = visitor.at("compare", "tile")
    assert tiles.count() == 3
    expect(tiles.nth(0)).to_contain_text("RMSE")
    visitor.at("compare", "loop").click()
    visitor.at("compare", "time").fill("0")
    before = _painted(visitor, "compare")
    visitor.at("compare", "time").fill("7")
    after = _painted(visitor, "compare")
    assert all(a != b for a, b in zip(before, after, strict=True)), "a cell stood still"
    visitor.drawer("Plots, table and files")
    visitor.page.locator("#compare-make").click()
    ready = visitor.page.get_by_role("button", name="ZIP", exact=True).locator("visible=true")
    expect(ready).to_be_enabled(timeout=PATIENCE)
    with Image.open(io.BytesIO(visitor.download("GIF"))) as film:
        assert film.n_frames == 16
    (tmp_path / "grid.mp4").write_bytes(visitor.download("MP4"))
    with imageio.get_reader(tmp_path / "grid.mp4") as video:
        frames = [np.asarray(frame).astype(int) for frame in video]
    assert len(frames) == 16 and np.abs(frames[0] - frames[8]).max() > 20
    with Image.open(io.BytesIO(visitor.download("PNG"))) as grid:
        assert grid.width > 128


def test_a_clip_too_large_for_memory_is_refused_before_it_starts(
    client: Client, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = served[0]
    while serving.engine.stats().requests:  # of those who have just left
        time.sleep(0.01)
    ticks = serving.engine.stats().ticks
    monkeypatch.setattr(serving, "limits", Limits(memory=30_000_000))
    with pytest.raises(Exception, match=r"one request may need 0\.0 GB"):
        client.predict(model="mixture-video", api_name="/video")
    assert serving.engine.stats().ticks == ticks


def test_the_command_line_writes_the_files_of_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dpm_demo.__main__ import main

    words = ["sample", "--model", "mixture-video", "--count", "1", "--nfe", "3"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for kind in ("mp4", "gif", "webp", "zip"):
        (path,) = tmp_path.glob(f"mixture-video-0-nfe3-*.{kind}")
        assert path.stat().st_size > 0 and str(path) in said
