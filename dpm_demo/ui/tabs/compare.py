"""Tab "Compare": solvers side by side, from the same noise, at the same cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr

from dpm_demo.compare.figures import (
    HEADERS,
    Outcome,
    best_cells,
    caption,
    row_title,
    table,
)
from dpm_demo.compare.files import make_files
from dpm_demo.compare.plots import convergence, lam_axis
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Done, Event, Preview
from dpm_demo.media.pixels import uint8
from dpm_demo.models.model import Model
from dpm_demo.request.codec import (
    budgets_of_text,
    comparison_of_query,
    comparison_query,
    solver_of_text,
    solver_text,
)
from dpm_demo.request.comparison import COLUMNS_MAX, ROWS_MAX, Comparison
from dpm_demo.request.generate import SEED_MAX
from dpm_demo.request.job import condition_of
from dpm_demo.solver.settings import CHOICES, Solver
from dpm_demo.ui.kept import Kept
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.serving import Serving, awaited, ended, refuse
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.controls import ANY, METHODS, PREDICTIONS, SCHEDULES, LabelControls

DIFF_SCALE = 8
PRESETS: dict[str, tuple[str, ...]] = {
    "orders": ("order=1", "order=2", "order=3"),
    "methods": (
        "order=2 method=multistep",
        "order=2 method=singlestep",
        "order=3 method=multistep",
        "order=3 method=singlestep",
    ),
    "forms": (
        "order=2 prediction=data",
        "order=2 prediction=noise",
        "order=3 prediction=data",
        "order=3 prediction=noise",
    ),
    "schedules": tuple(f"order=2 schedule={name}" for name in CHOICES["schedule"]),
    "published against exact weights": (
        "order=2 weights=exact",
        "order=2 weights=published",
        "order=3 weights=exact",
        "order=3 weights=published",
    ),
}
ROW_FIELDS = ("order", "method", "prediction", "schedule")
MORE = ("weights", "corrector", "eta", "denoise_to_zero", "threshold", "window", "tolerance")
EMPTY = "nothing"


class _Rows:
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


def wall_of(run: ComparisonRun) -> Wall:
    """The player's tiles of a comparison: one a cell, of its first seed."""
    comparison, cells = run.comparison, run.cells
    return Wall(
        run.job,
        device=str(run.model.device),
        row_titles=[row_title(comparison, k) for k in range(len(comparison.rows))],
        column_titles=[f"{nfe} NFE" for nfe in comparison.budgets],
        columns=len(comparison.budgets),
        shown=[cells.tile(cell) for cell in cells.cells],
        diff_scale=DIFF_SCALE,
    )


def painted(run: ComparisonRun, wall: Wall, event: Event, others: int) -> dict[str, Any]:
    """The player's value of an event, with the figures that are known under its tiles."""
    cells, values = run.cells.cells, run.values
    best = best_cells(run.cells, values)
    wall.captions = {k: caption(values[c]) for k, c in enumerate(cells) if c in values}
    wall.best = {k for k, cell in enumerate(cells) if cell in best}
    if isinstance(event, Preview):
        return wall.live(event, others)
    truths = {run.cells.tile(c): run.truth(c.track, run.seeds[0]) for c in cells}
    wall.truth = {tile: uint8(truth) for tile, truth in truths.items() if truth is not None}
    return wall.final(event, others)


