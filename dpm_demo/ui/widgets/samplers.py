"""Who is who: other programs' samplers as a table that one can sort, filter and search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from dpm_demo.compare.samplers import BUDGETS, rows
from dpm_demo.ui.playground.component import Playground

TEXT = """
### Who is who
Other programs' samplers by their names: what each is equal to, its order **measured** on a problem
whose solution is known (with noise: along one Brownian path), what 20 of its steps really cost in
network evaluations, and its traps. The same table with the method stands in `docs/samplers.md`.
"""


def samplers(payload: Any = None) -> list[dict[str, Any]]:
    """All rows with the budgets of their errors; what the page sends is not used."""
    found = [{**asdict(row), "budgets": BUDGETS} for row in rows()]
    # the same words are Markdown elsewhere
    return [row | {"trap": row["trap"].replace("`", "")} for row in found]


def build() -> None:
    """Builds the table inside the current Blocks."""
    gr.Markdown(TEXT)
    Playground("samplers.js", "Who is who", [samplers], elem_id="samplers")
