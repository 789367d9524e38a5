"""A solver as a table: numbers that say what each prediction is worth, or a function of one's own.

    dpm_demo.solver.table.read("mine.json")                    # then Solver(table="mine")
    dpm_demo.solver.table.register("mine", my_generator)       # likewise

or drop tables/mine.json into the folder where the program is started.

A file holds numbers only: "name", "prediction" ("data" or "noise"), and one of

"multistep"  rows of weights by how many predictions there are, the newest first:
             [[1], [1.5, -0.5]] is Adams–Bashforth of order 2
"stages"     c_1 … c_s from 0 to 1 (0 first), with "weights": a row for each stage after the first
             and one for the step, the oldest prediction first: [0, 0.5] and [[1], [0, 1]] is the
             midpoint rule. Stages lie at λ + c h
"lambdas"    nodes of one budget, with "weights": a row for each step, the newest first

Every row adds up to 1 and is multiplied by what the step's exponential integrator multiplies order
1 by, so that each table is at least of order 1.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_demo.solver.coefficients import Update, linear_update
from dpm_demo.solver.events import Evaluation, Trajectory
from dpm_demo.solver.plan import Move, Plan

__all__ = ["Sampler", "Table", "named", "read", "register"]

#: sampler(x, lambdas) yields `Evaluation` for the nodes and returns the sample.
Sampler = Callable[[Tensor, Sequence[float]], Trajectory]
#: moves(points, eta, full) -> moves; the steps after the first `full` are of order 1.
Moves = Callable[[Sequence[float], float, int], Sequence[Move]]

LENGTH_MAX, REACH_MAX, BYTES_MAX = 1000, 8, 1_000_000
#: Files of this folder, where the program is started, are tables by their own names.
FOLDER = Path("tables")
NAME = r"[A-Za-z][\w-]{0,39}"
_KNOWN: dict[str, Table] = {}


@dataclass(frozen=True)
class Table:
    """A fixed-step solver that no setting expresses.

    calls        evaluations of one step
    noisy        whether it takes eta > 0
    nodes        where a table of one budget has its own
    sampler      where it is a function, whose `moves` were found by watching it
    """

    name: str
    prediction: str
    moves: Moves
    calls: int = 1
    noisy: bool = False
    nodes: tuple[float, ...] = ()
    sampler: Sampler | None = None

    def steps(self, budget: int) -> int:
        """Steps that `budget` evaluations pay: whole ones, and the rest of order 1."""
        return budget // self.calls + budget % self.calls

    def nodes_over(self, lam_span: tuple[float, float], budget: int) -> tuple[float, ...]:
        """The table's own nodes. `ValueError` for another budget or other ends."""
        if budget != len(self.nodes) - 1:
            raise ValueError(
                f'table "{self.name}" is for {len(self.nodes) - 1} evaluations, not {budget}'
            )
        ends = self.nodes[0], self.nodes[-1]
        if not _same(ends, lam_span):
            raise ValueError(f'table "{self.name}" leads from λ = {ends[0]:g} to {ends[1]:g}')
        return (float(lam_span[0]), *self.nodes[1:-1], float(lam_span[1]))

    def plan(self, points: Sequence[float], eta: float, budget: int | None = None) -> Plan:
        """The plan over the steps' ends `points`; the last steps of a budget may be of order 1."""
        steps = len(points) - 1
        if self.nodes and not _same(self.nodes, points):
            raise ValueError(f'lambdas must be the {len(self.nodes)} nodes of table "{self.name}"')
        full = steps if budget is None else steps - budget % self.calls
        if points[-1] == math.inf:
            full = min(full, steps - 1)
        moves = tuple(self.moves(points, eta, full))
        return Plan(tuple(points), _orders(points, moves), moves, self.prediction)


def _same(nodes: Sequence[float], others: Sequence[float]) -> bool:
    return len(nodes) == len(others) and all(
        math.isclose(a, b, abs_tol=1e-6) for a, b in zip(nodes, others, strict=True)
    )


def _orders(points: Sequence[float], moves: Sequence[Move]) -> tuple[int, ...]:
    """Predictions that each step uses: what a plan shows as its order."""
    found = [1] * (len(points) - 1)
    step = -1
    for move in moves:
        step += move.stage == 0  # its λ may be told differently from the node's
        if move.update is not None:
            found[step] = max(1, sum(1 for weight in move.update.weights if weight))
    return tuple(found)


