"""The files of a comparison: table, grid, its denoising as GIF and MP4, settings, a ZIP of all."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dpm_demo.compare.figures import (
    HEADERS,
    Figures,
    Outcome,
    best_cells,
    caption,
    row_title,
    table,
)
from dpm_demo.compare.layout import Cell, Layout
from dpm_demo.media.clips import gif, mp4
from dpm_demo.media.files import write_bytes, write_text, zip_files
from dpm_demo.media.grid import labelled_grid
from dpm_demo.media.names import file_name, mark_of
from dpm_demo.media.png import png
from dpm_demo.media.thin import chosen, fitting
from dpm_demo.request.codec import comparison_query, solver_text
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.files import FPS


def csv_text(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADERS)
    writer.writerows(table(comparison, cells, values))
    return out.getvalue()


def grid_picture(
    comparison: Comparison,
    cells: Layout,
    values: Mapping[Cell, Figures],
    pictures: Mapping[Cell, np.ndarray],
    scale: int = 4,
) -> np.ndarray:
    """The whole table as one picture, labels and figures burnt in.

    Without milliseconds: the same settings give the same bytes on the same idle machine.
    """
    columns = len(comparison.budgets)
    best = best_cells(cells, values)

    def by_row(items: list[Any]) -> list[list[Any]]:
        return [items[i : i + columns] for i in range(0, len(items), columns)]

    return labelled_grid(
        by_row([pictures.get(cell) for cell in cells.cells]),
        [row_title(comparison, k) for k in range(len(comparison.rows))],
        [f"{nfe} evaluations" for nfe in comparison.budgets],
        by_row(
            [caption(replace(values.get(c, Figures(c.solver.nfe)), ms=None)) for c in cells.cells]
        ),
        scale=scale,
        best=by_row([cell in best for cell in cells.cells]),
        title=title_of(comparison),
    )


def title_of(comparison: Comparison) -> str:
    """What all cells draw, in a line."""
    parts = [comparison.model, comparison.label, f"seed {comparison.seed}"]
    if (size := comparison.sample.size) is not None:
        parts.append(f"{size[1]} x {size[0]} pixels")
    if comparison.prompt:
        parts.append(f'"{textwrap.shorten(comparison.prompt, 60, placeholder=" …")}"')
    return ", ".join(parts)


def cell_pictures(
    outcome: Outcome, nfe: int | None = None, frame: int = 0
) -> dict[Cell, np.ndarray]:
    """The picture of each cell, its sample or its state after `nfe` evaluations; of clips one."""
    shown = {}
    for cell, row in outcome.rows.items():
        if len(row.x0):
            picture = row.x0[-1] if nfe is None else row.picture_at(nfe)
            shown[cell] = picture if picture.ndim == 3 else picture[frame]
    return shown


def grid_png(outcome: Outcome) -> bytes:
    """The grid with labels burnt in; the link's query in its text chunk "dpm-demo"."""
    c = outcome.comparison
    picture = grid_picture(c, outcome.cells, outcome.values, cell_pictures(outcome))
    return png(picture, {"dpm-demo": comparison_query(c), "Software": "dpm-demo"})


def grid_loop(outcome: Outcome) -> np.ndarray | None:
    """The whole grid of finished clips in step, a frame of theirs each; None for pictures."""
    frames = {row.x0.shape[1] for row in outcome.rows.values() if row.x0.ndim == 5}
    if not frames:
        return None
    return _film(outcome, [{"frame": k - 1} for k in chosen(min(frames))])


def grid_frames(outcome: Outcome) -> np.ndarray:
    """The whole grid denoising in step, with its final figures.

    One frame an evaluation, or `media.thin.FRAMES_MAX` evenly chosen ones.
    """
    last = max(len(row.points) for row in outcome.rows.values())
    return _film(outcome, [{"nfe": k} for k in chosen(last)])


def _film(outcome: Outcome, moments: list[dict[str, int]]) -> np.ndarray:
    """The grid at each of these moments, as large and as many as a file may hold."""

    def picture(moment: dict[str, int], scale: int) -> np.ndarray:
        c = outcome.comparison
        shown = cell_pictures(outcome, **moment)
        return grid_picture(c, outcome.cells, outcome.values, shown, scale=scale)

    scale, frames = fitting(picture(moments[-1], 1).nbytes, 3, len(moments))
    kept = [moments[k - 1] for k in chosen(len(moments), frames)]
    return np.stack([picture(moment, scale) for moment in kept])


def settings_of(comparison: Comparison) -> dict[str, Any]:
    """What was asked for, as names and values, and its link."""
    return {
        **vars(comparison),
        "budgets": list(comparison.budgets),
        "rows": [solver_text(row) for row in comparison.rows],
        "link": "?" + comparison_query(comparison),
    }


def make_files(
    outcome: Outcome, folder: Path, more: Mapping[str, bytes] | None = None
) -> dict[str, Path]:
    """CSV, PNG, GIF, MP4, `more` by its ending, and a ZIP of all of them with settings.json."""
    more = more or {}
    asked = outcome.comparison
    stem = file_name("compare", asked.model, asked.seed, mark_of(comparison_query(asked)))
    files = {kind: folder / f"{stem}.{kind}" for kind in ("csv", "png", "gif", "mp4", *more, "zip")}
    for kind, content in more.items():
        write_bytes(files[kind], content)
    write_text(files["csv"], csv_text(outcome.comparison, outcome.cells, outcome.values))
    write_bytes(files["png"], grid_png(outcome))
    loop = grid_loop(outcome)
    if loop is not None:
        gif(loop, FPS, 1, files["gif"])
        mp4(loop, FPS, 1, files["mp4"])
    else:
        frames = grid_frames(outcome)
        gif(frames, 6, 1, files["gif"], hold=1.5)
        mp4(np.concatenate([frames, frames[-1:].repeat(9, axis=0)]), 6, 1, files["mp4"])
    packed = {files[k].name: files[k].read_bytes() for k in files if k != "zip"}
    packed["settings.json"] = json.dumps(settings_of(outcome.comparison), indent=2).encode()
    zip_files(packed, files["zip"])
    return files
