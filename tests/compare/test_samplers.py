"""The landed table of samplers is the catalogue's, and is what is measured."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl

import pytest
import torch

from dpm_demo.compare.figures import row_title
from dpm_demo.compare.layout import layout, work
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.compare.samplers import BUDGETS, measure, rows
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.wrap import wrap
from dpm_demo.request.codec import (
    comparison_of_query,
    comparison_query,
    solver_of_text,
    solver_text,
)
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver import Evaluation, plan
from dpm_demo.solver.catalogue import SAMPLERS, find, name_of
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.table import register


def test_every_name_has_its_row() -> None:
    assert [row.name for row in rows()] == list(SAMPLERS)
    for row in rows():
        assert len(row.errors) == len(BUDGETS)
        entry = SAMPLERS[row.name]
        assert row.solver == solver_text(entry.solver())
        told = (row.aliases, row.equals, row.trap, row.source)
        assert told == (entry.aliases, entry.equals, entry.trap, entry.source)


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


def test_an_alias_finds_its_row() -> None:
    assert rows("DPMSolverMultistepScheduler") == rows("dpmpp_2m")
    with pytest.raises(ValueError, match="sampler: 'eular' is unknown; the nearest are"):
        rows("eular")


def test_nodes_are_lists_of_one_length_or_one_less() -> None:
    model = wrap(lambda x, t: x, "flow", shape=(1, 2, 2))
    solver = Solver(nfe=6)
    lists = solver.lambdas(model), solver.sigmas(model), solver.timesteps(model)
    assert [len(one) for one in lists] == [7, 7, 6]


def test_rows_of_a_comparison_take_names_and_tables_and_functions_do_not_share_work() -> None:
    def one(x, lambdas):
        for lam in lambdas[:-1]:
            x = yield Evaluation(x, lam)
        return x

    def other(x, lambdas):
        for lam in lambdas[:-1]:
            x = 0.5 * (yield Evaluation(x, lam))
        return x

    register("test-one", one)
    register("test-other", other)
    texts = ("dpmpp_2m karras", "order=2 weights=published lower_order_final=false schedule=karras")
    same = [work(solver_of_text(text), (-5.0, 4.0)) for text in texts]
    assert same[0] == same[1]
    apart = [work(solver_of_text(f"table=test-{name}"), (-5.0, 4.0)) for name in ("one", "other")]
    assert apart[0] != apart[1]
    rows_of = tuple(solver_of_text(text) for text in (*texts, "Euler a", "table=heun"))
    comparison = Comparison(model="mixture", rows=rows_of, budgets=(4, 7), no_taper=True)
    drawn = layout(comparison, mixture_model(torch.device("cpu")))
    assert [cell.solver.nfe for cell in drawn.cells] == [4, 7] * 4
    link, complaints = comparison_of_query(parse_qsl(comparison_query(comparison)))
    assert link.rows == comparison.rows and not complaints


def test_a_comparison_with_other_programs_samplers_runs_to_the_end() -> None:
    rows_of = tuple(solver_of_text(text) for text in ("table=heun", "ipndm karras", "er_sde"))
    comparison = Comparison(model="mixture", rows=rows_of, budgets=(6,))
    model = mixture_model(torch.device("cpu"))
    (done,) = [
        event
        for event in run_inline(ComparisonRun(comparison, model, References()).job)
        if isinstance(event, Done)
    ]
    for track in done.tracks:
        assert all(row.nfe == 6 and row.sample is not None for row in track.rows)


def test_a_solver_is_called_by_the_name_that_finds_it() -> None:
    for name in SAMPLERS:
        assert find(name_of(find(name, 20)), 20) == find(name, 20)
    assert name_of(find("dpmpp_2m karras", 9)) == "dpmpp_2m karras"
    assert name_of(Solver(order=3)) == name_of(Solver(schedule="calibrated")) == ""


def test_rows_go_by_names_where_they_have_them_and_order_1_is_euler_among_such_only() -> None:
    def titles(*rows: str) -> list[str]:
        asked = Comparison(rows=tuple(solver_of_text(row) for row in rows))
        return [row_title(asked, k) for k in range(len(rows))]

    assert titles("order=1", "order=2") == ["order=1", "order=2"]
    assert titles("euler", "dpmpp_2m karras") == ["euler", "dpmpp_2m karras"]
    assert titles("order=2 schedule=calibrated", "heun") == ["schedule=calibrated", "heun"]
