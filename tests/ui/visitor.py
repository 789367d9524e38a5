"""One who visits the page in a real Chromium, and what must not have happened on it."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import parse_qs

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    expect,
)

PATIENCE = 120_000  # ms; only a failure waits that long
expect.set_options(timeout=PATIENCE)
OWN = re.compile(r"(https?://(127\.0\.0\.1|localhost)[:/]|data:|blob:|about:)")

_free: dict[str, list[tuple[BrowserContext, Page]]] = {}  # by what a context is made with


FORMS = ("generate", "video", "errors")  # tabs that a link opens and then fills in


class Visitor:
    """One open page, which nobody has been on before, and what must not have happened on it.

    A browser that starts anew reads and compiles all scripts anew, which is half of what a visit
    costs; so who leaves hands on the window with the scripts, and nothing else of the visit. What
    plays by itself costs all the while: a visit asks for no motion, unless a test is about it.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        width: int = 1300,
        query: str = "",
        tab: str = "Generate",
        color_scheme: Any = "light",
        reduced_motion: Any = "reduce",
        **options: Any,
    ) -> None:
        self.errors: list[str] = []
        self.strays: list[str] = []
        self._windows = _free.setdefault(repr(sorted(options.items())), [])
        if self._windows:
            self.context, self.page = self._windows.pop()
        else:
            self.context = browser.new_context(accept_downloads=True, **options)
            self.page = self.context.new_page()
            self.page.set_default_timeout(PATIENCE)
        self._listeners: dict[Any, Any] = {
            "console": self._said,
            "pageerror": self._thrown,
            "request": self._asked,
        }
        for event, listener in self._listeners.items():
            self.page.on(event, listener)
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=color_scheme, reduced_motion=reduced_motion)
        self.page.goto(address + query)
        expect(self.page.get_by_role("tab", name=tab)).to_be_visible(timeout=PATIENCE)
        if (linked := parse_qs(query.lstrip("?")).get("tab", [""])[0]) in FORMS:
            self.page.wait_for_selector(f"html.filled-{linked}", timeout=PATIENCE)  # by the link

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _thrown(self, error: Error) -> None:
        self.errors.append(str(error))

    def _asked(self, request: Request) -> None:
        """The browser finds no other machine (its start says so); who asks for one is noted."""
        if not OWN.match(request.url):
            self.strays.append(request.url)

    def leave(self) -> None:
        """Closes the page. Nothing went wrong on it, and nothing of it is left to the next."""
        self.page.evaluate("() => { sessionStorage.clear(); localStorage.clear(); }")
        for event, listener in self._listeners.items():  # what is cut off by it may complain
            self.page.remove_listener(event, listener)
        self.page.goto("about:blank")
        self.context.clear_cookies()
        self._windows.append((self.context, self.page))
        assert not self.errors, f"in the console: {self.errors}"
        assert not self.strays, f"requests that left the machine: {self.strays}"

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.settle()

    def settle(self) -> None:
        """Waits until what just came into sight holds its values.

        Gradio writes the first values of a tab or a drawer once more in the frame after they
        appear (`render_previously_invisible_children`): what is typed before is gone.
        """
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>"
            " setTimeout(done))))"
        )

    def player(self, where: str) -> Any:
        return self.page.locator(f"#{where}-player")

    def at(self, where: str, part: str) -> Any:
        return self.player(where).get_by_test_id(f"player-{part}")

    def number(self, label: str, value: float) -> None:
        box = self.page.get_by_label(f"number input for {label}").locator("visible=true")
        box.fill(str(value))
        box.press("Enter")

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).locator("visible=true").click()
        self.page.get_by_role("option", name=option, exact=True).locator("visible=true").click()
        if option.startswith("mixture (exact)"):  # which has no labels
            category = self.page.get_by_label("Category", exact=True)
            expect(category.locator("visible=true")).to_have_count(0)

    def drawer(self, title: str) -> None:
        """Opens a drawer that may be open already."""
        head = self.page.get_by_role("button", name=title).locator("visible=true")
        if "open" not in (head.get_attribute("class") or "").split():
            head.click()
            self.settle()

    def asks(self, budgets: str = "") -> None:
        """Opens the form of Compare, and fills in its budgets."""
        self.drawer("Ask something else")
        line = self.page.locator("#compare-budgets input, #compare-budgets textarea")
        expect(line).to_be_visible()
        if budgets:
            line.fill(budgets)

    def generate(self) -> None:
        self.page.locator("#generate-go").click()

    def finished(self, where: str = "generate") -> None:
        expect(self.at(where, "status")).to_contain_text("done", timeout=PATIENCE)

    def until(self, condition: Any, seconds: float = PATIENCE / 1000) -> None:
        """Waits for it while the page's events are heard."""
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "it did not come to that in time"
            self.page.wait_for_timeout(20)

    def share(self) -> None:
        """Opens the drawer with a tab's files, link and code, where it has one."""
        if self.page.get_by_role("button", name="Share:").locator("visible=true").count():
            self.drawer("Share:")

    def download(self, name: str) -> bytes:
        self.share()
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=name, exact=True).locator("visible=true").click()
        return waiting.value.path().read_bytes()
