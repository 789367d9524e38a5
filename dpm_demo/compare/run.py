"""Solvers over the same seeds and the samples their errors are measured against: one job.

    run = ComparisonRun.checked(comparison, model, references, limits)
    if run.exact is not None:              # where the model's solution is known
        run.keep(run.exact())
    for event in run_inline(run.job):      # or whatever drives the engine
        event = run.take(event)
    run.values, run.outcome(event)

The cells and their reference are admitted, priced and stopped together, and whatever becomes of
the reference, the cells that were computed are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, Literal

import numpy as np

from dpm_demo.compare.continued import Rest, finished
from dpm_demo.compare.figures import ANOTHER_TARGET, Figures, Outcome, pooled, psnr, rmse
from dpm_demo.compare.layout import Cell, layout
from dpm_demo.compare.references import (
    REFERENCE_NFE,
    Converged,
    References,
    Target,
    exact_references,
    reference_solver,
    target_of,
)
from dpm_demo.engine.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    Preview,
    SampleRecord,
    TrackResult,
)
from dpm_demo.models.model import Model
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits, check_cost, check_memory, swept
from dpm_demo.solver.settings import Solver, most_evaluations


def check_measured(
    limits: Limits,
    wanted: Checked,
    solvers: Sequence[Solver],
    *,
    error_seeds: int | None = None,
    also: int = 0,
) -> None:
    """Raises ValueError for solvers over the seeds of `wanted` that with references are too dear.

    The references of the first `error_seeds` seeds (None: of all) are counted whether they are
    kept or not, so that the same request has the same answer. `also` are evaluations a seed that
    will follow.
    """
    model, seeds = wanted.model, wanted.request.count
    for solver in solvers:
        model.check_threshold(solver.threshold)
    budgets = [solver.nfe for solver in solvers for _ in range(seeds)]
    truths = 0
    if model.exact_solution is None:
        targets = {reference_solver(solver) for solver in solvers if solver.eta == 0}
        truths = len(targets) * min(seeds, seeds if error_seeds is None else error_seeds)
    spent = seeds * sum(most_evaluations(solver.nfe, solver.window) for solver in solvers)
    evaluations = spent + REFERENCE_NFE * truths + also * seeds
    check_cost(evaluations * wanted.cost, limits, any(solver.window for solver in solvers))
    kept = seeds * sum(map(swept, solvers))
    check_memory(budgets, wanted.numbers, limits, unrecorded=truths, swept=kept)


class Measurement:
    """Some solvers over the same seeds, with the converged samples that are not kept, as one job.

    Of the first `error_seeds` seeds (None: of all) errors are wanted. `record` False draws no
    pictures. `take` the job's events; `errors` and `samples` then say what is known. `done` are
    tracks that a run of the same, which was stopped, had `finished`: they are not in the `job`,
    and stand in the events that `take` gives. `whole` is the job with them.
    """

    def __init__(
        self,
        wanted: Checked,
        solvers: Sequence[Solver],
        references: References,
        *,
        error_seeds: int | None = None,
        record: bool = True,
        done: Mapping[int, TrackResult] | None = None,
    ) -> None:
        self.wanted, self.model = wanted, wanted.model
        self.solvers, self.seeds = tuple(solvers), wanted.request.seeds
        self.measured = self.seeds[:error_seeds]
        self.samples: dict[int, np.ndarray] = {}  # by tile: the samples that have ended
        self.latents: dict[int, np.ndarray] = {}  # what they were before they were decoded
        self.nfe: dict[int, int] = {}  # by tile
        self.ms: dict[int, float] = {}  # by track, at the end
        self._references = references
        self._errors: dict[int, tuple[float | None, ...]] = {}
        # held on to until the end of this run, whatever the store forgets meanwhile
        self._truths = self._known()
        self._lacking = self._missing()
        tracks = [wanted.track(solver, pictures=record) for solver in self.solvers]
        if self.model.exact_solution is None:
            tracks += [
                wanted.track(solver, [t.seed for t in targets], pictures=False)
                for solver, targets in self._lacking.items()
            ]
        self.whole = wanted.job(tracks, float32=True)
        self._rest = Rest(self.whole, done or {})
        self.job = self._rest.job
        self._awaited = [target for targets in self._lacking.values() for target in targets]

    # ------------------------------------------------------------ the reference

    def target(self, track: int, seed: int) -> Target | None:
        """What the solver of that track aims at; None where it has noise of its own."""
        solver = self.solvers[track]
        return None if solver.eta else target_of(self.wanted, solver, seed)

    def _targets(self) -> dict[Target, Solver]:
        """All targets of errors, with a solver that leads there, one of each kind after another."""
        found: dict[Target, Solver] = {}
        for track, solver in enumerate(self.solvers):
            for seed in self.measured:
                if (target := self.target(track, seed)) is not None:
                    found.setdefault(target, reference_solver(solver))
        return found

    def _known(self) -> dict[Target, np.ndarray]:
        spaces = ("pixels",) if self.model.latents is None else ("pixels", "latents")
        every = [replace(t, space=space) for t in self._targets() for space in spaces]
        kept = ((target, self._references.get(target)) for target in every)
        return {target: sample for target, sample in kept if sample is not None}

    def _missing(self) -> dict[Solver, list[Target]]:
        missing: dict[Solver, list[Target]] = {}
        for target, solver in self._targets().items():
            if target not in self._truths:
                missing.setdefault(solver, []).append(target)
        return missing

    @property
    def exact(self) -> Callable[[], list[np.ndarray]] | None:
        """What gives the missing references where they are known, to be called where torch runs.

        `keep` its answer. None: there is nothing to call.
        """
        if self.model.exact_solution is None or not self._awaited:
            return None
        return partial(exact_references, self.model, [target.seed for target in self._awaited])

    def keep(self, truths: Sequence[np.ndarray]) -> None:
        """Takes what `exact` gave."""
        for target, truth in zip(self._awaited, truths, strict=True):
            self._keep(target, truth)

    def _keep(
        self, target: Target, sample: np.ndarray, space: Literal["pixels", "latents"] = "pixels"
    ) -> None:
        target = replace(target, space=space)
        self._truths[target] = sample
        self._references.put(target, sample)

    def truth(
        self, track: int, seed: int, space: Literal["pixels", "latents"] = "pixels"
    ) -> np.ndarray | None:
        """The converged sample that a track's sample of that seed is measured against."""
        target = self.target(track, seed)
        return None if target is None else self._truths.get(replace(target, space=space))

    @property
    def goal(self) -> str:
        """What errors are measured against, in a few words."""
        if self.model.exact_solution is not None:
            return "the exact solution"
        return f"order 3, {self._spent} evaluations"

    @property
    def _shipped(self) -> list[Converged | None]:
        return [self._references.shipped.get(target) for target in self._targets()]

    @property
    def _spent(self) -> str:
        spent = {REFERENCE_NFE if one is None else one.nfe for one in self._shipped}
        return " or ".join(map(str, sorted(spent or {REFERENCE_NFE})))

    @property
    def reference(self) -> str:
        """A sentence: what the errors are measured against."""
        if self.model.exact_solution is not None:
            return "The reference is the exact solution."
        shipped = self._shipped
        kept = [one for one in shipped if one is not None]
        how = "from the same noise, in float32"
        text = f"The reference is order 3 at {self._spent} evaluations, {how}"
        if not kept:
            return text + "."
        lies = "it lies"
        if len(kept) < len(shipped):
            lies = f"{len(kept)} of {len(shipped)} samples {'lies' if len(kept) == 1 else 'lie'}"
        return (
            f"{text}; {lies} beside the checkpoint, and half as many evaluations differ from that "
            f"by an RMSE of {max(one.apart for one in kept):.1e}."
        )

    # ------------------------------------------------------------ what comes back

    def take(self, event: Event) -> Event:
        """Notes what an event of the job brings; gives it as one of the whole."""
        event = self._rest.whole(event)
        if isinstance(event, Preview):
            self._note(event.samples, event.latents)
            self.nfe = {k: tile.nfe for k, tile in enumerate(event.tiles)}
            return event
        rows = [row for track in event.tracks for row in track.rows]
        if rows:
            self._note(
                {k: row.sample for k, row in enumerate(rows) if row.sample is not None},
                {k: row.latent for k, row in enumerate(rows) if row.latent is not None},
            )
            self.nfe = {k: row.nfe for k, row in enumerate(rows)}
            # a shared network call is charged by rows
            self.ms = {k: t.ms / len(t.rows) for k, t in enumerate(event.tracks)}
        return event

    def finished(self, event: Cancelled) -> dict[int, TrackResult]:
        """Of a run that was stopped, the tracks that need not be computed again."""
        return self.done | finished(event.tracks[: len(self.solvers)])

    @property
    def done(self) -> dict[int, TrackResult]:
        """The tracks that were there before."""
        return self._rest.done

    def _note(self, samples: dict[int, np.ndarray], latents: dict[int, np.ndarray]) -> None:
        own = len(self.solvers) * len(self.seeds)
        self.samples.update({tile: x for tile, x in samples.items() if tile < own})
        self.latents.update({tile: x for tile, x in latents.items() if tile < own})
        for tile in samples.keys() - range(own):
            target = self._awaited[tile - own]
            self._keep(target, samples[tile])
            if tile in latents:
                self._keep(target, latents[tile], "latents")

    def rows(self, event: Done | Failed | Cancelled) -> list[list[SampleRecord]]:
        """The records of each solver in a final event, without those of the reference."""
        return [list(track.rows) for track in event.tracks[: len(self.solvers)]]

    def errors(self, track: int) -> tuple[float | None, ...]:
        """RMSE of the track's sample of each seed of which an error is wanted; None: not known."""
        if track not in self._errors:
            found = self._apart(track, self.samples, "pixels")
            if None in found:
                return found
            self._errors[track] = found  # of a finished cell they are computed once
        return self._errors[track]

    def pooled(self, track: int) -> float | None:
        """RMSE over all seeds of which an error is known; None where none is."""
        return pooled(self.errors(track))

    def latent_error(self, track: int) -> float | None:
        """The same between latents, before they are decoded; None where one is not known."""
        found = self._apart(track, self.latents, "latents")
        return None if None in found else pooled(found)

    def _apart(
        self, track: int, by_tile: Mapping[int, np.ndarray], space: Literal["pixels", "latents"]
    ) -> tuple[float | None, ...]:
        found: list[float | None] = []
        for k, seed in enumerate(self.measured):
            sample = by_tile.get(track * len(self.seeds) + k)
            truth = self.truth(track, seed, space)
            found.append(None if sample is None or truth is None else rmse(sample, truth))
        return tuple(found)

    @property
    def waiting(self) -> tuple[int, int] | None:
        """Evaluations that the references have spent and may spend, once only they are awaited."""
        own = len(self.solvers) * len(self.seeds)
        awaited = len(self._awaited) if self.model.exact_solution is None else 0
        if not awaited or len(self.samples) < own:
            return None
        spent = sum(nfe for tile, nfe in self.nfe.items() if tile >= own)
        return spent, REFERENCE_NFE * awaited


