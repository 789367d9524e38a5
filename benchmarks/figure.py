"""One line of the table in docs/performance.md, and how two things are timed against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from dpm_demo.models.model import Model
from dpm_demo.solver import initial_noise

__all__ = ["Figure", "call", "paired", "seconds", "table"]


@dataclass(frozen=True)
class Figure:
    """What was measured, against what, and the aim that it has to stay under."""

    what: str
    before: str  # what it is measured against, with its value; "" where there is none
    now: str
    ratio: float | None  # None: it could not be measured, and `now` says why
    aim: float | None = None

    @property
    def verdict(self) -> str:
        """ "met", "missed" or nothing."""
        if self.aim is None:
            return ""
        if self.ratio is None:
            return "not measured"
        return "met" if self.ratio <= self.aim else "**missed**"


def call(model: Model, rows: int, *, float32: bool = False) -> Callable[[], torch.Tensor]:
    """One bare network call of so many rows, without guidance."""
    x = initial_noise(range(rows), model.shape).to(model.device)
    lam = torch.zeros(rows, device=model.device)
    cond = [[model.condition(None, 1.0)] * rows] if model.conditional else []
    denoise = model.denoise_float32 if float32 else model.denoise
    return torch.no_grad()(partial(denoise, x, lam, *cond))


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def paired(
    what: str,
    now: Callable[[], object],
    before: Callable[[], object],
    against: str,
    aim: float | None,
    repeats: int,
) -> Figure:
    """Both in turns, after one of each to warm up: medians, and the median of the ratios."""
    pairs = [(seconds(now), seconds(before)) for _ in range(repeats + 1)][1:]
    mine, base = (median(times) for times in zip(*pairs, strict=True))
    return Figure(
        what,
        f"{against}: {1e3 * base:.4g} ms",
        f"{1e3 * mine:.4g} ms",
        median(a / b for a, b in pairs),
        aim,
    )


def table(figures: Iterable[Figure]) -> str:
    """The figures in Markdown, each printed as soon as it is measured."""
    lines = ["| what | before, or against | now | ratio | aim | |", "|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        aim = "" if one.aim is None else f"≤ {one.aim:g}"
        line = f"| {one.what} | {one.before} | {one.now} | {ratio} | {aim} | {one.verdict} |"
        print(line, flush=True)
        lines.append(line)
    return "\n".join(lines)
