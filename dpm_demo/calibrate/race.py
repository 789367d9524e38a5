"""A race of solvers on one model: successive halving over seeds, errors to the converged sample.

    race = Race(model, entrants(model, 8), seeds=range(32))
    for step in race.run():            # or send each job of race.jobs() to an engine of one's own
        print(step.done, "of", step.total)
    race.ranking()

Every solver is measured on a few seeds, the better part of them on twice as many, and so on; the
last rounds' few on all. All see the same noise, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dpm_demo.compare.figures import rmse
from dpm_demo.compare.layout import work
from dpm_demo.compare.paired import ratios
from dpm_demo.compare.references import reference_solver
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_to_end
from dpm_demo.engine.job import Job, Track
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.codec import solver_text
from dpm_demo.solver.catalogue import SAMPLERS
from dpm_demo.solver.settings import CHOICES, SCHEDULES, Solver

ROWS = 192  # of one job, so that a race can be stopped between two
FINALISTS = 8
KEPT = (4, 3, 2)  # after each round one of so many goes on

#: Names of one and the same nodes, or of nodes that depend on more than the span.
_TWINS = frozenset({"exponential", "polyexponential", "normal", "sgm_uniform", "simple"})
SPACINGS = tuple(s for s in SCHEDULES if s not in _TWINS | {"ddim_uniform", "calibrated"})


@dataclass(frozen=True)
class Entrant:
    """A solver under the name that its users know; a `kept` one stays to the end."""

    name: str
    solver: Solver
    kept: bool = False


def entrants(model: Model, nfe: int, condition: Condition | None = None) -> list[Entrant]:
    """All solvers of the ODE with a fixed cost of `nfe` evaluations, each once.

    The catalogue's samplers and every setting of `Solver`, with every schedule; those that make the
    same evaluations with the same weights are one, under the first name. What was fitted to the
    model takes part, and stays.
    """
    found: dict[Hashable, Entrant] = {}
    for name, solver in _named(nfe):
        try:
            key = work(solver, model.lam_span)
        except ValueError:  # means nothing at this budget
            continue
        found.setdefault(key, Entrant(name, solver))
    fitted = Solver(nfe=nfe, schedule="calibrated")
    try:
        model.resolved(fitted, condition)
    except ValueError:
        return list(found.values())
    return [*found.values(), Entrant("calibrated", fitted, kept=True)]


def _named(nfe: int) -> Iterator[tuple[str, Solver]]:
    for entry in SAMPLERS.values():
        if entry.comparable:
            for schedule in SPACINGS:
                yield f"{entry.name} {schedule}", entry.solver(nfe, schedule=schedule)
    axes = ("order", "method", "prediction", "weights", "corrector")
    choices = [[v for v in CHOICES[axis] if v != "adaptive"] for axis in axes]
    for *values, schedule in product(*choices, SPACINGS):
        named = dict(zip(axes, values, strict=True))
        if named["corrector"] and named["method"] != "multistep":
            continue
        solver = Solver(nfe=nfe, schedule=schedule, **named)  # type: ignore[arg-type]
        yield solver_text(solver), solver


@dataclass(frozen=True)
class Step:
    """How much of a race is done, in evaluations."""

    done: int
    total: int


@dataclass(frozen=True)
class Ranked:
    """One line of a ranking.

    rmse       mean over `seeds` seeds of the RMSE to the converged sample
    low, high  ends of the 95 % interval of its mean over the best one's, by a paired bootstrap over
               seeds; NaN for what left before the last round
    """

    name: str
    solver: Solver
    rmse: float
    seeds: int
    low: float
    high: float

    @property
    def tied(self) -> bool:
        """Whether these seeds cannot tell it from the best one."""
        return self.low <= 1


class Race:
    """Some solvers over the same seeds. `conditions`: one a seed, or None where there are none.

    `truth` holds converged samples by the number of their seed; those put there are not computed.

    Raises ValueError for fewer than 2 seeds or solvers.
    """

    def __init__(
        self,
        model: Model,
        solvers: Sequence[Entrant],
        seeds: Sequence[int],
        conditions: Sequence[Condition] | None = None,
    ) -> None:
        if len(seeds) < 2 or len(solvers) < 2:
            raise ValueError(
                f"a race needs 2 seeds and 2 solvers, not {len(seeds)} and {len(solvers)}"
            )
        self.model, self.solvers, self.seeds = model, list(solvers), list(seeds)
        self.conditions = None if conditions is None else list(conditions)
        self.errors = np.full((len(solvers), len(seeds)), np.nan)
        self.truth: dict[int, np.ndarray] = {}  # by number of the seed
        self.spent = 0

    # ------------------------------------------------------------ rounds

    def rounds(self) -> list[tuple[int, int]]:
        """(seeds, solvers) of each round, each on more seeds than the one before."""
        kept = sum(one.kept for one in self.solvers)
        seeds = sorted({len(self.seeds), *(max(2, len(self.seeds) >> k) for k in (1, 2, 3))})
        counts = [len(self.solvers)]
        for part in KEPT[: len(seeds) - 1]:
            counts.append(min(counts[-1], max(FINALISTS + kept, counts[-1] // part)))
        return list(zip(seeds, counts, strict=True))

    @property
    def total(self) -> int:
        """Evaluations of the whole race, the converged samples included."""
        nfe, spent, before = self.solvers[0].solver.nfe, 0, 0
        for seeds, solvers in self.rounds():
            spent += (seeds - before) * solvers * nfe
            before = seeds
        return spent + len(self.seeds) * reference_solver(Solver()).nfe

    def jobs(self) -> Generator[Job, Done, None]:
        """Yields the jobs of the race, and is sent what each ended with."""
        going, before = list(range(len(self.solvers))), 0
        for seeds, solvers in self.rounds():
            going = self._best(going, before)[:solvers] if before else going
            fresh = list(range(before, seeds))
            yield from self._converged(fresh)
            yield from self._measured(going, fresh)
            before = seeds

    def run(self) -> Iterator[Step]:
        """Runs the race in the calling thread. Raises JobFailed with the engine's sentence."""
        jobs = self.jobs()
        job = next(jobs)
        while True:
            yield Step(self.spent, self.total)
            end = run_to_end(job, tick_ms=1500.0)
            try:
                job = jobs.send(end)
            except StopIteration:
                yield Step(self.total, self.total)
                return

    # ------------------------------------------------------------ jobs

    def _converged(self, numbers: list[int]) -> Generator[Job, Done, None]:
        solver = reference_solver(Solver())
        unknown = [number for number in numbers if number not in self.truth]
        for part in _parts(unknown, ROWS // 8):
            done = yield self._job([(solver, part)])
            for number, row in zip(part, done.tracks[0].rows, strict=True):
                if row.sample is None:
                    raise ValueError(f"no converged sample: {row.error or 'it has no end'}")
                self.truth[number] = row.sample

    def _measured(self, going: list[int], numbers: list[int]) -> Generator[Job, Done, None]:
        for part in _parts(going, max(1, ROWS // len(numbers))):
            done = yield self._job([(self.solvers[k].solver, numbers) for k in part])
            for k, track in zip(part, done.tracks, strict=True):
                for number, row in zip(numbers, track.rows, strict=True):
                    self.errors[k, number] = (
                        np.inf if row.sample is None else rmse(row.sample, self.truth[number])
                    )

    def _job(self, tracks: list[tuple[Solver, list[int]]]) -> Job:
        made = []
        for solver, numbers in tracks:
            own = None if self.conditions is None else [self.conditions[n] for n in numbers]
            made.append(
                Track(
                    self.model.resolved(solver, own[0] if own else None),
                    tuple(self.seeds[n] for n in numbers),
                    cond=own,
                    lam_span=self.model.lam_span,
                    restart=self.model.restart,
                )
            )
            self.spent += solver.nfe * len(numbers)
        model = self.model
        return Job(
            model.denoise_float32,
            model.shape,
            tuple(made),
            device=model.device,
            record=False,
            latents=model.latents,
        )

    # ------------------------------------------------------------ results

    def _best(self, going: list[int], seeds: int) -> list[int]:
        """`going` by their mean over the first `seeds` seeds, those that stay in front."""
        mean = self.errors[:, :seeds].mean(axis=1)
        return sorted(going, key=lambda k: (not self.solvers[k].kept, mean[k]))

    def ranking(self) -> list[Ranked]:
        """Those that were measured on most seeds first, and among them by their error."""
        known = np.isfinite(self.errors)
        counts = known.sum(axis=1)
        full = np.flatnonzero(counts == counts.max())
        interval = dict(zip(full.tolist(), ratios(self.errors[full]), strict=True))
        lines = []
        for k, entrant in enumerate(self.solvers):
            if counts[k]:
                mean = float(self.errors[k][known[k]].mean())
                low, high = interval.get(k, (np.nan, np.nan))
                lines.append(Ranked(entrant.name, entrant.solver, mean, int(counts[k]), low, high))
        return sorted(lines, key=lambda line: (-line.seeds, line.rmse))


def _parts(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[k : k + size] for k in range(0, len(numbers), size)]
