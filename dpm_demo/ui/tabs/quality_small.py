"""The small sweep that a visitor of the tab "Quality" runs: what it may ask for, and figures."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dpm_demo.compare.references import REFERENCE_NFE
from dpm_demo.compare.run import ComparisonRun, check_measured
from dpm_demo.engine.events import Done, Preview
from dpm_demo.models.model import Model
from dpm_demo.quality.extract import EMOJI_FEATURES, RealFeatures, open_extractor
from dpm_demo.quality.metrics import Scores, scores
from dpm_demo.quality.results import Line, Results, error_figures
from dpm_demo.request.codec import budgets_of_text, read, solver_of_text, solver_text
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.runs import Throttle
from dpm_demo.ui.sentences import STOPPED, ended
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.stop import stopping
from dpm_demo.ui.widgets import links

SOLVERS_MAX = 4  # of a small sweep
SAMPLES = (8, 64)  # of each of its lines, at least and at most
SEEDS_OF_ERROR = 8  # its first ones, which get a converged sample
NEWS_SECONDS = 0.25  # between two messages of progress
NOT_EMOJI = (
    "The embedded features know emoji only, so of this model just RMSE and PSNR are measured."
)


def read_small(
    values: Mapping[str, Any],
    texts: Sequence[str] | None,
    budgets: str,
    model: Model,
    limits: Limits,
) -> Comparison:
    """The checked small sweep: every solver at every budget, over `count` seeds.

    Raises ValueError, one sentence, for anything bad in it or more than one request may ask for.
    """
    plain = read(values)
    most = min(SAMPLES[1], limits.pictures)
    least = min(SAMPLES[0], most)
    if not least <= plain.count <= most:
        raise ValueError(f"samples must be {least} to {most}, not {plain.count}")
    rows = tuple(dict.fromkeys(_solver(text) for text in texts or ()))
    if not 1 <= len(rows) <= SOLVERS_MAX:
        raise ValueError(f"solvers must be 1 to {SOLVERS_MAX}, not {len(rows)}")
    small = Comparison(
        plain.model,
        plain.label,
        plain.guidance,
        plain.seed,
        plain.count,
        rows=rows,
        budgets=tuple(sorted(budgets_of_text(str(budgets)))),
    )
    if model.latents is not None:
        raise ValueError(f"model: {model.name} makes latents; models of pixels are measured here")
    solvers = [replace(row, nfe=nfe) for row in rows for nfe in small.budgets]
    wanted = Checked.of(small.sample, model)
    check_measured(limits, wanted, solvers, error_seeds=SEEDS_OF_ERROR)
    return small


def _solver(text: str) -> Solver:
    solver = solver_of_text(text)
    if solver.method == "adaptive" or solver.window:
        raise ValueError(
            f"solvers: {text!r:.80} does not spend the budgets that it is given; only solvers of "
            "fixed cost can be compared here"
        )
    return solver


@dataclass(frozen=True)
class News:
    """What there is to say of a small sweep, and its results as far as they are known."""

    text: str
    results: Results | None = None


async def run_small(
    serving: Serving, small: Comparison, model: Model
) -> AsyncGenerator[News, None]:
    """Draws all samples and what converged references are not kept, in one job, then measures."""
    began = time.monotonic()
    run = ComparisonRun(small, model, serving.references, error_seeds=SEEDS_OF_ERROR, record=False)
    throttle, known = Throttle(NEWS_SECONDS), 0

    def results(measured: Mapping[int, Scores | None], only_known: bool = False) -> Results:
        """The lines of all cells, or of those whose error is known by now."""
        cells = [c for c in run.cells.computed if not only_known or c in run.values]
        lines = [
            line_of(
                small.rows[cell.row],
                cell.solver.nfe,
                [error for error in run.errors(cell.track) if error is not None],
                measured.get(cell.track),
            )
            for cell in cells
        ]
        return Results(
            model=model.name,
            digest=model.digest,
            label=small.label,
            guidance=small.guidance,
            features="emoji features",
            reference_nfe=REFERENCE_NFE,
            lines=tuple(line for line in lines if line.rmse is not None or not only_known),
            notes={"seed": small.seed, "samples": small.count},
        )

    async with aclosing(serving.measure(run, f"small sweep {small.model}")) as events:
        async for end in events:
            if not isinstance(end, Preview):
                continue
            if run.measured_cells > known:
                known = run.measured_cells
                yield News(progress(end), results({}, only_known=True))
            elif throttle.due():
                yield News(progress(end))
    if not isinstance(end, Done):
        yield News(ended(end))
        return
    drawn = run.rows(end)
    notes = [f"**{links.escape(end.error)}**"] if end.error else []
    measured: dict[int, Scores | None] = {}
    if knows_emoji(model):
        try:
            for k, rows in enumerate(drawn):
                if stopping():
                    yield News(STOPPED)
                    return
                yield News(f"measuring {k + 1} of {len(drawn)} …")
                # one call a line: those of other visitors come between
                samples = [row.sample for row in rows if row.sample is not None]
                if len(samples) > 1:
                    call = partial(measure, np.stack(samples))
                    found = await asyncio.wrap_future(serving.engine.call(call))
                    measured[k] = found
        except (ValueError, OSError) as error:
            notes.append(f"**{links.escape(str(error))}**")
    else:
        notes.append(NOT_EMOJI)
    every = results(measured)
    done = f"{len(every.lines)} lines in {time.monotonic() - began:.1f} s."
    yield News(" ".join([done, *notes]), every)


def progress(event: Preview) -> str:
    """How far a run is, with the seconds that are left at its speed so far."""
    done, of = event.nfe, event.budget
    left = event.seconds * (of - done) / done if done else None
    return f'<progress value="{done}" max="{of}"></progress> {done:,} of {of:,} evaluations' + (
        "" if left is None else f", about {math.ceil(left)} s left"
    )


def line_of(solver: Solver, nfe: int, errors: Sequence[float], measured: Scores | None) -> Line:
    """One line of the table from what was measured of it."""
    figures: dict[str, Any] = {} if measured is None else dict(vars(measured))
    figures.update(error_figures([error**2 for error in errors]))
    return Line(solver_text(solver), nfe, **figures)


def knows_emoji(model: Model) -> bool:
    """Whether the embedded extractor was trained on what the model draws: by its label axes.

    Where the extractor cannot be read the answer is yes, so that measuring says what is wrong.
    """
    try:
        axes = json.loads((EMOJI_FEATURES / "features.json").read_text(encoding="utf-8"))["axes"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(axes == {axis: len(names) for axis, names in model.labels.items()})


def measure(samples: np.ndarray) -> Scores:
    """The scores of samples `(n, 3, h, w)` against the real pictures (on the engine's thread)."""
    import torch

    look, real = _looker()
    features, logits = look(torch.from_numpy(samples))
    return scores(features, logits, real, len(samples))


@lru_cache(maxsize=1)
def _looker() -> Any:
    return open_extractor("emoji"), RealFeatures.load().train


def noise_sentence(results: Results) -> str:
    """How little so few samples say; stands under the table of a small sweep."""
    n = max((line.n for line in results.lines), default=0)
    seeds = max((line.n_error for line in results.lines), default=0)
    parts = []
    if n:
        parts.append(
            f"n = {n}: with so few samples FD is biased upwards and comparable only at equal n; "
            "KID's ± is over draws of the real pictures, not over other samples. The real pictures "
            "are of every label, so that one label alone scores worse."
        )
        if n < 20:
            parts.append("IS needs 20 samples.")
    if seeds:
        parts.append(f"RMSE and PSNR are from {seeds} seeds.")
    return " ".join(parts)
