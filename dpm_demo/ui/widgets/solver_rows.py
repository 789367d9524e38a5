"""Six editable solver rows, as the form of Compare has them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dpm_demo.request.codec import solver_of_text, solver_text
from dpm_demo.request.comparison import ROWS_MAX
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.widgets.controls import METHODS, PREDICTIONS, SCHEDULES

ROW_FIELDS = ("order", "method", "prediction", "schedule")
MORE = ("weights", "corrector", "eta", "denoise_to_zero", "threshold", "window", "tolerance")
EMPTY = "nothing"


class SolverRows:
    """Six editable solver rows: four menus and a line for everything else."""

    def __init__(self, rows: tuple[Solver, ...]) -> None:
        self.widgets: list[gr.components.Component] = []
        orders = [("off", EMPTY), ("1", "1"), ("2", "2"), ("3", "3"), ("auto", "auto")]
        for k in range(ROWS_MAX):
            shown = self.of(rows[k] if k < len(rows) else None)
            with gr.Row(elem_classes="solver-row"):
                menus = (
                    ("Order", orders),
                    ("Method", [(title.split(":")[0], v) for title, v in METHODS]),
                    ("Form", PREDICTIONS),
                    ("Schedule", SCHEDULES),
                )
                for (title, choices), value in zip(menus, shown, strict=False):
                    self.widgets.append(
                        gr.Dropdown(
                            choices,
                            value=value,
                            label=f"{title} {k + 1}",
                            min_width=90,
                            elem_id=f"row-{k + 1}-{title.lower()}",
                        )
                    )
                self.widgets.append(
                    gr.Textbox(
                        shown[-1],
                        label=f"More {k + 1}",
                        min_width=120,
                        max_lines=1,
                        placeholder="weights=published eta=0.5",
                    )
                )

    @staticmethod
    def of(solver: Solver | None) -> list[str]:
        """What the five widgets of a row hold for a solver; None is an empty row."""
        if solver is None:
            return [EMPTY, "multistep", "data", "logsnr", ""]
        words = dict(word.split("=") for word in solver_text(solver).split())
        more = " ".join(f"{k}={v}" for k, v in words.items() if k not in ROW_FIELDS)
        return [*(str(getattr(solver, name)) for name in ROW_FIELDS), more]

    @staticmethod
    def read(args: tuple[Any, ...]) -> tuple[Solver, ...]:
        """The solvers of the rows that are not off. Raises ValueError, naming the row."""
        solvers = []
        for k in range(ROWS_MAX):
            *menus, more = args[5 * k : 5 * k + 5]
            if menus[0] == EMPTY:
                continue
            words = dict(zip(ROW_FIELDS, menus, strict=True))
            if words["method"] == "adaptive":
                words.pop("schedule")
            text = " ".join(f"{name}={value}" for name, value in words.items())
            try:
                solvers.append(solver_of_text(f"{text} {more or ''}"))
            except ValueError as error:
                raise ValueError(f"row {k + 1}: {error}") from error
        return tuple(solvers)