class ComparisonRun(Measurement):
    """A `Comparison` of one model: its cells, and the figures of those that have ended.

    `options` are those of `Measurement`.
    """

    def __init__(
        self,
        comparison: Comparison,
        model: Model,
        references: References,
        **options: Any,
    ) -> None:
        self.comparison = comparison
        self.cells = layout(comparison, model)
        self.values: dict[Cell, Figures] = {
            cell: Figures(cell.solver.nfe, note=cell.lacks)
            for cell in self.cells.cells
            if cell.lacks
        }
        super().__init__(
            Checked.of(comparison.sample, model),
            self.cells.solvers,
            references,
            **options,
        )

    @classmethod
    def checked(
        cls,
        comparison: Comparison,
        model: Model,
        references: References,
        limits: Limits,
        **options: Any,
    ) -> ComparisonRun:
        """The same, or a ValueError if with its references it is larger than `limits`."""
        comparison.check(limits)  # before anything is made for each of its samples
        run = cls(comparison, model, references, **options)
        solvers = [cell.solver for cell in run.cells.computed]
        check_measured(limits, run.wanted, solvers, error_seeds=options.get("error_seeds"))
        return run

    def take(self, event: Event) -> Event:
        """Notes an event; `values` then has the figures of every cell whose samples have ended."""
        event = super().take(event)
        for cell in self.cells.computed:
            value = self.values.get(cell)
            if value is None or (value.rmse is None and not value.note):
                value = self._figures(cell)
            if value is not None:
                self.values[cell] = replace(value, ms=self.ms.get(cell.track))
        return event

    def _figures(self, cell: Cell) -> Figures | None:
        tiles = [self.cells.tile(cell, k) for k in range(len(self.seeds))]
        if any(tile not in self.samples for tile in tiles):
            return None
        spent = round(fmean(self.nfe.get(tile, cell.solver.nfe) for tile in tiles))
        if cell.solver.eta > 0:
            return Figures(spent, note=ANOTHER_TARGET)
        errors = self.errors(cell.track)
        mean = self.pooled(cell.track)
        if mean is None or None in errors:
            return Figures(spent)
        by_seed = tuple(error for error in errors if error is not None)
        latent = self.latent_error(cell.track)
        return Figures(spent, mean, by_seed, psnr(mean), latent_rmse=latent)

    @property
    def measured_cells(self) -> int:
        """Cells whose error is known."""
        return sum(value.rmse is not None for value in self.values.values())

    def outcome(self, event: Done) -> Outcome:
        """What the files of a finished comparison are made of."""
        rows = self.rows(event)
        records = {cell: rows[cell.track][0] for cell in self.cells.computed}
        return Outcome(self.comparison, self.cells, dict(self.values), records)
