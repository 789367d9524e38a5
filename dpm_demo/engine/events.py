"""What comes back from the engine: previews of a running job, and its end with a full record.

Nothing in here runs a torch operation, so every thread may use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dpm_demo.engine.errors import JobFailed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Point:
    """One evaluation of a row; the last point of a finished row is its sample.

    `nfe` counts evaluations spent with this one. `stage` > 0 marks an inner stage of a singlestep
    method, whose `picture` is that of the point before it. `picture` is -1 if none was recorded.
    """

    nfe: int
    lam: float
    stage: int
    picture: int


@dataclass(frozen=True)
class SolverDecision:
    """A sampler's decision (a rejected step, a lowered order), after `nfe` evaluations."""

    tile: int
    nfe: int
    kind: str
    lam: float
    data: dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """Where one sample stands; `state` is waiting, running, done or failed."""

    state: str
    nfe: int
    budget: int
    lam: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """x0 and x_t of one sample after `nfe` evaluations: uint8, channels last."""

    nfe: int
    lam: float
    x0: np.ndarray
    x: np.ndarray


@dataclass(frozen=True, eq=False)
class Preview:
    """The newest state of a running job.

    `tiles` has every sample; `pictures`, `samples` (float32, of tiles that have ended) and
    `decisions` only what is new since the preview that the reader took last. `nfe` counts row
    evaluations over all tiles, out of `budget`; `ms` is the time of the last network call this
    job had a part in, `rows` its rows, whoever's they were.
    """

    seq: int
    tiles: tuple[Tile, ...]
    pictures: dict[int, Picture]
    decisions: tuple[SolverDecision, ...]
    nfe: int
    budget: int
    seconds: float
    ms: float
    rows: int
    samples: dict[int, np.ndarray] = field(default_factory=dict)
    latents: dict[int, np.ndarray] = field(default_factory=dict)  # of those that were decoded
    note: str = ""  # a few words for who watches, about how it is run

    def onto(self, old: Preview | None) -> Preview:
        """This preview with what an older one that nobody took has and this one has not."""
        if old is None:
            return self
        return replace(
            self,
            pictures={**old.pictures, **self.pictures},
            samples={**old.samples, **self.samples},
            latents={**old.latents, **self.latents},
            decisions=old.decisions + self.decisions,
        )


@dataclass(frozen=True, eq=False)
class SampleRecord:
    """One sample with its record, complete however slow the reader was.

    `sample` is float32 `(*shape)`, None if the row failed (`error` says why) or was cancelled.
    `x0` and `x` are uint8 `(pictures, …, channels)`: a picture for every trajectory point, 64
    evenly chosen above that, the last of a finished row being the sample.
    """

    seed: int
    sample: np.ndarray | None
    points: tuple[Point, ...]
    x0: np.ndarray
    x: np.ndarray
    nfe: int
    converged: bool
    decisions: tuple[SolverDecision, ...]
    error: str | None = None
    latent: np.ndarray | None = None  # before it was decoded, where samples are latents

    def picture_at(self, nfe: int) -> np.ndarray:
        """The data prediction after `nfe` evaluations: the last one where the sample has ended."""
        seen = [p.picture for p in self.points[: max(nfe, 1)] if p.picture >= 0]
        return self.x0[seen[-1] if seen else 0]


@dataclass(frozen=True, eq=False)
class TrackResult:
    """The rows of one track in the order of its seeds, and the milliseconds they were charged.

    A network call shared with others is charged by rows.
    """

    rows: tuple[SampleRecord, ...]
    ms: float

    @property
    def nfe(self) -> int:
        return sum(row.nfe for row in self.rows)

    @property
    def samples(self) -> np.ndarray:
        """`(rows, *shape)` float32; raises `JobFailed` where a row has no sample."""
        for row in self.rows:
            if row.sample is None:
                raise JobFailed(row.error or f"The sample of seed {row.seed} was not finished.")
        return np.stack([row.sample for row in self.rows if row.sample is not None])


@dataclass(frozen=True, eq=False)
class Done:
    """The end of a job of which at least one sample was finished."""

    tracks: tuple[TrackResult, ...]
    nfe: int
    seconds: float
    note: str = ""  # as a preview's

    @property
    def error(self) -> str | None:
        """The first failure among the rows."""
        errors = (row.error for track in self.tracks for row in track.rows)
        return next((error for error in errors if error), None)


@dataclass(frozen=True, eq=False)
class Failed:
    """The end of a job that has no sample; `tracks` is what was recorded before, or empty."""

    error: str
    tracks: tuple[TrackResult, ...] = ()
    nfe: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Cancelled:
    """The end of a job that was cancelled; `tracks` is what was recorded before, or empty."""

    tracks: tuple[TrackResult, ...] = ()
    nfe: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Stats:
    """`requests` admitted and unfinished, and of the last tick: `rows`, `ms`, `ms_per_row`."""

    requests: int = 0
    ticks: int = 0
    rows: int = 0
    ms: float = 0.0
    ms_per_row: float = 0.0
    device: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """Tensors of one trajectory point: `x`, `x0` `(rows, *shape)` at λ = `lam`.

    `rows` are the rows of the track that it shows. The last frame (`final`) has the sample as
    both `x` and `x0`.
    """

    track: int
    rows: tuple[int, ...]
    nfe: int
    lam: float
    x: torch.Tensor
    x0: torch.Tensor
    final: bool = False


Event = Preview | Done | Failed | Cancelled
