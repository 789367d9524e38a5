"""The comparisons that are recorded for the landing, and how they are read.

`python -m benchmarks.record_landing` writes them beside the checkpoint that made them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpm_demo.compare.questions import QUESTIONS, START
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.request.comparison import Comparison

log = logging.getLogger("dpm_demo")

FOLDER = CHECKPOINTS / "emoji-image" / "recorded" / "landing"
BUDGETS = tuple(range(3, 41))  # network evaluations
PLAYED = (5, 8, 12)  # budgets whose way from the noise is recorded
COLUMNS = 38  # pictures a line of a sheet


@dataclass(frozen=True)
class Scene:
    """One recorded comparison: orders 1, 2, 3 of the default solver from one noise."""

    title: str
    why: str  # that and why it was chosen
    comparison: Comparison


def _scene(title: str, why: str, label: str, seed: int) -> Scene:
    return Scene(title, why, replace(START, label=label, seed=seed))


_CLEAR = "Chosen out of 96 for a clear picture and orders that part well. Other noise may not."

#: By file name, in the page's order.
SCENES: dict[str, Scene] = {
    "1-smiley": _scene("a smiley", _CLEAR, "fluent smileys", 7),
    "2-flag": _scene("a flag", _CLEAR, "fluent flags", 30),
    "3-stripes": _scene("a striped flag", _CLEAR, "fluent flags", 22),
    "4-against": _scene(
        "where order 3 loses",
        "Chosen out of 96 because order 3 does not pay here: with few evaluations it overshoots.",
        "fluent flags",
        42,
    ),
}


#: The questions' recorded answers, by file name.
ANSWERS: dict[str, str] = dict(
    zip(
        ("q-order", "q-printed", "q-schedule", "q-named", "q-fitted", "q-method", "q-form"),
        QUESTIONS,
        strict=True,
    )
)


def read_scenes(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """What the page shows of each recording; one that cannot be read is left out.

    `sheets` are the paths of its pictures, which the page fetches from this server.
    """
    return _read(folder, SCENES)


def read_answers(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The same of the questions, by title."""
    return {ANSWERS[answer["name"]]: answer for answer in _read(folder, ANSWERS)}


def _read(folder: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for name in names:
        path = folder / f"{name}.json"
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            sheets = [
                folder / f"{name}{end}.webp" for end in ("", *(["-way"] if read["plays"] else []))
            ]
            for sheet in sheets:
                sheet.stat()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: %s: %s", path.name, type(error).__name__, error)
            continue
        found.append({**read, "name": name, "sheets": [str(sheet) for sheet in sheets]})
    return found
