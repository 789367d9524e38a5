"""A multistep method that starts anew where another network takes over."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import Evaluation, trajectory
from dpm_demo.solver.settings import Solver

SPAN = (-5.02, 4.56)
BOUNDARY = -0.23 - 1e-9  # the middle, which is a node of every even budget
NOISE = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def driven(solver: Solver, restart: float | None) -> tuple[Tensor, list[float]]:
    """Two networks: below the boundary one whose every answer is off by a constant."""
    steps = trajectory(NOISE, solver, lam_span=SPAN, restart=restart)
    asked: list[float] = []
    event = next(steps)
    while True:
        assert isinstance(event, Evaluation)
        asked.append(float(event.lam))
        off = 0.5 if event.lam < BOUNDARY else 0.0
        try:
            event = steps.send(MIXTURE.denoise(event.x, event.lam) + off)
        except StopIteration as stop:
            return stop.value, asked


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


def test_without_a_boundary_inside_the_span_nothing_changes():
    solver = Solver(nfe=12, order=3)
    for restart in (-10.0, 10.0, math.inf):
        assert torch.equal(driven(solver, restart)[0], driven(solver, None)[0])
