"""Clips: speed, memory, motion against real clips, and error to the converged solution.

    python -m benchmarks.video [--model emoji-video] [--data data/emoji-video.npz] [--only ...]

Speed and memory are without guidance. Motion is that of samples (20 evaluations, order 2) which
have the labels of held-out clips, one seed each, against those clips. Errors are RMSE in units of
[-1, 1] over the seeds, in float32, to order 3 at 200 evaluations from the same noise, or to the
exact solution where it is known. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

import dpm_demo as dpm
from benchmarks.figure import call, seconds
from dpm_demo.compare.figures import rmse
from dpm_demo.compare.references import REFERENCE_NFE
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker import Engine
from dpm_demo.media.pixels import to_uint8
from dpm_demo.models.model import Model
from dpm_demo.quality.motion import Motion, motion, within
from dpm_demo.request.limits import memory_needed
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.training.data import Pictures

NFE = 20
AT_ONCE = 4  # clips of one network call where many are drawn
BUDGETS = (10, 20)
ORDERS = (1, 2, 3)


# ---------------------------------------------------------------- speed


@dataclass(frozen=True)
class Speed:
    """Medians: ms of one evaluation of 1 and 4 clips, seconds of one clip, and the newcomer."""

    ms_one: float
    ms_four: float
    seconds: float
    newcomer: float  # time of a picture while four clips run, over its time alone


def speed(model: Model, picture: Model, repeats: int = 5, nfe: int = NFE) -> Speed:
    """All of it through the engine, as the page runs it."""
    engine = Engine()

    def submit(which: Model, count: int) -> Ticket:
        cond = which.condition(None, 1.0) if which.labels else None
        seeds = tuple(range(count))
        track = Track(Solver(nfe=nfe), seeds, cond=cond, lam_span=which.lam_span)
        return engine.submit(Job(which.denoise, which.shape, (track,), device=which.device))

    def alone(which: Model, count: int) -> float:
        began = time.perf_counter()
        submit(which, count).result()
        return time.perf_counter() - began

    def beside() -> float:
        with submit(model, 4):
            time.sleep(0.1)
            return alone(picture, 1)

    def bare(rows: int) -> float:
        """Milliseconds of one bare network call, on the engine's thread."""
        work = call(model, rows)
        return 1e3 * engine.call(lambda: seconds(lambda: float(work().sum()))).result()

    def middle(measured: Callable[[], float]) -> float:
        return median([measured() for _ in range(repeats + 1)][1:])

    try:
        return Speed(
            ms_one=middle(lambda: bare(1)),
            ms_four=middle(lambda: bare(4)),
            seconds=middle(lambda: alone(model, 1)),
            newcomer=middle(lambda: beside() / alone(picture, 1)),
        )
    finally:
        engine.close()


# ---------------------------------------------------------------- memory


