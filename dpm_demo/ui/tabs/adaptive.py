"""Tab "Error control": adaptive steps as they are chosen, beside fixed steps at the same cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from dpm_demo.compare.adaptive import HEADERS
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read, read_leniently, to_query
from dpm_demo.request.job import Checked, condition_of
from dpm_demo.solver.settings import NFE_MAX, Solver
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs.adaptive_runs import (
    SAMPLES_MAX,
    TOLERANCES,
    News,
    read_request,
    tabulate,
    watch,
)
from dpm_demo.ui.tabs.adaptive_start import recorded
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.controls import PREDICTIONS, LabelControls, as_followed
from dpm_demo.ui.widgets.fields import named
from dpm_demo.ui.widgets.run_bar import RunBar

METHODS = [("DPM-Solver-12 (orders 1 and 2)", 2), ("DPM-Solver-23 (orders 2 and 3)", 3)]
CONTROLLERS = [("PI: smoother", "pi"), ("I: as published", "i")]
ESTIMATORS = [("embedded pair", "embedded"), ("step doubling", "doubling")]
#: As published, so that some steps are rejected.
DEFAULT = Solver(method="adaptive", stability=True, controller="i")
INTRO = """
An **adaptive** solver tries a step, estimates its own error from two orders that share their
evaluations, keeps the step if the error is within the tolerance (E ≤ 1) and tries a shorter one if
not. Every sample chooses for itself. Afterwards fixed steps spend the **same number of
evaluations** from the same noise.
"""


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, demo: gr.Blocks
) -> None:
    """Builds the tab inside the current Blocks, with its links; it opens on a recorded run."""
    start = recorded(first)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            labels = LabelControls(models, first, 1.0)
            widgets = _controls()
            fill = gr.Button(
                "Fill the table of tolerances",
                size="sm",
                elem_id="errors-fill",
                elem_classes="runs-errors waits-errors",
            )
        with gr.Column(scale=3, min_width=320, elem_classes="result-first"):
            bar = RunBar(serving, "errors", "Run")
            note = gr.Markdown(start.text or "", elem_id="errors-note")
            # heights are reserved (theme.CSS), as each update draws a plot anew
            hops = gr.Plot(
                start.hops, show_label=False, elem_id="errors-hops", visible=bool(start.hops)
            )
            with gr.Row():
                with gr.Column(min_width=300):  # on a phone one below the other
                    player = Player(
                        start.adaptive,
                        elem_id="errors-player",
                        label="Adaptive steps",
                        placeholder="Adaptive: press Run, and every sample chooses its own steps.",
                    )
                with gr.Column(min_width=300):
                    beside = Player(
                        start.fixed,
                        elem_id="errors-fixed",
                        label="Fixed steps at the same cost",
                        placeholder="Fixed steps at the same cost, from the same noise.",
                    )
    gr.Markdown(INTRO)
    plot = gr.Plot(start.plot, show_label=False, elem_id="errors-plot", visible=bool(start.plot))
    shown = gr.Dataframe(
        headers=list(HEADERS),
        interactive=False,
        label="Cost and error against tolerance",
        elem_id="errors-table",
        wrap=True,
        visible=False,
    )
    link = links.box("errors-link")
    inputs = [*labels.inputs, *widgets.values()]
    named(**widgets)
    panes = [hops, player, beside, plot, note]
    n = len(labels.inputs)

    def flat(args: tuple[Any, ...]) -> dict[str, Any]:
        return labels.values(args[:n]) | dict(zip(widgets, args[n:], strict=True))

    async def query(*args: Any) -> str:
        wanted = await as_followed(serving, read({**flat(args), "method": "adaptive"}))
        return "?tab=errors&" + to_query(wanted)

    async def open_link(request: gr.Request) -> list[Any]:
        pairs = dict(links.pairs(request, "errors"))
        if not pairs:
            return [gr.skip()] * (len(inputs) + len(panes))
        wanted, complaints = read_leniently({"guidance": "1", **pairs, "method": "adaptive"})
        try:
            model = await serving.model(wanted.model)
            condition_of(wanted, model)
        except (ValueError, gr.Error) as error:
            complaints.append(f"{getattr(error, 'message', error)} The default is used.")
            skips = [gr.skip()] * (len(inputs) + len(panes) - 1)
            return [*skips, links.note(complaints)]
        own = {name: getattr(wanted.solver, name, getattr(wanted, name, None)) for name in widgets}
        own["tolerance"] = f"{wanted.solver.tolerance:g}"
        # what the tab opens on is of its own model
        kept = first is not None and model.name == first.name
        shown = [gr.skip() if kept else None] * (len(panes) - 1)
        said = links.note(complaints) or (gr.skip() if kept else "")
        return [*labels.show(model, wanted.label, wanted.guidance), *own.values(), *shown, said]

    async def read_widgets(args: tuple[Any, ...], settings: int) -> Checked:
        values = flat(args)
        model = await serving.model(str(values["model"]))
        return read_request(values, model, serving.limits, settings)

    async def of_a_run(*args: Any) -> Checked:
        return await read_widgets(args, 1)

    async def of_the_table(*args: Any) -> Checked:
        # the table brings its own tolerances, so that field need not make sense
        at = n + list(widgets).index("tolerance")
        own = (*args[:at], TOLERANCES[0], *args[at + 1 :])
        return await read_widgets(own, len(TOLERANCES))

    async def run(wanted: Checked) -> AsyncGenerator[Any, None]:
        yield gr.skip(), gr.skip(), None, gr.skip(), ""
        # What is unchanged is sent again, which costs an empty difference. A skip would be a
        # difference that empties, in the page, a value that it may not have read yet.
        known = News()
        async with aclosing(watch(serving, wanted)) as stream:
            async for news in stream:
                known = news.after(known)
                hops, plot = news.hops or gr.skip(), news.plot or gr.skip()
                yield hops, known.adaptive or gr.skip(), known.fixed, plot, known.text

    async def fill_table(wanted: Checked) -> AsyncGenerator[Any, None]:
        async with aclosing(tabulate(serving, wanted)) as stream:
            async for lines, text in stream:
                yield gr.update(value=lines, visible=True), text

    started = on_click(serving, "errors", bar.go.click, inputs, panes, note, of_a_run, run)
    bar.follows(started)
    links.written_by(started.success, query, inputs, link)
    table_panes = [shown, note]
    filled = on_click(
        serving, "errors", fill.click, inputs, table_panes, note, of_the_table, fill_table
    )
    bar.follows(filled)
    links.written_by(filled.success, query, inputs, link)
    bar.watches(inputs)
    labels.follow(serving, note)
    links.follows(inputs, query, link)
    opened = demo.load(open_link, None, [*inputs, *panes], show_progress="hidden")
    opened.then(None, None, None, js=links.RUN.replace("TAB", "errors"))


def _controls() -> dict[str, gr.components.Component]:
    """Widgets by the request's field that each of them sets."""
    default = DEFAULT
    w: dict[str, gr.components.Component] = {}
    w["tolerance"] = gr.Textbox(
        f"{default.tolerance:g}",
        max_lines=1,
        label="Tolerance",
        info="Local error aimed at: 0.2 is coarse, 0.05 as published, 0.0005 fine.",
        elem_id="errors-tolerance",
    )
    w["order"] = gr.Dropdown(METHODS, value=default.order, label="Method")
    with gr.Row():
        w["seed"] = gr.Number(0, label="Seed", min_width=120)
        w["count"] = gr.Slider(
            1,
            SAMPLES_MAX,
            2,
            step=1,
            label="Samples",
            min_width=120,
            info="Each a trajectory of its own.",
        )
    w["nfe"] = gr.Slider(
        5,
        NFE_MAX,
        default.nfe,
        step=5,
        label="Cap on evaluations",
        info="Where a run ends that cannot meet its tolerance; the page then says so.",
    )
    w["stability"] = gr.Checkbox(
        default.stability,
        label="Stability control",
        info="Three errors growing in a row lower the order and halve the step.",
    )
    with gr.Accordion("More", open=False):
        w["prediction"] = gr.Radio(PREDICTIONS, value=default.prediction, label="Prediction form")
        w["controller"] = gr.Radio(
            CONTROLLERS,
            value=default.controller,
            label="Step-size controller",
            info="I dares longer steps, and has more of them rejected.",
        )
        w["error"] = gr.Radio(
            ESTIMATORS,
            value=default.error,
            label="Error estimator",
            info="Two orders that share evaluations, or one step against two halves (dearer).",
        )
    return w
