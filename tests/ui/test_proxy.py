"""Behind a reverse proxy and under a sub-path, the page works and nothing escapes the sub-path."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urljoin, urlsplit

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, expect

from dpm_demo.ui.page import make_serving, serve

PREFIX = "/demo"
# Gradio's page names the first at the root of the host wherever it is served (it only matters to
# who installs the page as an app), and browsers ask every host for the second
ROOTED = {"/manifest.json", "/favicon.ico"}
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Proxy(ThreadingHTTPServer):
    """Hands what is under `PREFIX` on to a server without it, as it comes; notes all else."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = urlsplit(target).netloc
        self.astray: list[str] = []
        self.chunks: dict[str, int] = {}
        self.address = f"http://127.0.0.1:{self.server_port}{PREFIX}/"
        Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """One connection of the proxy: what nginx's `location /demo/ { proxy_pass …/; }` does."""

    server: Proxy

    def _pass(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.server.astray.append(self.path)
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        backend = http.client.HTTPConnection(self.server.target, timeout=120)
        # the Host of the visitor stays, as `proxy_set_header Host $host` has it
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
        headers["X-Forwarded-Proto"] = "http"
        backend.request(self.command, self.path[len(PREFIX) :], body or None, headers)
        answer = backend.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        name = urlsplit(self.path).path
        try:
            while chunk := answer.read1(65536):
                self.wfile.write(chunk)
                self.wfile.flush()
                self.server.chunks[name] = self.server.chunks.get(name, 0) + 1
        except OSError:  # the visitor has gone
            pass
        finally:
            backend.close()

    do_GET = do_POST = do_HEAD = _pass

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test is quiet."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    serving, first = make_serving("cpu")
    demo, address = serve(serving, first, root_path=PREFIX, quiet=True)
    made = Proxy(address)
    yield made
    made.shutdown()
    demo.close()
    serving.close()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.read()


def test_a_run_streams_through_the_proxy(proxy: Proxy):
    client = Client(proxy.address, verbose=False)
    solver = {"nfe": 600, "order": 2}  # a second or more: several previews
    sent = client.submit("mixture", "any", 1.0, 0, 8, solver, api_name="/generate")
    updates = list(sent)
    assert len(updates) > 1 and updates[-1]["final"] and updates[-1]["nfe"] == 600
    streams = [n for name, n in proxy.chunks.items() if name.endswith("/queue/data")]
    assert max(streams) > 1, "the events came in one piece"
    assert proxy.astray == []


def test_health_config_and_every_file_that_the_page_names_lie_under_the_sub_path(proxy: Proxy):
    assert json.loads(get(f"{proxy.address}healthz"))["status"] == "ok"
    assert json.loads(get(f"{proxy.address}config"))["root"] == proxy.address.rstrip("/")
    page = get(proxy.address).decode()
    named = set(re.findall(r'(?:src|href)="(\.{0,2}/[^"#?]*)"', page)) - ROOTED
    assert named
    for name in sorted(named):
        assert get(urljoin(proxy.address, name))
    with pytest.raises(urllib.error.HTTPError):
        get(urljoin(proxy.address, "/healthz"))
    assert proxy.astray == ["/healthz"]
    proxy.astray.clear()


@pytest.mark.browser
def test_in_a_browser_the_page_paints_a_run_and_its_files_can_be_fetched(
    proxy: Proxy, browser: Browser
):
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    failures: list[str] = []
    page.on("response", lambda r: failures.append(r.url) if r.status >= 400 else None)
    page.goto(f"{proxy.address}?model=mixture&nfe=5&count=2&tab=generate")
    page.get_by_role("tab", name="Generate", exact=True).click()
    status = page.locator("#generate-player").get_by_test_id("player-status")
    page.get_by_role("button", name="Recorded: a smiley, order 2").click()
    expect(status).to_contain_text("recorded")
    expect(page.locator("#generate-note")).to_contain_text("Nothing was computed")
    page.locator("#generate-go").click()
    expect(status).to_contain_text("done", timeout=60_000)
    page.get_by_role("button", name="Share:").locator("visible=true").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="PNG", exact=True).locator("visible=true").click()
    assert waiting.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert {urlsplit(url).path for url in failures} <= ROOTED
    assert set(proxy.astray) <= ROOTED
    context.close()
