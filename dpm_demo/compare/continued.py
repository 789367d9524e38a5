"""A job that was stopped goes on: what it had finished is not computed again.

rest = Rest(job, finished(cancelled))      # Cancelled, the last event of that job before
for event in run_inline(rest.job):         # the trajectories that are missing
    rest.whole(event)                      # as if all of them were computed here
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from dpm_demo.engine.events import (
    Event,
    Picture,
    Preview,
    SampleRecord,
    SolverDecision,
    Tile,
    TrackResult,
)
from dpm_demo.engine.job import Job

T = TypeVar("T")


def finished(tracks: Sequence[TrackResult]) -> dict[int, TrackResult]:
    """Those of which every sample is there, by number."""
    return {
        number: track
        for number, track in enumerate(tracks)
        if all(row.sample is not None for row in track.rows)
    }


class Rest:
    """What is missing of a job, and its events with the finished tracks (by number) in place."""

    def __init__(self, job: Job, done: Mapping[int, TrackResult]) -> None:
        left = [number for number in range(len(job.tracks)) if number not in done]
        self.done = dict(done) if left else {}
        self.job = job
        if self.done:
            self.job = replace(job, tracks=tuple(job.tracks[k] for k in left))
        self._count = len(job.tracks)
        first = 0
        self._tiles: list[int] = []  # of the whole job, by those of the rest
        self._known: dict[int, SampleRecord] = {}  # by tile
        for number, track in enumerate(job.tracks):
            tiles = range(first, first := first + len(track.seeds))
            if number in self.done:
                self._known |= zip(tiles, self.done[number].rows, strict=True)
            else:
                self._tiles += tiles
        self._spent = sum(track.nfe for track in self.done.values())
        self._told = False

    def whole(self, event: Event) -> Event:
        """An event of the rest as one of the whole job; the first preview has all that is done."""
        if not self.done:
            return event
        if isinstance(event, Preview):
            return self._preview(event)
        if not event.tracks:  # stopped in another process
            return event
        rest = iter([replace(t, rows=tuple(map(self._row, t.rows))) for t in event.tracks])
        every = range(self._count)
        tracks = tuple(self.done.get(k) or next(rest) for k in every)
        return replace(event, tracks=tracks, nfe=event.nfe + self._spent)

    def _row(self, row: SampleRecord) -> SampleRecord:
        return replace(row, decisions=self._decisions(row.decisions))

    def _decisions(self, decisions: Iterable[SolverDecision]) -> tuple[SolverDecision, ...]:
        return tuple(replace(one, tile=self._tiles[one.tile]) for one in decisions)

    def _placed(self, by_tile: Mapping[int, T]) -> dict[int, T]:
        return {self._tiles[tile]: value for tile, value in by_tile.items()}

    def _preview(self, event: Preview) -> Preview:
        tiles = self._placed(dict(enumerate(event.tiles)))
        pictures, samples, latents = {}, {}, {}
        for k, row in self._known.items():
            lam = row.points[-1].lam
            tiles[k] = Tile("done", row.nfe, row.nfe, lam)
            if self._told or row.sample is None:
                continue
            samples[k] = row.sample
            if len(row.x0):
                pictures[k] = Picture(row.nfe, lam, row.x0[-1], row.x[-1])
            if row.latent is not None:
                latents[k] = row.latent
        self._told = True
        return replace(
            event,
            tiles=tuple(tiles[k] for k in sorted(tiles)),
            pictures=pictures | self._placed(event.pictures),
            samples=samples | self._placed(event.samples),
            latents=latents | self._placed(event.latents),
            decisions=self._decisions(event.decisions),
            nfe=event.nfe + self._spent,
            budget=event.budget + self._spent,
        )
