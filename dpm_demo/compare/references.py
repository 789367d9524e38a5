"""The converged samples that errors are measured against: which, how, and kept for whom."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpm_demo.compare.layout import Layout
from dpm_demo.engine.events import Done
from dpm_demo.engine.job import Job
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import condition_of, shape_of, tracks_job
from dpm_demo.solver.settings import Solver

#: Evaluations of the reference, order 3. Doubling them moves a sample of `emoji-image` by an RMSE
#: that `python -m benchmarks.reference` prints (README, "Numbers").
REFERENCE_NFE = 200


@dataclass(frozen=True)
class Target:
    """What a converged sample depends on; two solvers with the same target share a reference."""

    model: str
    condition: Condition | None
    seed: int
    shape: tuple[int, ...]
    span: tuple[float, float]
    precision: str
    threshold: str | None
    finish: bool
    space: str = "pixels"  # or "latents": what the samples were before they were decoded


def target_of(comparison: Comparison, model: Model, solver: Solver, seed: int) -> Target:
    shape = shape_of(comparison.sample, model)
    return Target(
        model.digest or model.name,
        condition_of(comparison.sample, model) if model.conditional else None,
        seed,
        shape,
        model.span_for(shape),
        "float32",
        solver.threshold,
        solver.denoise_to_zero,
    )


class References:
    """Converged samples by target, the least recently used ones dropped above `most`."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._kept: OrderedDict[Target, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, target: Target) -> np.ndarray | None:
        with self._lock:
            if target in self._kept:
                self._kept.move_to_end(target)
            return self._kept.get(target)

    def put(self, target: Target, sample: np.ndarray) -> None:
        with self._lock:
            self._kept[target] = sample
            self._kept.move_to_end(target)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def reference_solver(solver: Solver, nfe: int = REFERENCE_NFE) -> Solver:
    """Order 3, many evaluations, the same target (threshold and finish) as `solver`."""
    return Solver(
        nfe=nfe, order=3, threshold=solver.threshold, denoise_to_zero=solver.denoise_to_zero
    )


def missing_references(
    comparison: Comparison, model: Model, cells: Layout, kept: References
) -> tuple[Job | None, list[Target]]:
    """The job that computes the references which are not kept, and their targets in order.

    Where the model's flow is known no job is needed: `exact_references` fills them in.
    """
    wanted: dict[Solver, list[Target]] = {}
    for solver in cells.solvers:
        if solver.eta == 0:
            targets = [target_of(comparison, model, solver, seed) for seed in cells.seeds]
            absent = [target for target in targets if kept.get(target) is None]
            if absent:
                wanted[reference_solver(solver)] = absent
    if not wanted:
        return None, []
    tracks = [(solver, [t.seed for t in targets]) for solver, targets in wanted.items()]
    job = tracks_job(comparison.sample, model, tracks, exact=True, record=False)
    return job, [target for targets in wanted.values() for target in targets]


def keep_references(done: Done, targets: Sequence[Target], kept: References) -> None:
    rows = [row for track in done.tracks for row in track.rows]
    for target, row in zip(targets, rows, strict=True):
        if row.sample is not None:
            kept.put(target, row.sample)
        if row.latent is not None:
            kept.put(replace(target, space="latents"), row.latent)


def exact_references(model: Model, targets: list[Any]) -> list[np.ndarray]:
    """The known solution at the end of the span for each target's seed (on the engine's thread)."""
    from dpm_demo.solver import initial_noise

    assert model.exact_solution is not None
    x = initial_noise([t.seed for t in targets], model.shape)
    return list(model.exact_solution(x, *model.lam_span).float().numpy())