def _status(field: str) -> int:
    """Bytes of a line of Linux's /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {field}.")


def peak_memory(model: Model, nfe: int = NFE) -> int:
    """Bytes that one clip takes at most above what the loaded model holds, its record included.

    Resident memory of the process (Linux), or the device's allocations on CUDA.
    """
    engine = Engine()
    cond = model.condition(None, 1.0) if model.labels else None

    def run(evaluations: int) -> None:
        track = Track(Solver(nfe=evaluations), (0,), cond=cond, lam_span=model.lam_span)
        engine.submit(Job(model.denoise, model.shape, (track,), device=model.device)).result()

    try:
        if model.device.type == "cuda":
            run(2)
            torch.cuda.reset_peak_memory_stats(model.device)
            before = torch.cuda.memory_allocated(model.device)
            run(nfe)
            return torch.cuda.max_memory_allocated(model.device) - before
        # no warm-up: what a first run leaves with the allocator would hide the second one's peak
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
        before = _status("VmRSS")
        run(nfe)
        return _status("VmHWM") - before
    finally:
        engine.close()


# ---------------------------------------------------------------- motion


def draw(
    model: Model, labels: torch.Tensor | None, n: int, guidance: float, nfe: int = NFE
) -> np.ndarray:
    """`n` samples as uint8 `(n, 3, frames, h, w)`, seed k for sample k, a row of labels each."""
    names = list(model.labels.values())
    parts = []
    for first in range(0, n, AT_ONCE):
        seeds = range(first, min(first + AT_ONCE, n))
        cond = None
        if names and labels is not None:
            words = [[axis[i] for axis, i in zip(names, labels[k], strict=True)] for k in seeds]
            cond = [model.condition(" ".join(word), guidance) for word in words]
        x = initial_noise(seeds, model.shape).to(model.device)
        x0 = integrate(model.denoise, x, Solver(nfe=nfe), lam_span=model.lam_span, cond=cond)
        parts.append(to_uint8(x0).movedim(-1, 1).cpu())
    return torch.cat(parts).numpy()


def compare_motion(
    model: Model, data: Pictures, n: int = 64, guidance: float = 1.0, nfe: int = NFE
) -> tuple[Motion, Motion]:
    """Motion of `n` samples, and of the `n` held-out clips whose labels they have."""
    held = data.subset(held=True)
    if len(held) < n:
        raise ValueError(f"samples: {n} is more than the {len(held)} held-out clips.")
    rows = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:n]
    labels = held.labels[rows].long() if model.labels else None
    return motion(draw(model, labels, n, guidance, nfe)), motion(held.data[rows].numpy())


# ---------------------------------------------------------------- error


def errors(
    model: Model, seeds: Sequence[int], reference_nfe: int = REFERENCE_NFE
) -> dict[tuple[int, int], float]:
    """RMSE to the converged solution by (order, evaluations), over all seeds."""
    cond = [model.condition(None, 1.0)] * len(seeds) if model.labels else None
    x = initial_noise(seeds, model.shape).to(model.device)

    def solve(solver: Solver) -> np.ndarray:
        x0 = integrate(model.denoise_float32, x, solver, lam_span=model.lam_span, cond=cond)
        return x0.cpu().numpy()

    if model.exact_solution is not None:
        truth = model.exact_solution(x, *model.lam_span).cpu().numpy()
    else:
        truth = solve(Solver(nfe=reference_nfe, order=3))
    return {(o, n): rmse(solve(Solver(nfe=n, order=o)), truth) for o in ORDERS for n in BUDGETS}


# ---------------------------------------------------------------- the tables


def _speed_table(found: Speed) -> str:
    return "\n".join(
        [
            "| ms an evaluation of 1 clip | of 4 clips | s for one clip | picture beside 4 clips |",
            "|---|---|---|---|",
            f"| {found.ms_one:.1f} | {found.ms_four:.1f} | {found.seconds:.2f} "
            f"| {found.newcomer:.2f} x alone |",
        ]
    )


def _error_table(found: dict[tuple[int, int], float]) -> str:
    lines = ["| order | " + " | ".join(f"{n} evaluations" for n in BUDGETS) + " |"]
    lines.append("|---" * (1 + len(BUDGETS)) + "|")
    for order in ORDERS:
        cells = " | ".join(f"{found[order, n]:.4f}" for n in BUDGETS)
        lines.append(f"| {order} | {cells} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parts = ("memory", "speed", "motion", "error")
    out.add_argument("--model", default="emoji-video", help="a name, or a checkpoint folder")
    out.add_argument("--picture", default="emoji-image", help="the model of the newcomer's picture")
    out.add_argument("--data", default=None, help="the prepared clips; without them no motion")
    out.add_argument("--device", default="auto")
    out.add_argument("--runtime", default="auto", help="auto, torch or onnx")
    out.add_argument("--samples", type=int, default=64)
    out.add_argument("--guidance", type=float, default=1.0, help="of the motion samples")
    out.add_argument("--seeds", type=int, default=4, help="of the errors")
    out.add_argument("--nfe", type=int, default=NFE, help="evaluations of a clip")
    out.add_argument("--reference", type=int, default=REFERENCE_NFE)
    out.add_argument("--repeats", type=int, default=5)
    out.add_argument("--only", nargs="+", choices=parts, default=parts)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    model = dpm.load(options.model, options.device, runtime=options.runtime)
    size = " x ".join(map(str, model.shape))
    print(f"{model.name} ({size}) on {model.device}, {torch.get_num_threads()} threads, ", end="")
    print(f"computed by {model.runtime}, torch {torch.__version__}\n")
    if "memory" in options.only:  # first, while the allocator keeps nothing from other work
        peak, numbers = peak_memory(model, options.nfe), math.prod(model.shape)
        bound = memory_needed([options.nfe], numbers)
        print(
            f"One clip of {options.nfe} evaluations: {peak / 1e6:.0f} MB at its peak above ", end=""
        )
        print(f"the loaded model; the page reckons with {bound / 1e6:.0f} MB.\n")
    if "speed" in options.only:
        picture = dpm.load(options.picture, options.device, runtime=options.runtime)
        print(_speed_table(speed(model, picture, options.repeats, options.nfe)) + "\n")
    if "motion" in options.only and options.data is not None:
        data = Pictures.load(Path(options.data))
        made, real = compare_motion(model, data, options.samples, options.guidance, options.nfe)
        verdict = ", ".join(
            f"{k} {'met' if ok else 'MISSED'}" for k, ok in within(made, real).items()
        )
        print(f"made: {made}\nreal: {real}\n{verdict}\n")
    if "error" in options.only:
        print(_error_table(errors(model, range(options.seeds), options.reference)))


if __name__ == "__main__":
    main()
