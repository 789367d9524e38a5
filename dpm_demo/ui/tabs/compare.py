"""Tab "Compare": solvers side by side, from the same noise, at the same cost."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from dpm_demo.compare.figures import (
    ANOTHER_TARGET,
    HEADERS,
    Outcome,
    best_cells,
    brief,
    caption,
    row_title,
    slope,
    table,
)
from dpm_demo.compare.figures import rows_of as rows_of_figures
from dpm_demo.compare.files import make_files, settings_of
from dpm_demo.compare.plots import convergence, lam_axis
from dpm_demo.compare.questions import QUESTIONS, START, verdict
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.engine.events import Cancelled, Done, Event, Preview, TrackResult
from dpm_demo.engine.forecast import Pace
from dpm_demo.media.grid import sprite_sheet
from dpm_demo.media.pixels import uint8
from dpm_demo.media.png import data_uri, png
from dpm_demo.models.exact import DIGEST
from dpm_demo.models.model import Model
from dpm_demo.request.codec import (
    budgets_of_text,
    comparison_of_query,
    comparison_query,
)
from dpm_demo.request.comparison import COLUMNS_MAX, Comparison
from dpm_demo.request.generate import SEED_MAX
from dpm_demo.request.job import condition_of
from dpm_demo.ui.alone.page import page
from dpm_demo.ui.kept import Kept
from dpm_demo.ui.landing.component import CHANGED, FILLED, IDLE, LINKED, Landing
from dpm_demo.ui.landing.scenes import read_answers, read_scenes
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.serving import Serving, awaited, ended, refuse
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.controls import ANY, LabelControls
from dpm_demo.ui.widgets.estimate import TOLD, about
from dpm_demo.ui.widgets.solver_rows import MORE, SolverRows

DIFF_SCALE = 8


def wall_of(run: ComparisonRun) -> Wall:
    """The player's tiles of a comparison: one a cell, of its first seed."""
    comparison, cells = run.comparison, run.cells
    return Wall(
        run.whole,
        device=str(run.model.device),
        row_titles=[brief(row_title(comparison, k)) for k in range(len(comparison.rows))],
        column_titles=[f"{nfe} NFE" for nfe in comparison.budgets],
        columns=len(comparison.budgets),
        shown=[cells.tile(cell) for cell in cells.cells],
        diff_scale=DIFF_SCALE,
    )


class Painter:
    """What the landing and the player show of a run (landing/component.py); for the encoder."""

    def __init__(self, run: ComparisonRun, wall: Wall) -> None:
        self.run, self.wall = run, wall
        self._truth, self._goal = "", run.goal

    def __call__(self, event: Event, others: int) -> dict[str, Any]:
        """The value of an event, with the figures that are known."""
        known = [self.run.values.get(cell) for cell in self.run.cells.cells]
        return {
            **painted(self.run, self.wall, event, others),
            "budgets": list(self.run.comparison.budgets),
            "errors": [None if figures is None else figures.rmse for figures in known],
            "truth": self.truth,
            "goal": self._goal,
            "verdict": self.verdict if isinstance(event, Done) else "",
        }

    @property
    def verdict(self) -> str:
        return verdict(self.run.comparison, self.run.cells, self.run.values)

    @property
    def truth(self) -> str:
        """The converged picture, or a clip's frames in a row, as a data URI; empty until known."""
        if not self._truth:
            cells = self.run.cells.computed
            known = (self.run.truth(cell.track, self.run.seeds[0]) for cell in cells)
            found = next((truth for truth in known if truth is not None), None)
            if found is not None:
                self._truth = data_uri(png(sprite_sheet(uint8(found)[None])))
        return self._truth


