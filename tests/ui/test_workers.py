"""The page with two workers of a cluster behind it, in a real Chromium."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from dpm_demo.engine.remote import RESTARTED
from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served_by_two(cluster: Any) -> Iterator[tuple[Any, str]]:
    from dpm_demo.ui.page import make_serving, serve

    serving, first = make_serving("cpu", ray=cluster.address, workers=2)
    demo, address = serve(serving, first, quiet=True)
    yield serving, address
    demo.close()
    serving.close()


def asked(address: str, path: str) -> str:
    with urllib.request.urlopen(f"{address}{path}", timeout=120) as answer:
        return str(answer.read().decode())


def all_ready(visitor: Visitor, serving: Any) -> None:
    def two() -> bool:
        return sum(w["state"] == "ready" for w in serving.engine.workers()) == 2

    visitor.until(two, PATIENCE / 1000)


def test_two_visitors_are_served_by_two_workers_and_both_see_frames(
    browser: Browser, served_by_two: tuple[Any, str]
) -> None:
    serving, address = served_by_two
    query = "?tab=generate&count=2&nfe=30"
    guests = [Visitor(browser, address, query=query) for _ in range(2)]
    all_ready(guests[0], serving)
    for guest in guests:
        guest.page.evaluate(
            """() => { window.seen = new Set(); setInterval(() => {
            const n = document.querySelector('#generate-player [data-testid=player-nfe]');
            if (n) window.seen.add(n.textContent); }, 5); }"""
        )
    for guest in guests:
        guest.generate()
    for guest in guests:
        guest.finished()
        assert len(guest.page.evaluate("() => [...window.seen]")) >= 3
        assert guest.errors == [] and guest.strays == []
    workers = json.loads(asked(address, "healthz"))["workers"]
    assert [w["state"] for w in workers] == ["ready"] * 2
    assert all(w["ticks"] > 0 and w["memory"] > 0 and w["ms_per_row"] > 0 for w in workers)
    text = asked(address, "metrics")
    assert 'dpm_requests_total{end="done"} 2.0' in text
    rows = re.search(r"^dpm_rows_total (\S+)$", text, re.M)
    assert rows is not None and float(rows[1]) == 2 * 2 * 30
    assert re.search(r'^dpm_first_frame_seconds\{quantile="0.95"\} \d', text, re.M)
    assert 'dpm_worker_memory_bytes{worker="1"}' in text
    for guest in guests:
        guest.leave()


def test_a_visitor_whose_worker_is_killed_reads_so_and_gets_the_picture(
    browser: Browser, served_by_two: tuple[Any, str]
) -> None:
    serving, address = served_by_two
    visitor = Visitor(browser, address, query="?tab=generate&count=1&nfe=3")
    all_ready(visitor, serving)
    pids = {p: p.about["pid"] for p in serving.engine.force.places if p.state == "ready"}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)  # it does not end before it is killed
    visitor.generate()
    visitor.until(lambda: any(place.work for place in pids))
    for place, pid in pids.items():
        os.kill(pid, signal.SIGKILL if place.work else signal.SIGCONT)
    visitor.finished()
    expect(visitor.at("generate", "status")).to_contain_text(RESTARTED)
    assert "dpm_restarts_total 1.0" in asked(address, "metrics")
    assert visitor.errors == []
    visitor.leave()
