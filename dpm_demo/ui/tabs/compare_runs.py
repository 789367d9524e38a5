"""What the tab "Compare" shows of a run, says of it, and keeps of it: for its files, to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpm_demo.compare.figures import (
    ANOTHER_TARGET,
    HEADERS,
    Outcome,
    best_cells,
    brief,
    caption,
    row_title,
    slope,
    table,
)
from dpm_demo.compare.figures import rows_of as rows_of_figures
from dpm_demo.compare.files import make_files, settings_of, title_of
from dpm_demo.compare.layout import Cell
from dpm_demo.compare.questions import asked, verdict
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Event, Preview, TrackResult
from dpm_demo.engine.forecast import Pace
from dpm_demo.media.pixels import uint8
from dpm_demo.request.comparison import Comparison
from dpm_demo.ui.alone.page import page
from dpm_demo.ui.player.sheets import at_size, sheet_uri
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.estimate import about

DIFF_SCALE = 8


def wall_of(run: ComparisonRun) -> Wall:
    """The player's tiles of a comparison: one a cell, of its first seed."""
    comparison, cells = run.comparison, run.cells
    return Wall(
        run.whole,
        row_titles=[brief(row_title(comparison, k)) for k in range(len(comparison.rows))],
        column_titles=[f"{nfe} NFE" for nfe in comparison.budgets],
        columns=len(comparison.budgets),
        shown=[cells.tile(cell) for cell in cells.cells],
        diff_scale=DIFF_SCALE,
    )


class Painter:
    """What the landing and the player show of a run (landing/component.py); for the encoder."""

    def __init__(self, run: ComparisonRun) -> None:
        self.run, self.wall = run, wall_of(run)
        self._truth, self._goal = "", run.goal

    def __call__(self, event: Event, others: int) -> dict[str, Any]:
        """The value of an event, with the figures that are known, under its tiles too."""
        run, wall = self.run, self.wall
        cells, values = run.cells.cells, run.values
        best = best_cells(run.cells, values)
        wall.captions = {k: caption(values[c]) for k, c in enumerate(cells) if c in values}
        wall.best = {k for k, cell in enumerate(cells) if cell in best}
        if isinstance(event, Preview):
            painted = wall.live(event, others)
        else:
            truths = {run.cells.tile(c): self._truth_of(c) for c in run.cells.computed}
            wall.truth = {k: uint8(truth) for k, truth in truths.items() if truth is not None}
            painted = wall.final(event, others)
        return {
            **painted,
            "budgets": list(run.comparison.budgets),
            "errors": [values[cell].rmse if cell in values else None for cell in cells],
            "truth": self.truth,
            "goal": self._goal,
            "verdict": self._said() if isinstance(event, Done) else "",
        }

    def _said(self) -> str:
        """What the figures say, after the question that they answer: nobody need have asked it."""
        run = self.run
        said = verdict(run.comparison, run.cells, run.values)
        return f"{asked(run.comparison)} {said}".strip() if said else ""

    def _truth_of(self, cell: Cell) -> np.ndarray | None:
        return self.run.truth(cell.track, self.run.seeds[0])

    @property
    def truth(self) -> str:
        """The converged picture, or a clip's frames in a row, as a data URI; empty until known."""
        if not self._truth:
            known = map(self._truth_of, self.run.cells.computed)
            found = next((truth for truth in known if truth is not None), None)
            if found is not None:
                shown = at_size(uint8(found), self.run.job.picture)
                self._truth = sheet_uri(shown[None], level=6)
        return self._truth


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run's files are made of: its outcome, and the landing's last value as JSON."""

    outcome: Outcome
    value: bytes
    reference: str


@dataclass(frozen=True, eq=False)
class Stopped:
    """What a run that was stopped had finished, by which the same goes on."""

    comparison: Comparison
    weights: str
    done: Mapping[int, TrackResult]

    @classmethod
    def of(cls, run: ComparisonRun, event: Cancelled) -> Stopped:
        return cls(run.comparison, run.model.digest or run.model.name, run.finished(event))

    def of_same(self, run: ComparisonRun) -> bool:
        """Whether what a run asks for is the same."""
        weights = run.model.digest or run.model.name
        return (self.comparison, self.weights) == (run.comparison, weights)


def files_of(finished: Finished, folder: Path) -> dict[str, Path]:
    """The files of a comparison, and the page of it that plays alone."""
    outcome = finished.outcome
    asked = outcome.comparison
    lines = table(asked, outcome.cells, outcome.values)
    about = {**settings_of(asked), "reference": finished.reference}
    title = f"{title_of(asked)}: solvers side by side"
    whole = page(title, json.loads(finished.value), about, HEADERS, lines)
    return make_files(outcome, folder, {"html": whole.encode()})


# ---------------------------------------------------------------- in words


def estimate_of(pace: Pace, asked: ComparisonRun, fresh: ComparisonRun) -> str:
    """Three lines: how long the run takes, how long one of other noise, and of what it consists."""
    truths = sum(
        track.budget * len(track.seeds) for track in fresh.job.tracks if not track.pictures
    )
    text = f"{fresh.job.budget - truths:,} evaluations of the cells"
    if truths:
        text += f" and {truths:,} of the converged sample, where it is not known yet"
    return "\n".join([about(pace, asked.job), about(pace, fresh.job), text])


def note_of(run: ComparisonRun, done: Done) -> str:
    """What the note of the tab says when a run is over."""
    cells = run.cells
    computed = len(cells.computed)
    shared = computed - len(cells.solvers)
    text = f"{_orders(run)}{computed} cells in {done.seconds:.2f} s"
    if run.done:
        before = sum(cell.track in run.done for cell in cells.computed)
        text += f", of which {before} were there from before it was stopped"
    if shared:
        one, were = ("is", "was") if shared == 1 else ("are", "were")
        text += f"; {shared} of them {one} the same work as another and {were} computed once"
    text += f". {run.reference}"
    if run.wanted.rows == 2:
        text += " With guidance, an evaluation computes two network rows."
    if any(v.note == ANOTHER_TARGET for v in run.values.values()):
        text += " *Another target*: a row with its own noise (η > 0) does not aim at the reference."
    if done.error:
        text += f" **{links.escape(done.error)}**"
    return text


def _orders(run: ComparisonRun) -> str:
    """The measured order of each row that has three budgets or more, as a sentence."""
    found = []
    for row, known in rows_of_figures(run.cells, run.values):
        order = slope([v.nfe for v in known], [v.rmse or 0.0 for v in known])
        if order is not None and len(known) > 2:
            found.append(f"{brief(row_title(run.comparison, row))}: {order:.1f}")
    return f"**Measured order of convergence:** {'; '.join(found)}. " if found else ""
