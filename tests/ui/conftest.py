"""One running app for the browser tests, in this process, on the smallest honest models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import chromium
import pytest
from gradio_client import Client

from tests.ui.visitor import Visitor

os.environ["GRADIO_IS_E2E_TEST"] = "1"
#: The browser finds this machine and no other.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"


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
def client(served: tuple[object, str]) -> Client:
    """Of the API of the page."""
    return Client(served[1], verbose=False)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service that offers the exact mixtures and nothing else."""
    from dpm_demo.engine.worker import Engine
    from dpm_demo.models.library import ModelLibrary
    from dpm_demo.ui.serving import Serving

    nothing = tmp_path_factory.mktemp("no-checkpoints")
    one = Serving(Engine(), ModelLibrary("cpu", root=nothing, offered=()))
    yield one
    one.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """The one browser of all tests. Missing is a failure: these tests are never skipped."""
    from playwright.sync_api import sync_playwright

    path = chromium.find()
    assert path, "no Chromium or Chrome: `python tests/chromium.py` brings one"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-dev-shm-usage", ALONE],
        )
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, served: tuple[object, str]) -> Iterator[Callable[..., Visitor]]:
    """Opens the page at a query; who came leaves when the test ends."""
    guests: list[Visitor] = []

    def opened(query: str = "", **options: Any) -> Visitor:
        guests.append(Visitor(browser, served[1], query=query, **options))
        return guests[-1]

    yield opened
    for guest in guests:
        guest.leave()


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()


@pytest.fixture
def how_it_works(browser: Any, served: tuple[object, str]) -> Iterator[Any]:
    """The page as it opens at the tab "How it works", which leaves no error in the console."""
    guest = Visitor(browser, served[1], width=1400, query="?tab=explain")
    yield guest.page
    guest.leave()
