"""The page's "who is who", and its question which solver to take."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, Route, expect

from dpm_demo.calibrate.race import Entrant, Race
from dpm_demo.engine.worker import Engine
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.request.codec import comparison_of_query
from dpm_demo.request.limits import Limits
from dpm_demo.solver.catalogue import SAMPLERS, find
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.widgets.advisor import checked, run_race
from dpm_demo.ui.widgets.samplers import samplers

MODEL = mixture_model(torch.device("cpu"))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    one = Serving(Engine(), ModelLibrary("cpu", root=tmp_path, offered=()))
    yield one
    one.close()


def test_every_sampler_has_a_row_with_an_error_for_each_budget():
    rows = samplers({})
    assert {row["name"] for row in rows} == set(SAMPLERS)
    assert all(len(row["errors"]) == len(row["budgets"]) for row in rows)


def test_the_link_of_every_row_opens_in_compare():
    for row in samplers({}):
        comparison, complaints = comparison_of_query([("row", "order=2"), ("row", row["name"])])
        assert complaints == [], row["name"]
        assert comparison.rows[1] == find(row["name"], comparison.rows[1].nfe), row["name"]


def test_a_race_through_the_engine_measures_what_it_measures_alone(serving: Serving):
    names = ("euler", "dpmpp_2m", "ipndm", "res_3m")
    entrants = [Entrant(name, find(name, 6)) for name in names]
    races = [Race(MODEL, entrants, range(4)) for _ in range(2)]

    async def through() -> list[str]:
        return [said async for said in run_race(serving, races[0])]

    said = asyncio.run(through())
    assert said[-1] == "" and "<progress" in said[0]
    list(races[1].run())
    assert [line.name for line in races[0].ranking()] == [line.name for line in races[1].ranking()]


def test_a_race_that_costs_more_than_one_request_may_is_refused():
    values = {"model": "mixture", "nfe": 8, "count": 12, "guidance": 1}
    request, race = checked(values, MODEL, Limits())
    assert request.solver.nfe == 8 and race.total <= Limits().cost
    with pytest.raises(ValueError, match="would cost .* network rows"):
        checked(values, MODEL, Limits(cost=1000))
    with pytest.raises(ValueError, match="^count must be"):
        checked({**values, "count": 4}, MODEL, Limits())


@pytest.fixture
def page(how_it_works: Page) -> Page:
    return how_it_works


@pytest.mark.browser
def test_the_table_is_searched_filtered_sorted_and_leads_to_compare(page: Page):
    asked: list[str] = []

    def busy(route: Route) -> None:
        mine = "samplers" in (route.request.post_data or "")
        route.fulfill(body="busy") if mine and not asked else route.fallback()
        asked.extend(["samplers"] * mine)

    page.route("**/component_server/", busy)
    table = page.locator("#samplers")
    table.scroll_into_view_if_needed()
    expect(table.locator(".verdict")).to_have_text("The server did not answer; try again.")
    table.get_by_role("button", name="Sampler").click()
    names = table.locator("tbody th")
    expect(names).to_have_count(len(SAMPLERS))
    table.get_by_role("button", name="SDE (with noise)").click()
    expect(names).to_have_count(sum(entry.noisy for entry in SAMPLERS.values()))
    table.get_by_role("button", name="all").click()
    table.get_by_role("button", name="Error at 8").click()
    least = min(samplers({}), key=lambda row: row["errors"][1])["errors"][1]
    expect(table.locator("tbody tr").first).to_contain_text(f"{least:.1e}".replace("e-0", "e-"))
    table.get_by_role("searchbox").fill("unipcmultistep")
    expect(names).to_have_count(1)
    expect(table.locator("tbody svg")).to_have_count(1)
    table.get_by_role("link", name="try in Compare").click()
    expect(page).to_have_url(re.compile("tab=compare"))
