"""What one asks of the engine: trajectories of one denoiser.

Nothing in here runs a torch operation, so every thread may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from dpm_demo.solver.settings import Solver, check_seed, most_evaluations

if TYPE_CHECKING:
    import torch


SHOWN_SIDE = 256  # pixels of a recorded picture's longer side, where samples are latents
Start = Union["torch.Tensor", np.ndarray, Callable[[], "torch.Tensor"]]


def recorded_size(latents: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(h, w), or (frames, h, w), at which pictures of such latents are recorded."""
    *frames, h, w = latents.picture_shape(shape)[1:]
    factor = -(-max(h, w) // SHOWN_SIDE)
    return (*frames, max(1, h // factor), max(1, w // factor))


@dataclass(frozen=True, eq=False)
class Track:
    """One solver setting over some seeds: one trajectory of `len(seeds)` rows.

    An adaptive solver chooses steps for each sample by itself, so there every seed becomes a
    trajectory of its own. A track needs `lam_span`, or `lambdas` for nodes of its own.

    `cond` holds for all rows, or names one condition a row. `start` is the variance-preserving
    state at the first node, `(len(seeds), *shape)`, whose dtype the trajectory keeps; a callable
    is called on the worker thread, where torch work belongs. Without it each row starts from the
    float32 noise of its own seed. `restart` is the λ where another network takes over. `pictures`
    False: nobody will look at it, so nothing of it is recorded but its points and samples.
    """

    solver: Solver
    seeds: tuple[int, ...]
    cond: Any = None
    lam_span: tuple[float, float] | None = None
    lambdas: tuple[float, ...] | None = None
    start: Start | None = None
    restart: float | None = None
    pictures: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(check_seed(seed) for seed in self.seeds))
        if not self.seeds:
            raise ValueError("seeds must name at least one sample, got none.")
        if (self.lam_span is None) == (self.lambdas is None):
            raise ValueError(
                f"a track needs either lam_span or lambdas, got lam_span={self.lam_span!r} "
                f"and lambdas={self.lambdas!r}."
            )
        if _is_sequence(self.cond) and len(self.cond) != len(self.seeds):
            raise ValueError(
                f"cond must hold one condition for each of the {len(self.seeds)} seeds, "
                f"got {len(self.cond)}."
            )

    @property
    def conditions(self) -> tuple[Any, ...] | None:
        """One condition a row, or None where the network takes none."""
        if self.cond is None:
            return None
        return tuple(self.cond) if _is_sequence(self.cond) else (self.cond,) * len(self.seeds)

    @property
    def budget(self) -> int:
        """Evaluations that a row will spend (adaptive, parallel in time: at most)."""
        return most_evaluations(self.steps, self.solver.window)

    @property
    def steps(self) -> int:
        """Evaluations in sequence of a row (adaptive, parallel in time: at most)."""
        from dpm_demo.solver.table import named

        if self.lambdas is None or self.solver.method == "adaptive":
            return self.solver.nfe
        calls = named(self.solver.table).calls if self.solver.table else 1
        return calls * (len(self.lambdas) - 1) + self.solver.denoise_to_zero

    @property
    def lam_end(self) -> float:
        """λ of the last node, where the sample lies."""
        ends = self.lam_span if self.lambdas is None else self.lambdas
        assert ends is not None
        return float(ends[-1])


def _is_sequence(cond: Any) -> bool:
    return isinstance(cond, Sequence) and not isinstance(cond, str)


@dataclass(frozen=True, eq=False)
class Job:
    """Trajectories of one denoiser, asked for together.

    `denoise(x, lam, cond=None) -> x0` gets `x` `(rows, *shape)`, `lam` `(rows,)` and one condition
    a row, and answers the data prediction; where no row has a condition it is called as
    `denoise(x, lam)`. Rows of different jobs meet in one call when their denoiser, shape and dtype
    are the same. `record` False leaves out the pictures of the final event.
    `latents` (`models.model.Latents`) makes pictures of samples that are none: previews on the way,
    and at the end the decoded ones, which are then the samples.
    """

    denoise: Callable[..., torch.Tensor]
    shape: tuple[int, ...]
    tracks: tuple[Track, ...]
    device: torch.device | str = "cpu"
    record: bool = True
    latents: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "tracks", tuple(self.tracks))
        if not self.tracks:
            raise ValueError("tracks must hold at least one track, got none.")
        if not self.shape:
            raise ValueError("shape must have at least one axis, got ().")

    @property
    def picture(self) -> tuple[int, ...]:
        """(h, w), or (frames, h, w), of the pictures that are recorded: large ones are reduced."""
        return self.shape[1:] if self.latents is None else recorded_size(self.latents, self.shape)

    @property
    def samples(self) -> int:
        """Number of samples over all tracks; each is one tile, numbered in this order."""
        return sum(len(track.seeds) for track in self.tracks)

    @property
    def budget(self) -> int:
        """Row evaluations that the whole job may spend."""
        return sum(len(track.seeds) * track.budget for track in self.tracks)
