"""Many workers on paper: the scheduler simulated with a measured cost model.

    python -m benchmarks.scale                     # the tables of docs/scale.md
    python -m benchmarks.scale --real              # and a burst on two real workers

The cost of a network call, a + b·rows milliseconds, is measured here, on one core. Where a request
goes is decided by the program's own rule (`engine.workforce.price`). A tick is the scheduler's for
requests of one size: three quarters of the time the one with the least service leads, else the one
that waited longest; those of its model join while the call stays within `TICK_MS`. Not simulated:
the network between machines, the page's own process, previews.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import simpy

from dpm_demo.engine.workforce import Place, Work, price

TICK_MS = 200.0
ROWS, NFE = 4, 20  # of a request
BURST = 8.0  # requests that come together, on average
LOAD = 0.6  # of what the workers can do with one request a call
RESTART_MS = 12_000.0  # until a dead worker's successor serves
SIZES = (1, 2, 4, 10, 30, 100)


@dataclass(frozen=True)
class CallCost:
    """Milliseconds of a network call of n rows: fixed + each n."""

    fixed: float
    each: float

    def ms(self, rows: int) -> float:
        return self.fixed + self.each * rows

    def most_rows(self) -> int:
        """Rows of one tick, at least one."""
        return max(1, int((TICK_MS - self.fixed) / self.each))


@dataclass(eq=False)
class Visit:
    """One request of the simulation; times in milliseconds."""

    arrived: float
    model: str
    rows: int = ROWS
    left: int = NFE  # evaluations in sequence
    attained: float = 0.0
    served: float = 0.0  # when a call last had rows of it
    first_frame: float | None = None
    ended: float | None = None
    restarts: int = 0
    work: Work = field(init=False)


@dataclass
class Worker:
    """One worker: its place in the program's own terms, and its visits."""

    place: Place
    wake: simpy.Event
    visits: list[Visit] = field(default_factory=list)
    alive: bool = True
    owed: float = 0.0  # a third of the milliseconds that passed the one who waits longest


Rule = Callable[[Place, str], float]


def any_model(place: Place, model: str) -> float:
    """A rule for comparison: rows are rows, whichever the model."""
    return float(sum(work.left for work in place.work))


