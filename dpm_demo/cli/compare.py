"""`compare`: solvers side by side from the same noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import (
    Budgets,
    Device,
    Frames,
    Guidance,
    Height,
    Label,
    Model,
    NegativePrompt,
    Offload,
    Out,
    Prompt,
    Runtime,
    Seed,
    Width,
    machine_limits,
)
from dpm_demo.media.files import folder_for
from dpm_demo.request.codec import (
    budgets_of_text,
    comparison_of_values,
    comparison_query,
    parse_list,
)
from dpm_demo.request.comparison import Comparison


def compare(
    model: Model = "emoji-image",
    label: Label = "any",
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    guidance: Guidance = "1",
    seed: Seed = "0",
    count: Annotated[str, Option(help="Number of seeds.", metavar="INTEGER")] = "1",
    height: Height = "0",
    width: Width = "0",
    frames: Frames = "0",
    orders: Annotated[str, Option(help="Rows: orders of the solver.", metavar="N,N,...")] = "1,2,3",
    row: Annotated[
        list[str] | None,
        Option(help='A row of one\'s own, "order=3 method=singlestep"; repeat for more.'),
    ] = None,
    nfe: Budgets = "5,8,10,15,20",
    no_taper: Annotated[bool, Option("--no-taper", help="No lower orders at the end.")] = False,
    device: Device = "auto",
    runtime: Runtime = "auto",
    offload: Offload = False,
    out: Out = "out",
) -> dict[str, Any]:
    """Put solvers side by side: grid (PNG), plot (HTML and PNG) and table (CSV)."""
    values = {
        "label": label,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "guidance": guidance,
        "seed": seed,
        "count": count,
        "height": height,
        "width": width,
        "frames": frames,
    }
    rows = row or [f"order={k}" for k in parse_list("orders", orders, ("1", "2", "3", "auto"))]
    comparison = comparison_of_values(values, rows, budgets_of_text(nfe), no_taper)

    from dpm_demo import api
    from dpm_demo.compare.figures import Figures, row_title, rows_of, slope
    from dpm_demo.compare.files import csv_text, grid_png
    from dpm_demo.compare.plots import convergence, convergence_png
    from dpm_demo.request.job import condition_of

    opened = api.load(model, device, runtime=runtime, offload=offload)
    comparison = replace(comparison, model=opened.name)
    condition_of(comparison.sample, opened)
    where = folder_for(out)
    outcome = _run(comparison, opened)
    cells, figures = outcome.cells, outcome.values
    text = csv_text(comparison, cells, figures)
    # the table first, whatever becomes of the pictures
    files: dict[str, Callable[[], str | bytes]] = {
        "table.csv": lambda: text,
        "convergence.html": lambda: convergence(comparison, cells, figures).to_html(
            include_plotlyjs=True
        ),
        "convergence.png": lambda: convergence_png(comparison, cells, figures),
        "grid.png": lambda: grid_png(outcome),
    }
    for name, content in files.items():
        output.write(where / name, content())
    output.say(text.rstrip())
    slopes = {}
    for number, known in rows_of(cells, figures):
        title = row_title(comparison, number)
        measured = slope([v.nfe for v in known], [v.rmse or 0.0 for v in known])
        slopes[title] = measured
        output.say(f"{title}: {'no slope' if measured is None else f'slope {measured:.2f}'}")
    output.say(f"wrote grid.png, convergence.html, convergence.png and table.csv to {where}")
    return {
        "files": [where / name for name in files],
        "link": "?" + comparison_query(comparison),
        "slopes": slopes,
        "cells": [
            {
                "row": row_title(comparison, cell.row),
                **vars(figures.get(cell, Figures(cell.solver.nfe))),
            }
            for cell in cells.cells
        ],
    }


def _run(comparison: Comparison, model: Any) -> Any:
    """The finished cells with their figures."""
    from dpm_demo.compare.run import ComparisonRun
    from dpm_demo.compare.shipped import with_shipped

    run = ComparisonRun.checked(comparison, model, with_shipped(), machine_limits())
    if run.exact is not None:
        run.keep(run.exact())
    done = output.run(run.job, run.job.budget, "cells and their reference")
    run.take(done)
    if done.error:
        output.note(done.error)
    return run.outcome(done)
