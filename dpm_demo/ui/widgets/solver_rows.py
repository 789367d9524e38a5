"""Six editable solver rows, as the form of Compare has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dpm_demo.models.model import Model
from dpm_demo.request.codec import solver_of_text, solver_text
from dpm_demo.request.comparison import ROWS_MAX
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.widgets.as_is import Menu
from dpm_demo.ui.widgets.controls import METHODS, PREDICTIONS, schedules

ROW_FIELDS = ("order", "method", "prediction", "schedule")
MORE = ("weights", "corrector", "eta", "denoise_to_zero", "threshold", "window", "tolerance")
EMPTY = "nothing"


class SolverRows:
    """Six editable solver rows: four menus and a line for everything else.

    A sampler's name in that line ("dpmpp_2m karras") is the whole row.
    """

    def __init__(self, rows: tuple[Solver, ...], model: Model | None = None) -> None:
        self.widgets: list[gr.components.Component] = []
        orders = [("off", EMPTY), ("1", "1"), ("2", "2"), ("3", "3"), ("auto", "auto")]
        for k in range(ROWS_MAX):
            shown = self.of(rows[k] if k < len(rows) else None)
            with gr.Row(elem_classes="solver-row"):
                menus = (
                    ("Order", orders),
                    ("Method", [(title.split(":")[0], v) for title, v in METHODS]),
                    ("Form", PREDICTIONS),
                    ("Schedule", schedules(model)),
                )
                for (title, choices), value in zip(menus, shown, strict=False):
                    self.widgets.append(
                        Menu(
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
                        placeholder="weights=published, or uni_pc",
                    )
                )

    @property
    def menus(self) -> list[gr.components.Component]:
        """The menus of schedules, which depend on the model."""
        return self.widgets[ROW_FIELDS.index("schedule") :: 5]

    def show(self, rows: tuple[Solver, ...], model: Model | None) -> list[Any]:
        """Updates for `widgets` that show these rows, and what there is for that model."""
        wanted = [*rows, *[None] * (ROWS_MAX - len(rows))]
        updates: list[Any] = [value for solver in wanted for value in self.of(solver)]
        for k in range(ROW_FIELDS.index("schedule"), len(updates), 5):
            updates[k] = gr.update(value=updates[k], choices=schedules(model))
        return updates

    @staticmethod
    def of(solver: Solver | None) -> list[str]:
        """What the five widgets of a row hold for a solver; None is an empty row."""
        if solver is None:
            return [EMPTY, "multistep", "data", "logsnr", ""]
        words = dict(word.split("=") for word in solver_text(solver).split())
        more = " ".join(f"{k}={v}" for k, v in words.items() if k not in ROW_FIELDS)
        return [*(str(getattr(solver, name)) for name in ROW_FIELDS), more]

    @staticmethod
    def read(args: Sequence[Any]) -> tuple[Solver, ...]:
        """The solvers of the rows that are not off. Raises ValueError, naming the row."""
        solvers = []
        for k in range(ROWS_MAX):
            *menus, more = args[5 * k : 5 * k + 5]
            more = str(more or "").strip()
            named = more and "=" not in more.split()[0]  # a name is the whole row
            if menus[0] == EMPTY and not named:
                continue
            words = dict(zip(ROW_FIELDS, menus, strict=True))
            if words["method"] == "adaptive":
                words.pop("schedule")
            if words.get("schedule") == "calibrated":  # it decides the others
                words = {"schedule": "calibrated"}
            text = " ".join(f"{name}={value}" for name, value in words.items())
            try:
                solvers.append(solver_of_text(more if named else f"{text} {more}"))
            except ValueError as error:
                raise ValueError(f"row {k + 1}: {error}") from error
        return tuple(solvers)