def first_order(form: str, lam: float, target: float) -> Move:
    """One step of order 1: DDIM; to λ = ∞ the data prediction."""
    if target == math.inf:
        return Move(lam, 0, target, None)
    return Move(lam, 0, target, linear_update(lam, target, [lam], noise_form=form == "noise"))


def weighted(form: str, lam: float, target: float, weights: Sequence[float]) -> Update:
    """The update of order 1 with its one weight dealt out to predictions, the newest first."""
    plain = linear_update(lam, target, [lam], noise_form=form == "noise")
    return Update(plain.scale, tuple(plain.weights[0] * w for w in weights))


# --- the tables that are known --------------------------------------------------------------------


def register(name: str, table: Table | Sampler, *, calls: int = 1) -> Table:
    """Makes `Solver(table=name)` mean a table, or a function that yields evaluations.

    A function `sampler(x, lambdas)` gets the state at the first node and the nodes of the
    schedule, as many as its budget pays at `calls` evaluations a step, yields `Evaluation(x, lam)`
    (its inner ones with stage=1, 2, …), is sent the data prediction for each, and returns the
    sample. `ValueError` for a name that is none, or that the samplers of other programs have.
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ValueError(f"a table's name is up to 40 letters, digits, - and _, not {name!r:.60}")
    from dpm_demo.solver.others import TABLES

    if name in TABLES:
        raise ValueError(f'the name "{name}" is taken by a sampler of another program')
    if not isinstance(table, Table):
        if not isinstance(calls, int) or not 1 <= calls <= REACH_MAX:
            raise ValueError(f"calls must be a whole number from 1 to {REACH_MAX}, not {calls!r}")
        table = _watched(name, table, calls)
    _KNOWN[name] = table
    from dpm_demo.solver.plan import forget_plans

    forget_plans()
    return table


def named(name: str) -> Table:
    """The table of that name. `ValueError` with the nearest names for another one."""
    from dpm_demo.solver.others import TABLES

    known = {**TABLES, **_KNOWN}
    if isinstance(name, str) and name not in known and re.fullmatch(NAME, name):
        dropped = FOLDER / f"{name}.json"
        if dropped.is_file():
            known[name] = read(dropped)
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name), known, 3) or sorted(known)
        raise ValueError(f"table: {name!r:.60} is unknown; there are {', '.join(near)}")
    return known[name]


def _watched(name: str, sampler: Sampler, calls: int) -> Table:
    """A function as a table: its moves are what it asks for when it is run on zeros."""

    def moves(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        asked: list[Move] = []
        steps = sampler(torch.zeros(1, 1, dtype=torch.float64), tuple(points))
        answer: Any = None
        try:
            while True:
                event = steps.send(answer)
                answer = 0.0
                if isinstance(event, Evaluation):
                    answer = torch.zeros_like(event.x)
                    asked.append(Move(float(event.lam), event.stage, points[-1], None))
                if len(asked) > calls * (len(points) - 1):
                    raise ValueError(
                        f'"{name}" asks for more than {calls} evaluations a step; register it '
                        "with as many calls"
                    )
        except StopIteration:
            return asked

    return Table(name, "data", moves, calls, sampler=sampler)


# --- tables from a file ---------------------------------------------------------------------------


def read(path: str | Path) -> Table:
    """Registers the table in a JSON file, under its "name" or the file's.

    `ValueError`, one sentence that names the file, for anything that is not such a table.
    """
    path = Path(path)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"is larger than {BYTES_MAX} bytes")
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError("must hold an object with a name and numbers")
        made = of_values(values, path.stem)
        return register(made.name, made)
    except (OSError, RecursionError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def of_values(values: dict[str, Any], name: str = "table") -> Table:
    """The table that a file's values describe. `ValueError` for what is none."""
    name = str(values.get("name", name))
    form = values.get("prediction", "data")
    if form not in ("data", "noise"):
        raise ValueError(f'prediction must be "data" or "noise", not {form!r:.60}')
    kinds = [kind for kind in ("multistep", "stages", "lambdas") if kind in values]
    if len(kinds) != 1:
        raise ValueError("one of multistep, stages and lambdas must be there")
    unknown = set(values) - {"name", "prediction", "weights", *kinds}
    if unknown:
        raise ValueError(f"{min(unknown)!r:.60} is no part of a table")
    if kinds == ["multistep"]:
        rows = _rows("multistep", values["multistep"], range(1, REACH_MAX + 1))
        return multistep(name, form, rows)
    if kinds == ["stages"]:
        places = _numbers("stages", values["stages"], REACH_MAX)
        if places[0] != 0 or not all(0 <= c <= 1 for c in places):
            raise ValueError("stages must be numbers from 0 to 1, the first one 0")
        rows = _rows("weights", values.get("weights"), range(1, len(places) + 1))
        if len(rows) != len(places):
            raise ValueError(f"weights must have {len(places)} rows, not {len(rows)}")
        return stages(name, form, places, rows)
    points = _numbers("lambdas", values["lambdas"], LENGTH_MAX + 1)
    if len(points) < 2 or not all(a < b and abs(b) <= 100 for a, b in pairwise((-100.1, *points))):
        raise ValueError("lambdas must be two or more rising numbers between -100 and 100")
    most = [min(i, REACH_MAX) for i in range(1, len(points))]
    rows = _rows("weights", values.get("weights"), most)
    if len(rows) != len(points) - 1:
        raise ValueError(f"weights must have {len(points) - 1} rows, not {len(rows)}")
    return listed(name, form, points, rows)


