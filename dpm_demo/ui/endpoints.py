"""The page's API: named endpoints that stream, with the checks and limits of the page.

`docs/api.md` describes them, and so does the page "Use via API".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import gradio as gr
import numpy as np

from dpm_demo.compare.adaptive import spent_of
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.media.clips import animated_webp
from dpm_demo.media.grid import sheet
from dpm_demo.media.pixels import uint8
from dpm_demo.media.png import data_uri, png
from dpm_demo.models.model import Model
from dpm_demo.request.codec import (
    comparison_of_values,
    comparison_query,
    read_nested,
    settings,
    solver_text,
)
from dpm_demo.request.files import FPS, Clips, clip_stem, wall_of_clips
from dpm_demo.request.job import Checked, checked
from dpm_demo.ui.sentences import refuse
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import adaptive_runs as error_control

__all__ = ["build"]

Answers = AsyncGenerator[dict[str, Any], None]
T = TypeVar("T")


def build(serving: Serving) -> None:
    """Adds the endpoints to the current Blocks."""

    def asked(handler: Any, request: gr.Request, *args: Any) -> Answers:
        """A run like those of the page: admitted, counted, stopped when the caller leaves."""
        return serving.stoppable("api", handler)(request, *args)

    async def generate(
        request: gr.Request,
        model: str = "emoji-image",
        label: str = "any",
        guidance: float = 3.5,
        seed: float = 0,
        count: float = 1,
        solver: dict[str, Any] | None = None,
        prompt: str = "",
        negative_prompt: str = "",
        height: float = 0,
        width: float = 0,
        frames: float = 0,
    ) -> AsyncIterator[dict[str, Any]]:
        """Streams the denoising: {"nfe", "budget", "final", "sheet", "settings"}.

        `solver` holds fields of dpm_demo.Solver, for example {"nfe": 12, "order": 3}; `label` are
        words such as "animals" or "fluent food". `sheet` is a PNG data URI of the data prediction
        of every sample; the last one is the samples. Bad input is answered by one sentence.
        """
        values = _values(locals())
        async with aclosing(asked(_generate, request, serving, values, solver)) as answers:
            async for answer in answers:
                yield answer

    async def video(
        request: gr.Request,
        model: str = "emoji-video",
        label: str = "any",
        guidance: float = 2.0,
        seed: float = 0,
        count: float = 1,
        solver: dict[str, Any] | None = None,
        prompt: str = "",
        negative_prompt: str = "",
        height: float = 0,
        width: float = 0,
        frames: float = 0,
        smoothing: float = 0,
        loop: bool = True,
    ) -> AsyncIterator[dict[str, Any]]:
        """The same for clips; the last answer has "webp", a data URI of the moving clips, lossless.

        `smoothing` is the σ, in frames, of a Gaussian along time (0 is off); `loop` says that the
        last frame's neighbour is the first. In `sheet` the frames of a clip stand side by side.
        """
        values = _values(locals())
        more = (values, solver, smoothing, loop)
        async with aclosing(asked(_video, request, serving, *more)) as answers:
            async for answer in answers:
                yield answer

    async def compare(
        request: gr.Request,
        model: str = "emoji-image",
        label: str = "any",
        guidance: float = 1.0,
        seed: float = 0,
        count: float = 1,
        rows: list[Any] | None = None,
        budgets: list[Any] | None = None,
        no_taper: bool = False,
        prompt: str = "",
        negative_prompt: str = "",
        height: float = 0,
        width: float = 0,
        frames: float = 0,
    ) -> AsyncIterator[dict[str, Any]]:
        """Streams solvers side by side: {"cells", "final", "sheet", "link", "settings"}.

        `rows` are solvers as text, for example ["order=1", "order=3 schedule=karras"], or names of
        other programs' samplers; `budgets` are numbers of evaluations. A cell is {"row", "column",
        "solver", "nfe", "rmse", "psnr", "note"}: its error to the converged sample, null while that
        is not known. `sheet` comes at the end: the first seed's samples, a row a solver.
        """
        values = _values(locals())
        more = (values, rows, budgets, no_taper)
        async with aclosing(asked(_compare, request, serving, *more)) as answers:
            async for answer in answers:
                yield answer

    async def adaptive(
        request: gr.Request,
        model: str = "emoji-image",
        label: str = "any",
        guidance: float = 1.0,
        seed: float = 0,
        count: float = 1,
        solver: dict[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Streams the steps that adaptive solvers choose: {"steps", "nfe", "final", "settings"}.

        `solver` may hold tolerance, order (2 or 3), controller, error, stability, and nfe, which is
        the cap. Each answer has the steps that are new: {"sample", "lam", "h", "error", "order",
        "accepted", "nfe"}. The last one says "converged", "rmse" (to the converged sample), "fixed"
        and "rmse_fixed": the budget and the error of fixed steps at the same cost.
        """
        values = _values(locals())
        async with aclosing(asked(_adaptive, request, serving, values, solver)) as answers:
            async for answer in answers:
                yield answer

    for endpoint in (generate, video, compare, adaptive):
        gr.api(
            endpoint,
            api_name=endpoint.__name__,
            concurrency_id="engine",
            concurrency_limit=serving.engine_event["concurrency_limit"],
        )


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of every request among an endpoint's arguments."""
    apart = ("request", "solver", "smoothing", "loop", "rows", "budgets", "no_taper", "asked")
    return {name: value for name, value in given.items() if name not in (*apart, "serving")}


