"""Tab "Compare": solvers side by side, from the same noise, at the same cost."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from dpm_demo.compare.figures import HEADERS, table
from dpm_demo.compare.plots import convergence, lam_axis
from dpm_demo.compare.questions import QUESTIONS, START
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Preview
from dpm_demo.models.exact import DIGEST
from dpm_demo.models.model import Model
from dpm_demo.request.codec import (
    budgets_of_text,
    comparison_of_query,
    comparison_of_values,
    comparison_query,
)
from dpm_demo.request.comparison import COLUMNS_MAX, Comparison
from dpm_demo.request.generate import SEED_MAX
from dpm_demo.request.job import condition_of
from dpm_demo.ui.kept import Kept
from dpm_demo.ui.landing.component import CHANGED, FILLED, IDLE, LINKED, Landing
from dpm_demo.ui.landing.scenes import read_answers, read_scenes
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import awaited, ended
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs.compare_runs import (
    Finished,
    Painter,
    Stopped,
    estimate_of,
    files_of,
    note_of,
)
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.controls import ANY, LabelControls
from dpm_demo.ui.widgets.estimate import TOLD
from dpm_demo.ui.widgets.fields import named
from dpm_demo.ui.widgets.solver_rows import MORE, SolverRows


def build(
    serving: Serving, models: list[tuple[str, str]], first: Model | None, demo: gr.Blocks
) -> None:
    """Builds the tab inside the current Blocks and wires its links."""
    results: Kept[Finished] = serving.kept
    stopped: Kept[Finished | Stopped] = serving.kept
    own = (DIGEST, first.digest if first else DIGEST)
    scenes = [scene for scene in read_scenes() if first and scene["digest"] in own]
    answers = {title: a for title, a in read_answers().items() if a["digest"] in own}
    start = START if scenes else Comparison(model=first.name if first else "mixture")
    questions = [
        {
            "title": title,
            "query": comparison_query(question.comparison),
            "answer": answers.get(title),
        }
        for title, question in QUESTIONS.items()
        if question.comparison.model in [name for _, name in models]
    ]
    note = gr.Markdown(elem_id="compare-note")  # first: what it says is seen where one clicks
    landing = Landing(
        {"scenes": scenes, "questions": questions}, elem_id="compare-landing", tab="compare"
    )
    with gr.Accordion(
        "Ask something else: model, label, budgets, solvers", open=False, elem_id="compare-form"
    ):
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                preset = gr.Dropdown(
                    [*QUESTIONS],
                    value=next(iter(QUESTIONS)),
                    label="Question",
                    info="Fills in everything below.",
                    elem_id="compare-question",
                )
                budgets = gr.Textbox(
                    ", ".join(map(str, start.budgets)),
                    label="Budgets",
                    info=f"Network evaluations to compare at, up to {COLUMNS_MAX} numbers.",
                    max_lines=1,
                    elem_id="compare-budgets",
                )
            with gr.Column(scale=1, min_width=280):
                labels = LabelControls(models, first, start.guidance, True, START.label)
            with gr.Column(scale=1, min_width=280):
                seed = gr.Number(start.seed, label="Seed", info="The noise that all cells share.")
                count = gr.Slider(
                    1,
                    8,
                    start.count,
                    step=1,
                    label="Seeds",
                    info="Errors are over all of them; the pictures are of the first.",
                )
                no_taper = gr.Checkbox(
                    start.no_taper,
                    label="Without the final taper",
                    info="Lower orders at the end are steadier but hide the slope.",
                )
        with gr.Accordion("Solver rows", open=False):
            rows = SolverRows(start.rows, first)
            gr.Markdown(
                "*More* takes `field=value` words: "
                + ", ".join(f"`{name}`" for name in MORE)
                + ". Another program's name there, such as `dpmpp_2m karras`, is the whole row."
            )
    Player(
        elem_id="compare-player",
        label="All cells",
        placeholder="",
        follow="compare",
    )
    with gr.Accordion("Plots, table and files", open=False, elem_id="compare-figures"):
        gr.Markdown(
            "The time of a cell is its share, by rows, of the network calls that it was in."
        )
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
                for kind in ("csv", "png", "gif", "mp4", "html", "zip")
            }
    with gr.Row():
        link = links.box("compare-link")
    line = gr.Textbox(visible="hidden", elem_id="compare-forecast")  # for the landing
    done_run = gr.State("")

    inputs = [*labels.inputs, budgets, seed, count, no_taper, *rows.widgets]
    named(budgets=budgets, seed=seed, count=count)
    asking = [*inputs, done_run]  # a run that was stopped goes on
    n = len(labels.inputs)

    async def checked(*args: Any) -> ComparisonRun:
        words, seed_, count_, plain, *texts, before = args[n:]
        values = labels.values(args[:n]) | {"seed": seed_, "count": count_}
        model = await serving.model(str(values["model"]))
        comparison = replace(
            comparison_of_values(values, no_taper=plain),
            # as the page lays them out: from few to many
            budgets=tuple(sorted(budgets_of_text(str(words)))),
            rows=rows.read(texts),
        )
        asked = comparison, model, serving.references, serving.limits
        run = ComparisonRun.checked(*asked)
        found = stopped.find(before)
        if isinstance(found, Stopped) and found.of_same(run):
            run = ComparisonRun.checked(*asked, done=found.done)
        return run

    async def estimate(*args: Any) -> str:
        """What a run is about to take, as the landing says it; nothing of what is refused."""
        try:
            asked = await checked(*args)
        except (ValueError, gr.Error):
            return ""
        fresh = ComparisonRun(asked.comparison, asked.model, References())
        return estimate_of(serving.pace, asked, fresh)

    async def stream(run: ComparisonRun) -> AsyncGenerator[Any, None]:
        same = [gr.skip()] * len(outputs)
        comparison, painter = run.comparison, Painter(run)
        name, span = painter.wall.run, run.model.lam_span
        query = "?" + comparison_query(comparison)
        off = [gr.update(interactive=False)] * (1 + len(downloads))
        axes = await serving.plot(lam_axis, comparison, span, {})
        before = gr.skip() if run.done else ""
        yield gr.skip(), "", gr.skip(), axes, gr.skip(), *off, query, before
        finished = 0
        note = f"compare {comparison.model} {len(run.cells.cells)} cells"
        async with aclosing(serving.measure(run, note)) as events:
            async for event in events:
                value = await serving.encode(painter, event, serving.others)
                news: list[Any] = [gr.skip(), gr.skip()]
                if run.measured_cells > finished or not isinstance(event, Preview):
                    finished = run.measured_cells
                    figure = await serving.plot(convergence, comparison, run.cells, run.values)
                    news = [figure, table(comparison, run.cells, run.values)]
                if not isinstance(event, Done):
                    text, goes_on = awaited(run), False
                    if not isinstance(event, Preview):
                        text = ended(event)
                        if isinstance(event, Cancelled) and run.finished(event):
                            stopped.put(name, Stopped.of(run, event))
                            value["continues"] = goes_on = True
                    kept = name if goes_on else gr.skip()
                    yield value, text, news[0], gr.skip(), news[1], *same[5:-1], kept
                    continue
                outcome = run.outcome(event)
                shown = await serving.encode(partial(json.dumps, value))
                results.put(name, Finished(outcome, shown.encode(), run.reference))
                axes = await serving.plot(lam_axis, comparison, span, outcome.spans)
                on = [gr.update(interactive=True), *same[6:-2]]
                yield value, note_of(run, event), news[0], axes, news[1], *on, gr.skip(), name

    async def files(run_id: str) -> list[Any]:
        folder = serving.path("compare").parent
        made = await serving.write(files_of, results.get(run_id), folder)
        return [gr.DownloadButton(value=str(made[kind]), interactive=True) for kind in downloads]

    async def use_question(name: str) -> list[Any]:
        return await filled(QUESTIONS[name].comparison, [])

    async def use_recording(event: gr.SelectData) -> list[Any]:
        comparison, complaints = comparison_of_query(parse_qsl(str(event.value)))
        return await filled(comparison, complaints)

    async def open_link(request: gr.Request) -> list[Any]:
        pairs = links.pairs(request, "compare")
        if not pairs:
            return [gr.skip()] * (len(inputs) + 2)
        return await filled(*comparison_of_query(pairs))

    async def filled(comparison: Comparison, complaints: list[str]) -> list[Any]:
        """Updates for `inputs`, note and link that show a comparison."""
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
        return [
            *shown_labels,
            ", ".join(map(str, comparison.budgets)),
            comparison.seed,
            comparison.count,
            comparison.no_taper,
            *rows.show(comparison.rows, model),
            links.note(complaints),
            "?" + comparison_query(comparison),
        ]

    outputs = [landing, note, plot, axis, shown, make, *downloads.values(), link, done_run]

    def starts(event: Any) -> None:
        started = on_click(
            serving, "compare", event, asking, outputs, note, checked, stream, preprocess=False
        )
        started.success(estimate, asking, line, show_progress="hidden")
        for over in (started.success, started.failure):  # `then` does not follow a refusal
            over(None, None, None, js=IDLE.replace("TAB", "compare"))
        # the address bar becomes the experiment; the text box shows the whole link to copy
        started.then(None, link, link, js=links.SHOW)

    starts(landing.submit)
    starts(landing.input(lambda: random.randint(0, SEED_MAX), None, seed, queue=False).then)
    serving.stops("compare", landing.stop)
    form = [*inputs, note, link]
    recalled = landing.select(use_recording, None, form, show_progress="hidden")
    recalled.then(None, None, None, js=FILLED.replace("TAB", "compare"))
    preset.input(use_question, preset, form, show_progress="hidden")
    gr.on(
        [preset.input, *[w.input for w in inputs]],  # type: ignore[attr-defined]
        None,
        None,
        None,
        js=CHANGED.replace("TAB", "compare"),
    )
    # no word of a prompt makes a run longer
    priced = [w for w in inputs if labels.prompts is None or w not in labels.prompts.words]
    gr.on(
        [demo.load, *[w.change for w in priced]],  # type: ignore[attr-defined]
        estimate,
        asking,
        line,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    line.change(None, line, None, js=TOLD.replace("TAB", "compare"))
    labels.follow(serving, note, rows.menus)
    make.click(serving.of_newest("compare", files), done_run, list(downloads.values()))
    opened = demo.load(open_link, None, form, show_progress="hidden")
    opened.then(
        None,
        None,
        None,
        js=LINKED.replace("TAB", "compare").replace("NO_SETTING", links.NO_SETTING),
    )
