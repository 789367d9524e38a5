"""What the configuration of a scheduler of diffusers says of a solver, in our words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dpm_demo.models.diffusers.paths import path_of
from dpm_demo.solver.plan import Move, plan
from dpm_demo.solver.settings import Solver


def solver_of(asked: Mapping[str, Any], config: Mapping[str, Any]) -> Solver:
    """The solver: what is asked for, and else what the configuration says."""
    kind = str(config.get("algorithm_type") or "dpmsolver++")
    own: dict[str, Any] = {
        "order": config.get("solver_order") or 2,
        "prediction": "data" if kind.endswith("++") else "noise",
        "eta": 1.0 if kind.startswith("sde-") else 0.0,
        "lower_order_final": bool(config.get("lower_order_final", True)),
    }
    solver = Solver(**{**own, **asked})
    if solver.method == "adaptive":
        raise ValueError('method "adaptive" decides its own steps, and a pipeline counts them')
    if solver.schedule == "calibrated":
        raise ValueError('schedule "calibrated" belongs to a model, and a pipeline knows of none')
    return solver


def check_kind(config: Mapping[str, Any], changed: Mapping[str, Any], flow: bool) -> None:
    """Raises CheckpointError for a configuration of a scheduler without labels and without a flow.

    A scheduler's own configuration says all that it has, or its class; one that a person wrote may
    leave the β out.
    """
    if {"_class_name", "_use_default_values"} & set(config):
        name = str(config.get("_class_name") or "scheduler")
        path_of({**config, **changed, "flow_match": flow}, torch.device("cpu"), name)


def check_way(config: Mapping[str, Any], flow: bool) -> None:
    """Raises ValueError for a flow that runs backwards, and for noise that is not a solver's."""
    if flow and config.get("invert_sigmas"):
        raise ValueError("invert_sigmas: a flow that runs backwards is not read; leave it out")
    if config.get("stochastic_sampling"):
        raise ValueError(
            "stochastic_sampling: that noise is not ours; leave it out, or ask for eta=1.0 with "
            'schedule="logsnr"'
        )


def check_start(solver: Solver, lambdas: Sequence[float]) -> None:
    """Raises ValueError for noise on a flow from σ = 1, where a step has no finite length."""
    if solver.eta > 0 and lambdas[0] == -math.inf:
        raise ValueError(
            f"eta must be 0 where a flow starts from σ = 1, not {solver.eta}; "
            'with schedule="logsnr" it starts a little below'
        )


def check_ignored(ignored: Mapping[str, Any]) -> None:
    """Raises ValueError for what a pipeline asks of a step and would not get."""
    for name, value in ignored.items():
        if value is not None and not (isinstance(value, (int, float)) and value == 0):
            raise ValueError(
                f"{name} is nothing that DPMScheduler's step takes: leave it out (a solver's own "
                "fields, such as eta, go to from_config)"
            )


def threshold_of(solver: Solver, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arguments of `threshold`: ours where it is asked for, else what the configuration says."""
    if solver.threshold is not None or not config.get("thresholding"):
        return (solver.threshold,)
    return "dynamic", config["dynamic_thresholding_ratio"], config["sample_max_value"]


def moves_of(solver: Solver, config: Mapping[str, Any], lambdas: Sequence[float]) -> Sequence[Move]:
    """The moves over `lambdas`; of published weights the variants that `config` chooses.

    `solver_type="heun"` is the exact integral in place of the midpoint where a step is of order 2,
    and `euler_at_final` a last step of order 1.
    """
    made = plan(solver, lambdas=lambdas)
    plain = solver.method == "multistep" and not solver.corrector
    if solver.weights != "published" or not plain:
        return made.moves
    moves = list(made.moves)
    if config.get("solver_type") == "heun":
        exact = plan(replace(solver, weights="exact"), lambdas=lambdas)
        rows = zip(made.orders, moves, exact.moves, strict=True)
        moves = [better if order == 2 else move for order, move, better in rows]
    if config.get("euler_at_final"):
        last = plan(replace(solver, order=1), lambdas=lambdas[-2:])
        moves[-1] = last.moves[-1]
    return moves
