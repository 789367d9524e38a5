"""How converged the reference is, and how rough the network: `python -m benchmarks.reference`.

RMSE between a sample of order 3 at n evaluations and at 2n, from the same noise, in float32; and
between float32 and bfloat16 at 20 evaluations (the processor need not be fast in bfloat16). And how
hard the attention of an embedded network is: where one token takes all, the field jumps in lam.
"""

from __future__ import annotations

import argparse
from unittest import mock

from torch import Tensor

import dpm_demo as dpm
from dpm_demo.models import layers
from dpm_demo.models.denoiser import Denoiser
from dpm_demo.solver import initial_noise, integrate


def hardness(name: str, x: Tensor) -> list[tuple[float, float]]:
    """(largest logit over its row's mean, mean of the largest weights) of each call of attention.

    On the way of 20 evaluations; empty for a network that is not of `models.layers`.
    """
    model, attend, seen = dpm.load(name, runtime="torch"), layers.attend, []

    def look(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        logits = q @ k.mT / q.shape[-1] ** 0.5
        top = (logits - logits.mean(-1, keepdim=True)).max().item()
        seen.append((top, logits.softmax(-1).amax(-1).mean().item()))
        return attend(q, k, v)

    with mock.patch.object(layers, "attend", look):
        integrate(model.denoise_float32, x, dpm.Solver(nfe=20), lam_span=model.lam_span)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji-image")
    parser.add_argument("--runtime", default="auto", help="auto, torch or onnx")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--nfe", default="50,100,200")
    options = parser.parse_args()
    model = dpm.load(options.model, runtime=options.runtime)
    x = initial_noise(range(options.samples), model.shape).to(model.device)
    cond = [model.condition()] * options.samples if model.labels else None

    def sample(nfe: int, order: int = 3):
        solver = dpm.Solver(nfe=nfe, order=order)
        return integrate(model.denoise_float32, x, solver, lam_span=model.lam_span, cond=cond)

    print(f"{model.name}, computed by {model.runtime}\n")
    budgets = [int(n) for n in options.nfe.split(",")]
    samples = {n: sample(n) for n in {*budgets, *(2 * n for n in budgets)}}
    print("| evaluations | RMSE to twice as many |\n|---|---|")
    for n in budgets:
        apart = (samples[n] - samples[2 * n]).square().mean().sqrt().item()
        print(f"| {n} | {apart:.2e} |")
    rough = (sample(160) - sample(240)).square().mean().sqrt().item()
    print(f"roughness (order 3, 160 against 240 evaluations): {rough:.2e}")
    if isinstance(model.denoise_float32, Denoiser):
        if found := hardness(options.model, x):
            tops, weights = zip(*found, strict=True)
            mean = sum(weights) / len(weights)
            print(f"attention: largest logit {max(tops):.0f}, largest weight {mean:.2f} on average")
        half = Denoiser(
            model.denoise_float32.network,
            model.denoise_float32.target,
            model.denoise_float32.axes,
            "bfloat16",
        )
        solver = dpm.Solver(nfe=20, order=2)
        low = integrate(half, x, solver, lam_span=model.lam_span, cond=cond)
        apart = (low - sample(20, order=2)).square().mean().sqrt().item()
        print(f"bfloat16 against float32, 20 evaluations, order 2: RMSE {apart:.2e}")


if __name__ == "__main__":
    main()
