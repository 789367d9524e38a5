"""Is guidance itself what few evaluations get wrong? Plain, in an interval, and rescaled.

    python -m benchmarks.guidance [--nfe 5,6,8,10,20] [--seeds 16] [--guidance 3.5]

`emoji-image` with labels drawn, each kind of guidance against *its own* converged sample (order 3,
200 evaluations, the same noise): mean RMSE over the seeds. *interval*: guided where λ is within the
middle half of the span only (arXiv 2404.07724); *rescaled*: the guided prediction brought to the
spread of the plain one, in full (arXiv 2305.08891). They are other samples, not only other errors:
the last column says how far the converged one is from that of plain guidance.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import dpm_demo as dpm
from dpm_demo.calibrate.run import HELD_SEED
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.codec import solver_of_text
from dpm_demo.solver.state import initial_noise

SOLVERS = ("order=2", "order=2 schedule=linear corrector=true", "order=3 schedule=linear")
KINDS = ("plain", "interval", "rescaled")
Denoise = Callable[[Tensor, Tensor], Tensor]


def guided(model: Model, labels: list[tuple[int, ...]], weight: float, kind: str) -> Denoise:
    """x0 = any + w(λ) (own - any), and in the rescaled kind brought to the spread of `own`."""
    low, high = model.lam_span
    middle, half = (low + high) / 2, (high - low) / 4

    def denoise(x: Tensor, lam: Tensor) -> Tensor:
        own = model.denoise_float32(x, lam, [Condition(label) for label in labels])
        away = model.denoise_float32(x, lam, [Condition(label, 0.0) for label in labels])
        within = (lam - middle).abs() <= half if kind == "interval" else torch.isfinite(lam)
        w = torch.where(within, weight, 1.0).view(-1, 1, 1, 1)
        x0 = torch.lerp(away, own, w)
        if kind == "rescaled":
            axes = (1, 2, 3)
            x0 = x0 * (own.std(axes, keepdim=True) / x0.std(axes, keepdim=True))
        return x0

    return denoise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nfe", default="5,6,8,10,20")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=3.5)
    asked = parser.parse_args()
    budgets = [int(n) for n in asked.nfe.split(",")]
    model = dpm.load("emoji-image")
    seeds = [HELD_SEED + k for k in range(asked.seeds)]
    noise = initial_noise(seeds, model.shape).to(model.device)
    sizes = [len(names) for names in model.labels.values()]
    labels = [tuple(seed * 7919 % size for size in sizes) for seed in seeds]
    print(
        f"guidance {asked.guidance:g}, {asked.seeds} seeds; mean RMSE to its own converged sample"
    )
    print("| guidance | solver | " + " | ".join(map(str, budgets)) + " | from plain guidance |")
    print("|---" * (len(budgets) + 3) + "|")
    plain = None
    for kind in KINDS:
        denoise = guided(model, labels, asked.guidance, kind)

        def sample(text: str, nfe: int, denoise: Denoise = denoise) -> Tensor:
            solver = replace(solver_of_text(text), nfe=nfe)
            return dpm.integrate(denoise, noise, solver, lam_span=model.lam_span)

        def apart(a: Tensor, b: Tensor) -> float:
            return float((a - b).square().mean((1, 2, 3)).sqrt().mean())

        truth = sample("order=3", 200)
        plain = truth if plain is None else plain
        for text in SOLVERS:
            errors = " | ".join(f"{apart(sample(text, n), truth):.4f}" for n in budgets)
            print(f"| {kind} | `{text}` | {errors} | {apart(truth, plain):.3f} |", flush=True)


if __name__ == "__main__":
    main()
