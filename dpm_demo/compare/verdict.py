"""What a finished comparison says, in one sentence made from its figures.

A verdict takes the rows' names and, by row, the error of each number of evaluations; an empty
answer is none. `general` fits every comparison; the others answer a question (`questions`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dpm_demo.compare.figures import slope

Errors = Mapping[int, Mapping[int, float]]
Verdict = Callable[[Sequence[str], Errors], str]
EQUAL = 1.05  # errors that differ by less than so many times are called equal


def general(names: Sequence[str], errors: Errors) -> str:
    """Who is nearest with the fewest evaluations, and with the most."""
    budgets = _shared(errors)
    if not budgets:
        return ""
    first, last = budgets[0], budgets[-1]
    if len(errors) == 1:
        ((row, known),) = errors.items()
        if first == last:
            return f"{_capital(names[row])} ends {_value(known[first])} from the converged picture."
        return (
            f"{_capital(names[row])} ends {_value(known[first])} from the converged picture with "
            f"{first} evaluations, {_value(known[last])} with {last}."
        )
    return _capital(_ends(names, errors, budgets))


def pays(names: Sequence[str], errors: Errors) -> str:
    """What the other rows need to come as near as the first one does with the most evaluations."""
    if 0 not in errors or len(errors) < 2:
        return general(names, errors)
    most = max(errors[0])
    goal = errors[0][most]
    needs = {row: _needed(known, goal) for row, known in errors.items() if row}
    aim = f"as near as {names[0]} does with {most} evaluations ({_value(goal)})"
    if not any(nfe is not None and nfe < most for nfe in needs.values()):
        return f"No, not on this noise: no other row needs fewer to come {aim}."
    said = [
        f"{names[row]} " + (f"needs {nfe}" if nfe is not None else "does not come with as many")
        for row, nfe in needs.items()
    ]
    return f"Yes: to come {aim}, {_listed(said)}."


def printed(names: Sequence[str], errors: Errors) -> str:
    """Measured orders of the last two rows: order 3 with exact weights, and as it is printed.

    Both slopes move with the noise, by the same curvature; that one lies half an order behind the
    other does not.
    """
    orders = {row: slope([*known], [*known.values()]) for row, known in errors.items()}
    exact, print_ = (orders.get(len(names) - k) for k in (2, 1))
    if exact is None or print_ is None:
        return general(names, errors)
    budgets = _shared(errors)
    how = f"measured from {budgets[0]} to {budgets[-1]} evaluations"
    if exact >= max(2.5, print_ + 0.5):
        return (
            f"No: as printed, order 3 converges at order {print_:.1f}; with exact weights at "
            f"{exact:.1f} ({how})."
        )
    return (
        f"These budgets do not tell: order {print_:.1f} as printed, {exact:.1f} with exact "
        f"weights ({how})."
    )


def schedules(names: Sequence[str], errors: Errors) -> str:
    """How far the best and the worst row lie apart with few evaluations, and with many."""
    budgets = _shared(errors)
    if len(errors) < 2 or not budgets:
        return general(names, errors)
    much = "Much" if _spread(errors, budgets[0]) >= 1.5 else "Little"
    return f"{much}: {_ends(names, errors, budgets)}"


def named(names: Sequence[str], errors: Errors) -> str:
    """The nearest rows of every budget, and the farthest of the smallest."""
    budgets = _shared(errors)
    if len(errors) < 2 or not any(_spread(errors, nfe) >= EQUAL for nfe in budgets):
        return general(names, errors)
    by_winner: dict[str, list[str]] = {}
    for nfe in budgets:
        where = f"at {nfe} ({_value(errors[_best(errors, nfe)][nfe])})"
        by_winner.setdefault(_nearest(names, errors, nfe), []).append(where)
    first = budgets[0]
    found = _listed([f"{name} {_listed(where)}" for name, where in by_winner.items()])
    answer = f"Nearest of the {len(errors)} is {found} evaluations"
    if _spread(errors, first) < EQUAL:
        return answer + "."
    return (
        f"{answer}; {names[_worst(errors, first)]} is farthest at {first}, "
        f"{times(_spread(errors, first))} as far."
    )


def sides(one: str, other: str) -> Verdict:
    """Rows come in pairs: which side of the pairs is nearer, how often, how much."""

    def verdict(names: Sequence[str], errors: Errors) -> str:
        ratios = [
            errors[row + 1][nfe] / errors[row][nfe]
            for row in range(0, len(names) - 1, 2)
            if row in errors and row + 1 in errors
            for nfe in sorted(errors[row].keys() & errors[row + 1].keys())
            if min(errors[row][nfe], errors[row + 1][nfe]) > 0
        ]
        if not ratios:
            return general(names, errors)
        ahead, behind = one, other
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        if mean < 1:
            ahead, behind = other, one
            mean, ratios = 1 / mean, [1 / ratio for ratio in ratios]
        if mean < EQUAL:
            return f"Neither: {one} and {other} are equally near in the mean."
        won = sum(ratio > 1 for ratio in ratios)
        return (
            f"{_capital(ahead)} is nearer than {behind} in {won} of {len(ratios)} cells, "
            f"{times(mean)} in the geometric mean."
        )

    return verdict


def fitted(names: Sequence[str], errors: Errors) -> str:
    """At each budget, the first row against the best of the others."""
    others = {row: known for row, known in errors.items() if row}
    budgets = _shared(errors)
    if 0 not in errors or not others or not budgets:
        return general(names, errors)
    said: dict[str, list[str]] = {"nearer than": [], "as near as": [], "farther than": []}
    for nfe in budgets:
        best = _best(others, nfe)
        ratio = others[best][nfe] / errors[0][nfe]
        apart = max(ratio, 1 / ratio)
        how = "as near as" if apart < EQUAL else "nearer than" if ratio > 1 else "farther than"
        much = "" if apart < EQUAL else f"{times(apart)}; "
        said[how].append(f"with {nfe} evaluations ({much}{names[best]})")
    known = {how: where for how, where in said.items() if where}
    ends = [f"{how} the best of the others {_listed(where)}" for how, where in known.items()]
    answer = "Sometimes" if len(ends) > 1 else "Yes"
    if "nearer than" not in known:
        answer = "No, not here"
    return f"{answer}: it ends {_listed(ends)}."


# ------------------------------------------------------------------------ words


def _shared(errors: Errors) -> list[int]:
    """Evaluations at which every row has an error that is not 0."""
    if not errors:
        return []
    first, *more = ({nfe for nfe, e in known.items() if e > 0} for known in errors.values())
    return sorted(first.intersection(*more))


def _needed(known: Mapping[int, float], goal: float) -> int | None:
    """The first number of evaluations from which on the error stays within `goal`."""
    found = None
    for nfe in sorted(known, reverse=True):
        if known[nfe] > goal:
            break
        found = nfe
    return found


def _best(errors: Errors, nfe: int) -> int:
    return min(errors, key=lambda row: errors[row][nfe])


def _nearest(names: Sequence[str], errors: Errors, nfe: int) -> str:
    """The row that is nearest, or all that are equally near to it."""
    least = errors[_best(errors, nfe)][nfe]
    return " or ".join(names[row] for row in errors if errors[row][nfe] < EQUAL * least)


def _worst(errors: Errors, nfe: int) -> int:
    return max(errors, key=lambda row: errors[row][nfe])


def _spread(errors: Errors, nfe: int) -> float:
    return errors[_worst(errors, nfe)][nfe] / errors[_best(errors, nfe)][nfe]


def _ends(names: Sequence[str], errors: Errors, budgets: Sequence[int]) -> str:
    """Who is nearest with the fewest evaluations and, where there are others, with the most."""
    first, last = budgets[0], budgets[-1]
    text = f"at {first} evaluations {_apart(names, errors, first)}"
    return text + (f"; at {last} {_apart(names, errors, last)}." if last != first else ".")


def _apart(names: Sequence[str], errors: Errors, nfe: int) -> str:
    least = _value(errors[_best(errors, nfe)][nfe])
    if _spread(errors, nfe) < EQUAL:
        return f"all are equally near ({least})"
    return (
        f"{_nearest(names, errors, nfe)} ends nearest ({least}), "
        f"{times(_spread(errors, nfe))} nearer than {names[_worst(errors, nfe)]}"
    )


def times(ratio: float) -> str:
    """ "5.6 times", "12 times"."""
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _value(error: float) -> str:
    return f"{float(f'{error:.2g}'):g}"


def _listed(parts: Sequence[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text if "_" in text.split(maxsplit=1)[0] else text[:1].upper() + text[1:]
