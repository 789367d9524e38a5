"""Measures every solver on exact models and writes the figures into docs/solvers.md.

    python -m benchmarks.solver_orders            print the tables
    python -m benchmarks.solver_orders --write    put them between the marks in docs/solvers.md

All in float64 on the CPU, against the known flow of a mixture in one dimension (MIXTURE in
dpm_demo/models/exact.py), 256 numbers, span (−5.02, 4.56), mean absolute error; under a minute.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.document import write
from dpm_demo.models.exact import MIXTURE, Mixture
from dpm_demo.solver import Decision, Evaluation, Measure, alpha, integrate, plan, trajectory
from dpm_demo.solver.fixed import fixed
from dpm_demo.solver.settings import CHOICES, Solver

DOCUMENT = Path(__file__).parents[1] / "docs" / "solvers.md"
SPAN = (-5.02, 4.56)
GRID = (48, 96, 192, 384)
NOISE = torch.randn(1, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SAMPLE = MIXTURE.flow(NOISE, *SPAN)
STD = 0.4
GAUSSIAN = Mixture((1.0,), (0.0,), (STD,))


def error(solver: Solver, span: tuple[float, float] = SPAN) -> float:
    """Mean error against the exact flow, from a state that lies on it at the first node."""
    start = NOISE if span[0] == SPAN[0] else MIXTURE.flow(NOISE, SPAN[0], span[0])
    got = integrate(MIXTURE.denoise, start, solver, lam_span=span)
    return (got - MIXTURE.flow(NOISE, SPAN[0], span[1])).abs().mean().item()


def drive(solver: Solver, seeds: Sequence[int] = (0,)) -> tuple[Tensor, int, int, list[Decision]]:
    """Sample, calls, network rows, and decisions of one trajectory."""
    steps = trajectory(NOISE, solver, lam_span=SPAN, seeds=seeds)
    answer: Any = None
    calls = rows = 0
    decisions = []
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return stop.value, calls, rows, decisions
        answer = None
        if isinstance(event, Evaluation):
            calls, rows = calls + 1, rows + len(event.x)
            answer = MIXTURE.denoise(event.x, event.lam)
        elif isinstance(event, Measure):
            answer = float(event.value)
        else:
            decisions.append(event)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def short(value: float) -> str:
    return f"{value:.1e}"


def convergence(cases: Iterable[tuple[str, dict[str, Any]]], span: Any = SPAN) -> str:
    rows = []
    for name, fields in cases:
        errors = [error(Solver(nfe=n, lower_order_final=False, **fields), span) for n in GRID]
        rows.append([name, *map(short, errors), f"{math.log2(errors[-2] / errors[-1]):.2f}"])
    return table(["", *[f"NFE {n}" for n in GRID], "slope"], rows)


def slopes_of(method: str, weights: str = "exact") -> str:
    return convergence(
        (
            f"order {order}, {form} form",
            {"order": order, "method": method, "prediction": form, "weights": weights},
        )
        for form in CHOICES["prediction"]
        for order in (1, 2, 3)
    )


def published() -> str:
    return convergence(
        (f"{method} {order}, {weights}", {"order": order, "method": method, "weights": weights})
        for method, order in (("multistep", 2), ("multistep", 3), ("singlestep", 3))
        for weights in CHOICES["weights"]
    )


def few() -> str:
    budgets = (5, 8, 10, 15, 20)
    rows = []
    for order, weights in (
        (1, "exact"),
        (2, "exact"),
        (2, "published"),
        (3, "exact"),
        (3, "published"),
    ):
        for taper in (True, False):
            errors = [
                error(Solver(nfe=n, order=order, weights=weights, lower_order_final=taper))
                for n in budgets
            ]
            name = f"multistep {order}, {weights}, {'taper' if taper else 'no taper'}"
            rows.append([name, *map(short, errors)])
    return table(["", *[f"NFE {n}" for n in budgets]], rows)


def schedules() -> str:
    budgets = (5, 10, 20, 50)
    rows = [
        [name, *[short(error(Solver(nfe=n, order=3, schedule=name))) for n in budgets]]
        for name in CHOICES["schedule"]
    ]
    return table(["multistep 3", *[f"NFE {n}" for n in budgets]], rows)


def auto() -> str:
    budgets = (5, 10, 20, 50)
    rows = [
        [
            f"{method} {order}",
            *[short(error(Solver(nfe=n, order=order, method=method))) for n in budgets],
        ]
        for method in ("multistep", "singlestep")
        for order in (1, 2, 3, "auto")
    ]
    return table(["", *[f"NFE {n}" for n in budgets]], rows)


def corrector() -> str:
    return convergence(
        (f"order {order}, {form} form", {"order": order, "prediction": form, "corrector": True})
        for form in CHOICES["prediction"]
        for order in (1, 2, 3)
    )


def midway() -> str:
    return convergence(
        (
            (
                f"order 3, {form} form, {weights}",
                {"order": 3, "prediction": form, "weights": weights},
            )
            for form in CHOICES["prediction"]
            for weights in CHOICES["weights"]
        ),
        span=(-1.0, 3.0),
    )


def inversion() -> str:
    rows = []
    for order in (1, 2, 3):
        gaps = []
        for n in (10, 20, 50, 100):
            solver = Solver(nfe=n, order=order)
            noise = integrate(MIXTURE.denoise, SAMPLE, solver, lam_span=SPAN[::-1])
            back = integrate(MIXTURE.denoise, noise, solver, lam_span=SPAN)
            gaps.append((back - SAMPLE).abs().mean().item())
        rows.append([f"multistep {order}", *map(short, gaps)])
    return table(["to noise and back", *[f"{n} + {n} NFE" for n in (10, 20, 50, 100)]], rows)


class Coefficients:
    """A Brownian path as coefficients of independent normals, one for each gap between nodes."""

    def __init__(self, lambdas: Sequence[float], eta: float) -> None:
        tau = [math.exp(2 * eta * lam) for lam in lambdas]
        value = torch.zeros(1, len(lambdas), dtype=torch.float64)
        self.at = {lambdas[0]: value}
        for i in range(1, len(lambdas)):
            value = value.clone()
            value[0, i] = (tau[i] - tau[i - 1]) ** 0.5
            self.at[lambdas[i]] = value

    def increment(self, lam: float, target: float, like: Tensor) -> Tensor:
        return self.at[target] - self.at[lam]


def gain_and_variance(solver: Solver) -> tuple[float, float]:
    """The scheme is linear on N(0, STD²): push (x_T, ξ₁ … ξ_N) through it, without Monte Carlo."""
    made = plan(solver, SPAN)
    lambdas = [move.lam for move in made.moves] + [SPAN[1]]
    start = torch.zeros(1, len(lambdas), dtype=torch.float64)
    start[0, 0] = alpha(SPAN[0])  # x̂_T = 1
    path: Any = Coefficients(lambdas, solver.eta)
    steps, answer = fixed(start, solver, made, path), None
    while True:
        try:
            event: Any = steps.send(answer)
        except StopIteration as stop:
            end = stop.value[0] / alpha(SPAN[1])
            return end[0].item(), (end[1:] ** 2).sum().item()
        answer = GAUSSIAN.denoise(event.x, event.lam)


def true_gain_and_variance(eta: float) -> tuple[float, float]:
    before, after = (STD**2 + math.exp(-2 * lam) for lam in SPAN)
    ratio = after / before
    return ratio ** ((1 + eta) / 2), after * (1 - ratio**eta)


def variance(solver: Solver) -> float:
    """Relative error of the variance."""
    return abs(gain_and_variance(solver)[1] / true_gain_and_variance(solver.eta)[1] - 1)


def sde() -> str:
    rows = []
    for method in ("multistep", "singlestep"):
        for order in (1, 2):
            for eta in (0.2, 0.5, 1.0):
                fields = {"order": order, "eta": eta, "method": method, "lower_order_final": False}
                errors = [variance(Solver(nfe=n, **fields)) for n in GRID]
                slope = f"{math.log2(errors[-2] / errors[-1]):.2f}"
                rows.append([f"{method} {order}, η = {eta}", *map(short, errors), slope])
    return table(["error of the variance", *[f"NFE {n}" for n in GRID], "slope"], rows)


def adaptive(order: int) -> str:
    rows = []
    for kind in CHOICES["error"]:
        for controller in CHOICES["controller"]:
            for tolerance in (0.05, 0.005, 0.0005):
                solver = Solver(
                    method="adaptive",
                    nfe=1000,
                    order=order,
                    error=kind,
                    controller=controller,
                    tolerance=tolerance,
                )
                x, calls, _, decisions = drive(solver)
                end = decisions[-1].data
                fixed = error(Solver(nfe=calls, order=order))
                rows.append(
                    [
                        f"{kind}, {controller}",
                        tolerance,
                        calls,
                        end["accepted"],
                        end["rejected"],
                        short((x - SAMPLE).abs().mean().item()),
                        short(fixed),
                    ]
                )
    head = ["", "tolerance", "NFE", "accepted", "rejected", "error", "multistep at that NFE"]
    return table(head, rows)


def stability() -> str:
    rows = []
    for on in (False, True):
        for tolerance in (0.05, 0.005, 0.0005):
            solver = Solver(method="adaptive", nfe=1000, order=3, stability=on, tolerance=tolerance)
            x, calls, _, decisions = drive(solver)
            acts = [d.data["action"] for d in decisions if d.kind == "stability"]
            gap = (x - SAMPLE).abs().mean().item()
            row = ["on" if on else "off", tolerance, calls, acts.count("lower")]
            rows.append([*row, acts.count("restore"), short(gap)])
    return table(["stability", "tolerance", "NFE", "lowered", "restored", "error"], rows)


def picard() -> str:
    rows = []
    for nfe in (20, 50, 100):
        sequential = drive(Solver(nfe=nfe, order=3))[0]
        for window in (4, 8, 16, 64):
            x, ticks, evaluations, _ = drive(Solver(nfe=nfe, order=3, window=window))
            gap = (x - sequential).pow(2).mean().sqrt().item()
            rows.append([nfe, window, ticks, evaluations, short(gap)])
    return table(["sequential NFE", "window", "ticks", "NFE", "rms gap to the sequential"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "multistep": lambda: slopes_of("multistep"),
    "singlestep": lambda: slopes_of("singlestep"),
    "published": published,
    "few": few,
    "schedules": schedules,
    "auto": auto,
    "corrector": corrector,
    "midway": midway,
    "inversion": inversion,
    "sde": sde,
    "adaptive-12": lambda: adaptive(2),
    "adaptive-23": lambda: adaptive(3),
    "stability": stability,
    "picard": picard,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"update {DOCUMENT.name}")
    arguments = parser.parse_args()
    tables = {name: make() for name, make in TABLES.items()}
    if arguments.write:
        write(DOCUMENT, tables)
    else:
        for name, body in tables.items():
            print(f"{name}\n\n{body}\n")


if __name__ == "__main__":
    main()
