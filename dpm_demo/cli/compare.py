"""`compare`: solvers side by side from the same noise."""

from __future__ import annotations

from dataclasses import fields, replace
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
)
from dpm_demo.media.files import folder_for
from dpm_demo.request.codec import (
    budgets_of_text,
    comparison_query,
    parse_list,
    read,
    solver_of_text,
)
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.generate import GenerateRequest


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
    asked = read(
        {
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
    )
    texts = row or [f"order={k}" for k in parse_list("orders", orders, ("1", "2", "3", "auto"))]
    comparison = Comparison(
        rows=tuple(map(solver_of_text, texts)),
        budgets=tuple(budgets_of_text(nfe)),
        no_taper=no_taper,
        **{f.name: getattr(asked, f.name) for f in fields(GenerateRequest) if f.name != "solver"},
    )

    from dpm_demo import api
    from dpm_demo.compare.figures import row_title, rows_of, slope
    from dpm_demo.compare.files import cell_pictures, csv_text, grid_picture
    from dpm_demo.compare.plots import convergence, convergence_png
    from dpm_demo.media.png import png
    from dpm_demo.request.job import condition_of

    opened = api.load(model, device, runtime=runtime, offload=offload)
    comparison = replace(comparison, model=opened.name)
    condition_of(comparison.sample, opened)
    where = folder_for(out)
    outcome = _run(comparison, opened)
    cells, values = outcome.cells, outcome.values
    grid = grid_picture(comparison, cells, values, cell_pictures(outcome))
    text = csv_text(comparison, cells, values)
    page = convergence(comparison, cells, values).to_html(include_plotlyjs=True)
    files = {
        "grid.png": png(grid, {"dpm-demo": comparison_query(comparison)}),
        "convergence.html": page,
        "convergence.png": convergence_png(comparison, cells, values),
        "table.csv": text,
    }
    for name, content in files.items():
        output.write(where / name, content)
    output.say(text.rstrip())
    slopes = {}
    for number, known in rows_of(cells, values):
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
            {"row": row_title(comparison, cell.row), **vars(values[cell])} for cell in cells.cells
        ],
    }


def _run(comparison: Comparison, model: Any) -> Any:
    """The finished cells with their figures."""
    from dpm_demo.compare.run import ComparisonRun
    from dpm_demo.compare.shipped import with_shipped

    run = ComparisonRun(comparison, model, with_shipped())
    if run.exact is not None:
        run.keep(run.exact())
    done = output.run(run.job, run.job.budget, "cells and their reference")
    run.take(done)
    return run.outcome(done)
