"""A multistep method that starts anew where another network takes over, whoever made it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import Evaluation, Measure, nodes, plan, trajectory
from dpm_demo.solver.catalogue import find
from dpm_demo.solver.drive import _anew
from dpm_demo.solver.settings import Solver

SPAN = (-5.02, 4.56)
BOUNDARY = -0.23 - 1e-9  # the middle, which is a node of every even budget
NOISE = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def driven(
    solver: Solver, restart: float | None, span: tuple[float, float] = SPAN
) -> tuple[Tensor, list[float]]:
    """Two networks: below the boundary one whose every answer is off by a constant."""
    steps = trajectory(NOISE, solver, lam_span=span, restart=restart, seeds=[1])
    asked: list[float] = []
    answer: Tensor | float | None = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return stop.value, asked
        answer = float(event.value) if isinstance(event, Measure) else None
        if isinstance(event, Evaluation):
            lam = torch.as_tensor(event.lam, dtype=torch.float64).expand(len(event.x))
            asked += lam.tolist()
            off = 0.5 * (lam < BOUNDARY).double()
            answer = MIXTURE.denoise(event.x, lam) + off[:, None]


@pytest.mark.parametrize("solver", [Solver(nfe=16, order=3), Solver(nfe=9, corrector=True)])
def test_the_budget_and_the_nodes_are_those_of_one_run(solver):
    assert driven(solver, BOUNDARY)[1] == driven(solver, None)[1]
    assert len(driven(solver, BOUNDARY)[1]) == solver.nfe


@pytest.mark.parametrize("order", [2, 3])
def test_a_history_across_a_jump_costs_accuracy_and_a_restart_does_not(order):
    solver = Solver(nfe=40, order=order, lower_order_final=False)
    fine = driven(Solver(nfe=960, order=2), BOUNDARY)[0]
    anew, across = (
        (driven(solver, restart)[0] - fine).abs().mean().item() for restart in (BOUNDARY, None)
    )
    assert anew < across


LOOKING_BACK = [
    *("dpmpp_2m", "lms", "ipndm", "uni_pc", "uni_pc_bh2", "res_3m", "gradient_estimation"),
    *("dpmpp_3m_sde", "er_sde", "sa_solver", "deis"),
]


@pytest.mark.parametrize("solver", [*map(find, LOOKING_BACK), Solver(window=8)], ids=str)
def test_no_step_behind_the_boundary_hears_of_a_prediction_before_it(solver):
    """What is done behind it is what a run does that begins there."""
    solver = replace(solver, nfe=20)
    cut = nodes(solver.schedule, 20, SPAN).index(pytest.approx(-0.23))
    after = _anew(solver, plan(solver, SPAN), BOUNDARY)
    alone = plan(solver, lambdas=after.nodes[cut:])
    assert after.moves[cut:] == alone.moves and after.moves[:cut] == plan(solver, SPAN).moves[:cut]
    assert not torch.equal(driven(solver, BOUNDARY)[0], driven(solver, None)[0])


def test_a_window_ends_where_the_sequential_run_ends():
    one, many = Solver(nfe=20), Solver(nfe=20, window=8)
    ends = [driven(solver, BOUNDARY)[0] for solver in (one, many)]
    assert (ends[0] - ends[1]).abs().max() < 0.02


def test_on_the_way_from_data_to_noise_the_boundary_counts_as_well():
    solver = Solver(nfe=20, order=3)
    there = [driven(solver, restart, SPAN[::-1])[0] for restart in (BOUNDARY, None)]
    assert not torch.equal(*there)


def test_without_a_boundary_inside_the_span_nothing_changes():
    solver = Solver(nfe=12, order=3)
    for restart in (-10.0, 10.0, math.inf):
        assert torch.equal(driven(solver, restart)[0], driven(solver, None)[0])