class Service:
    """Workers that serve visits in simulated time."""

    def __init__(self, workers: int, cost: CallCost, rule: Rule = price) -> None:
        self.env, self.cost, self.rule = simpy.Environment(), cost, rule
        self.workers: list[Worker] = []
        self.visits: list[Visit] = []
        self.rows = self.calls = 0
        self._turn = 0
        for _ in range(workers):
            self.add()

    def add(self) -> None:
        worker = Worker(Place(len(self.workers), None), self.env.event())
        self.workers.append(worker)
        self.env.process(self._work(worker))

    def arrive(self, visit: Visit) -> None:
        """Gives a visit to the worker that the rule prefers."""
        alive = [w for w in self.workers if w.alive]
        worker = min(alive, key=lambda w: (self.rule(w.place, visit.model), w.place.turn))
        self._turn += 1
        worker.place.turn = self._turn
        visit.work = Work(visit.model, visit.left * visit.rows)
        worker.place.work.add(visit.work)
        worker.visits.append(visit)
        visit.served = self.env.now
        if not worker.wake.triggered:
            worker.wake.succeed()

    def _work(self, worker: Worker) -> Iterator[simpy.Event]:
        while worker.alive:
            if not worker.visits:
                worker.wake = self.env.event()
                yield worker.wake
                continue
            taken = self._batch(worker)
            rows = sum(visit.rows for visit in taken)
            ms = self.cost.ms(rows)
            yield self.env.timeout(ms)
            if not worker.alive:  # the call died with it
                return
            self.rows, self.calls = self.rows + rows, self.calls + 1
            for visit in taken:
                visit.left, visit.served = visit.left - 1, self.env.now
                visit.attained += ms * visit.rows / rows
                visit.work.left -= visit.rows
                if visit.first_frame is None:
                    visit.first_frame = self.env.now
                if not visit.left:
                    visit.ended = self.env.now
                    worker.visits.remove(visit)
                    worker.place.work.discard(visit.work)

    def _batch(self, worker: Worker) -> list[Visit]:
        order = sorted(worker.visits, key=lambda visit: visit.attained)
        elder = min(worker.visits, key=lambda visit: visit.served)
        leader = elder if worker.owed >= self.cost.ms(elder.rows) else order[0]
        order.remove(leader)
        taken, room = [leader], self.cost.most_rows() - leader.rows
        for visit in order:
            if visit.model == leader.model and visit.rows <= room:
                taken.append(visit)
                room -= visit.rows
        ms = self.cost.ms(sum(visit.rows for visit in taken))
        worker.owed = 0.0 if elder in taken else worker.owed + ms / 3
        return taken

    def kill(self) -> None:
        """The busiest worker dies: its visits begin again elsewhere; a successor comes later."""
        worker = max(self.workers, key=lambda w: len(w.visits) * w.alive)
        worker.alive = False
        for visit in worker.visits:
            visit.left, visit.restarts, visit.attained = NFE, visit.restarts + 1, 0.0
            self.arrive(visit)

        def successor() -> Iterator[simpy.Event]:
            yield self.env.timeout(RESTART_MS)
            self.add()

        self.env.process(successor())

    def bursts(self, seconds: float, share: float, models: int, seed: int) -> None:
        """Visits in bursts, together `share` of what the workers do with one request a call."""
        rng = random.Random(seed)
        alone = NFE * self.cost.ms(ROWS)
        gap = BURST * alone / (share * len(self.workers))

        def come() -> Iterator[simpy.Event]:
            while self.env.now < 1000 * seconds:
                yield self.env.timeout(rng.expovariate(1 / gap))
                for _ in range(1 + int(rng.expovariate(1 / (BURST - 0.5)))):
                    visit = Visit(self.env.now, f"model {rng.randrange(models)}")
                    self.visits.append(visit)
                    self.arrive(visit)

        self.env.process(come())


@dataclass(frozen=True)
class Outcome:
    """What visitors met: rows a second, milliseconds, and how even their waiting was."""

    rows_per_second: float
    rows_per_call: float
    first_frame_p50: float
    first_frame_p95: float
    whole_p95: float
    fairness: float  # Jain's index of how many times slower than alone; 1 is even
    visits: int
    restarted: int


def outcome(service: Service) -> Outcome:
    """The figures of a service that has run to its end."""
    done = [visit for visit in service.visits if visit.ended is not None]
    first = [visit.first_frame - visit.arrived for visit in done if visit.first_frame]
    whole = [visit.ended - visit.arrived for visit in done if visit.ended]
    slow = [ms / (NFE * service.cost.ms(ROWS)) for ms in whole]
    return Outcome(
        rows_per_second=1000 * service.rows / service.env.now,
        rows_per_call=service.rows / service.calls,
        first_frame_p50=float(np.percentile(first, 50)),
        first_frame_p95=float(np.percentile(first, 95)),
        whole_p95=float(np.percentile(whole, 95)),
        fairness=fmean(slow) ** 2 / fmean(s * s for s in slow),
        visits=len(done),
        restarted=sum(visit.restarts > 0 for visit in done),
    )


def simulated(
    workers: int,
    cost: CallCost,
    *,
    rule: Rule = price,
    models: int = 2,
    death: bool = False,
    share: float = LOAD,
    seconds: float = 300.0,
    seed: int = 0,
) -> Outcome:
    """Bursts for so many seconds, and then to the last visit's end."""
    service = Service(workers, cost, rule)
    service.bursts(seconds, share, models, seed)

    def die() -> Iterator[simpy.Event]:
        yield service.env.timeout(1000 * seconds / 2)
        service.kill()

    if death:
        service.env.process(die())
    service.env.run()
    return outcome(service)


# ---------------------------------------------------------------- against what is real


def measured_cost(name: str) -> CallCost:
    """The least of repeated network calls of 4 and 16 rows, on one core, as a line."""
    import torch

    import dpm_demo as dpm
    from benchmarks.figure import call, seconds

    torch.set_num_threads(1)
    model = dpm.load(name, "cpu")
    least = {}
    for rows in (4, 16):
        work = call(model, rows)
        least[rows] = 1e3 * min([seconds(work) for _ in range(12)][1:])
    each = max(1e-3, (least[16] - least[4]) / 12)
    return CallCost(max(0.0, least[4] - 4 * each), each)


