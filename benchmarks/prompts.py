"""Does a network that takes words draw them? Two sheets of random prompts, and a classifier's word.

    python -m benchmarks.prompts --model emoji-words --data data/emoji-words.npz [--out out/prompts]

`held-in.png`: 72 prompts, each the words of a training picture drawn at random (`--seed`), one
sample each. `unseen.png`: the combinations that no training picture shows, eight seeds each.
Printed: the share of `--count` such prompted samples whose category, which is said to the network
by words alone, the embedded classifier names; and the same of the real pictures. And at which lam
it hears words: its loss (velocity) with words and labels and without, of 256 pictures each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import dpm_demo as dpm
from dpm_demo.media.files import write_bytes
from dpm_demo.media.grid import labelled_grid
from dpm_demo.media.pixels import to_uint8
from dpm_demo.media.png import png
from dpm_demo.models.model import Model
from dpm_demo.quality.classes import AXIS, held_out_accuracy, share_named
from dpm_demo.quality.extract import EMOJI_FEATURES
from dpm_demo.quality.features import load_features
from dpm_demo.training.data import HELD_COMBINATIONS, Draw, Pictures
from dpm_demo.training.loop import loss_of

SOLVER = dpm.Solver(nfe=20, order=2, schedule="quadratic", corrector=True)
COLUMNS = 8


def drawn(pictures: Pictures, seeds: range) -> list[tuple[str, int, Tensor]]:
    """(prompt, category, picture) of training pictures drawn as training draws them, by seed."""
    found, place = [], list(pictures.axes).index(AXIS)
    for seed in seeds:
        x0, choices = Draw(pictures, seed)(1)
        labels, words = choices[0].split(
            [len(pictures.axes), choices.shape[1] - len(pictures.axes)]
        )
        known = [pictures.vocabulary[k] for k in words.tolist() if k < len(pictures.vocabulary)]
        found.append((" ".join(known), int(labels[place]), x0[0]))
    return found


def sampled(model: Model, prompts: list[str], seeds: range, guidance: float) -> Tensor:
    return dpm.generate(model, SOLVER, seeds=seeds, prompt=prompts, guidance=guidance)


def write_sheet(
    path: Path, model: Model, prompts: list[str], seeds: range, guidance: float
) -> None:
    cells = list(to_uint8(sampled(model, prompts, seeds, guidance)).numpy())
    captions = ["\n".join(" ".join(p.split()[k : k + 2]) for k in (0, 2, 4)) for p in prompts]
    rows = range(0, len(cells), COLUMNS)
    made = labelled_grid(
        [[np.asarray(c) for c in cells[r : r + COLUMNS]] for r in rows],
        [str(seeds[r]) for r in rows],
        [""] * COLUMNS,
        [captions[r : r + COLUMNS] for r in rows],
        title=f"{SOLVER.nfe} evaluations, guidance {guidance:g}, seeds from {seeds[0]}",
    )
    write_bytes(path, png(made))


def loss_at(network: nn.Module, pictures: Pictures, lam: float, told: bool) -> float:
    """The velocity loss of 256 pictures at one lam, with all that is said of them or nothing."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(pictures), generator=generator)[:256]
    return loss_of(network, pictures, rows, generator, lam=lam, told=told)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="emoji-words")
    parser.add_argument("--data", type=Path, default=Path("data/emoji-words.npz"))
    parser.add_argument("--out", type=Path, default=Path("out/prompts"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=288)
    parser.add_argument("--guidance", default="1,2,3.5")
    asked = parser.parse_args()
    model, pictures = dpm.load(asked.model), Pictures.load(asked.data)
    asked.out.mkdir(parents=True, exist_ok=True)
    seen, held = pictures.subset(held=False), pictures.subset(held=True)
    strengths = [float(g) for g in asked.guidance.split(",")]
    sheet = drawn(seen, range(asked.seed, asked.seed + 72))
    prompts = [p for p, _, _ in sheet]
    seeds = range(asked.seed, asked.seed + 72)
    write_sheet(asked.out / "held-in.png", model, prompts, seeds, strengths[-1])
    pairs = [
        p for p in (" ".join(sorted(pair)) for pair in HELD_COMBINATIONS) for _ in range(COLUMNS)
    ]
    write_sheet(asked.out / "unseen.png", model, pairs, range(len(pairs)), strengths[-1])
    judge = load_features(EMOJI_FEATURES)
    some = drawn(seen, range(10_000, 10_000 + asked.count))
    wanted = torch.tensor([category for _, category, _ in some])
    for guidance in strengths:
        x = sampled(model, [p for p, _, _ in some], range(asked.count), guidance)
        share = share_named(judge, x, wanted)
        print(f"guidance {guidance:g}: category named of {share:.3f}", flush=True)
    share = share_named(judge, torch.stack([x for _, _, x in some]), wanted)
    print(f"the pictures that were drawn: {share:.3f}")
    print(f"held-out pictures: {held_out_accuracy(pictures):.3f}\n")
    network = dpm.load(asked.model, runtime="torch").denoise_float32.network  # type: ignore[attr-defined]
    print("| lam | seen: told | nothing | held out: told | nothing |\n|---|---|---|---|---|")
    for lam in (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0):
        cells = [loss_at(network, p, lam, told) for p in (seen, held) for told in (True, False)]
        print(f"| {lam:g} | " + " | ".join(f"{c:.4f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
