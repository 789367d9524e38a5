"""The engine against bare network calls, people together against people in turn.

    python -m benchmarks.engine [--model emoji-image] [--repeats 7]

Every figure is the median of ratios of two measurements made one after the other in one process;
all torch work runs on the engine's worker thread. Guidance is off. `--model untrained` takes a
network of the embedded image model's size without a checkpoint: the same work, no pictures.
Run it on an idle machine: a second process on the same cores makes any of it meaningless.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch

import dpm_demo as dpm
from benchmarks.figure import Figure, paired, table
from dpm_demo.engine.events import Preview
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker import Engine
from dpm_demo.media.grid import sprite_sheet
from dpm_demo.media.png import png
from dpm_demo.models.checkpoint import processor_precision
from dpm_demo.models.denoiser import Denoiser
from dpm_demo.models.model import Model
from dpm_demo.models.unet import UNet
from dpm_demo.solver import initial_noise
from dpm_demo.solver.settings import Solver

NFE = 20


def untrained(device: str) -> Model:
    """A network as large as the embedded image model's, with weights that mean nothing."""
    torch.manual_seed(0)
    where = torch.device(device)
    axes = tuple(len(names) for names in LABELS.values())
    network = UNet(axes=axes).to(where).eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)
    denoise = Denoiser(network, "velocity", axes, processor_precision(where))
    exact = Denoiser(network, "velocity", axes)
    return Model("untrained", (3, 32, 32), (-5.0, 4.6), denoise, exact, where, LABELS)


LABELS = {"style": tuple("abc"), "category": tuple("abcdefghi")}


class Bench:
    """A model served by an engine of its own."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine
        self.cond = model.condition(None, 1.0) if model.labels else None

    def track(self, seeds: tuple[int, ...], nfe: int = NFE, order: Any = 2) -> Track:
        solver = Solver(nfe=nfe, order=order)
        return Track(solver, seeds, cond=self.cond, lam_span=self.model.lam_span)

    def submit(self, *tracks: Track) -> Ticket:
        model = self.model
        return self.engine.submit(Job(model.denoise, model.shape, tracks, device=model.device))

    def bare(self, rows: int) -> float:
        """Seconds of `NFE` network calls and nothing else, on the worker."""

        def work() -> float:
            x = initial_noise(range(rows), self.model.shape).to(self.model.device)
            lam = torch.linspace(*self.model.lam_span, NFE, device=x.device)
            cond = None if self.cond is None else [self.cond] * rows
            began = time.perf_counter()
            for at in lam:
                x0 = self.model.denoise(x, at.expand(rows), cond)
            float(x0.sum())  # waits for the device
            return time.perf_counter() - began

        return self.engine.call(work).result()

    def watched(self, rows: int) -> float:
        """Seconds of one job whose every preview is encoded as two PNG sheets by its reader."""
        began = time.perf_counter()
        for event in self.submit(self.track(tuple(range(rows)))):
            if isinstance(event, Preview):
                for which in ("x0", "x"):
                    pictures = [getattr(p, which) for p in event.pictures.values()]
                    if pictures:
                        png(sprite_sheet(pictures), level=1)
        return time.perf_counter() - began

    def together(self, people: list[list[Track]]) -> float:
        began = time.perf_counter()
        tickets = [self.submit(*tracks) for tracks in people]
        for ticket in tickets:
            ticket.result()
        return time.perf_counter() - began

    def in_turn(self, people: list[list[Track]]) -> float:
        return sum(self.together([tracks]) for tracks in people)

    def beside(self, crowd: list[Track]) -> float:
        """Seconds of a single picture submitted while a crowd of tracks is running."""
        with self.submit(*crowd):
            time.sleep(0.3)
            return self.together([[self.track((99,))]])


def measure(model: Model, repeats: int = 7) -> Iterator[Figure]:
    """All figures of the engine for one model."""
    engine, eager = Engine(), Engine(preview_hz=float("inf"))
    bench = Bench(model, engine)
    people = [[bench.track((k,))] for k in range(8)]
    cells = [bench.track((0,), n, order) for order in (1, 2, 3) for n in (5, 8, 10, 15, 20)]
    grid = [bench.track((k,), n) for k in range(6) for n in (5, 8, 10, 15, 20, 40)]
    watched = f"8 pictures x {NFE}, watched"
    bare = f"{NFE} bare calls of 8 rows"
    try:
        yield paired(watched, lambda: bench.watched(8), lambda: bench.bare(8), bare, 1.10, repeats)
        bench.engine = eager
        yield paired(
            "the same, a preview of every evaluation",
            lambda: bench.watched(8),
            lambda: bench.bare(8),
            bare,
            1.10,
            repeats,
        )
        bench.engine = engine
        yield paired(
            f"8 people x 1 picture x {NFE}, together",
            lambda: bench.together(people),
            lambda: bench.in_turn(people),
            "one after another",
            0.5,
            repeats,
        )
        yield paired(
            "3 orders x 5 budgets, one job",
            lambda: bench.together([cells]),
            lambda: bench.in_turn([[cell] for cell in cells]),
            "its cells one after another",
            0.55,
            repeats,
        )
        yield paired(
            f"1 picture x {NFE} beside a 6 x 6 grid",
            lambda: bench.beside(grid),
            lambda: bench.together(people[:1]),
            "alone",
            3.0,
            repeats,
        )
    finally:
        engine.close()
        eager.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="emoji-image", help='a name, a folder, or "untrained"')
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runtime", default="auto", help="auto, torch or onnx")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if options.model == "untrained":
        model = untrained("cpu" if options.device == "auto" else options.device)
    else:
        model = dpm.load(options.model, options.device, runtime=options.runtime)
    print(
        f"{model.name} on {model.device}, {torch.get_num_threads()} threads, computed by ", end=""
    )
    print(f"{model.runtime or 'torch'}, torch {torch.__version__}, ", end="")
    print(f"median of {options.repeats} ratios\n")
    table(measure(model, options.repeats))


if __name__ == "__main__":
    main()
