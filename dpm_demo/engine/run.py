"""A trajectory on its way through the engine: what it waits for, and what it recorded.

Everything here runs on the thread that drives the scheduler.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from dpm_demo.engine.active_job import ActiveJob
from dpm_demo.engine.events import SampleRecord, SolverDecision, Tile
from dpm_demo.engine.film import Film, fitted, state_to_uint8
from dpm_demo.engine.job import Track
from dpm_demo.media.pixels import to_uint8
from dpm_demo.solver import (
    Decision,
    Evaluation,
    Measure,
    trajectory,
)


@dataclass(frozen=True)
class Failure:
    """Why a row ended, and how many evaluations and points it had by then."""

    nfe: int
    points: int
    error: str


class Run:
    """One sampler generator and its record: a track, or one seed of it if adaptive.

    It waits for the network with `todo`, the rows of its evaluation that no call has answered yet;
    a call may take a part of them.
    """

    def __init__(self, request: ActiveJob, track: int, rows: range, first_tile: int) -> None:
        self.request = request
        self.number = track
        self.track: Track = request.job.tracks[track]
        self.rows = rows
        self.first_tile = first_tile
        self.seeds = [self.track.seeds[row] for row in rows]
        conditions = self.track.conditions
        self.conditions = None if conditions is None else [conditions[row] for row in rows]
        self.key: Hashable = None
        self.todo: list[int] = []
        self.lam: list[float] = []
        self.nfe = 0
        self.ms = 0.0
        self.film = Film()
        self.decisions: list[tuple[int, str, float, dict[str, Any]]] = []
        self.errors: dict[int, Failure] = {}
        self.sample: torch.Tensor | None = None
        self.latent: torch.Tensor | None = None  # where the sample is its decoded picture
        self.ended = False

    @property
    def pictures(self) -> bool:
        """Whether anyone will want to see pictures of it."""
        return self.track.pictures and self.request.pictures

    def start(self, x: torch.Tensor) -> None:
        """Makes the generator; `x` is `(rows, *shape)` at the first node."""
        track = self.track
        self.sampler = trajectory(
            x,
            track.solver,
            lam_span=track.lam_span,
            lambdas=None if track.lambdas is None else list(track.lambdas),
            seeds=self.seeds,
            restart=track.restart,
        )

    def step(self, answer: Any) -> torch.Tensor | None:
        """Sends an answer; returns the scalar it wants to know, if that is what comes next."""
        while True:
            try:
                ask = self.sampler.send(answer)
            except StopIteration as stop:
                self._finish(stop.value)
                return None
            if isinstance(ask, Evaluation):
                self._wait_for(ask)
                return None
            if isinstance(ask, Measure):
                return ask.value
            if not isinstance(ask, Decision):
                raise TypeError(f"the sampler yielded {type(ask).__name__}")
            self.decisions.append((self.nfe, ask.kind, float(ask.lam), dict(ask.data)))
            self.request.note_decision(self)
            answer = None

    def _wait_for(self, ask: Evaluation) -> None:
        rows = len(ask.x)
        if rows == 0 or rows % len(self.seeds) or tuple(ask.x.shape[1:]) != self.request.job.shape:
            raise ValueError(f"an evaluation of {tuple(ask.x.shape)} is not made of its samples")
        self.evaluation = ask
        lam = ask.lam
        self.lam = lam.tolist() if isinstance(lam, torch.Tensor) else [float(lam)] * rows
        if len(self.lam) != rows:
            raise ValueError(f"{len(self.lam)} values of λ do not match {rows} rows")
        self.todo = [row for row in range(rows) if row % len(self.seeds) not in self.errors]
        self.answer: torch.Tensor | None = None
        job = self.request.job
        self.key = (self.request.identity, job.shape, ask.x.dtype, self.conditions is None)
        self.request.queue.append(self)

    def take(self, most: int) -> Piece:
        rows, self.todo = self.todo[:most], self.todo[most:]
        return Piece(self, rows)

    def fill(self, rows: list[int], x0: torch.Tensor) -> None:
        """Puts the network's answer for some rows; rows never answered stay 0."""
        if len(rows) == len(self.lam):
            self.answer = x0
            return
        if self.answer is None:
            self.answer = torch.zeros_like(self.evaluation.x)
        self.answer[_index(rows)] = x0

    @property
    def newest(self) -> slice:
        """Rows of the evaluation that a picture shows: of several points the furthest."""
        return slice(len(self.lam) - len(self.seeds), None)

    def _finish(self, sample: torch.Tensor) -> None:
        # An adaptive trajectory at its cap ends before the last node, and says where.
        stopped = self.decisions and self.decisions[-1][1] == "end"
        lam = self.decisions[-1][2] if stopped else self.track.lam_end
        finite = torch.isfinite(sample).flatten(1).all(1).tolist()
        for row, fine in enumerate(finite):
            if not fine:
                self.fail_row(row, "its sample is not finite")
        job = self.request.job
        if job.latents is not None:
            self.latent = sample
            sample = job.latents.decode(torch.nan_to_num(sample))
        self.sample = sample
        self.film.add_point(self.nfe, lam)
        if self.pictures and job.latents is not None:
            picture = to_uint8(fitted(sample, job.picture))
            self.film.add_picture(picture, picture)
        elif self.pictures:
            lams = torch.full((len(sample),), self.track.lam_end, dtype=torch.float64)
            self.film.add_picture(to_uint8(sample), state_to_uint8(sample, lams))
        self.request.changed[self] = None
        self.request.show(self, lam, sample, sample, final=True)
        self.ended = True

    def fail_row(self, row: int, reason: str) -> None:
        """Ends one row; the others of the trajectory go on."""
        if row in self.errors:
            return
        solver = self.track.solver
        self.errors[row] = Failure(
            self.nfe,
            len(self.film.points),
            f"The trajectory of seed {self.seeds[row]} ({solver.method}, order {solver.order}, "
            f"{self.track.budget} evaluations) ended after {self.nfe} evaluations: {reason}.",
        )
        if len(self.errors) == len(self.seeds):
            self._leave()

    def fail(self, reason: str) -> None:
        """Ends the trajectory, unless it has ended already."""
        for row in range(len(self.seeds) if not self.ended else 0):
            self.fail_row(row, reason)

    def _leave(self) -> None:
        self.ended, self.todo = True, []
        if self in self.request.queue:
            self.request.queue.remove(self)

    def tile(self, row: int) -> Tile:
        failure = self.errors.get(row)
        state = "failed" if failure else "done" if self.ended else "running" if self.nfe else ""
        points = self.film.points
        return Tile(
            state=state or "waiting",
            nfe=failure.nfe if failure else self.nfe,
            budget=self.track.budget,
            lam=points[-1].lam if points else self.lam[0] if self.lam else self.track.lam_end,
            error=failure.error if failure else None,
        )

    def samples(self) -> list[np.ndarray]:
        """The finished samples, float32 on the host; none before the end."""
        if self.sample is None:
            return []
        return list(self.sample.detach().to("cpu", torch.float32).numpy())

    def latents(self) -> list[np.ndarray]:
        """What the samples were before they were decoded; none where they never were latents."""
        return [] if self.latent is None else list(self.latent.float().cpu().numpy())

    def result(self) -> list[SampleRecord]:
        tiles = range(self.first_tile, self.first_tile + len(self.seeds))
        converged = all(data.get("converged", True) for _, _, _, data in self.decisions)
        samples = self.samples()
        latents = self.latents()
        rows = []
        for row, seed in enumerate(self.seeds):
            failure = self.errors.get(row)
            finished = bool(samples) and failure is None
            points, x0, x = self.film.develop(row, failure.points if failure else None)
            rows.append(
                SampleRecord(
                    seed=seed,
                    sample=samples[row] if finished else None,
                    points=points,
                    x0=x0,
                    x=x,
                    nfe=failure.nfe if failure else self.nfe,
                    converged=converged and finished,
                    decisions=tuple(
                        SolverDecision(tiles[row], *decision) for decision in self.decisions
                    ),
                    error=failure.error if failure else None,
                    latent=latents[row] if finished and latents else None,
                )
            )
        return rows


class Piece:
    """Rows of one run's evaluation that travel in one network call."""

    def __init__(self, run: Run, rows: list[int]) -> None:
        self.run = run
        self.rows = rows
        everything = len(rows) == len(run.lam)
        self.x = run.evaluation.x if everything else run.evaluation.x[_index(rows)]
        self.lam = [run.lam[row] for row in rows]


def _index(rows: list[int]) -> slice | list[int]:
    """Neighbouring rows as a slice, which copies nothing."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(rows[0], rows[-1] + 1)
    return rows
