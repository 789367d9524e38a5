"""axe-core finds nothing serious in any tab, before and after a run, on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.ui.visitor import PATIENCE, Visitor

pytestmark = pytest.mark.browser

TABS = ("Compare", "Generate", "Video", "Error control", "Quality", "How it works")
SHOWN = {  # what each tab shows once it is drawn
    "Compare": "[data-testid=landing-row]",
    "Generate": "#generate-player [data-testid=player-tile]",
    "Video": "#video-player [data-testid=player-tile]",
    "Error control": "#errors-go",
    "Quality": "#quality-plot .js-plotly-plot",
    "How it works": ".js-plotly-plot >> visible=true",
}


#: Elements on show that break a rule of serious or critical impact. A panel that is not is left
#: out: nothing in it could break one, and that it is looked through costs the most.
SERIOUS = """async () => {
  for (const panel of document.querySelectorAll("[role=tabpanel]"))
    panel.toggleAttribute("data-hidden", !panel.checkVisibility());
  const seen = { include: [["html"]], exclude: [["[data-hidden]"]] };
  const { violations } = await axe.run(seen, { resultTypes: ["violations"] });
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 160)}`));
}"""


def serious(guest: Visitor) -> list[str]:
    """One line for each element that breaks a rule of serious or critical impact."""
    return guest.page.evaluate(SERIOUS)


def generated(guest: Visitor) -> None:
    guest.number("Model evaluations (NFE)", 3)
    guest.generate()
    expect(guest.page.locator("#generate-note")).to_contain_text("× 3 evaluations")


def filmed(guest: Visitor) -> None:
    guest.number("Model evaluations (NFE)", 2)
    guest.page.locator("#video-go").click()
    expect(guest.page.locator("#video-note")).to_contain_text("× 2 evaluations")


def controlled(guest: Visitor) -> None:
    guest.choose("Model", "mixture (exact)")  # which computes least
    guest.number("Samples", 1)
    guest.page.locator("#errors-go").click()
    expect(guest.page.locator("#errors-note")).to_contain_text("At this cost")
    guest.page.locator("#errors-fill").click()
    expect(guest.page.locator("#errors-table")).to_contain_text("0.003")


def measured(guest: Visitor) -> None:
    guest.drawer("Settings of the small sweep")
    guest.number("Samples", 8)
    guest.page.locator("#now-budgets input, #now-budgets textarea").fill("2, 3")
    guest.page.locator("#quality-go").click()
    expect(guest.page.locator("#now-note")).to_contain_text("6 lines in")


def compared(guest: Visitor) -> None:
    guest.asks("2, 3")
    guest.page.locator("#compare-go").click()
    expect(guest.at("compare", "status")).to_contain_text("done")


RUNS = {  # a small one of each tab that runs anything
    "Compare": compared,
    "Generate": generated,
    "Video": filmed,
    "Error control": controlled,
    "Quality": measured,
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tab_breaks_a_serious_rule_or_is_wider_than_the_screen(
    browser: Browser, served: tuple[Any, str], scheme: Any
) -> None:
    guest = Visitor(browser, served[1], width=1400, color_scheme=scheme)
    # a text that is half under the button that stays on a phone is read once it is scrolled
    guest.page.add_style_tag(
        content=f"html body {'.run-bar' * 5} {{ position: static !important }}"
    )
    guest.page.evaluate(Axe().axe_script)
    broken: dict[tuple[str, str, int], list[str]] = {}

    def look(tab: str, when: str) -> None:
        for width in (390, 1400):
            guest.page.set_viewport_size({"width": width, "height": 900})
            guest.page.wait_for_function(
                "width => innerWidth === width && document.documentElement.scrollWidth <= width",
                arg=width,
            )
            broken[tab, when, width] = serious(guest)

    for tab in TABS:
        guest.tab(tab)
        expect(guest.page.locator(SHOWN[tab]).first).to_be_visible(timeout=PATIENCE)
        look(tab, "before")
        if tab in RUNS if scheme == "light" else tab in ("Compare", "Generate"):
            RUNS[tab](guest)
            look(tab, "after")
    guest.leave()
    assert not any(broken.values()), {where: found for where, found in broken.items() if found}
