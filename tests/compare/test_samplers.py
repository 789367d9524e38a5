"""The landed table of samplers is the catalogue's, and is what is measured."""

from __future__ import annotations

import json
import math

import pytest

from dpm_demo.compare.samplers import BUDGETS, measure, nodes, rows, to_json
from dpm_demo.models.wrap import wrap
from dpm_demo.request.codec import solver_of_text
from dpm_demo.solver import plan
from dpm_demo.solver.catalogue import SAMPLERS
from dpm_demo.solver.settings import Solver


def test_every_name_has_its_row() -> None:
    assert [row.name for row in rows()] == list(SAMPLERS)
    for row in rows():
        assert len(row.errors) == len(BUDGETS)
        assert solver_of_text(row.solver).method == SAMPLERS[row.name].solver().method


@pytest.mark.parametrize("name", ["res_3m", "ipndm", "dpmpp_2m", "dpmpp_2m_sde"])
def test_a_landed_row_is_what_is_measured_now(name: str) -> None:
    (landed,) = rows(name)
    now = measure(SAMPLERS[name])
    assert now.order_measured == pytest.approx(landed.order_measured, abs=0.02)
    assert now.errors == pytest.approx(landed.errors, rel=0.01)


def test_twenty_steps_cost_what_the_table_says() -> None:
    ending = [-5.0 + i * 9.0 / 19 for i in range(20)] + [math.inf]
    for entry in SAMPLERS.values():
        if entry.spent is not None and entry.settings.get("method") != "singlestep":
            assert plan(entry.solver(), lambdas=ending).nfe == entry.spent, entry.name


def test_an_alias_finds_its_row_and_json_reads_back() -> None:
    assert rows("DPMSolverMultistepScheduler") == rows("dpmpp_2m")
    assert (
        json.loads(to_json(rows("euler")))[0]["order_measured"] == rows("euler")[0].order_measured
    )
    with pytest.raises(ValueError, match="sampler: 'eular' is unknown; the nearest are"):
        rows("eular")


def test_nodes_are_lists_of_one_length_or_one_less() -> None:
    model = wrap(lambda x, t: x, "flow", shape=(1, 2, 2))
    lists = nodes(Solver(nfe=6), model)
    assert [len(lists[k]) for k in ("lambdas", "sigmas", "timesteps")] == [7, 7, 6]
