"""One running app for the browser tests, in this process, on the smallest honest models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["GRADIO_IS_E2E_TEST"] = "1"

CHROMIUM = "/usr/bin/chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Chromium's tests last: from the first of them on Playwright's event loop has this thread."""
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[object, str]]:
    """`(serving, address)` of the page as an operator starts it, with the landed checkpoints."""
    from dpm_demo.ui.page import make_serving, serve

    serving, first = make_serving("cpu")
    demo, address = serve(serving, first, quiet=True)
    yield serving, address
    demo.close()
    serving.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium. Missing is a failure: these tests are never skipped."""
    from playwright.sync_api import sync_playwright

    assert Path(CHROMIUM).exists(), "install Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()