# ---------------------------------------------------------------- the tab


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, demo: gr.Blocks
) -> None:
    """Builds the tab inside the current Blocks and wires its links."""
    results: Kept[Outcome] = serving.kept
    start = Comparison(model=first.name if first else "mixture")
    gr.Markdown(
        "Every cell starts from the **same noise**; a column spends the **same number of model "
        "evaluations**. Under each cell stands its error to the converged sample. "
        "*mixture (exact)* has a known solution: with the taper off and the budgets "
        "24, 48, 96, 192 its slopes come out near 1, 2 and 3, and the preset *published against "
        "exact weights* shows that the published order 3 is of order 2. Few evaluations show "
        "neither."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            preset = gr.Dropdown(
                [*PRESETS], value="orders", label="Preset", info="Fills in the solver rows below."
            )
            budgets = gr.Textbox(
                ", ".join(map(str, start.budgets)),
                label="Budgets",
                info=f"Model evaluations of the columns, up to {COLUMNS_MAX}.",
                max_lines=1,
                elem_id="compare-budgets",
            )
            with gr.Row():
                go = gr.Button("Compare", variant="primary", elem_id="compare-go")
                stop = gr.Button("Stop", variant="stop", elem_id="compare-stop")
        with gr.Column(scale=1, min_width=280):
            labels = LabelControls(models, first, start.guidance, prompts=True)
        with gr.Column(scale=1, min_width=280):
            seed = gr.Number(start.seed, label="Seed", info="The noise that all cells share.")
            count = gr.Slider(
                1,
                8,
                start.count,
                step=1,
                label="Seeds",
                info="Errors are over all of them; the grid shows the first.",
            )
            no_taper = gr.Checkbox(
                start.no_taper,
                label="Without the final taper",
                info="Lower orders at the end are steadier but hide the slope.",
            )
    with gr.Accordion("Solver rows", open=False):
        rows = _Rows(start.rows)
        gr.Markdown(
            "*More* takes `field=value` words: " + ", ".join(f"`{name}`" for name in MORE) + "."
        )
    player = Player(
        elem_id="compare-player",
        label="Comparison",
        placeholder=("Press Compare: every cell starts from the same noise."),
    )
    note = gr.Markdown(elem_id="compare-note")
    plot = gr.Plot(show_label=False, elem_id="compare-plot", visible=False)
    axis = gr.Plot(show_label=False, elem_id="compare-axis", visible=False)
    shown = gr.Dataframe(
        headers=list(HEADERS),
        interactive=False,
        show_search="filter",
        label="Figures",
        elem_id="compare-table",
        wrap=True,
    )
    with gr.Row():
        make = gr.Button("Make files", size="sm", interactive=False, elem_id="compare-make")
        downloads = {
            kind: gr.DownloadButton(kind.upper(), size="sm", interactive=False)
            for kind in ("csv", "png", "gif", "mp4", "zip")
        }
    with gr.Row():
        link = links.box("compare-link")
    done_run = gr.State("")

    inputs = [*labels.inputs, budgets, seed, count, no_taper, *rows.widgets]
    n = len(labels.inputs)

    async def checked(args: tuple[Any, ...]) -> ComparisonRun:
        values = labels.values(args[:n])
        model = await serving.model(str(values["model"]))
        try:
            seed_, count_ = (
                _whole(k, v) for k, v in zip(("seed", "count"), args[n + 1 : n + 3], strict=True)
            )
            comparison = Comparison(
                **values,
                seed=seed_,
                count=count_,
                budgets=tuple(budgets_of_text(str(args[n]))),
                rows=rows.read(args[n + 4 :]),
                no_taper=args[n + 3],
            )
            return ComparisonRun.checked(comparison, model, serving.references, serving.limits)
        except ValueError as error:
            raise refuse(error) from error

    async def run(*args: Any) -> AsyncGenerator[Any, None]:
        same = [gr.skip()] * len(outputs)
        async with aclosing(serving.telling(str(args[0]), checked(args))) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield gr.skip(), step, *same[2:]
                else:
                    run = step
        comparison, wall = run.comparison, wall_of(run)
        span = run.model.lam_span
        query = "?" + comparison_query(comparison)
        off = [gr.update(interactive=False)] * (1 + len(downloads))
        axes = await serving.plot(lam_axis, comparison, span, {})
        yield gr.skip(), "", gr.skip(), axes, gr.skip(), *off, query, ""
        finished = 0
        note = f"compare {comparison.model} {len(run.cells.cells)} cells"
        async with aclosing(serving.measure(run, note)) as events:
            async for event in events:
                value = await serving.encode(painted, run, wall, event, serving.others)
                news: list[Any] = [gr.skip(), gr.skip()]
                if run.measured_cells > finished or not isinstance(event, Preview):
                    finished = run.measured_cells
                    figure = await serving.plot(convergence, comparison, run.cells, run.values)
                    news = [figure, table(comparison, run.cells, run.values)]
                if not isinstance(event, Done):
                    text = awaited(run) if isinstance(event, Preview) else ended(event)
                    yield value, text, news[0], gr.skip(), news[1], *same[5:]
                    continue
                outcome = run.outcome(event)
                results.put(wall.run, outcome)
                axes = await serving.plot(lam_axis, comparison, span, outcome.spans)
                on = [gr.update(interactive=True), *same[6:-2]]
                yield value, _note(run, event), news[0], axes, news[1], *on, gr.skip(), wall.run

    async def files(run_id: str) -> list[Any]:
        folder = serving.path("compare").parent
        made = await serving.write(make_files, results.get(run_id), folder)
        return [gr.DownloadButton(value=str(made[kind]), interactive=True) for kind in downloads]

    def use_preset(name: str) -> list[Any]:
        solvers = [solver_of_text(text) for text in PRESETS.get(name, PRESETS["orders"])]
        wanted = [*solvers, *[None] * (ROWS_MAX - len(solvers))]
        return [v for solver in wanted for v in rows.of(solver)]

    async def open_link(request: gr.Request) -> list[Any]:
        pairs = links.pairs(request, "compare")
        if not pairs:
            return [gr.skip()] * (len(inputs) + 2)
        comparison, complaints = comparison_of_query(pairs)
        model = first
        try:
            model = await serving.model(comparison.model)
            condition_of(comparison.sample, model)
        except (ValueError, gr.Error) as error:
            complaints.append(f"{getattr(error, 'message', error)} The default is used.")
            comparison = replace(comparison, model=first.name if first else "mixture", label=ANY)
            model = model or first
        shown_labels = (
            labels.show(model, comparison.label, comparison.guidance, comparison)
            if model is not None
            else [gr.skip()] * n
        )
        wanted = [*comparison.rows, *[None] * (ROWS_MAX - len(comparison.rows))]
        return [
            *shown_labels,
            ", ".join(map(str, comparison.budgets)),
            comparison.seed,
            comparison.count,
            comparison.no_taper,
            *[v for solver in wanted for v in rows.of(solver)],
            links.note(complaints),
            "?" + comparison_query(comparison),
        ]

    outputs = [player, note, plot, axis, shown, make, *downloads.values(), link, done_run]
    started = go.click(
        serving.stoppable("compare", run),
        inputs,
        outputs,
        preprocess=False,
        **serving.engine_event,
    )
    # the address bar becomes the experiment; the text box shows the whole link to copy
    started.then(
        None,
        link,
        link,
        api_visibility="private",
        js=links.SHOW,
    )
    labels.follow(serving, note)
    serving.stops("compare", stop)
    make.click(files, done_run, list(downloads.values()), api_visibility="private")
    preset.input(use_preset, preset, rows.widgets, queue=False, api_visibility="private")
    demo.load(open_link, None, [*inputs, note, link], api_visibility="private")


def _note(run: ComparisonRun, done: Done) -> str:
    cells = run.cells
    shared = len(cells.cells) - len(cells.solvers)
    text = f"{len(cells.cells)} cells in {done.seconds:.2f} s"
    if shared:
        one, were = ("is", "was") if shared == 1 else ("are", "were")
        text += f"; {shared} of them {one} the same work as another and {were} computed once"
    text += f". {run.reference}"
    if run.wanted.rows == 2:
        text += " With guidance, an evaluation computes two network rows."
    text += " The time under a cell is its share, by rows, of the network calls that it was in."
    if any(v.note for v in run.values.values()):
        text += " *Another target*: a row with its own noise (η > 0) does not aim at the reference."
    if done.error:
        text += f" **{links.escape(done.error)}**"
    return text


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise ValueError(f"{name} must be a whole number from 0 to {SEED_MAX}, not {value!r:.60}")
    return int(value)