def burst_forecast(workers: int, visits: int, cost: CallCost) -> float:
    """Seconds until the last of so many requests that come at once."""
    service = Service(workers, cost)
    for _ in range(visits):
        visit = Visit(0.0, "model")
        service.visits.append(visit)
        service.arrive(visit)
    service.env.run()
    return service.env.now / 1000


def burst_measured(name: str, workers: int, visits: int) -> float:
    """The same on real workers of this machine, a core each; with 0, one engine on all cores."""
    from dpm_demo.engine.job import Job, Track
    from dpm_demo.engine.remote import Remote
    from dpm_demo.engine.worker import Engine
    from dpm_demo.engine.worker_actor import worker_library
    from dpm_demo.models.library import ModelLibrary
    from dpm_demo.solver.settings import Solver

    library = ModelLibrary("cpu")
    if workers:
        make = partial(worker_library, "cpu")
        runner: Any = Remote("local", workers, library, make, device="cpu")
        while sum(w["state"] == "ready" for w in runner.workers()) < workers:
            time.sleep(0.2)
        model = runner.load(name).result()
    else:
        runner = Engine()
        model = library.load(name, runner.call).result()

    def burst(count: int) -> float:
        cond = model.condition(None, 1.0) if model.conditional else None
        began = time.perf_counter()
        tickets = []
        for k in range(count):
            seeds = tuple(range(k * ROWS, (k + 1) * ROWS))
            track = Track(Solver(nfe=NFE), seeds, cond=cond, lam_span=model.lam_span)
            job = Job(model.denoise, model.shape, (track,), device=model.device)
            tickets.append(runner.submit(job))
        for ticket in tickets:
            ticket.result()
        return time.perf_counter() - began

    burst(4)  # loads models, and learns their speed
    try:
        return min(burst(visits) for _ in range(3))
    finally:
        runner.close()


HEAD = (
    "| workers | rows/s | rows a call | first frame p50, p95 (ms) | whole p95 (s) | fairness |\n"
    "|---|---|---|---|---|---|"
)


def _row(name: str, got: Outcome) -> str:
    return (
        f"| {name} | {got.rows_per_second:.0f} | {got.rows_per_call:.1f} "
        f"| {got.first_frame_p50:.0f}, {got.first_frame_p95:.0f} "
        f"| {got.whole_p95 / 1000:.1f} | {got.fairness:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="emoji-image")
    parser.add_argument("--real", action="store_true", help="run two workers of this machine too")
    parser.add_argument("--visits", type=int, default=16, help="requests of the real burst")
    options = parser.parse_args()
    if options.real:  # before torch has one thread
        two = burst_measured(options.model, 2, options.visits)
        one = burst_measured(options.model, 0, options.visits)
    cost = measured_cost(options.model)
    print(f"a call on one core: {cost.fixed:.1f} + {cost.each:.2f} rows (ms)\n\n{HEAD}")
    for workers in SIZES:
        print(_row(str(workers), simulated(workers, cost)))
    for name, options_ in (
        ("10, models not told apart", {"rule": any_model}),
        ("10, one model", {"models": 1}),
        ("10, one dies", {"death": True}),
        ("2, one dies", {"death": True}),
    ):
        workers = int(name.split(",")[0])
        got = simulated(workers, cost, **options_)  # type: ignore[arg-type]
        print(_row(name, got), f"({got.restarted} restarted)" if got.restarted else "")
    if options.real:
        forecast = burst_forecast(2, options.visits, cost)
        rows = options.visits * ROWS * NFE
        print(
            f"\n{options.visits} requests at once, {rows} rows: two workers {two:.2f} s "
            f"({rows / two:.0f} rows/s), forecast {forecast:.2f} s; one engine on all cores "
            f"{one:.2f} s ({rows / one:.0f} rows/s)"
        )


if __name__ == "__main__":
    main()
