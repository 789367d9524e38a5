"""Engine events -> the value that the player paints: a wall of tiles, one a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np

from dpm_demo.engine.events import Cancelled, Done, Failed, Preview, SampleRecord, Tile
from dpm_demo.engine.job import Job
from dpm_demo.media.thin import at_or_before
from dpm_demo.solver import cosine_time
from dpm_demo.ui.player.sheets import at_size, kept_of, sheet_uri

END_STATES = {Done: "done", Failed: "failed", Cancelled: "stopped"}


@dataclass
class Wall:
    """The tiles of one run. `live` and `final` make the player's value of an event.

    `titles` name the tiles; `row_titles` and `column_titles` make it a grid. `captions` may be
    filled in as results come. Only numpy and PNG work is done here, off the engine's thread.
    """

    job: Job
    titles: Sequence[str] = ()
    row_titles: Sequence[str] | None = None
    column_titles: Sequence[str] | None = None
    columns: int | None = None
    captions: dict[int, str] = field(default_factory=dict)
    best: set[int] = field(default_factory=set)
    #: The engine's tile behind each tile shown, below 0 where nothing computes it; None: all.
    shown: Sequence[int] | None = None
    truth: dict[int, np.ndarray] = field(default_factory=dict)  # uint8, by the engine's tile
    diff_scale: int | None = None  # adds |x0 - truth| x diff_scale to the final record
    run: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        *frames, height, width = self.job.picture
        self._frames = frames[0] if frames else 1
        self._size = height, width
        self._newest: list[dict[str, Any]] = []  # tiles as last shown

    def live(self, event: Preview, others: int = 0) -> dict[str, Any]:
        """The value of a preview: the pictures that are new since the last one."""
        shown = self._shown(len(event.tiles))
        tiles = [k for k, number in enumerate(shown) if number in event.pictures]
        pictures = [event.pictures[shown[k]] for k in tiles]
        self._newest = [
            self._absent(k) if number < 0 else self._tile(k, event.tiles[number])
            for k, number in enumerate(shown)
        ]
        value = self._value(event.seq, self._newest)
        if tiles:
            value["live"] = {
                "index": tiles,
                "x0": sheet_uri([p.x0 for p in pictures]),
                "x": sheet_uri([p.x for p in pictures]),
            }
        more = max(0, event.budget - event.nfe)
        left = event.seconds * more / event.nfe if event.nfe else None
        value["status"] = self._status(event.seconds, event.ms, left, others)
        value["status"]["text"] = event.note
        return value

    def final(self, event: Done | Failed | Cancelled, others: int = 0) -> dict[str, Any]:
        """The value of the last event: every tile with its complete record.

        Where nothing was recorded (a run stopped in another process) tiles stay as last shown.
        """
        rows = [(t, row) for t, track in enumerate(event.tracks) for row in track.rows]
        tiles, numbers = [], self._shown(len(rows))
        sheets = (2 if self.diff_scale is None else 3) * len(numbers)
        for k, number in enumerate(numbers):
            if number < 0:
                tiles.append(self._absent(k))
                continue
            track, row = rows[number]
            state = "failed" if row.error else "done" if row.sample is not None else "stopped"
            budget = self.job.tracks[track].budget
            lam = row.points[-1].lam if row.points else math.nan
            tile = Tile(state, row.nfe, max(row.nfe, 1), lam, row.error)
            shown = self._tile(k, tile)
            shown["budget"] = row.nfe if row.sample is not None else budget
            if len(row.x0):
                shown["record"] = self._record(row, self.truth.get(number), sheets)
            tiles.append(shown)
        if not rows:
            state = "failed" if isinstance(event, Failed) else "stopped"
            under_way = ("waiting", "running")
            tiles = [{**t, "state": state} if t["state"] in under_way else t for t in self._newest]
        value = self._value(1 << 30, tiles)
        ms = 1000 * event.seconds / max(1, max((row.nfe for _, row in rows), default=1))
        value["status"] = self._status(event.seconds, ms, 0.0, others)
        note = event.note if isinstance(event, Done) else ""
        value["status"]["text"] = ", ".join(filter(None, (END_STATES[type(event)], note)))
        if not isinstance(event, Cancelled) and event.error:
            value["status"]["text"] = event.error
        value["final"] = True
        return value

    def _value(self, seq: int, tiles: list[dict[str, Any]]) -> dict[str, Any]:
        n = max(len(tiles), 1)
        columns = self.columns or math.ceil(math.sqrt(n))
        return {
            "run": self.run,
            "seq": seq,
            "final": False,
            "tile": {"h": self._size[0], "w": self._size[1], "frames": self._frames},
            "columns": columns,
            "row_titles": self.row_titles,
            "column_titles": self.column_titles,
            "tiles": tiles,
            **({} if self.diff_scale is None else {"diff_scale": self.diff_scale}),
        }

    def _shown(self, tiles: int) -> Sequence[int]:
        if not tiles:  # a job that ended before it began
            return ()
        return range(tiles) if self.shown is None else self.shown

    def _absent(self, k: int) -> dict[str, Any]:
        """A tile that stays empty; its caption says why."""
        return self._tile(k, Tile("absent", 0, 0, math.nan))

    def _tile(self, k: int, tile: Tile) -> dict[str, Any]:
        return {
            "title": self.titles[k] if k < len(self.titles) else "",
            "caption": self.captions.get(k, ""),
            "state": tile.state,
            "error": tile.error,
            "nfe": tile.nfe,
            "budget": tile.budget,
            "best": k in self.best,
            **_clock(tile.lam),
        }

    def _record(self, row: SampleRecord, truth: np.ndarray | None, sheets: int) -> dict[str, Any]:
        kept = kept_of(len(row.x0), row.x0[0].nbytes, sheets)
        x0, x, diff = row.x0[kept], row.x[kept], {}
        if self.diff_scale is not None and truth is not None and truth.ndim == x0.ndim - 1:
            apart = np.abs(x0.astype(np.int16) - at_size(truth, self.job.picture))
            apart *= self.diff_scale
            diff = {"diff": sheet_uri(np.minimum(apart, 255).astype(np.uint8))}
        points = [
            {
                "nfe": p.nfe,
                "stage": p.stage,
                "picture": at_or_before(kept, p.picture),
                **_clock(p.lam),
            }
            for p in row.points
        ]
        return {**diff, "x0": sheet_uri(x0), "x": sheet_uri(x), "points": points}

    def _status(self, seconds: float, ms: float, left: float | None, others: int) -> dict[str, Any]:
        return {
            "text": "",
            "seconds": round(seconds, 2),
            # several settings share a network call, which then is no evaluation's time
            "ms": round(ms, 1) if len(self.job.tracks) == 1 else None,
            "left": None if left is None else round(left, 1),
            "device": str(self.job.device),
            "others": others,
        }


def _clock(lam: float) -> dict[str, float | None]:
    """lam and the cosine time of it, as JSON can say them."""
    if not math.isfinite(lam):
        return {"lam": None, "t": 0.0 if lam > 0 else None}
    return {"lam": round(lam, 4), "t": round(cosine_time(lam), 4)}
