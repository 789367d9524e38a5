"""Which nodes suit a flow: RMSE to the exact solution from σ = 1 to σ = 0, by schedule and span.

    python -m benchmarks.flow_span

Two exact flow fields (`dpm_demo.models.exact`): a mixture in one dimension, and the smooth pictures
of the page's "mixture (exact)". Order 2 of the defaults, and Euler beside it; float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dpm_demo.models.exact import MIXTURE, PictureMixture
from dpm_demo.solver import integrate
from dpm_demo.solver.settings import Solver

BUDGETS = (5, 6, 8, 10, 15, 20, 40)
SPANS = ((-3.0, 3.0), (-4.0, 4.0), (-5.0, 5.0), (-7.0, 7.0))
FAR = 12.0  # λ where the known solution is asked: beyond it nothing moves


def even_in_time(nfe: int, shift: float = 1.0) -> list[float]:
    """σ from 1 to 0, evenly before the shift: the usual nodes of a flow."""
    times = [1 - k / nfe for k in range(1, nfe)]
    return [-math.inf, *(math.log((1 - t) / t) - math.log(shift) for t in times), math.inf]


def problems() -> dict[str, tuple[Callable[..., Tensor], Tensor, Tensor]]:
    """Name: denoiser, noise, and the exact samples of that noise."""
    random = torch.Generator().manual_seed(0)
    pictures = PictureMixture()
    line = torch.randn(1, 4096, generator=random, dtype=torch.float64)
    many = torch.randn(4, 3, 32, 32, generator=random, dtype=torch.float64)
    return {
        "mixture": (MIXTURE.denoise, line, MIXTURE.flow(line, -FAR, FAR)),
        "pictures": (pictures.denoise, many, pictures.flow(many, -FAR, FAR)),
    }


def started(denoise: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The denoiser, asked at λ = −FAR instead of −∞."""
    return lambda x, lam: denoise(x, lam.clamp(min=-FAR))


def row(name: str, errors: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{e:.4f}" for e in errors) + " |"


def main() -> None:
    for name, (denoise, noise, truth) in problems().items():
        print(f"\n| {name}: RMSE at evaluations | " + " | ".join(map(str, BUDGETS)) + " |")
        print("|---" * (len(BUDGETS) + 1) + "|")

        def error(solver: Solver, where: dict, d=denoise, x=noise, y=truth) -> float:
            return float((integrate(started(d), x, solver, **where) - y).square().mean().sqrt())

        for shift in (1.0, 3.0):
            for order in (1, 2):
                found = [
                    error(Solver(order=order), {"lambdas": even_in_time(n, shift)}) for n in BUDGETS
                ]
                print(row(f"even in t, shift {shift:g}, order {order}", found))
        for low, high in SPANS:
            found = [error(Solver(nfe=n), {"lam_span": (low, high)}) for n in BUDGETS]
            print(row(f"even in λ, ±{high:g}, order 2", found))
        found = [error(Solver(nfe=n, schedule="flow"), {"lam_span": (-4.0, 4.0)}) for n in BUDGETS]
        print(row("even in t within ±4, order 2", found))


if __name__ == "__main__":
    main()
