"""One request of a visitor: what is wanted, within which limits, and the same as a link or text.

Frozen, validated, free of torch. Whatever arrives from a widget, a query string, the API or a
command line goes through `read`, so a bad value becomes the same clear sentence everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import urlencode

from dpm_demo.solver.settings import CHOICES, NFE_MAX, Solver

SEED_MAX = 2**31 - 1  # a browser's number field keeps integers of this size exactly


@dataclass(frozen=True)
class Limits:
    """What one request may cost; an operator can set each.

    pictures   samples of one request
    cost       network rows of one request: samples x evaluations x (2 if guided) x frames
    requests   requests admitted at once, running or waiting
    memory     bytes that one request may need beside the weights (`memory_needed`)
    """

    pictures: int = 64
    cost: int = 40_000
    requests: int = 64
    memory: int = 4 * 2**30


@dataclass(frozen=True)
class GenerateRequest:
    """Pictures or clips of one model with one solver; sample k has seed `seed + k`.

    Raises ValueError, one sentence that names the field, the value and what is allowed.
    """

    model: str = "emoji-image"
    label: str = "any"
    guidance: float = 3.5
    seed: int = 0
    count: int = 4
    solver: Solver = field(default_factory=Solver)

    def __post_init__(self) -> None:
        for name in ("model", "label"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, not {getattr(self, name)!r:.60}")
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed <= SEED_MAX:
            raise ValueError(
                f"seed must be a whole number from 0 to {SEED_MAX}, not {self.seed!r:.60}"
            )
        whole = isinstance(self.count, int) and not isinstance(self.count, bool)
        if not whole or self.count < 1:
            raise ValueError(f"count must be a whole number from 1, not {self.count!r:.60}")
        if isinstance(self.guidance, bool) or not isinstance(self.guidance, (int, float)):
            raise ValueError(f"guidance must be a number from 0 to 20, not {self.guidance!r:.60}")
        if not 0 <= self.guidance <= 20:
            raise ValueError(f"guidance must be a number from 0 to 20, not {self.guidance!r:.60}")

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple((self.seed + k) % (SEED_MAX + 1) for k in range(self.count))

    def check(self, limits: Limits, rows_a_sample: int = 1, numbers: int = 0) -> None:
        """Raises ValueError if the request is larger than `limits` (also said there).

        `numbers` are those of one sample: 3 x frames x height x width.
        """
        if self.count > limits.pictures:
            raise ValueError(f"count must be at most {limits.pictures}, not {self.count}")
        check_cost(self.count * self.solver.nfe * rows_a_sample, limits)
        check_memory([self.solver.nfe] * self.count, numbers, limits)


def check_cost(cost: int, limits: Limits) -> None:
    """Raises ValueError for more network rows than one request may ask for."""
    if cost > limits.cost:
        raise ValueError(
            f"this request would cost {cost:,} network rows (samples x evaluations x 2 if guided "
            f"x frames) and one request may cost {limits.cost:,}: ask for fewer of something"
        )


STATES = 10  # float32 tensors of a sample at once: its states, predictions kept, copies on the way
ROWS_AT_ONCE = 16  # of one network call: eight rows, each doubled by guidance
NETWORK_BYTES = 600  # a number of a call's input; measured 400 to 570, `benchmarks.video`


def memory_needed(budgets: Sequence[int], numbers: int) -> int:
    """Bytes that samples of `numbers` numbers need at most, given the evaluations of each.

    Their states, their record (x0 and x_t in 8 bits at each evaluation, 128 at most, and the 64 of
    the copy that is handed out), and one call of a network like the embedded ones.
    """
    shots = sum(min(nfe + 1, 128) + min(nfe + 1, 64) for nfe in budgets)
    samples = len(budgets)
    call = min(2 * samples, ROWS_AT_ONCE) * NETWORK_BYTES
    return numbers * (4 * STATES * samples + 2 * shots + call)


def check_memory(budgets: Sequence[int], numbers: int, limits: Limits) -> None:
    """Raises ValueError for a request that needs more memory than one may, before it starts."""
    needed = memory_needed(budgets, numbers)
    if needed > limits.memory:
        raise ValueError(
            f"this request would need about {needed / 1e9:.1f} GB of memory ({len(budgets)} "
            f"samples of {numbers:,} numbers, {sum(budgets):,} evaluations) and one request may "
            f"need {limits.memory / 1e9:.1f} GB: ask for fewer of something"
        )


_OWN = tuple(f.name for f in fields(GenerateRequest) if f.name != "solver")
_SOLVER = {f.name: f.default for f in fields(Solver)}


def read(values: Mapping[str, Any]) -> GenerateRequest:
    """The request that `values` describe, flat: the request's own fields and the solver's.

    Text is read as what its field takes ("20", "true", "none"); whole floats count as integers.
    Raises ValueError, one sentence, also for a name that is no field.
    """
    known = {*_OWN, *_SOLVER}
    for name in values:
        if name not in known:
            raise ValueError(f"{name!r:.60} is no setting; there are {', '.join(sorted(known))}")
    cooked = {name: _convert(name, value) for name, value in values.items()}
    solver = Solver(**{k: v for k, v in cooked.items() if k in _SOLVER})
    return GenerateRequest(**{k: v for k, v in cooked.items() if k in _OWN}, solver=solver)


def read_leniently(values: Mapping[str, Any]) -> tuple[GenerateRequest, list[str]]:
    """Like `read`, for links: what cannot be used is left at its default and named."""
    good: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in values.items():
        try:
            read({**good, name: value})
            good[name] = value
        except ValueError:
            good_alone = {**good, name: value}
            complaints.append(name)
            good = {k: v for k, v in good_alone.items() if k != name}
    # a field may only make sense beside one that came later ("tolerance" before "method")
    for name in list(complaints):
        try:
            read({**good, name: values[name]})
            good[name] = values[name]
            complaints.remove(name)
        except ValueError:
            continue
    sentences = []
    for name in complaints:
        try:
            read({**good, name: values[name]})
        except ValueError as error:
            sentences.append(f"{str(error)[:200]}; the default is used.")
    return read(good), sentences


def settings(request: GenerateRequest, defaults: bool = True) -> dict[str, Any]:
    """The request as a flat dictionary; without `defaults` only what differs from them."""
    flat = {name: getattr(request, name) for name in _OWN}
    flat.update(asdict(request.solver))
    if not defaults:
        plain = settings(GenerateRequest())
        plain["nfe"] = Solver(method="adaptive").nfe if flat["method"] == "adaptive" else 20
        flat = {k: v for k, v in flat.items() if v != plain[k]}
    return flat


def to_query(request: GenerateRequest) -> str:
    """The settings that differ from the defaults, as a query string without "?"."""
    return urlencode(
        {
            k: str(v).lower() if isinstance(v, bool) else v
            for k, v in settings(request, defaults=False).items()
        }
    )


def to_text(request: GenerateRequest) -> str:
    """The settings as the JSON that a picture's text chunk carries; `read(json.loads(...))`."""
    return json.dumps(settings(request))


