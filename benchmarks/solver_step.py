"""What a solver step costs besides the network: ours against diffusers', same order and shape.

    python -m benchmarks.solver_step

Both get ready-made data predictions, so only their own arithmetic is timed: 20 steps a run, runs
of the two taking turns, medians of the time a step. Ours includes the generator and the events.
Target: at most 0.5 in every row.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from dpm_demo.solver import trajectory
from dpm_demo.solver.settings import Solver

STEPS = 20
SHAPES = ((1, 3, 32, 32), (8, 3, 32, 32), (1, 3, 16, 32, 32))


def time_ours(order: int, x: Tensor, predictions: list[Tensor]) -> float:
    start = time.perf_counter()
    steps = trajectory(x, Solver(nfe=STEPS, order=order), lam_span=(-5.0, 4.6))
    next(steps)
    try:
        for x0 in predictions:
            steps.send(x0)
    except StopIteration:
        pass
    return (time.perf_counter() - start) / STEPS


def time_diffusers(order: int, x: Tensor, predictions: list[Tensor]) -> float:
    scheduler = DPMSolverMultistepScheduler(solver_order=order, prediction_type="sample")
    scheduler.set_timesteps(STEPS)
    start = time.perf_counter()
    for t, x0 in zip(scheduler.timesteps, predictions, strict=True):
        x = scheduler.step(x0, t, x, return_dict=False)[0]
    return (time.perf_counter() - start) / STEPS


def measure(order: int, shape: tuple[int, ...], runs: int) -> tuple[float, float]:
    """Median seconds a step: (ours, diffusers')."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    fresh = [torch.randn(shape, generator=generator) for _ in range(4)]
    predictions = [fresh[i % 4] for i in range(STEPS)]  # in the cache, as from a network
    pairs = [
        (time_ours(order, x, predictions), time_diffusers(order, x, predictions))
        for _ in range(runs)
    ]
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs)


def table(runs: int) -> str:
    lines = [
        "| shape | order | ours µs a step | diffusers µs a step | ratio |",
        "|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        for order in (1, 2, 3):
            ours, theirs = measure(order, shape, runs)
            size = "×".join(map(str, shape))
            times = f"{ours * 1e6:.0f} | {theirs * 1e6:.0f} | {ours / theirs:.2f}"
            lines.append(f"| {size} | {order} | {times} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="runs of each, taking turns")
    print(table(parser.parse_args().runs))


if __name__ == "__main__":
    main()
