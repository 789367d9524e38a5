"""Writes the tables of docs/quality.md from the landed sweep of emoji-image.

    python -m benchmarks.quality [--write]

The sweep itself is `python -m dpm_demo evaluate`; docs/quality.md has the commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.document import write
from dpm_demo.quality.results import Line, Results, geometric_mean, landed, value_text
from dpm_demo.request.codec import solver_of_text
from dpm_demo.solver.catalogue import name_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "quality.md"
PLAIN = ("order=2", "order=3", "order=1")
SHOWN = 8  # of the settings, beside the plain ones
NAMES = 24  # of other programs' names, beside what is fitted
SETTINGS_AT, NAMES_AT = (5, 10, 20), (5, 8, 10, 20)
FITTED = "order=2 schedule=calibrated"


def known(results: Results, metric: str) -> dict[str, dict[int, Line]]:
    """Lines that have a figure, by solver and budget."""
    found: dict[str, dict[int, Line]] = {}
    for line in results.lines:
        if getattr(line, metric) is not None:
            found.setdefault(line.solver, {})[line.nfe] = line
    return found


def rows(
    lines: dict[str, dict[int, Line]],
    solvers: Sequence[str],
    budgets: Sequence[int],
    metric: str,
    within: Results | None = None,
) -> str:
    """A table, a row a solver; the best of each column is bold, the rest behind it `within`."""
    best = {
        nfe: min(getattr(lines[s][nfe], metric) for s in solvers if nfe in lines[s])
        for nfe in budgets
    }
    text = [f"| solver | {' | '.join(map(str, budgets))} |", "|---|" + "---|" * len(budgets)]
    for solver in solvers:
        cells = []
        for nfe in budgets:
            line = lines[solver].get(nfe)
            shown = ""
            if line is not None:
                ends = None if within is None else within.behind(line, metric)
                shown = value_text(line, metric, ends).partition(" ±")[0]
            bold = line is not None and getattr(line, metric) == best[nfe]
            cells.append(f"**{shown}**" if bold else shown)
        text.append(f"| {called(solver)} | {' | '.join(cells)} |")
    return "\n".join(text)


def called(solver: str) -> str:
    if solver == FITTED:
        return "what is fitted"
    if solver in PLAIN:
        return f"`{solver}`" + (" (DDIM)" if solver == "order=1" else "")
    name = name_of(solver_of_text(solver))
    return f"`{name or solver}`"


def ranked(lines: dict[str, dict[int, Line]], budgets: Sequence[int]) -> list[str]:
    """The solvers that have all budgets, the nearest first by the geometric mean."""
    whole = [s for s, by in lines.items() if all(nfe in by for nfe in budgets)]
    return sorted(whole, key=lambda s: geometric_mean(lines[s][n].rmse or 0 for n in budgets))


def tables(results: Results) -> dict[str, str]:
    """Each table of the document, by the name of its marks."""
    errors = known(results, "rmse")
    at_three, at_four = (
        [s for s in ranked(errors, budgets) if s not in PLAIN]
        for budgets in (SETTINGS_AT, NAMES_AT)
    )
    settings = [s for s in at_three if not name_of(solver_of_text(s))]
    distances = known(results, "fd")
    measured = [s for s in distances if len(distances[s]) > 1]
    budgets = sorted({nfe for s in measured for nfe in distances[s]})
    return {
        "settings": rows(errors, [*settings[:SHOWN], *PLAIN], SETTINGS_AT, "rmse"),
        "names": rows(errors, [FITTED, *at_four[:NAMES]], NAMES_AT, "rmse", results),
        "fd": rows(distances, measured, budgets, "fd"),
        "kid": rows(known(results, "kid"), measured, budgets, "kid"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"update {DOCUMENT.name}")
    made = tables(Results.read(landed()["emoji-image"]))
    if parser.parse_args().write:
        write(DOCUMENT, made)
    for name, table in made.items():
        print(f"{name}\n\n{table}\n")


if __name__ == "__main__":
    main()