# ---------------------------------------------------------------- what they stream


async def _answers(
    serving: Serving,
    values: dict[str, Any],
    check: Callable[[Model], T],
    stream: Callable[[Serving, T], Answers],
) -> Answers:
    """An answer for each sentence of the model's way here, then those to what `check` gives."""
    name = str(values["model"])
    async with aclosing(serving.telling(name, serving.model(name))) as steps:
        async for step in steps:
            if isinstance(step, str):
                yield {"waiting": step, "nfe": 0, "final": False}
            else:
                model = step
    try:
        wanted = check(model)
    except (ValueError, TypeError) as error:
        raise refuse(error) from error
    async with aclosing(stream(serving, wanted)) as answers:
        async for answer in answers:
            yield answer


def _generate(serving: Serving, values: dict[str, Any], solver: Any) -> Answers:
    def check(model: Model) -> Checked:
        return checked(read_nested(values, solver), model, serving.limits)

    return _answers(serving, values, check, partial(_samples, name="generate"))


async def _samples(
    serving: Serving, wanted: Checked, name: str, last: Callable[[Any], Any] | None = None
) -> Answers:
    """`last` makes more of the samples for the last answer, where files are written."""
    request = wanted.request
    always = {"settings": settings(request), "budget": wanted.track().budget}
    newest: dict[int, Any] = {}
    note = f"api {name} {request.model} nfe={request.solver.nfe}"
    async with aclosing(serving.run(wanted.job(), note)) as events:
        async for event in events:
            if isinstance(event, Preview):
                newest.update({k: p.x0 for k, p in event.pictures.items()})
                if len(newest) < request.count:
                    continue
                nfe = min(tile.nfe for tile in event.tiles)
                picture = await serving.encode(_sheet, [newest[k] for k in sorted(newest)])
                yield {**always, "nfe": nfe, "final": False, "sheet": picture}
                continue
            done = _done(event)
            samples = done.tracks[0].samples
            more = {} if last is None else await serving.write(last, samples)
            yield {
                **always,
                "nfe": max(row.nfe for row in done.tracks[0].rows),
                "final": True,
                "sheet": await serving.encode(_sheet, [uint8(s) for s in samples]),
                "seconds": done.seconds,
                **more,
            }


def _video(
    serving: Serving, values: dict[str, Any], solver: Any, smoothing: float, loop: bool
) -> Answers:
    def check(model: Model) -> Checked:
        if model.frames < 2:
            raise ValueError(f"model: {model.name} makes pictures; the endpoint generate has it")
        number = isinstance(smoothing, (int, float)) and not isinstance(smoothing, bool)
        if not number or not 0 <= smoothing <= 4:
            raise ValueError(f"smoothing must be a number from 0 to 4, not {smoothing!r:.60}")
        if not isinstance(loop, bool):
            raise ValueError(f"loop must be true or false, not {loop!r:.60}")
        return checked(read_nested(values, solver), model, serving.limits)

    def stream(serving: Serving, wanted: Checked) -> Answers:
        def webp(samples: Any) -> dict[str, str]:
            clips = Clips(wanted.request, samples)
            path = serving.path(f"{clip_stem(wanted.request, smoothing, loop)}.webp")
            animated_webp(wall_of_clips(clips.pixels(smoothing, loop)), FPS, 1, path)
            return {"webp": data_uri(path.read_bytes(), "image/webp")}

        return _samples(serving, wanted, "video", webp)

    return _answers(serving, values, check, stream)


def _compare(
    serving: Serving, values: dict[str, Any], rows: Any, budgets: Any, no_taper: Any
) -> Answers:
    def check(model: Model) -> ComparisonRun:
        wanted = comparison_of_values(values, rows, budgets, no_taper)
        return ComparisonRun.checked(wanted, model, serving.references, serving.limits)

    return _answers(serving, values, check, partial(_compared, own=values))


