"""Start, memory and weight of the page, and how soon the command line answers.

    python -m benchmarks.startup [--repeats 3] [--browser /usr/bin/chromium]

Against a bare `import torch, gradio` and a bare Gradio page on the same machine. The browser part
needs playwright and Chromium; where they are missing it says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.figure import Figure, seconds, table
from benchmarks.service import Page

TABS = ("Generate", "Video", "Error control", "Quality", "How it works", "Compare")
WALKS = 10


def command(*words: str) -> float:
    """Seconds of a Python process, whatever it ends with."""
    run = [sys.executable, *words]
    return seconds(lambda: subprocess.run(run, check=False, capture_output=True))


def words(repeats: int) -> Iterator[Figure]:
    """Help and a refused setting."""
    for what, aim, text in (
        ("`python -m dpm_demo --help`", 0.5, ["--help"]),
        ("a refused setting (`sample --nfe 0`)", 1.0, ["sample", "--nfe", "0"]),
    ):
        took = median(command("-m", "dpm_demo", *text) for _ in range(repeats))
        yield Figure(what + ", s", "", f"{took:.2f} s", took, aim)


def start(repeats: int) -> Iterator[Figure]:
    """From nothing to a page that answers, and its memory at rest."""
    bare = median(command("-c", "import torch, gradio") for _ in range(repeats))
    took, held = [], []
    for _ in range(repeats):
        page = Page("auto", "emoji-image", "page")
        took.append(page.ready)
        held.append(page.memory())
        page.close()
    ready, memory = median(took), median(held)
    what = "start to the first page that answers"
    yield Figure(what, f"`import torch, gradio`: {bare:.2f} s", f"{ready:.2f} s", ready / bare, 1.3)
    yield Figure("idle memory of the page, GB", "", f"{memory:.2f} GB", memory, 0.6)


def weight(executable: str, repeats: int) -> Iterator[Figure]:
    """Bytes, requests and time until the button is there, and memory over ten walks."""
    import gradio as gr
    from playwright.sync_api import sync_playwright

    with gr.Blocks() as bare:
        box = gr.Textbox()
        gr.Button("Generate").click(lambda text: text, box, box)
    _, address, _ = bare.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    page = Page("auto", "emoji-image", "page")
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(
                executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            ours = f"http://127.0.0.1:{page.port}/"
            mine, base = ([_opened(browser, at) for _ in range(repeats)] for at in (ours, address))
            heap = _walks(browser, ours)
    finally:
        page.close()
        bare.close()
    (size, requests, ready), (less, fewer, sooner) = (
        tuple(median(values) for values in zip(*found, strict=True)) for found in (mine, base)
    )
    yield Figure(
        "bytes until the page is ready, MB",
        f"a bare page: {less / 1e6:.2f} MB, {fewer:.0f} requests",
        f"{size / 1e6:.2f} MB, {requests:.0f} requests",
        size / 1e6,
        0.7,
    )
    yield Figure(
        "time until the page is ready",
        f"a bare page: {sooner:.2f} s",
        f"{ready:.2f} s",
        ready / sooner,
        1.5,
    )
    yield Figure(
        f"the renderer's heap, walk {WALKS} through all tabs",
        f"walk 2: {heap[1] / 1e6:.1f} MB",
        f"{heap[-1] / 1e6:.1f} MB",
        heap[-1] / heap[1],
        1.1,
    )


def _opened(browser: Any, address: str) -> tuple[float, float, float]:
    """Bytes, requests and seconds until the first button is visible, with an empty cache."""
    context = browser.new_context()
    tab = context.new_page()
    link = context.new_cdp_session(tab)
    link.send("Network.enable")
    seen = [0.0, 0.0]

    def ended(event: dict[str, Any]) -> None:
        seen[0] += event["encodedDataLength"]
        seen[1] += 1

    link.on("Network.loadingFinished", ended)
    began = time.perf_counter()
    tab.goto(address, wait_until="commit")
    tab.get_by_role("button").first.wait_for(timeout=120_000)
    took = time.perf_counter() - began
    context.close()
    return seen[0], seen[1], took


def _walks(browser: Any, address: str) -> list[float]:
    """Bytes of the renderer's heap after each walk, its garbage collected."""
    context = browser.new_context()
    tab = context.new_page()
    link = context.new_cdp_session(tab)
    tab.goto(address, wait_until="commit")
    held = []
    for _ in range(WALKS):
        for name in TABS:
            tab.get_by_role("tab", name=name, exact=True).first.click(timeout=120_000)
        link.send("HeapProfiler.collectGarbage")
        held.append(float(link.send("Runtime.getHeapUsage")["usedSize"]))
    context.close()
    return held


def measure(repeats: int, executable: str = "") -> Iterator[Figure]:
    """All of them; the browser's only where there is one."""
    yield from words(repeats)
    yield from start(repeats)
    executable = executable or shutil.which("chromium") or ""
    if not executable or not os.path.exists(executable):
        yield Figure(
            "bytes, requests, time and memory in a browser", "", "not measured: no Chromium", None
        )
        return
    yield from weight(executable, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--browser", default="", help="Chromium's file")
    options = parser.parse_args()
    table(measure(options.repeats, options.browser))


if __name__ == "__main__":
    main()