def _convert(name: str, value: Any) -> Any:
    """A widget's or link's value as the field's type; what does not fit is left for the check."""
    if name in ("model", "label"):
        return value
    if isinstance(value, str):
        value = value.strip()[:60]
        if name in CHOICES:
            return next((c for c in CHOICES[name] if _word(c) == value.lower()), value)
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float) and name in ("nfe", "seed", "count", "window", "order"):
        return int(value) if math.isfinite(value) and value == int(value) else value
    return value


def _word(choice: Any) -> str:
    return str(choice).lower()


@dataclass(frozen=True)
class Comparison:
    """Solver settings (rows) at several budgets (columns), from the same seeds.

    The `nfe` of a row's solver means nothing here: the budgets rule. `no_taper` runs every row
    without the lower orders at the end, which hide a slope. Raises ValueError like the others.
    """

    model: str = "emoji-image"
    label: str = "any"
    guidance: float = 1.0
    seed: int = 0
    count: int = 1
    rows: tuple[Solver, ...] = (Solver(order=1), Solver(order=2), Solver(order=3))
    budgets: tuple[int, ...] = (5, 8, 10, 15, 20)
    no_taper: bool = False

    def __post_init__(self) -> None:
        self._sample()  # checks the fields that a single request has too
        if not 1 <= len(self.rows) <= ROWS_MAX:
            raise ValueError(f"rows must be 1 to {ROWS_MAX} solvers, not {len(self.rows)}")
        if not 1 <= len(self.budgets) <= COLUMNS_MAX:
            raise ValueError(f"budgets must be 1 to {COLUMNS_MAX} numbers, not {len(self.budgets)}")
        if len(set(self.budgets)) != len(self.budgets):
            raise ValueError("budgets must differ from each other")
        if not isinstance(self.no_taper, bool):
            raise ValueError(f"no_taper must be true or false, not {self.no_taper!r:.60}")
        rows = tuple(replace(row, nfe=NFE_OF_ROW) for row in self.rows)
        object.__setattr__(self, "rows", rows)
        for row in self.rows:
            for nfe in self.budgets:
                replace(row, nfe=nfe)

    def _sample(self) -> GenerateRequest:
        return GenerateRequest(self.model, self.label, self.guidance, self.seed, self.count)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self._sample().seeds

    def check(self, limits: Limits, rows_a_sample: int = 1, numbers: int = 0) -> None:
        """Raises ValueError if all cells together are larger than `limits`."""
        cells = len(self.rows) * len(self.budgets) * self.count
        if cells > 2 * limits.pictures:
            raise ValueError(
                f"rows x budgets x seeds must be at most {2 * limits.pictures}, not {cells}"
            )
        cost = len(self.rows) * sum(self.budgets) * self.count
        check_cost(cost * rows_a_sample, limits)
        check_memory(self.budgets * (len(self.rows) * self.count), numbers, limits)


