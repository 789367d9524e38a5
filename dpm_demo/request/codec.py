"""Settings as links, text and JSON, and back: one reader for every door.

Whatever arrives from a widget, a query string, the API, a picture's text chunk or a command line
goes through here, so a bad value becomes the same clear sentence everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlencode

from dpm_demo.request.comparison import NFE_OF_ROW, ROWS_MAX, Comparison
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.solver.catalogue import find
from dpm_demo.solver.settings import CHOICES, NFE_MAX, Solver

_OWN = tuple(f.name for f in fields(GenerateRequest) if f.name != "solver")
_SOLVER = {f.name: f.default for f in fields(Solver)}
_WHOLE = {"nfe", "seed", "count", "window", "order", "height", "width", "frames"}


def read(values: Mapping[str, Any]) -> GenerateRequest:
    """The request that `values` describe, flat: the request's own fields and the solver's.

    Text is read as what its field takes ("20", "true", "none"); whole floats count as integers.
    Raises ValueError, one sentence, also for a name that is no field.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"settings must be names with values, not {values!r:.60}")
    known = {*_OWN, *_SOLVER}
    for name in values:
        if name not in known:
            raise ValueError(f"{name!r:.60} is no setting; there are {', '.join(sorted(known))}")
    cooked = {name: _convert(name, value) for name, value in values.items()}
    solver = Solver(**{k: v for k, v in cooked.items() if k in _SOLVER})
    return GenerateRequest(**{k: v for k, v in cooked.items() if k in _OWN}, solver=solver)


def read_nested(values: Mapping[str, Any], solver: Any) -> GenerateRequest:
    """Like `read`, where the solver's fields stand apart: nothing in them names another field."""
    if solver is None:
        solver = {}
    if not isinstance(solver, Mapping):
        raise ValueError(f"solver must be an object of settings, not {solver!r:.60}")
    for name in solver:
        if name not in _SOLVER:
            known = ", ".join(_SOLVER)
            raise ValueError(f"solver: {name!r:.60} is no setting; there are {known}")
    return read({**values, **solver})


def read_leniently(values: Mapping[str, Any]) -> tuple[GenerateRequest, list[str]]:
    """Like `read`, for links: what cannot be used is left at its default and named."""
    good: dict[str, Any] = {}
    said = dict.fromkeys(values, "")
    # twice: a field may only make sense beside one that came later ("tolerance" before "method")
    for _ in range(2):
        for name in [*said]:
            try:
                read({**good, name: values[name]})
                good[name] = values[name]
                del said[name]
            except ValueError as error:
                said[name] = f"{str(error)[:200]}; the default is used."
    return read(good), [*said.values()]


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
    if name in ("model", "label", "prompt", "negative_prompt"):
        return value
    if isinstance(value, str):
        value = value.strip()[:60]
        if name in CHOICES:
            return next((c for c in CHOICES[name] if _word(c) == value.lower()), value)
        try:
            value = float(value)
        except ValueError:
            return value
    whole = isinstance(value, float) and name in _WHOLE and value.is_integer()
    return int(value) if whole else value


def _word(choice: Any) -> str:
    return str(choice).lower()


def solver_text(solver: Solver) -> str:
    """A solver's settings other than `nfe` that are not the defaults: "order=3 method=singlestep".

    `solver_of_text` reads it back.
    """
    default = Solver()
    named = {name: getattr(solver, name) for name in _SOLVER if name != "nfe"}
    shown = {k: v for k, v in named.items() if v != getattr(default, k) or k == "order"}
    return " ".join(f"{k}={_word(v)}" for k, v in shown.items())


def solver_of_text(text: str) -> Solver:
    """The solver that `text` describes: words of the form field=value, or another program's name.

    "dpmpp_2m karras" is what `solver.catalogue.find` makes of it. Raises ValueError.
    """
    words = str(text)[:400].split()
    if words and "=" not in words[0]:
        return find(" ".join(words), NFE_OF_ROW)
    return Solver(nfe=NFE_OF_ROW, **solver_words(text))


def solver_words(text: str) -> dict[str, Any]:
    """The fields of a solver, other than `nfe`, in words of the form field=value.

    Raises ValueError for a word of another form.
    """
    values: dict[str, Any] = {}
    for word in str(text)[:400].split():
        name, equals, value = word.partition("=")
        if not equals or name not in _SOLVER or name == "nfe":
            known = ", ".join(k for k in _SOLVER if k != "nfe")
            raise ValueError(
                f"solver: {word!r:.60} is not of the form field=value with a field of {known}"
            )
        values[name] = _convert(name, value)
    return values


def comparison_query(comparison: Comparison) -> str:
    """Every setting that differs from the defaults, as a query string without "?"."""
    plain = Comparison()
    pairs: list[tuple[str, Any]] = [
        (k, str(getattr(comparison, k)).lower() if k == "no_taper" else getattr(comparison, k))
        for k in (*(k for k in _OWN if hasattr(plain, k)), "no_taper")
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
    for name, text in pairs:
        try:
            if name == "row":
                rows = values.get("rows", ())
                if len(rows) == ROWS_MAX:
                    raise ValueError(f"row: a comparison has at most {ROWS_MAX}")
                new: dict[str, Any] = {"rows": (*rows, solver_of_text(text))}
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


def comparison_of_values(
    values: Mapping[str, Any], rows: Any = None, budgets: Any = None, no_taper: Any = False
) -> Comparison:
    """The comparison of flat `values`, of rows as text and of budgets; None is the default.

    Raises ValueError, one sentence.
    """
    own = {name: _convert(name, value) for name, value in values.items()}
    for name, value in (("rows", rows), ("budgets", budgets)):
        if value is not None and not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list, not {value!r:.60}")
    if rows is not None:
        if len(rows) > ROWS_MAX:
            raise ValueError(f"rows must be 1 to {ROWS_MAX} solvers, not {len(rows)}")
        own["rows"] = tuple(solver_of_text(row) for row in rows)
    if budgets is not None:
        own["budgets"] = tuple(_convert("nfe", budget) for budget in budgets)
    return Comparison(**own, no_taper=no_taper)


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
