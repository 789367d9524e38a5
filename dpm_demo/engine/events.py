"""What one asks of the engine, and what comes back: jobs, events, and the ticket between them.

Nothing in here runs a torch operation, so every thread may use it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

import numpy as np

if TYPE_CHECKING:
    import torch

    from dpm_demo.solver.settings import Solver

Start = Union["torch.Tensor", np.ndarray, Callable[[], "torch.Tensor"]]


class Busy(RuntimeError):
    """The engine serves as many requests as it admits; ask again in a moment."""


class Closed(RuntimeError):
    """The engine has been closed and takes no more work."""


class JobFailed(RuntimeError):
    """Every trajectory of a job failed, or the worker died under it."""


class JobCancelled(RuntimeError):
    """The job was cancelled before its end."""


@dataclass(frozen=True, eq=False)
class Track:
    """One solver setting over some seeds: one trajectory of `len(seeds)` rows.

    An adaptive solver chooses steps for each sample by itself, so there every seed becomes a
    trajectory of its own. A track needs `lam_span`, or `lambdas` for nodes of its own.

    `cond` holds for all rows, or names one condition a row. `start` is the variance-preserving
    state at the first node, `(len(seeds), *shape)`, whose dtype the trajectory keeps; a callable
    is called on the worker thread, where torch work belongs. Without it each row starts from the
    float32 noise of its own seed.
    """

    solver: Solver
    seeds: tuple[int, ...]
    cond: Any = None
    lam_span: tuple[float, float] | None = None
    lambdas: tuple[float, ...] | None = None
    start: Start | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
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
        if self.lambdas is None:
            return self.solver.nfe
        return len(self.lambdas) - 1 + bool(getattr(self.solver, "denoise_to_zero", False))

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

    `denoise(x, lam, cond=None) -> x0` is called as DESIGN.md says; where no row has a condition
    it is called as `denoise(x, lam)`. Rows of different jobs meet in one call when their denoiser,
    shape and dtype are the same; a `key` stands for the denoiser where the same network is
    wrapped anew for each job. `device` None asks the denoiser (or the object it is a method of),
    and is "cpu" if that does not say. `record` False leaves out the pictures of the final event.
    """

    denoise: Callable[..., torch.Tensor]
    shape: tuple[int, ...]
    tracks: tuple[Track, ...]
    key: Hashable | None = None
    device: Any = None
    record: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "tracks", tuple(self.tracks))
        if not self.tracks:
            raise ValueError("tracks must hold at least one track, got none.")
        if not self.shape:
            raise ValueError("shape must have at least one axis, got ().")

    @property
    def samples(self) -> int:
        """Number of samples over all tracks; each is one tile, numbered in this order."""
        return sum(len(track.seeds) for track in self.tracks)

    @property
    def budget(self) -> int:
        """Row evaluations that the whole job may spend."""
        return sum(len(track.seeds) * track.budget for track in self.tracks)


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

    track: int
    row: int
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

    def onto(self, old: Preview | None) -> Preview:
        """This preview with what an older one that nobody took has and this one has not."""
        if old is None:
            return self
        return replace(
            self,
            pictures={**old.pictures, **self.pictures},
            samples={**old.samples, **self.samples},
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


@dataclass(eq=False)
class Ticket:
    """The two ends of one job: the engine puts events in, one reader takes them out.

    Of previews only the newest waits to be taken; the final event never is dropped, and a new
    reader gets it again. `for event in ticket` and `async for event in ticket` end after it.
    `with ticket:` cancels at its end, which does nothing to a finished job.
    """

    job: Job
    on_cancel: Callable[[], None] = lambda: None
    submitted: float | None = None  # on the engine's clock; None: when the scheduler takes it
    cancelled: bool = field(default=False, init=False)
    subscribed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._preview: Preview | None = None
        self._final: Done | Failed | Cancelled | None = None
        self._wakers: list[Callable[[], None]] = []

    # The engine's end.

    def offer(self, preview: Preview) -> None:
        """Replaces the waiting preview, keeping its pictures of tiles that have no newer one."""
        with self._news:
            if self._final is not None:
                return
            self._preview = preview.onto(self._preview)
            self._notify()

    def finish(self, event: Done | Failed | Cancelled) -> None:
        """Puts the final event; a second one is ignored."""
        with self._news:
            if self._final is None:
                self._final, self._preview = event, None
                self._notify()

    def _notify(self) -> None:
        self._news.notify_all()
        wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    # The reader's end.

    @property
    def finished(self) -> bool:
        return self._final is not None

    def cancel(self) -> None:
        """Makes the job leave before the next tick; its last event is then `Cancelled`."""
        self.cancelled = True
        self.on_cancel()

    def poll(self) -> Event | None:
        """The next event if one is there."""
        with self._news:
            return self._pop()

    def _pop(self) -> Event | None:
        if self._final is not None:
            return self._final
        event, self._preview = self._preview, None
        return event

    def result(self, timeout: float | None = None) -> Done:
        """Waits for `Done`; raises `JobFailed`, `JobCancelled`, or `TimeoutError` (seconds)."""
        with self._news:
            self._news.wait_for(lambda: self._final is not None, timeout)
            event = self._final
        if isinstance(event, Done):
            return event
        if isinstance(event, Failed):
            raise JobFailed(event.error)
        if isinstance(event, Cancelled):
            raise JobCancelled("The job was cancelled.")
        raise TimeoutError(f"The job has not ended within {timeout} seconds.")

    def __iter__(self) -> Iterator[Event]:
        self.subscribed = True
        while True:
            with self._news:
                self._news.wait_for(lambda: self._final is not None or self._preview is not None)
                event = self._pop()
            if event is None:  # another reader was faster
                continue
            yield event
            if not isinstance(event, Preview):
                return

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        self.subscribed = True
        loop = asyncio.get_running_loop()
        while True:
            arrived = loop.create_future()
            with self._news:
                event = self._pop()
                if event is None:
                    self._wakers.append(lambda arrived=arrived: _wake(loop, arrived))  # type: ignore[misc]
            if event is None:
                await arrived
                continue
            yield event
            if not isinstance(event, Preview):
                return

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Future[None]) -> None:
    """Resolves a future of another thread's event loop, which may have been closed meanwhile."""

    def resolve() -> None:
        if not arrived.done():
            arrived.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return
