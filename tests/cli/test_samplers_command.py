"""The commands samplers and nodes: names, figures and lists for other programs."""

from __future__ import annotations

import json
import math

import pytest

from dpm_demo.__main__ import main
from dpm_demo.solver import plan
from dpm_demo.solver.catalogue import SAMPLERS, find


def test_samplers_lists_every_name_and_one_with_all_that_is_known(capsys) -> None:
    assert main(["samplers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found] == list(SAMPLERS)
    assert all({"equals", "order_measured"} <= set(row) for row in found)
    assert main(["samplers"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(SAMPLERS)
    assert main(["samplers", "DPMSolverMultistepScheduler"]) == 0
    assert "dpmpp_2m" in capsys.readouterr().out


def test_nodes_are_those_of_the_plan_in_each_kind(capsys) -> None:
    asked = ["nodes", "dpmpp_2m karras", "--nfe", "5", "--model", "mixture", "--device", "cpu"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = plan(find("dpmpp_2m karras", 5), (-5.0, 4.6)).nodes
    assert found["lambdas"] == pytest.approx(list(wanted))
    assert found["sigmas"] == pytest.approx([math.exp(-lam) for lam in wanted])
    assert main(asked) == 0
    shown = [float(word) for word in capsys.readouterr().out.split(",")]
    assert shown == pytest.approx(found["sigmas"], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["samplers", "dpmm"], "samplers: sampler: 'dpmm' is unknown"),
        (["nodes", "euler karas"], "nodes: schedule: 'karas' is unknown"),
        (["nodes", "euler", "--nfe", "2.5"], "nodes: nfe must be a whole number"),
        (["nodes", "dpm_adaptive", "--model", "mixture"], 'nodes: method "adaptive" has no plan'),
    ],
)
def test_bad_input_is_one_line_and_not_zero(words, said, capsys) -> None:
    assert main(words) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
