"""Records the comparison that the page shows before anyone clicks.

    python -m benchmarks.record_landing

For each scene: orders 1, 2 and 3 at every budget from 3 to 40 evaluations from one noise, the
converged sample, and at four budgets the way there. To be run whenever the checkpoint is replaced:
each file names the weights that made it, and a test runs part of it again. It takes about a minute
a scene on one core; the same weights give the same pictures. Then the questions of
`compare.questions`, each as the page computes it; `--answers` records these alone.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dpm_demo as dpm
from dpm_demo.compare.figures import brief, rmse, row_title
from dpm_demo.compare.questions import QUESTIONS, Question, verdict
from dpm_demo.compare.references import References, reference_solver
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Done, SampleRecord
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.media.pixels import uint8
from dpm_demo.models.checkpoint import Model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.request.codec import comparison_query
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.landing.scenes import ANSWERS, BUDGETS, COLUMNS, FOLDER, PLAYED, SCENES, Scene


def sampled(model: Model, scene: Scene, solvers: list[Solver], record: bool) -> list[SampleRecord]:
    """One sample of each solver, all from the scene's noise, in float32. Raises ValueError."""
    condition = model.condition(scene.comparison.label, scene.comparison.guidance)
    seeds = (scene.comparison.seed,)
    tracks = tuple(Track(s, seeds, cond=condition, lam_span=model.lam_span) for s in solvers)
    job = Job(model.denoise_float32, model.shape, tracks, device=model.device, record=record)
    *_, done = run_inline(job, preview_hz=0.0)
    if not isinstance(done, Done) or done.error:
        raise ValueError(f"{scene.title}: {getattr(done, 'error', None) or 'it has no sample'}")
    return [track.rows[0] for track in done.tracks]


def record(model: Model, scene: Scene) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What the scene's JSON holds, and its pictures `(n, h, w, 3)`, uint8, in two sheets.

    The first: the samples row by row, one a budget; the converged sample; the noise. The second:
    for each budget in `PLAYED` and each row the states after 1, 2, ... evaluations.
    """
    rows = scene.comparison.rows
    every = [replace(row, nfe=nfe) for row in rows for nfe in BUDGETS]
    samples = [row.sample for row in sampled(model, scene, every, record=False)]
    (end,) = sampled(model, scene, [reference_solver(rows[0])], record=False)
    assert end.sample is not None and all(sample is not None for sample in samples)
    errors = [rmse(sample, end.sample) for sample in samples if sample is not None]
    pictures = [uint8(sample) for sample in samples if sample is not None]
    pictures.append(uint8(end.sample))
    ways = sampled(model, scene, [replace(r, nfe=n) for n in PLAYED for r in rows], record=True)
    pictures.append(ways[0].x[0])
    moving: list[np.ndarray] = []
    plays: dict[str, list[list[int]]] = {}
    for nfe in PLAYED:
        plays[str(nfe)] = []
        for _ in rows:
            way = ways.pop(0)
            shown = [way.x[p.picture] for p in way.points if p.picture >= 0][1:]
            plays[str(nfe)].append(list(range(len(moving), len(moving) + len(shown))))
            moving += shown
    names = [f"order {row.order}" for row in rows]
    figures = shown_with(model, scene.comparison, names, BUDGETS, errors)
    about = {"title": scene.title, "why": scene.why, **figures, "plays": plays}
    return about, np.stack(pictures), np.stack(moving)


def shown_with(
    model: Model, asked: Comparison, names: list[str], budgets: Sequence[int], errors: list[float]
) -> dict[str, Any]:
    """What either JSON holds beside its pictures; `errors` row by row."""
    columns = len(budgets)
    return {
        "digest": model.digest,
        "query": comparison_query(asked),
        "rows": names,
        "budgets": list(budgets),
        "errors": [
            [float(f"{e:.4g}") for e in errors[k : k + columns]]
            for k in range(0, len(errors), columns)
        ],
        "width": model.shape[-1],
        "height": model.shape[-2],
        "columns": COLUMNS,
    }


def answered(model: Model, question: Question) -> tuple[dict[str, Any], np.ndarray]:
    """What the JSON of a question's answer holds, and its pictures: the cells row by row, the
    converged sample, the noise. Raises ValueError.
    """
    run = ComparisonRun(question.comparison, model, References())
    if run.exact is not None:
        run.keep(run.exact())
    for event in run_inline(run.job, preview_hz=0.0):
        run.take(event)
    if not isinstance(event, Done) or event.error:
        raise ValueError(f"{question.comparison}: {getattr(event, 'error', None) or 'no samples'}")
    cells, asked = run.cells, question.comparison
    truth = run.truth(0, run.seeds[0])
    assert truth is not None
    pictures = [uint8(run.samples[cells.tile(cell)]) for cell in cells.cells]
    pictures += [uint8(truth), run.rows(event)[0][0].x[0]]
    errors = [run.values[cell].rmse or 0.0 for cell in cells.cells]
    seeds = f"Errors are over {asked.count} seeds. " if asked.count > 1 else ""
    names = [brief(row_title(asked, row)) for row in range(len(asked.rows))]
    about = {
        "why": f"{seeds}Other noise may answer otherwise.",
        **shown_with(model, asked, names, asked.budgets, errors),
        "plays": {},
        "verdict": verdict(asked, cells, run.values),
        "goal": run.goal,
    }
    return about, np.stack(pictures)


def sheet(pictures: np.ndarray) -> bytes:
    """All pictures in rows of `COLUMNS`, lossless."""
    n, h, w, _ = pictures.shape
    lines = math.ceil(n / COLUMNS)
    out = np.zeros((lines * h, COLUMNS * w, 3), np.uint8)
    for k, picture in enumerate(pictures):
        y, x = divmod(k, COLUMNS)
        out[y * h : (y + 1) * h, x * w : (x + 1) * w] = picture
    file = io.BytesIO()
    Image.fromarray(out).save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.record_landing",
        description="Records the comparison that the page shows before anyone clicks.",
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: %(default)s)")
    parser.add_argument("--answers", action="store_true", help="the questions alone")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, scene in SCENES.items() if not options.answers else ():
        about, *sheets = record(dpm.load(scene.comparison.model, options.device), scene)
        text = json.dumps(about, separators=(",", ":")) + "\n"
        (options.out / f"{name}.json").write_text(text, encoding="utf-8")
        for end, pictures in zip(("", "-way"), sheets, strict=True):
            path = options.out / f"{name}{end}.webp"
            path.write_bytes(sheet(pictures))
            print(f"{path.name}: {len(pictures)} pictures, {path.stat().st_size / 1000:.0f} kB")
    library = ModelLibrary(options.device)
    for name, title in ANSWERS.items():
        question = QUESTIONS[title]
        about, pictures = answered(library.get(question.comparison.model), question)
        text = json.dumps({"title": title, **about}, separators=(",", ":")) + "\n"
        (options.out / f"{name}.json").write_text(text, encoding="utf-8")
        (options.out / f"{name}.webp").write_bytes(sheet(pictures))
        print(f"{name}: {about['verdict']}", flush=True)


if __name__ == "__main__":
    main()
