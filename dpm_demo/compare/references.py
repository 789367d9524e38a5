"""The converged samples that errors are measured against: which, how, and kept for whom."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpm_demo.models.model import Condition, Model
from dpm_demo.request.job import Checked
from dpm_demo.solver import initial_noise
from dpm_demo.solver.settings import Solver

#: Evaluations of the reference, order 3. Doubling them moves a sample of `emoji-image` by an RMSE
#: that `python -m benchmarks.reference` prints (docs/performance.md).
REFERENCE_NFE = 200
KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Target:
    """What a converged sample depends on; two solvers with the same target share a reference."""

    model: str
    condition: Condition
    seed: int
    shape: tuple[int, ...]
    span: tuple[float, float]
    threshold: str | None
    finish: bool
    space: str = "pixels"  # or "latents": what the samples were before they were decoded


@dataclass(frozen=True)
class Converged:
    """A sample, the evaluations that made it, and its RMSE to the sample of half as many."""

    sample: np.ndarray
    nfe: int
    apart: float


def target_of(wanted: Checked, solver: Solver, seed: int) -> Target:
    """The target of a solver without noise of its own (eta 0)."""
    model = wanted.model
    return Target(
        model.digest or model.name,
        wanted.condition if model.conditional else Condition(),
        seed,
        wanted.shape,
        model.span_for(wanted.shape),
        solver.threshold,
        solver.denoise_to_zero,
    )


def reference_solver(solver: Solver, nfe: int = REFERENCE_NFE) -> Solver:
    """Order 3, many evaluations, the same target (threshold and finish) as `solver`."""
    return Solver(
        nfe=nfe, order=3, threshold=solver.threshold, denoise_to_zero=solver.denoise_to_zero
    )


def exact_references(model: Model, seeds: Sequence[int]) -> list[np.ndarray]:
    """The known solution at the end of the span for each seed (where torch runs)."""
    assert model.exact_solution is not None
    x = initial_noise(list(seeds), model.shape)
    return list(model.exact_solution(x, *model.lam_span).float().numpy())


class References:
    """Converged samples by target, for every thread; above `most_bytes` the least recently used go.

    One for a whole process: every tab and command finds what another one has computed. `shipped`
    are there from the beginning and stay.
    """

    def __init__(
        self, most_bytes: int = KEPT_BYTES, shipped: Mapping[Target, Converged] | None = None
    ) -> None:
        self._most = most_bytes
        self.shipped = dict(shipped or {})
        self._kept: OrderedDict[Target, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Bytes of all samples kept."""
        return self._bytes

    def get(self, target: Target) -> np.ndarray | None:
        """The sample, if it is kept."""
        if target in self.shipped:
            return self.shipped[target].sample
        with self._lock:
            if target in self._kept:
                self._kept.move_to_end(target)
            return self._kept.get(target)

    def put(self, target: Target, sample: np.ndarray) -> None:
        """Keeps a sample; one that alone is above the bound is not kept."""
        with self._lock:
            old = self._kept.pop(target, None)
            self._bytes += sample.nbytes - (0 if old is None else old.nbytes)
            self._kept[target] = sample
            while self._bytes > self._most:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.nbytes
