"""What the pictures of *order* are made of: particles in the plane, and one dimension step by step.

Everything is computed by the same solver as anywhere else, on data whose denoiser is exact; whoever
draws it gets plain numbers. Runs on the thread of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dpm_demo.models.exact import MIXTURE
from dpm_demo.models.plane import REACH, PlaneMixture
from dpm_demo.solver import Evaluation, integrate, nodes, plan, trajectory
from dpm_demo.solver.coefficients import fit
from dpm_demo.solver.settings import Solver

SPAN = (-5.0, 4.6)
EXACT = Solver(nfe=160, order=3, lower_order_final=False)  # of float64: far below a pixel
TIMES = 49  # at which exact paths, density and field are known
GRID, ARROWS = 36, 13
STARTS = 64  # of the line: its errors are means over them


@dataclass(frozen=True)
class Scene:
    """The plane before any solver: `lam` (t,), exact `paths` (n, t, 2), `density` (t, g, g) of 0
    to 1 (each time by its own most), `field` (t, a, a, 2) of dx/dλ."""

    lam: np.ndarray
    paths: np.ndarray
    density: np.ndarray
    field: np.ndarray


@dataclass(frozen=True)
class Walk:
    """One solver's way: `points` (k, n, 2) where the network is asked, the last being the sample;
    `stages` (k,) above 0 inside a singlestep step; `lam` (k,); `miss` (n,) from the exact end."""

    points: np.ndarray
    stages: tuple[int, ...]
    lam: tuple[float, ...]
    miss: np.ndarray


def particles(count: int, seed: int, own: Sequence[tuple[float, float]] = ()) -> Tensor:
    """Starts `(own + count, 2)` float64: one's own first, then standard normal ones."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return torch.cat([torch.tensor(list(own), dtype=torch.float64).reshape(-1, 2), drawn])


def scene(mixture: PlaneMixture, starts: Tensor) -> Scene:
    """The exact paths of `starts`, and the density and the field at the same times."""
    asked, sample = _run(mixture, starts, EXACT)
    kept = np.linspace(0, len(asked), TIMES).round().astype(int)
    times = np.array([*[float(event.lam) for event in asked], SPAN[1]])[kept]
    states = [*[event.x for event in asked], sample]
    densities, fields = [], []
    for at in times:
        density = mixture.density(_lattice(GRID), float(at)).reshape(GRID, GRID)
        densities.append((density / density.max()).numpy())
        fields.append(mixture.velocity(_lattice(ARROWS), float(at)).reshape(ARROWS, ARROWS, 2))
    paths = torch.stack([states[k] for k in kept], dim=1).numpy()
    return Scene(times, paths, np.stack(densities), torch.stack(fields).numpy())


def walk(mixture: PlaneMixture, starts: Tensor, solver: Solver, ends: Tensor) -> Walk:
    """How `solver` takes `starts`, and how far from the exact `ends` it arrives."""
    asked, sample = _run(mixture, starts, solver)
    return Walk(
        torch.stack([*[event.x for event in asked], sample]).numpy(),
        (*[event.stage for event in asked], 0),
        (*[float(event.lam) for event in asked], SPAN[1]),
        (sample - ends).norm(dim=1).numpy(),
    )


def _run(mixture: PlaneMixture, starts: Tensor, solver: Solver) -> tuple[list[Evaluation], Tensor]:
    """Every evaluation of a fixed-step solver, answered by the exact denoiser, and the sample."""
    asked: list[Evaluation] = []
    steps = trajectory(starts, solver, lam_span=SPAN)
    answer: Tensor | None = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return asked, stop.value
        assert isinstance(event, Evaluation)  # a fixed-step solver of the ODE measures nothing
        asked.append(event)
        answer = mixture.denoise(event.x, event.lam)


def _lattice(count: int) -> Tensor:
    """Points of the square `(count², 2)`, row by row from the top."""
    axis = torch.linspace(-REACH, REACH, count, dtype=torch.float64)
    y, x = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


# ---------------------------------------------------------------- one dimension


@dataclass(frozen=True)
class Line:
    """One dimension, step by step along the exact path.

    `curve` (m, 2): λ and the exact prediction there. `steps`: of each, points (k, 2) of the
    polynomial that stands for it. `error` and `halved`: mean error of the samples with these nodes,
    and with one more in the middle of each step.
    """

    curve: np.ndarray
    steps: tuple[np.ndarray, ...]
    error: float
    halved: float


def line(lambdas: Sequence[float], order: int) -> Line:
    """The prediction along the exact path, and the polynomials of a multistep solver through it.

    Step i interpolates the predictions at its own node and the order − 1 before. Raises ValueError
    for nodes that a solver refuses.
    """
    solver = Solver(order=order, lower_order_final=False)
    made = plan(solver, lambdas=lambdas)
    start = torch.tensor([0.4], dtype=torch.float64)

    def prediction(at: np.ndarray) -> np.ndarray:
        lam = torch.from_numpy(at)
        x = MIXTURE.flow(start.expand(len(at)), made.nodes[0], lam)
        return MIXTURE.denoise(x, lam).numpy()

    known = prediction(np.array(made.nodes[:-1]))
    steps = []
    for i, count in enumerate(made.orders):
        at = np.linspace(made.nodes[i], made.nodes[i + 1], 13)
        past = [i - k for k in range(count)]
        r = [made.nodes[k] for k in past]
        weights = np.array([fit(r, [lam**j for j in range(count)]) for lam in at])
        steps.append(np.stack([at, weights @ known[past]], axis=1))
    grid = np.linspace(made.nodes[0], made.nodes[-1], 161)
    halves = sorted([*made.nodes, *[(a + b) / 2 for a, b in pairwise(made.nodes)]])
    return Line(
        np.stack([grid, prediction(grid)], axis=1),
        tuple(steps),
        line_error(solver, tuple(made.nodes)),
        line_error(solver, tuple(halves)),
    )


@lru_cache(maxsize=512)
def line_error(solver: Solver, lambdas: tuple[float, ...]) -> float:
    """Mean error over `STARTS` quantiles of the noise, on the mixture in one dimension."""
    shares = (torch.arange(STARTS, dtype=torch.float64) + 0.5) / STARTS
    starts = torch.special.ndtri(shares)
    truth = MIXTURE.flow(starts, lambdas[0], lambdas[-1])
    sample = integrate(MIXTURE.denoise, starts, solver, lambdas=lambdas)
    return float((sample - truth).abs().mean())


@lru_cache(maxsize=1)
def printed_against_exact() -> dict[str, list[tuple[int, float]]]:
    """(evaluations, mean error) of multistep order 3, the printed formula and the exact weights."""
    found: dict[str, list[tuple[int, float]]] = {}
    for weights in ("published", "exact"):
        solver = Solver(order=3, weights=weights, lower_order_final=False)  # type: ignore[arg-type]
        found[weights] = [
            (nfe, line_error(solver, tuple(nodes("logsnr", nfe, SPAN))))
            for nfe in (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
        ]
    return found
