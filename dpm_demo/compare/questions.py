"""Questions that a comparison answers: what is to be run, and what its figures then say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dpm_demo.compare.figures import Figures, brief, row_title, rows_of
from dpm_demo.compare.layout import Cell, Layout
from dpm_demo.compare.verdict import (
    Verdict,
    fitted,
    general,
    named,
    pays,
    printed,
    schedules,
    sides,
)
from dpm_demo.request.codec import solver_of_text
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver.settings import CHOICES

#: A picture on which the orders part well; what the page opens with.
START = Comparison(label="fluent smileys", guidance=2.0, seed=7, budgets=(5, 8, 12, 16, 24, 40))
_EXACT = Comparison(model="mixture", budgets=(24, 48, 96, 192), no_taper=True)


@dataclass(frozen=True)
class Question:
    """The comparison that answers a question, and how; `names` of rows whose titles are long."""

    comparison: Comparison
    verdict: Verdict
    names: tuple[str, ...] = ()


def _asked(verdict: Verdict, of: Comparison, *rows: str) -> Question:
    return Question(replace(of, rows=tuple(solver_of_text(row) for row in rows)), verdict)


QUESTIONS: dict[str, Question] = {
    "Does order pay?": Question(START, pays),
    "Is the printed order 3 really 3?": _asked(
        printed,
        _EXACT,
        "order=2 weights=exact",
        "order=2 weights=published",
        "order=3 weights=exact",
        "order=3 weights=published",
    ),
    "What does the schedule do?": replace(
        _asked(
            schedules,
            replace(START, budgets=(5, 8, 12, 20)),
            *(f"order=2 schedule={name}" for name in CHOICES["schedule"]),
        ),
        names=CHOICES["schedule"],
    ),
    "Named samplers: who is who?": _asked(
        named,
        replace(START, budgets=(8, 12, 20)),
        "euler",
        "heun",
        "dpmpp_2m",
        "dpmpp_2m karras",
        "uni_pc",
    ),
    "Is the fitted solver worth it?": _asked(
        fitted,
        replace(START, budgets=(5, 8), count=4),
        "schedule=calibrated",
        "order=3",
        "order=3 schedule=linear",
        "dpmpp_2m karras",
        "uni_pc",
    ),
    "Look back or look ahead?": _asked(
        sides("looking back (multistep)", "looking ahead (singlestep)"),
        START,
        "order=2 method=multistep",
        "order=2 method=singlestep",
        "order=3 method=multistep",
        "order=3 method=singlestep",
    ),
    "Data form or noise form?": _asked(
        sides("the data form", "the noise form"),
        START,
        "order=2 prediction=data",
        "order=2 prediction=noise",
        "order=3 prediction=data",
        "order=3 prediction=noise",
    ),
}


def verdict(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> str:
    """One sentence made from the figures; a question's own where its rows were asked for."""
    names = [brief(row_title(comparison, row)) for row in range(len(comparison.rows))]
    errors = {
        row: {v.nfe: v.rmse for v in known if v.rmse is not None}
        for row, known in rows_of(cells, values)
        if known
    }
    question = QUESTIONS.get(asked(comparison))
    if question is None:
        return general(names, errors)
    return question.verdict(question.names or names, errors)


def asked(comparison: Comparison) -> str:
    """The question whose rows these are; "" if there is none."""
    found = (title for title, q in QUESTIONS.items() if q.comparison.rows == comparison.rows)
    return next(found, "")