def painted(run: ComparisonRun, wall: Wall, event: Event, others: int) -> dict[str, Any]:
    """The player's value of an event, with the figures that are known under its tiles."""
    cells, values = run.cells.cells, run.values
    best = best_cells(run.cells, values)
    wall.captions = {k: caption(values[c]) for k, c in enumerate(cells) if c in values}
    wall.best = {k for k, cell in enumerate(cells) if cell in best}
    if isinstance(event, Preview):
        return wall.live(event, others)
    truths = {run.cells.tile(c): run.truth(c.track, run.seeds[0]) for c in run.cells.computed}
    wall.truth = {tile: uint8(truth) for tile, truth in truths.items() if truth is not None}
    return wall.final(event, others)


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run's files are made of: its outcome, and the landing's last value as JSON."""

    outcome: Outcome
    value: bytes
    reference: str


@dataclass(frozen=True, eq=False)
class Stopped:
    """What a run that was stopped had finished, by which the same goes on."""

    comparison: Comparison
    weights: str
    done: Mapping[int, TrackResult]

    @classmethod
    def of(cls, run: ComparisonRun, event: Cancelled) -> Stopped:
        return cls(run.comparison, run.model.digest or run.model.name, run.finished(event))

    def of_same(self, run: ComparisonRun) -> bool:
        """Whether what a run asks for is the same."""
        weights = run.model.digest or run.model.name
        return (self.comparison, self.weights) == (run.comparison, weights)


def files_of(finished: Finished, folder: Path) -> dict[str, Path]:
    """The files of a comparison, and the page of it that plays alone."""
    outcome = finished.outcome
    asked = outcome.comparison
    lines = table(asked, outcome.cells, outcome.values)
    about = {**settings_of(asked), "reference": finished.reference}
    title = f"{asked.model}, {asked.label}, seed {asked.seed}: solvers side by side"
    whole = page(title, json.loads(finished.value), about, HEADERS, lines)
    return make_files(outcome, folder, {"html": whole.encode()})


# ---------------------------------------------------------------- the tab


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
    asking = [*inputs, done_run]  # a run that was stopped goes on
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
                rows=rows.read(args[n + 4 : -1]),
                no_taper=args[n + 3],
            )
            asked = comparison, model, serving.references, serving.limits
            run = ComparisonRun.checked(*asked)
            before = stopped.find(args[-1])
            if isinstance(before, Stopped) and before.of_same(run):
                run = ComparisonRun.checked(*asked, done=before.done)
            return run
        except ValueError as error:
            raise refuse(error) from error

    async def estimate(*args: Any) -> str:
        """What a run is about to take, as the landing says it; nothing of what is refused."""
        try:
            asked = await checked(args)
        except gr.Error:
            return ""
        fresh = ComparisonRun(asked.comparison, asked.model, References())
        return estimate_of(serving.pace, asked, fresh)

    async def run(*args: Any) -> AsyncGenerator[Any, None]:
        same = [gr.skip()] * len(outputs)
        async with aclosing(serving.telling(str(args[0]), checked(args))) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield gr.skip(), step, *same[2:]
                else:
                    run = step
        comparison, wall = run.comparison, wall_of(run)
        painter = Painter(run, wall)
        span = run.model.lam_span
        query = "?" + comparison_query(comparison)
        off = [gr.update(interactive=False)] * (1 + len(downloads))
        axes = await serving.plot(lam_axis, comparison, span, {})
        yield gr.skip(), "", gr.skip(), axes, gr.skip(), *off, query, args[-1] if run.done else ""
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
                    text, name = awaited(run), gr.skip()
                    if not isinstance(event, Preview):
                        text = ended(event)
                        if isinstance(event, Cancelled) and run.finished(event):
                            stopped.put(name := wall.run, Stopped.of(run, event))
                            value["continues"] = True
                    yield value, text, news[0], gr.skip(), news[1], *same[5:-1], name
                    continue
                outcome = run.outcome(event)
                shown = await serving.encode(partial(json.dumps, value))
                results.put(wall.run, Finished(outcome, shown.encode(), run.reference))
                axes = await serving.plot(lam_axis, comparison, span, outcome.spans)
                on = [gr.update(interactive=True), *same[6:-2]]
                yield value, _note(run, event), news[0], axes, news[1], *on, gr.skip(), wall.run

    async def files(run_id: str) -> list[Any]:
        folder = serving.path("compare").parent
        made = await serving.write(files_of, results.get(run_id), folder)
        return [gr.DownloadButton(value=str(made[kind]), interactive=True) for kind in downloads]

    async def use_question(name: str) -> list[Any]:
        question = QUESTIONS.get(name)
        return await filled(question.comparison if question else START, [])

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
    private: dict[str, Any] = {"api_visibility": "private"}

    def starts(event: Any) -> None:
        started = event(
            serving.stoppable("compare", run),
            asking,
            outputs,
            preprocess=False,
            **serving.engine_event,
        )
        started.success(estimate, asking, line, show_progress="hidden", **private)
        for over in (started.success, started.failure):  # `then` does not follow a refusal
            over(None, None, None, js=IDLE.replace("TAB", "compare"), **private)
        # the address bar becomes the experiment; the text box shows the whole link to copy
        started.then(None, link, link, js=links.SHOW, **private)

    async def stop(request: gr.Request) -> None:
        await serving.stop("compare", request)

    starts(landing.submit)
    starts(landing.input(_new_seed, None, seed, queue=False, **private).then)
    landing.stop(stop, None, None, queue=False, **private)
    form = [*inputs, note, link]
    landing.select(use_recording, None, form, show_progress="hidden", **private).then(
        None, None, None, js=FILLED.replace("TAB", "compare"), **private
    )
    preset.input(use_question, preset, form, show_progress="hidden", **private)
    gr.on(
        [preset.input, *[w.input for w in inputs]],  # type: ignore[attr-defined]
        None,
        None,
        None,
        js=CHANGED.replace("TAB", "compare"),
        **private,
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
        **private,
    )
    line.change(None, line, None, js=TOLD.replace("TAB", "compare"), **private)
    labels.follow(serving, note, rows.menus)
    make.click(files, done_run, list(downloads.values()), **private)
    demo.load(open_link, None, form, **private).then(
        None, None, None, js=LINKED.replace("TAB", "compare"), **private
    )


def _new_seed() -> int:
    return random.randint(0, SEED_MAX)


def estimate_of(pace: Pace, asked: ComparisonRun, fresh: ComparisonRun) -> str:
    """Three lines: how long the run takes, how long one of other noise, and of what it consists."""
    truths = sum(
        track.budget * len(track.seeds) for track in fresh.job.tracks if not track.pictures
    )
    text = f"{fresh.job.budget - truths:,} evaluations of the cells"
    if truths:
        text += f" and {truths:,} of the converged sample, where it is not known yet"
    return "\n".join([about(pace, asked.job), about(pace, fresh.job), text])


def _note(run: ComparisonRun, done: Done) -> str:
    cells = run.cells
    computed = len(cells.computed)
    shared = computed - len(cells.solvers)
    text = f"{_orders(run)}{computed} cells in {done.seconds:.2f} s"
    if run.done:
        before = sum(cell.track in run.done for cell in cells.computed)
        text += f", of which {before} were there from before it was stopped"
    if shared:
        one, were = ("is", "was") if shared == 1 else ("are", "were")
        text += f"; {shared} of them {one} the same work as another and {were} computed once"
    text += f". {run.reference}"
    if run.wanted.rows == 2:
        text += " With guidance, an evaluation computes two network rows."
    if any(v.note == ANOTHER_TARGET for v in run.values.values()):
        text += " *Another target*: a row with its own noise (η > 0) does not aim at the reference."
    if done.error:
        text += f" **{links.escape(done.error)}**"
    return text


def _orders(run: ComparisonRun) -> str:
    """The measured order of each row that has three budgets or more, as a sentence."""
    found = []
    for row, known in rows_of_figures(run.cells, run.values):
        order = slope([v.nfe for v in known], [v.rmse or 0.0 for v in known])
        if order is not None and len(known) > 2:
            found.append(f"{brief(row_title(run.comparison, row))}: {order:.1f}")
    return f"**Measured order of convergence:** {'; '.join(found)}. " if found else ""


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise ValueError(f"{name} must be a whole number from 0 to {SEED_MAX}, not {value!r:.60}")
    return int(value)
