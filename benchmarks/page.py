"""What a visitor meets, in figures: result on the first screen, first picture, slider to picture.

    python -m benchmarks.page [--gif docs/landing.gif]

Starts the page on this machine, and opens it in Chromium without a cache. `--gif` also films the
landing as it plays by itself, the README's first picture.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = ((1400, 900), (390, 844))
#: By tab: what shows results (pictures, plots, figures), as a person would point at it.
RESULT = {
    "compare": ".dpl-rows, .dpl-side",
    "generate": "#generate-player",
    "video": "#video-player",
    "errors": "#errors-note, #errors-hops, #errors-player, #errors-fixed, #errors-plot",
    "quality": "#quality-plot, #quality-text, #quality-table",
    "explain": ".dpm-playground .verdict, .dpm-playground figure, .js-plotly-plot",
}
#: Pixels of the first screen that lie in a box of a result, counted on a grid of 4 x 4 pixels.
SHARE = """selector => {
  const boxes = [...document.querySelectorAll(selector)]
    .map(n => n.getBoundingClientRect()).filter(b => b.width && b.height);
  let inside = 0, all = 0;
  for (let y = 2; y < innerHeight; y += 4)
    for (let x = 2; x < innerWidth; x += 4) {
      all += 1;
      inside += boxes.some(b => x >= b.left && x < b.right && y >= b.top && y < b.bottom);
    }
  return inside / all;
}"""
#: Milliseconds from the page's scripts (they have run at "load") to a picture in the landing.
FIRST = """() => new Promise(done => {
  const loaded = () => performance.getEntriesByType('navigation')[0].loadEventEnd;
  const look = () => {
    const canvas = document.querySelector('.dpl-row:not([hidden]) canvas');
    if (canvas && canvas.width > 1 && loaded()) done([performance.now(), loaded()]);
    else requestAnimationFrame(look);
  };
  look();
})"""
#: Milliseconds from each of twenty moves of the slider to the animation frame that has painted it.
SLIDE = """async () => {
  const slider = document.querySelector('[data-testid=landing-budget]');
  const canvas = document.querySelector('.dpl-row:not([hidden]) canvas');
  const times = [];
  for (let k = 0; k < 20; k += 1) {
    const before = canvas.toDataURL();
    const began = performance.now();
    slider.value = String((k * 7) % 38);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    while (canvas.toDataURL() === before) await new Promise(requestAnimationFrame);
    times.push(performance.now() - began);
  }
  return times;
}"""


def opened(browser: Browser, address: str, size: tuple[int, int], tab: str, motion: str) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        reduced_motion=motion,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(f"{address}?tab={tab}")
    return page


def shares(browser: Browser, address: str) -> None:
    print("share of the first screen that is result, and where its button ends (y)")
    for size in SIZES:
        for tab, selector in RESULT.items():
            page = opened(browser, address, size, tab, "reduce")
            page.locator(selector).first.wait_for(state="attached")
            page.wait_for_timeout(2500)  # the measured state is the one at rest
            box = page.evaluate(
                """tab => { const b = document.getElementById(tab + '-go')
                ?.getBoundingClientRect(); return b ? Math.round(b.bottom) : null; }""",
                tab,
            )
            share = page.evaluate(SHARE, selector)
            print(f"  {size[0]:>4} x {size[1]}  {tab:<9} {share:6.0%}  button {box}")
            page.context.close()


def speeds(browser: Browser, address: str, repeats: int = 5) -> None:
    first, after, slides = [], [], []
    for _ in range(repeats):
        page = opened(browser, address, SIZES[0], "compare", "reduce")
        now, loaded = page.evaluate(FIRST)
        first.append(now)
        after.append(now - loaded)
        page.wait_for_timeout(1000)
        slides += page.evaluate(SLIDE)
        page.context.close()
    print(f"first picture: {statistics.median(first):.0f} ms after the address is opened,")
    print(f"  {statistics.median(after):.0f} ms after the load event (medians of {repeats})")
    print(
        f"slider to picture: median {statistics.median(slides):.1f} ms, worst {max(slides):.1f} ms"
    )


def film(browser: Browser, address: str, path: Path, most_bytes: int = 2_000_000) -> None:
    """The landing as it plays, by itself, until it rests; smaller until it fits."""
    page = opened(browser, address, (1180, 900), "compare", "no-preference")
    landing = page.locator(".dpm-landing")
    page.locator(".dpl-moving").wait_for()
    shots: list[Image.Image] = []
    button = page.get_by_test_id("landing-play")
    while button.get_attribute("aria-label") == "Pause" and len(shots) < 200:
        shots.append(Image.open(io.BytesIO(landing.screenshot())).convert("RGB"))
    page.context.close()
    for width in (900, 760, 640, 520):
        height = round(shots[0].height * width / shots[0].width)
        pages = [
            shot.resize((width, height), Image.Resampling.LANCZOS).quantize(
                128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
            for shot in shots
        ]
        times = [120] * (len(pages) - 1) + [2500]
        pages[0].save(
            path, save_all=True, append_images=pages[1:], duration=times, loop=0, optimize=True
        )
        if path.stat().st_size < most_bytes:
            break
    print(f"{path}: {len(shots)} frames, {width} wide, {path.stat().st_size / 1e6:.2f} MB")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description="The page as a visitor meets it, in figures."
    )
    parser.add_argument("--gif", type=Path, help="also film the landing into this file")
    options = parser.parse_args(arguments)
    from dpm_demo.ui.page import make_serving, serve

    serving, first = make_serving("cpu")
    demo: Any
    demo, address = serve(serving, first, quiet=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            if options.gif:
                film(browser, address, options.gif)
            shares(browser, address)
            speeds(browser, address)
            browser.close()
    finally:
        demo.close()
        serving.close()


if __name__ == "__main__":
    main()
