"""Do labelled samples show their label? `python -m benchmarks.class_accuracy --per-class 24`

The share of samples whose category the embedded classifier names, at 20 evaluations and several
strengths of guidance, and (with `--data`) the same of held-out real pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dpm_demo as dpm
from dpm_demo.quality.classes import class_accuracy, held_out_accuracy
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
    names = model.labels["category"]
    print(f"| guidance | {' | '.join(names)} | all |\n|---|{'---|' * (len(names) + 1)}")
    for guidance in (float(g) for g in options.guidance.split(",")):
        right = class_accuracy(model, options.per_class, guidance, options.nfe)
        cells = " | ".join(f"{r:.2f}" for r in right.values())
        print(f"| {guidance:g} | {cells} |", flush=True)
    if options.data:
        held = Pictures.load(Path(options.data))
        print(f"held-out pictures: {held_out_accuracy(held):.3f}, n = {int(held.held.sum())}")


if __name__ == "__main__":
    main()