async def _compared(serving: Serving, run: ComparisonRun, own: Iterable[str]) -> Answers:
    comparison = run.comparison
    always = {
        "link": "?" + comparison_query(comparison),
        "settings": {
            **{name: getattr(comparison, name) for name in own},
            "rows": [solver_text(row) for row in comparison.rows],
            "budgets": list(comparison.budgets),
            "no_taper": comparison.no_taper,
        },
    }
    told = -1
    note = f"api compare {comparison.model} {len(run.cells.cells)} cells"
    async with aclosing(serving.measure(run, note)) as events:
        async for event in events:
            if isinstance(event, Preview):
                known = run.measured_cells + len(run.values)
                if known > told:
                    told = known
                    yield {**always, "cells": _cells(run), "final": False}
                continue
            if isinstance(event, (Failed, Cancelled)):
                _done(event)
            firsts = [run.samples.get(run.cells.tile(cell)) for cell in run.cells.cells]
            blank = np.zeros(run.model.picture_shape(run.wanted.shape), np.float32)
            pictures = [uint8(blank if first is None else first) for first in firsts]
            columns = len(comparison.budgets)
            yield {
                **always,
                "cells": _cells(run),
                "final": True,
                "error": event.error if isinstance(event, Done) else None,
                "sheet": await serving.encode(_sheet, pictures, columns),
                "seconds": event.seconds,
            }


def _cells(run: ComparisonRun) -> list[dict[str, Any]]:
    found = []
    for cell in run.cells.cells:
        value = run.values.get(cell)
        found.append(
            {
                "row": cell.row,
                "column": cell.column,
                "solver": solver_text(cell.solver),
                "nfe": cell.solver.nfe if value is None else value.nfe,
                "rmse": None if value is None else value.rmse,
                "psnr": None if value is None else value.psnr,
                "note": "" if value is None else value.note,
            }
        )
    return found


def _adaptive(serving: Serving, values: dict[str, Any], solver: Any) -> Answers:
    def check(model: Model) -> Checked:
        method = {"method": "adaptive"}
        own = {**solver, **method} if isinstance(solver, Mapping) else solver
        request = read_nested({**values, **method}, own)
        return error_control.read_request(settings(request), model, serving.limits)

    return _answers(serving, values, check, _controlled)


async def _controlled(serving: Serving, wanted: Checked) -> Answers:
    request = wanted.request
    always = {"settings": settings(request)}
    note = f"api adaptive {request.model} tolerance={request.solver.tolerance:g}"
    rows: list[Any] = []
    told = 0
    async with aclosing(serving.run(wanted.job(float32=True), note)) as events:
        async for event in events:
            if isinstance(event, Preview):
                told += len(event.decisions)
                nfe = [tile.nfe for tile in event.tiles]
                steps = _steps(event.decisions)
                yield {**always, "steps": steps, "nfe": nfe, "final": False}
            else:
                rows = [row for track in _done(event).tracks for row in track.rows]
    every = [decision for row in rows for decision in row.decisions]
    spent = spent_of([r.nfe for r in rows], [r.decisions for r in rows])
    fixed = error_control.fixed_run(serving, wanted, [spent])
    yield {
        **always,
        "steps": _steps(every) if told == 0 else [],
        "nfe": list(spent.nfe),
        "final": False,
    }
    async with aclosing(serving.measure(fixed, f"{note}, fixed")) as events:
        async for event in events:
            if not isinstance(event, Preview):
                _done(event)
    own, other = error_control.measured_errors(fixed, [rows], 0)
    yield {
        **always,
        "steps": _steps(every),
        "nfe": list(spent.nfe),
        "final": True,
        "converged": all(row.converged for row in rows),
        "rmse": own if np.isfinite(own) else None,
        "fixed": spent.fixed_nfe,
        "rmse_fixed": other if np.isfinite(other) else None,
    }


def _steps(decisions: Any) -> list[dict[str, Any]]:
    names = ("h", "error", "order", "accepted")
    return [
        {"sample": c.tile, "lam": c.lam, "nfe": c.nfe, **{name: c.data[name] for name in names}}
        for c in decisions
        if c.kind == "step"
    ]


def _done(event: Done | Failed | Cancelled) -> Done:
    """The event, or gr.Error with the reason why it is not what one asked for."""
    if isinstance(event, Done) and event.error is None:
        return event
    raise refuse(ValueError(getattr(event, "error", None) or "The run was stopped."))


def _sheet(pictures: list[Any], columns: int = 4) -> str:
    flat = [
        p if p.ndim == 3 else p.transpose(1, 0, 2, 3).reshape(p.shape[1], -1, 3) for p in pictures
    ]
    return data_uri(png(sheet(flat, columns)))
