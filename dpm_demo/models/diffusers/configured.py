"""What the configuration of a scheduler of diffusers says of a solver, in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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
