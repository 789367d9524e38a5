"""What computes a sweep: one process here, or whatever else takes orders and gives arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from filelock import FileLock

from dpm_demo.quality.measure import BLOCK, Instrument, Order, Unit, unit_name
from dpm_demo.quality.store import Store
from dpm_demo.solver.settings import Solver

Measured = tuple["Order", "dict[str, np.ndarray] | Exception"]
#: Takes orders, one when it has room for it, and gives what was measured, in any order, each with
#: the order or the part of it that it is of.
Runner = Callable[[Instrument, Iterable[Order], Callable[[int], None]], Iterable[Measured]]


def here(
    instrument: Instrument, orders: Iterable[Order], on_progress: Callable[[int], None]
) -> Iterator[Measured]:
    """The runner of one process, which gives each part of an order once it is there.

    An error ends the sweep.
    """
    for part in (part for order in orders for part in instrument.parts(order)):
        spent = 0

        def show(nfe: int) -> None:
            nonlocal spent
            on_progress(nfe - spent)
            spent = nfe

        yield part, instrument.measure(part, show)


def compute(
    store: Store,
    solvers: Sequence[Solver],
    seeds: Sequence[int],
    n_error: int,
    run: Runner = here,
    on_progress: Callable[[int], None] = lambda nfe: None,
) -> None:
    """Computes whatever the store does not have of these settings, references first.

    Several programs may do so in one folder at once: a block of seeds belongs to one of them at a
    time, and what one has done no other does again. `on_progress` gets evaluations of samples as
    they are done. Each unit is written when it is there. Raises ValueError once all others are
    done, if a unit failed.
    """
    failures: dict[Unit, Exception] = {}
    tried: set[tuple[Solver, int]] = set()  # not again, whatever became of it
    for references in (True, False):
        while todo := [
            unit
            for unit in _wave(store, solvers, seeds, n_error, references)
            if not tried.issuperset((unit.solver, seed) for seed in unit.seeds)
        ]:
            with _Claims(store, seeds, n_error) as claims:
                for order, got in run(store.instrument, claims.orders(todo), on_progress):
                    if isinstance(got, Exception):
                        failures[order.unit] = got
                    else:
                        store.keep(order.unit, got)
                    tried.update((order.unit.solver, seed) for seed in order.unit.seeds)
                    claims.release(order.unit)
            if not claims.elsewhere:
                break
            store.wait_for(claims.elsewhere[0])
    if failures:
        unit, error = next(iter(failures.items()))
        raise ValueError(
            f"{len(failures)} units failed, all others are done; the first, "
            f"{unit_name(unit.solver)} of seeds {unit.seeds[0]} to {unit.seeds[-1]}: {error}"
        ) from error


class _Claims:
    """Orders of what this program may compute: each holds its block until it is released."""

    def __init__(self, store: Store, seeds: Sequence[int], n_error: int) -> None:
        self.elsewhere: list[Unit] = []  # another program is at work on them
        self._store, self._seeds, self._n_error = store, seeds, n_error
        self._held: dict[tuple[Solver, int], tuple[FileLock, set[int]]] = {}

    def orders(self, units: Iterable[Unit]) -> Iterator[Order]:
        for unit in units:
            lock = self._store.claim(unit)
            if lock is None:
                self.elsewhere.append(unit)
                continue
            errors = self._store.measured(unit.solver, self._seeds, self._n_error)
            rest = self._store.rest(unit, errors)
            if rest is None:
                lock.release()
                continue
            self._held[_block(rest)] = lock, set(rest.seeds)
            yield self._store.order(rest, self._n_error)

    def release(self, unit: Unit) -> None:
        """The unit, or this part of one, is done; the last one lets the block go."""
        lock, left = self._held[_block(unit)]
        left.difference_update(unit.seeds)
        if not left:
            del self._held[_block(unit)]
            lock.release()

    def __enter__(self) -> _Claims:
        return self

    def __exit__(self, *error: object) -> None:
        for lock, _ in self._held.values():
            lock.release()


def _block(unit: Unit) -> tuple[Solver, int]:
    return unit.solver, unit.seeds[0] // BLOCK


def _wave(
    store: Store, solvers: Sequence[Solver], seeds: Sequence[int], n_error: int, references: bool
) -> list[Unit]:
    """What is missing of the references alone, or of everything; each unit once."""
    found: dict[Unit, None] = {}
    for solver in solvers:
        for unit in store.missing(solver, seeds, n_error):
            if not references or unit.solver != solver:
                found.setdefault(unit)
    return list(found)