ROWS_MAX = COLUMNS_MAX = 6
NFE_OF_ROW = 20


def solver_text(solver: Solver) -> str:
    """A solver's settings other than `nfe` that are not the defaults: "order=3 method=singlestep".

    `solver_of_text` reads it back.
    """
    default = Solver()
    named = {name: getattr(solver, name) for name in _SOLVER if name != "nfe"}
    shown = {k: v for k, v in named.items() if v != getattr(default, k) or k == "order"}
    return " ".join(f"{k}={_word(v)}" for k, v in shown.items())


def solver_of_text(text: str) -> Solver:
    """The solver that `text` describes: words of the form field=value. Raises ValueError."""
    values: dict[str, Any] = {}
    for word in str(text)[:400].split():
        name, equals, value = word.partition("=")
        if not equals or name not in _SOLVER or name == "nfe":
            known = ", ".join(k for k in _SOLVER if k != "nfe")
            raise ValueError(
                f"solver: {word!r:.60} is not of the form field=value with a field of {known}"
            )
        values[name] = _convert(name, value)
    return Solver(nfe=NFE_OF_ROW, **values)


def comparison_query(comparison: Comparison) -> str:
    """Every setting that differs from the defaults, as a query string without "?"."""
    plain = Comparison()
    pairs: list[tuple[str, Any]] = [
        (k, str(getattr(comparison, k)).lower() if k == "no_taper" else getattr(comparison, k))
        for k in ("model", "label", "guidance", "seed", "count", "no_taper")
        if getattr(comparison, k) != getattr(plain, k)
    ]
    if comparison.budgets != plain.budgets:
        pairs.append(("budgets", ",".join(map(str, comparison.budgets))))
    if comparison.rows != plain.rows:
        pairs += [("row", solver_text(row)) for row in comparison.rows]
    return urlencode(pairs)


def comparison_of_query(pairs: Iterable[tuple[str, str]]) -> tuple[Comparison, list[str]]:
    """The comparison that a link's pairs describe, and one sentence for each that is no use."""
    values: dict[str, Any] = {}
    complaints: list[str] = []
    rows: list[Solver] = []
    for name, text in pairs:
        try:
            if name == "row":
                if len(rows) == ROWS_MAX:
                    raise ValueError(f"row: a comparison has at most {ROWS_MAX}")
                rows.append(solver_of_text(text))
                new: dict[str, Any] = {"rows": tuple(rows)}
            elif name == "budgets":
                new = {"budgets": tuple(budgets_of_text(text))}
            elif name == "no_taper":
                if text not in ("true", "false"):
                    raise ValueError(f"no_taper must be true or false, not {text!r:.60}")
                new = {"no_taper": text == "true"}
            elif name in _OWN:
                new = {name: _convert(name, text)}
            elif name == "tab":
                continue
            else:
                raise ValueError(f"{name!r:.60} is no setting of a comparison")
            Comparison(**{**values, **new})
            values.update(new)
        except ValueError as error:
            complaints.append(f"{str(error)[:200]}; the default is used.")
    return Comparison(**values), complaints


def budgets_of_text(text: str) -> list[int]:
    """The budgets of a comma-separated list. Raises ValueError."""
    budgets = []
    for word in parse_list("budgets", text):
        if not word.isascii() or not word.isdigit() or not 1 <= int(word[:9]) <= NFE_MAX:
            raise ValueError(f"budgets must be whole numbers from 1 to {NFE_MAX}, not {word!r:.60}")
        budgets.append(int(word[:9]))
    return budgets


def parse_list(name: str, text: str, allowed: Iterable[str] | None = None) -> list[str]:
    """The words of a comma-separated list. Raises ValueError if empty or a word is not allowed."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    if not words:
        raise ValueError(f"{name} must be a comma-separated list, not {text!r:.60}")
    known = None if allowed is None else set(allowed)
    for word in words:
        if known is not None and word not in known:
            raise ValueError(f"{name} must be of {', '.join(sorted(known))}, not {word!r:.60}")
    return words
