"""The solver on a model of one's own: any function that predicts the data is enough.

    python -m examples.own_model

Here the data are two points, ±1, blurred by 0.5, so that the exact prediction is known; a network
of one's own takes the place of `denoise`. Printed is the error to 1,000 evaluations for each order
at 12, 24, 48 and 96 evaluations: each doubling divides it by about 2^order.
"""

from __future__ import annotations

import torch
from torch import Tensor

import dpm_demo as dpm

MEAN, BLUR = 1.0, 0.5
BUDGETS = (12, 24, 48, 96)
SPAN = (-5.0, 3.0)  # λ = log(α / σ), from noise to data


def denoise(x: Tensor, lam: Tensor) -> Tensor:
    """E[x0 | x_t = x]: x is (n, d), the variance-preserving state; lam is (n,)."""
    alpha = torch.sigmoid(2 * lam).sqrt()[:, None]
    noise = torch.sigmoid(-2 * lam)[:, None]  # σ²
    spread = alpha**2 * BLUR**2 + noise
    centre = MEAN * torch.tanh(MEAN * alpha * x / spread)
    return centre + alpha * BLUR**2 / spread * (x - alpha * centre)


def main() -> dict[tuple[int, int], float]:
    """Prints the table and returns the errors by (order, evaluations)."""
    start = torch.randn(4096, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def sample(nfe: int, order: int) -> Tensor:
        solver = dpm.Solver(nfe=nfe, order=order, lower_order_final=False)  # no taper
        return dpm.integrate(denoise, start, solver, lam_span=SPAN)

    converged = sample(1000, 3)
    errors = {}
    for order in (1, 2, 3):
        for nfe in BUDGETS:
            errors[order, nfe] = float((sample(nfe, order) - converged).square().mean().sqrt())
        print(f"order {order}:", *(f"{errors[order, n]:.2e}" for n in BUDGETS))
    return errors


if __name__ == "__main__":
    main()
