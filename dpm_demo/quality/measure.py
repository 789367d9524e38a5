"""A unit of a sweep and what measures it; nothing of the folder, so that it may be elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from dpm_demo.compare.references import reference_solver
from dpm_demo.engine.errors import JobFailed
from dpm_demo.engine.inline import run_to_end
from dpm_demo.engine.job import Job, Track
from dpm_demo.media.pixels import to_levels
from dpm_demo.models.model import Condition, Model
from dpm_demo.quality import motion
from dpm_demo.quality.extract import Extractor
from dpm_demo.request.codec import solver_text
from dpm_demo.solver.settings import Solver

#: Seeds of one unit of work, at most. A unit lies in one block, seeds k BLOCK to
#: (k + 1) BLOCK - 1, whatever the range that was asked for.
BLOCK = 50
_PART = 6_000_000  # numbers that a network answers with in about ten seconds of two cores
_NUMBERS = 2**20  # of one network call's states, and
_BYTES = 2**30  # what one may take where the model knows: not by the clock, see `Instrument`


@dataclass(frozen=True)
class Unit:
    """A setting over some seeds of one block, in one go."""

    solver: Solver
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """A unit with what is needed to measure it: conditions, and the converged samples by seed.

    `truth` is None where no errors are asked for.
    """

    unit: Unit
    conditions: list[Condition] | None = None
    truth: Mapping[int, np.ndarray] | None = None


@dataclass(frozen=True)
class Instrument:
    """What measures a unit: the network and the extractor, and nothing of the folder.

    The rows of a network call depend on the model and the unit alone, not on a clock: where the
    last bits of a row depend on its batch, they are still the same wherever the unit is computed.
    """

    model: Model
    look: Extractor | None = None
    quick: bool = False

    def sample(
        self,
        solver: Solver,
        seeds: Sequence[int],
        conditions: list[Condition] | None,
        on_progress: Callable[[int], None] = lambda nfe: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples `(n, *shape)`, float32, and the evaluations that each of them took."""
        model = self.model
        fitted = model.resolved(solver, None if conditions is None else conditions[0])
        track = Track(
            fitted, tuple(seeds), conditions, lam_span=model.lam_span, restart=model.restart
        )
        job = Job(self._in_parts, model.shape, (track,), device=model.device, record=False)
        try:
            done = run_to_end(job, lambda event: on_progress(event.nfe), tick_ms=math.inf)
        except JobFailed as error:
            raise ValueError(f"{unit_name(solver)}: {error}") from error
        (track_result,) = done.tracks
        return track_result.samples, np.array([row.nfe for row in track_result.rows])

    def _in_parts(
        self, x: torch.Tensor, lam: torch.Tensor, cond: Sequence[Condition] | None = None
    ) -> torch.Tensor:
        model = self.model
        denoise = model.denoise if self.quick else model.denoise_float32
        rows = max(1, _NUMBERS // math.prod(model.shape))
        if model.latents is not None and (size := model.latents.row_bytes(model.shape)):
            rows = max(1, _BYTES // size)
        parts = []
        for k in range(0, len(x), rows):
            some = {} if cond is None else {"cond": cond[k : k + rows]}
            parts.append(denoise(x[k : k + rows], lam[k : k + rows], **some))
        return torch.cat(parts)

    def parts(self, order: Order) -> list[Order]:
        """An order as those that are each of about ten seconds of work, and of a seed at least.

        By the count of numbers that the network is to answer with, not by a clock: a part is the
        same wherever it is computed. Whoever is stopped loses the part that it was at.
        """
        unit, n = order.unit, BLOCK
        if self.model.device.type == "cpu":
            one = unit.solver.nfe * math.prod(self.model.shape)
            n = 1 if self.model.latents is not None else min(n, max(1, _PART // one))
        return [
            Order(
                Unit(unit.solver, unit.seeds[k : k + n]),
                None if order.conditions is None else order.conditions[k : k + n],
                order.truth,
            )
            for k in range(0, len(unit.seeds), n)
        ]

    def measure(
        self, order: Order, on_progress: Callable[[int], None] = lambda nfe: None
    ) -> dict[str, np.ndarray]:
        """Draws the samples of a unit and measures them: arrays, a row a seed."""
        made: list[dict[str, np.ndarray]] = []
        spent = 0
        for part in self.parts(order):

            def show(nfe: int, before: int = spent) -> None:
                on_progress(before + nfe)

            made.append(self._measure(part, show))
            spent += int(made[-1]["nfe"].sum())
        return {name: np.concatenate([rows[name] for rows in made]) for name in made[0]}

    def _measure(self, order: Order, on_progress: Callable[[int], None]) -> dict[str, np.ndarray]:
        unit, truth = order.unit, order.truth
        samples, spent = self.sample(unit.solver, unit.seeds, order.conditions, on_progress)
        arrays: dict[str, np.ndarray] = {"seeds": np.array(unit.seeds), "nfe": spent}
        if self.quick:
            pass  # too coarse for errors, and for a reference
        elif unit.solver == reference_solver(unit.solver):  # kept, for others' errors
            arrays["sample"] = samples
            arrays["square"] = np.zeros(len(samples))
        elif truth is not None:
            arrays["square"] = np.array(
                [
                    np.mean((x.astype(np.float64) - truth[seed]) ** 2) if seed in truth else np.nan
                    for seed, x in zip(unit.seeds, samples, strict=True)
                ]
            )
        if self.look is not None or self.model.frames > 1:
            whole = self.model.latents is None  # decoded clips are large
            parts = torch.from_numpy(samples).split(len(samples) if whole else 1)
            seen = [self._seen(self.pictures(part)) for part in parts]
            arrays |= {kind: np.concatenate([rows[kind] for rows in seen]) for kind in seen[0]}
        return arrays

    def pictures(self, samples: torch.Tensor) -> torch.Tensor:
        """What samples look like, decoded where they are latents."""
        return self.model.decode(samples.to(self.model.device)).cpu()

    def _seen(self, pictures: torch.Tensor) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        if self.look is not None:
            features, logits = self.look(pictures)
            arrays["features"] = features.numpy().reshape(len(pictures), -1, features.shape[1])
            arrays["logits"] = logits.numpy().reshape(len(pictures), -1, logits.shape[1])
        if self.model.frames > 1:
            clips = to_levels(pictures).numpy()
            arrays["difference"] = motion.differences(clips)
            arrays["neighbour_psnr"] = motion.neighbour_psnr(clips)
        return arrays


def unit_name(solver: Solver) -> str:
    """How files call a setting with its budget."""
    return f"{solver_text(solver)} nfe={solver.nfe}".replace(" ", ",")


def blocks(solver: Solver, seeds: Sequence[int]) -> list[Unit]:
    """The units of these seeds, one a block."""
    return [
        Unit(solver, tuple(block)) for _, block in groupby(seeds, key=lambda seed: seed // BLOCK)
    ]


def with_errors(solver: Solver, seeds: Sequence[int], n_error: int) -> Set[int]:
    """The seeds whose error is measured: none of a solver that draws noise."""
    return frozenset(seeds[:n_error] if solver.eta == 0 else ())
