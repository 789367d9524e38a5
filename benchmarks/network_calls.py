"""Network calls, pictures and clips on this processor: what runs now against torch alone.

python -m benchmarks.network_calls [--repeats 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel

import dpm_demo as dpm
from benchmarks.figure import Figure, call, paired, seconds, table
from benchmarks.service import busy_core
from dpm_demo.compare.questions import START
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.compare.shipped import with_shipped
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.worker import Engine
from dpm_demo.models.model import Model
from dpm_demo.solver import initial_noise

NFE = 20
CELL_ROWS = 16  # of one bare call


def calls(now: Model, before: Model, repeats: int) -> Iterator[Figure]:
    """Single calls by batch, and one of them while another process has a core."""
    for rows, aim in ((1, 0.5), (2, None), (8, 0.7), (16, None)):
        what = f"one call of {now.name}, batch {rows}"
        yield paired(
            what,
            call(now, rows, float32=True),
            call(before, rows, float32=True),
            "torch eager",
            aim,
            repeats,
        )
    for name, model, aim in (("", now, 2.2), (", torch", before, None)):
        work = call(model, 1, float32=True)
        seconds(work)
        idle = sorted(seconds(work) for _ in range(4 * repeats))[2 * repeats]
        with busy_core():
            seconds(work)
            busy = sorted(seconds(work) for _ in range(4 * repeats))[2 * repeats]
        what = f"one call of {model.name}, batch 1{name}, one core busy"
        yield Figure(what, f"idle: {1e3 * idle:.4g} ms", f"{1e3 * busy:.4g} ms", busy / idle, aim)


def diffusers_loop(model: Model, seed: int) -> torch.Tensor:
    """One picture by diffusers' own multistep scheduler of order 2 around the same network."""
    scheduler = DPMSolverMultistepScheduler(solver_order=2, prediction_type="sample")
    scheduler.set_timesteps(NFE)
    x = initial_noise([seed], model.shape)
    cond = [model.condition(None, 1.0)] if model.labels else None
    with torch.no_grad():
        lams = torch.linspace(*model.lam_span, NFE)
        for t, lam in zip(scheduler.timesteps, lams, strict=True):
            x0 = model.denoise_float32(x, lam.reshape(1), cond)
            x = scheduler.step(x0, t, x, return_dict=False)[0]
    return x


def pictures(now: Model, before: Model, repeats: int) -> Iterator[Figure]:
    """One picture, and eight people's, against diffusers' loop around the network in torch."""
    solver = dpm.Solver(nfe=NFE, order=2)
    loop = f"diffusers' loop, {NFE} evaluations"
    yield paired(
        f"one picture of {now.name}",
        lambda: dpm.generate(now, solver, guidance=1.0),
        lambda: diffusers_loop(before, 0),
        loop,
        0.5,
        repeats,
    )
    engine, cond = Engine(), now.condition(None, 1.0)

    def together() -> None:
        tracks = [Track(solver, (k,), cond=cond, lam_span=now.lam_span) for k in range(8)]
        jobs = [Job(now.denoise, now.shape, (track,), device=now.device) for track in tracks]
        for ticket in [engine.submit(job) for job in jobs]:
            ticket.result()

    try:
        yield paired(
            "eight people, a picture each, together",
            together,
            lambda: [diffusers_loop(before, k) for k in range(8)],
            f"{loop}, in turn",
            0.35,
            repeats,
        )
    finally:
        engine.close()


def comparison(now: Model, repeats: int) -> Iterator[Figure]:
    """The page's default comparison until every figure is there, against its rows as bare calls."""
    wanted = replace(START, model=now.name)
    evaluations = sum(s.nfe for s in ComparisonRun(wanted, now, References()).cells.solvers)
    network_rows = 2 * evaluations  # it is guided

    def whole() -> None:
        run = ComparisonRun(wanted, now, with_shipped())
        for event in run_inline(run.job, preview_hz=15.0):
            run.take(event)
        assert run.measured_cells == len(run.cells.cells)

    many = call(now, CELL_ROWS, float32=True)

    def rows() -> None:
        for _ in range(-(-network_rows // CELL_ROWS)):
            many()

    what = "the page's default comparison, all figures"
    yield paired(what, whole, rows, f"its {network_rows} rows, bare", 1.5, repeats)


def clips(repeats: int) -> Iterator[Figure]:
    """A clip of 16 frames, by what runs now against torch."""
    now, before = (dpm.load("emoji-video", "cpu", runtime=name) for name in ("auto", "torch"))
    solver = dpm.Solver(nfe=NFE)
    yield paired(
        f"a clip of 16 frames, {NFE} evaluations ({now.runtime})",
        lambda: dpm.generate(now, solver, guidance=1.0),
        lambda: dpm.generate(before, solver, guidance=1.0),
        "torch, the same layers",
        None,
        repeats,
    )


def cifar(repeats: int) -> Iterator[Figure]:
    """The public DDPM's shape, which torch computes: nothing exports networks of diffusers yet."""
    network = UNet2DModel(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    for rows in (1, 8):
        x = torch.zeros(rows, 3, 32, 32)
        work = torch.no_grad()(partial(network, x, torch.zeros(rows)))
        took = sorted(seconds(work) for _ in range(repeats))[repeats // 2]
        what = f"one call of a CIFAR-sized UNet2DModel, batch {rows} (torch)"
        yield Figure(what, "", f"{1e3 * took:.4g} ms", None)


def steps(repeats: int) -> Iterator[Figure]:
    """`stream` and `generate` around a network that costs nothing, against diffusers' loop."""
    answer = torch.zeros(1, 3, 32, 32)

    def nothing(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        return answer

    free = Model("free", (3, 32, 32), (-5.0, 4.6), nothing, nothing, torch.device("cpu"))
    solver = dpm.Solver(nfe=NFE)

    def loop() -> None:
        diffusers_loop(free, 0)

    for name, work in (
        ("stream", lambda: list(dpm.stream(free, solver))),
        ("generate", lambda: dpm.generate(free, solver)),
    ):
        what = f"`{name}` of {NFE} steps around a network that costs nothing"
        yield paired(what, work, loop, "diffusers' loop", 0.5, 4 * repeats)


def measure(repeats: int) -> Iterator[Figure]:
    """All of them."""
    now, before = (dpm.load("emoji-image", "cpu", runtime=name) for name in ("auto", "torch"))
    yield from calls(now, before, repeats)
    yield from pictures(now, before, repeats)
    yield from comparison(now, repeats)
    yield from clips(repeats)
    yield from cifar(repeats)
    yield from steps(repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    table(measure(parser.parse_args().repeats))


if __name__ == "__main__":
    main()