def multistep(name: str, form: str, rows: Sequence[Sequence[float]]) -> Table:
    """Fixed weights by how many predictions there are, whatever the spacing."""

    def moves(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        made = []
        far = points[0] == -math.inf
        for i, (lam, target) in enumerate(pairwise(points)):
            known = min(max(1, i + 1 - far), len(rows))
            if i >= full or lam == -math.inf or known == 1:
                made.append(first_order(form, lam, target))
            else:
                made.append(Move(lam, 0, target, weighted(form, lam, target, rows[known - 1])))
        return made

    return Table(name, form, moves)


def stages(name: str, form: str, places: Sequence[float], rows: Sequence[Sequence[float]]) -> Table:
    """A singlestep method with stages at λ + c h; `rows` have the oldest prediction first."""
    if not all(places[1:]):
        raise ValueError("stages must differ from 0 after the first")

    def moves(points: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        made = []
        for i, (lam, target) in enumerate(pairwise(points)):
            if i >= full or lam == -math.inf:
                made.append(first_order(form, lam, target))
                continue
            at = [lam + c * (target - lam) for c in (*places, 1.0)]
            for stage, row in enumerate(rows):
                weights = row[::-1]
                update = weighted(form, lam, at[stage + 1], weights)
                made.append(Move(at[stage], stage, at[stage + 1], update))
        return made

    return Table(name, form, moves, calls=len(places))


def listed(name: str, form: str, points: Sequence[float], rows: Sequence[Sequence[float]]) -> Table:
    """Nodes and weights of one budget."""

    def moves(given: Sequence[float], eta: float, full: int) -> Sequence[Move]:
        return [
            Move(lam, 0, target, weighted(form, lam, target, row))
            for (lam, target), row in zip(pairwise(given), rows, strict=True)
        ]

    return Table(name, form, moves, nodes=tuple(points))


def _numbers(field: str, values: Any, most: int) -> tuple[float, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= most:
        raise ValueError(f"{field} must be a list of 1 to {most} numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{field} must hold numbers only, not {value!r:.60}")
        if not abs(value) <= 1e6:
            raise ValueError(f"{field} must hold numbers of at most a million, not {value!r:.60}")
    return tuple(map(float, values))


def _rows(field: str, values: Any, most: Sequence[int]) -> list[tuple[float, ...]]:
    if not isinstance(values, list) or not 1 <= len(values) <= len(most):
        raise ValueError(f"{field} must be a list of 1 to {len(most)} rows")
    rows = []
    for i, (row, reach) in enumerate(zip(values, most, strict=False)):
        found = _numbers(f"row {i + 1} of {field}", row, reach)
        if not math.isclose(sum(found), 1, abs_tol=1e-6):
            raise ValueError(f"row {i + 1} of {field} must add up to 1, not {sum(found):g}")
        rows.append(found)
    return rows
