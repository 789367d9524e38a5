"""The browser of the page's tests: the Chromium or Chrome that is here, or else one is brought.

`python tests/chromium.py` prints which; the test command of the README runs it after the install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"

#: In this order, until one brings a browser: Playwright's own download with the libraries that it
#: needs, then the distribution's package. The second needs no more than a package mirror.
WAYS: tuple[tuple[tuple[str, ...], ...], ...] = (
    ((sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"),),
    (
        ("apt-get", "update", "-q"),
        ("apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium", "fonts-dejavu"),
    ),
)


def find() -> str | None:
    """The path of a browser: one on the PATH, or the one that Playwright brought."""
    for name in (*NAMES, MAC):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def bring(ways: Sequence[Sequence[Sequence[str]]] = WAYS) -> str:
    """The path of a browser, installed if there is none. Raises RuntimeError if no way works."""
    path, said = find(), []
    for way in ways if path is None else ():
        for command in way:
            said.append(f"{' '.join(command)}: {_run(command)}")
        if (path := find()) is not None:
            break
    if path is None:
        raise RuntimeError("\n".join(["no Chromium or Chrome could be installed:", *said]))
    return path


def _run(command: Sequence[str]) -> str:
    print("+", *command, flush=True)
    quick = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, check=False, env={**os.environ, **quick})
    except OSError as error:
        return str(error.strerror)
    return f"exit code {done.returncode}"


if __name__ == "__main__":
    try:
        print(bring())
    except RuntimeError as error:
        sys.exit(str(error))
