"""Do labelled samples show their label? `python -m benchmarks.class_accuracy --per-class 24`

The share of samples whose category the embedded classifier names, at 20 evaluations and several
strengths of guidance, and (with `--data`) the same of held-out real pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import dpm_demo as dpm
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.quality.features import accuracy, load_features
from dpm_demo.training.data import Pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji-image")
    parser.add_argument("--per-class", type=int, default=24)
    parser.add_argument("--guidance", default="1,2,3")
    parser.add_argument("--nfe", type=int, default=20)
    parser.add_argument("--data", default=None, help="the prepared .npz, for held-out pictures")
    options = parser.parse_args()
    model = dpm.load(options.model)
    judge = load_features(CHECKPOINTS / "emoji-features")
    names = model.labels["category"]
    print(f"| guidance | {' | '.join(names)} | all |\n|---|{'---|' * (len(names) + 1)}")
    for guidance in (float(g) for g in options.guidance.split(",")):
        right = []
        for k, name in enumerate(names):
            seeds = range(1000 * k, 1000 * k + options.per_class)
            solver = dpm.Solver(nfe=options.nfe, order=2)
            x = dpm.generate(model, solver, seeds, label=name, guidance=guidance)
            with torch.no_grad():
                hit = judge(x.clamp(-1, 1))["category"].argmax(1) == k
            right.append(hit.float().mean().item())
        cells = " | ".join(f"{r:.2f}" for r in [*right, sum(right) / len(right)])
        print(f"| {guidance:g} | {cells} |", flush=True)
    if options.data:
        held = Pictures.load(Path(options.data)).subset(held=True)
        print(f"held-out pictures: {accuracy(judge, held)}, n = {len(held)}")


if __name__ == "__main__":
    main()
