"""The mathematics of diffusion ODE and SDE solvers; knows no network, no queue and no page."""

from dpm_demo.solver.drive import integrate, one_row, trajectory
from dpm_demo.solver.events import Decision, Evaluation, Measure, Trajectory
from dpm_demo.solver.plan import Move, Plan, plan
from dpm_demo.solver.schedule import (
    add_noise,
    alpha,
    cosine_betas,
    cosine_lam,
    cosine_time,
    lambdas_of_betas,
    linear_betas,
    linear_lam,
    linear_time,
    nodes,
    sigma,
)
from dpm_demo.solver.state import initial_noise, threshold

__all__ = [
    "Decision",
    "Evaluation",
    "Measure",
    "Move",
    "Plan",
    "Trajectory",
    "add_noise",
    "alpha",
    "cosine_betas",
    "cosine_lam",
    "cosine_time",
    "initial_noise",
    "integrate",
    "lambdas_of_betas",
    "linear_betas",
    "linear_lam",
    "linear_time",
    "nodes",
    "one_row",
    "plan",
    "sigma",
    "threshold",
    "trajectory",
]
