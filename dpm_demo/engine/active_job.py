"""A job on its way through the scheduler: its runs, its turn, and what its reader gets.

Everything here runs on the thread that drives the scheduler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from math import ceil

import torch

from dpm_demo.engine.errors import sentence
from dpm_demo.engine.events import (
    Done,
    Failed,
    Frame,
    Picture,
    Preview,
    SolverDecision,
    TrackResult,
)
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.run import Run
from dpm_demo.engine.ticket import Ticket
from dpm_demo.solver import (
    initial_noise,
    one_row,
)

Watch = Callable[[Frame], None]


class ActiveJob:
    """One job on its way through the scheduler."""

    def __init__(self, ticket: Ticket, watch: Watch | None, clock: Callable[[], float]) -> None:
        self.ticket = ticket
        self.job: Job = ticket.job
        self.watch = watch
        self.clock = clock
        self.began = clock() if ticket.submitted is None else ticket.submitted
        self.identity, self.device = identity(self.job), torch.device(self.job.device)
        self.queue: deque[Run] = deque()
        self.attained = 0.0  # milliseconds of service
        self.served = -1  # the tick that last served it
        self.rows, self.call_ms = 0, 0.0
        self.next_preview, self.seq = 0.0, 0
        self.changed: dict[Run, None] = {}  # runs with a picture that no preview had yet
        self.told: set[Run] = set()  # runs whose sample a preview has had
        self.decisions: list[SolverDecision] = []
        self.work = sum(len(t.seeds) * expected(t) for t in self.job.tracks)
        self.runs: list[Run] = []
        first_tile = 0
        for number, track in enumerate(self.job.tracks):
            together = range(len(track.seeds))
            alone = one_row(track.solver)
            for rows in [range(k, k + 1) for k in together] if alone else [together]:
                self.runs.append(Run(self, number, rows, first_tile))
                first_tile += len(rows)

    @property
    def pictures(self) -> bool:
        """Whether anyone will want to see pictures."""
        return self.job.record or self.ticket.subscribed

    @property
    def nfe(self) -> int:
        return sum(run.nfe * len(run.seeds) for run in self.runs)

    @property
    def seconds(self) -> float:
        return self.clock() - self.began

    def note_decision(self, run: Run) -> None:
        if self.ticket.subscribed:
            for row in range(len(run.seeds)):
                self.decisions.append(SolverDecision(run.first_tile + row, *run.decisions[-1]))

    def show(
        self, run: Run, lam: float, x: torch.Tensor, x0: torch.Tensor, final: bool = False
    ) -> None:
        """Hands a trajectory point to whoever watches tensors: copies, which they may change."""
        if self.watch is not None:
            self.watch(
                Frame(run.number, tuple(run.rows), run.nfe, lam, x.clone(), x0.clone(), final)
            )

    def start_states(self) -> Iterable[tuple[Run, torch.Tensor]]:
        """First states of all runs; a track whose start is bad fails, and no other does."""
        for number, track in enumerate(self.job.tracks):
            runs = [run for run in self.runs if run.number == number]
            try:
                x = self._start_of(track)
            except Exception as error:
                for run in runs:
                    run.fail(sentence(error))
                continue
            for run in runs:
                yield run, x[run.rows.start : run.rows.stop]

    def _start_of(self, track: Track) -> torch.Tensor:
        start = track.start
        if start is None:
            start = initial_noise(track.seeds, self.job.shape)
        elif callable(start) and not isinstance(start, torch.Tensor):
            start = start()
        x = torch.as_tensor(start).to(self.device)
        wanted = (len(track.seeds), *self.job.shape)
        if tuple(x.shape) != wanted:
            raise ValueError(f"its start has shape {tuple(x.shape)}, not {wanted}")
        return x

    def preview(self) -> Preview:
        """The newest state; pictures that changed go to the host in one transfer each."""
        runs = [run for run in self.changed if run.film.shot]
        pictures = {}
        if runs:
            x0 = torch.cat([run.film.latest[0] for run in runs]).cpu().numpy()
            x = torch.cat([run.film.latest[1] for run in runs]).cpu().numpy()
            place = 0
            for run in runs:
                # Inner stages come after the picture's own point, and may be the last now.
                point = next(p for p in reversed(run.film.points) if p.stage == 0)
                for row in range(len(run.seeds)):
                    if row not in run.errors:
                        tile = run.first_tile + row
                        pictures[tile] = Picture(point.nfe, point.lam, x0[place], x[place])
                    place += 1
        tiles = (run.tile(row) for run in self.runs for row in range(len(run.seeds)))
        ended = [run for run in self.runs if run.sample is not None and run not in self.told]
        samples, latents = (
            {
                run.first_tile + row: one
                for run in ended
                for row, one in enumerate(of(run))
                if row not in run.errors
            }
            for of in (Run.samples, Run.latents)
        )
        self.told.update(ended)
        decisions, self.decisions, self.changed = tuple(self.decisions), [], {}
        self.seq += 1
        return Preview(
            seq=self.seq,
            tiles=tuple(tiles),
            pictures=pictures,
            decisions=decisions,
            nfe=self.nfe,
            budget=self.job.budget,
            seconds=self.seconds,
            ms=self.call_ms,
            rows=self.rows,
            samples=samples,
            latents=latents,
        )

    def results(self) -> tuple[TrackResult, ...]:
        tracks = []
        for number in range(len(self.job.tracks)):
            runs = [run for run in self.runs if run.number == number]
            rows = tuple(row for run in runs for row in run.result())
            tracks.append(TrackResult(rows, sum(run.ms for run in runs)))
        return tuple(tracks)

    def final(self) -> Done | Failed:
        tracks, seconds = self.results(), self.seconds
        done = Done(tracks, sum(track.nfe for track in tracks), seconds)
        if any(row.sample is not None for track in tracks for row in track.rows):
            return done
        return Failed(done.error or "No sample was finished.", tracks, done.nfe, seconds)


def expected(track: Track) -> int:
    """Evaluations that a row will about spend: an adaptive trajectory seldom needs its cap.

    Parallel in time it was a third to nine tenths of it.
    """
    if track.solver.window:
        return ceil(2 * track.budget / 3)
    return min(track.budget, 40) if track.solver.method == "adaptive" else track.budget


def identity(job: Job) -> Hashable:
    """What makes two denoisers the same; bound methods are made anew at every access."""
    owner = getattr(job.denoise, "__self__", None)
    if owner is None:
        return ("id", id(job.denoise))
    return ("method", id(owner), getattr(job.denoise, "__name__", ""))
