"""What the playground's scripts may ask, checked, and the plain numbers that go back.

Every answer is a dictionary; for bad input it is {"error": one sentence}.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from dpm_demo.compare import plane
from dpm_demo.models.plane import BLOBS_MAX, REACH, PlaneMixture, shape
from dpm_demo.request.generate import SEED_MAX
from dpm_demo.solver.settings import Solver

PARTICLES_MAX, OWN_MAX, NFE_MAX, NODES_MAX, SHOWN = 300, 40, 60, 33, 28
FINE = 10_000  # positions go as whole numbers of 1/FINE


def packed(array: np.ndarray) -> str:
    """Numbers as base64 of little-endian int16, in units of 1/FINE."""
    whole = np.clip(np.rint(array * FINE), -32768, 32767).astype("<i2")
    return base64.b64encode(whole.tobytes()).decode("ascii")


def answered(work: Callable[[Mapping[str, Any]], dict[str, Any]], payload: Any) -> dict[str, Any]:
    """`work(payload)`, or the sentence of a ValueError."""
    try:
        if not isinstance(payload, Mapping):
            raise ValueError("the request must be an object of settings")
        return work(payload)
    except ValueError as error:
        return {"error": str(error)[:300]}


def _whole(payload: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r:.40}")
    return value


def _points(payload: Mapping[str, Any], name: str, most: int) -> tuple[tuple[float, float], ...]:
    value = payload.get(name, [])
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name} must be at most {most} points")
    points = []
    for point in value:
        if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
            raise ValueError(f"{name} must be pairs of numbers, not {point!r:.40}")
        if not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) <= 2 * REACH
            for v in point
        ):
            raise ValueError(f"{name} must be numbers between ±{2 * REACH}, not {point!r:.40}")
        points.append((float(point[0]), float(point[1])))
    return tuple(points)


Spec = tuple[PlaneMixture, int, int, tuple[tuple[float, float], ...]]


def _spec(payload: Mapping[str, Any]) -> Spec:
    name = payload.get("shape")
    if name == "own":
        mixture = PlaneMixture(_points(payload, "blobs", BLOBS_MAX))
    else:
        mixture = shape(str(name))
    count = _whole(payload, "particles", 1, PARTICLES_MAX)
    return mixture, count, _whole(payload, "seed", 0, SEED_MAX), _points(payload, "own", OWN_MAX)


@lru_cache(maxsize=32)
def _scene(spec: Spec) -> plane.Scene:
    mixture, count, seed, own = spec
    return plane.scene(mixture, plane.particles(count, seed, own))


def scene(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Exact paths, density and field for {"shape", "blobs", "particles", "seed", "own"}.

    Shapes: paths (n, t, 2), density (t, g, g) in 8 bits, field (t, a, a, 2), lam (t).
    """
    made = _scene(_spec(payload))
    density = np.rint(made.density * 255).astype(np.uint8)
    return {
        "lam": made.lam.round(4).tolist(),
        "count": made.paths.shape[0],
        "paths": packed(made.paths / 2),
        "grid": plane.GRID,
        "density": base64.b64encode(density.tobytes()).decode("ascii"),
        "arrows": plane.ARROWS,
        "field": packed(made.field / 4),
        "reach": REACH,
        "fine": FINE,
    }


def walks(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The solvers' ways for the same and {"nfe", "orders", "method", "schedule", "weights"}.

    Of each order: points (k, n, 2), lam and stage of each, the median distance missed.
    """
    spec = _spec(payload)
    orders = payload.get("orders")
    if not isinstance(orders, Sequence) or isinstance(orders, str) or not 1 <= len(orders) <= 3:
        raise ValueError(f"orders must be a list of 1 to 3 of 1, 2, 3, not {orders!r:.40}")
    method = payload.get("method")
    if method == "adaptive":
        raise ValueError('method "adaptive" is not drawn here: it takes one sample at a time')
    nfe = _whole(payload, "nfe", 1, NFE_MAX)
    made = _scene(spec)
    mixture, count, seed, own = spec
    starts = plane.particles(count, seed, own)
    ends = torch.from_numpy(made.paths[:, -1])
    found = []
    for order in orders:
        solver = Solver(
            nfe=nfe,
            order=order,
            method=method,  # type: ignore[arg-type]
            schedule=payload.get("schedule"),  # type: ignore[arg-type]
            weights=payload.get("weights", "exact"),
            lower_order_final=bool(payload.get("taper", True)),
        )
        walk = plane.walk(mixture, starts, solver, ends)
        found.append(
            {
                "order": order,
                "lam": [round(lam, 4) for lam in walk.lam],
                "stages": walk.stages,
                "points": packed(walk.points / 2),
                "miss": float(np.median(walk.miss)),
            }
        )
    return {"walks": found, "shown": SHOWN}


def line(payload: Mapping[str, Any]) -> dict[str, Any]:
    """One dimension for {"lambdas", "order"}: see `compare.plane.Line`."""
    lambdas = payload.get("lambdas")
    if not isinstance(lambdas, Sequence) or not 2 <= len(lambdas) <= NODES_MAX:
        raise ValueError(f"lambdas must be 2 to {NODES_MAX} numbers")
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in lambdas):
        raise ValueError("lambdas must be numbers")
    low, high = plane.SPAN
    if not all(low - 1e-6 <= v <= high + 1e-6 for v in lambdas):
        raise ValueError(f"lambdas must lie between {low} and {high}")
    made = plane.line(lambdas, _whole(payload, "order", 1, 3))
    return {
        "curve": made.curve.round(5).tolist(),
        "steps": [step.round(5).tolist() for step in made.steps],
        "mean_error": made.error,
        "halved": made.halved,
        "printed": plane.printed_against_exact(),
    }
