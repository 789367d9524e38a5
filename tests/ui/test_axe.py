"""axe-core finds nothing serious in any tab: light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.ui.test_page import PATIENCE, Visitor

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


def serious(guest: Visitor) -> list[str]:
    """One line for each element that breaks a rule of serious or critical impact."""
    found = Axe().run(guest.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_tab_breaks_a_serious_rule(
    browser: Browser, served: tuple[Any, str], width: int, scheme: Any
) -> None:
    options = {"color_scheme": scheme, "reduced_motion": "reduce"}
    guest = Visitor(browser, served[1], width=width, **options)
    broken: dict[str, list[str]] = {}
    for tab in TABS:
        guest.tab(tab)
        expect(guest.page.locator(SHOWN[tab]).first).to_be_visible(timeout=PATIENCE)
        broken[tab] = serious(guest)
    guest.context.close()
    assert broken == {tab: [] for tab in TABS}
