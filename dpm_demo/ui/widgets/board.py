"""One metric of some results as the page shows it: winner, plot, table, files."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import plotly.graph_objects as go

from dpm_demo.compare.figures import brief
from dpm_demo.compare.plots import COLOURS, MARKS, log_ticks, tidy
from dpm_demo.media.files import write_bytes, write_text
from dpm_demo.media.names import file_name
from dpm_demo.quality import results as report
from dpm_demo.quality.results import ERRORS, METRICS, Line, Results, value_text
from dpm_demo.quality.store import DRAWN
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.as_is import Menu

DDIM = "order=1"
ORDERS = (DDIM, "order=2", "order=3")  # shown at first, and the best of all
LABELLED = 6  # lines that have their names beside them; more have a legend
EVERY = "all"  # in the menu of budgets
DISTANCES = ("fd", "kid")
KINDS = ("csv", "json", "png", "html")
BEHIND = "× best (95 %)"  # over the seeds in pairs, of its sweep at this budget
# of the table's columns, without ± and with it; so a phone shows more than the first
WIDTHS = {4: ["46%", "15%", "22%", "17%"], 5: ["36%", "13%", "19%", "17%", "15%"]}


@dataclass(frozen=True)
class Choice:
    """A metric, the solvers that are drawn, and one budget (None: all) for table and verdict."""

    metric: str
    solvers: tuple[str, ...]
    nfe: int | None = None


def choose(results: Results, metric: Any, solvers: Any, nfe: Any) -> Choice | None:
    """What of a menu's values these results have; the rest is replaced. None: nothing measured."""
    measured = results.measured()
    if not measured:
        return None
    metric = metric if metric in measured else measured[0]
    ranking = results.ranking(metric)
    names = solvers if isinstance(solvers, list | tuple) else ()
    wanted = [
        s for s in dict.fromkeys(map(str, names)) if any(x.solver == s for x in results.lines)
    ]
    if not set(wanted) & set(ranking):
        wanted = list(dict.fromkeys([*(s for s in ORDERS if s in ranking), ranking[0]]))
    budgets = budgets_of(results, metric)
    # of a single one there is nothing to sum up
    budget = next((n for n in budgets if str(n) == str(nfe) or len(budgets) == 1), None)
    return Choice(metric, tuple(wanted), budget)


def budgets_of(results: Results, metric: str) -> list[int]:
    return sorted({line.nfe for line in results.lines if getattr(line, metric) is not None})


def table(results: Results, choice: Choice) -> tuple[list[str], list[list[Any]]]:
    """Headers and a row a line, by budget, the best first, with how sure a figure is if known."""
    metric = choice.metric
    deviation = report.DEVIATION.get(metric)
    known = [
        line
        for line in results.lines
        if line.solver in choice.solvers
        and choice.nfe in (None, line.nfe)
        and getattr(line, metric) is not None
    ]
    sign = 1 if METRICS[metric].lower_is_better else -1
    rows = []
    behind = metric == "rmse" and any(map(results.behind, known))
    for line in sorted(known, key=lambda x: (x.nfe, sign * getattr(x, metric))):
        row = [line.solver, line.nfe, float(f"{getattr(line, metric):.4g}")]
        if deviation:
            spread = getattr(line, deviation)
            row.append(None if spread is None else float(f"{spread:.2g}"))
        if behind:
            row.append("{:.2f} to {:.2f}".format(*ends) if (ends := results.behind(line)) else "")
        rows.append([*row, count_of(line, metric)])
    spreads = ["±"] * bool(deviation) + [BEHIND] * behind
    return ["solver", "NFE", results.title(metric), *spreads, "n"], rows


def column(title: str) -> str:
    """A metric's title short enough for a column on a phone: without of what it is."""
    return re.split(r" \(| to | of ", title)[0]


def count_of(line: Line, metric: str) -> int:
    return line.n_error if metric in ERRORS else line.n


def verdict(results: Results, choice: Choice) -> str:
    """Names the winner among all solvers, at the budget that is chosen or over all of them."""
    metric, title = choice.metric, results.title(choice.metric)
    if choice.nfe is None:
        best = results.ranking(metric)[0]
        mean = "geometric mean" if METRICS[metric].log else "mean"
        budgets = ", ".join(map(str, results.shared(metric)))
        return f"**{_code(best)}** has the best {title} over {budgets} evaluations ({mean})."
    line = results.best(metric, choice.nfe)
    if line is None:
        return ""
    return (
        f"At {choice.nfe} evaluations **{_code(line.solver)}** has the best {title}: "
        f"{value_text(line, metric)} (n = {count_of(line, metric):,})."
    )


def unmeasured(results: Results, choice: Choice) -> str:
    """Names the chosen solvers that have no figure of the metric."""
    known = {x.solver for x in results.lines if getattr(x, choice.metric) is not None}
    names = ", ".join(_code(name) for name in choice.solvers if name not in known)
    return f"Without {results.title(choice.metric)}, so not drawn: {names}." if names else ""


def instead(results: Results, asked: Any, choice: Choice) -> str:
    """Says that the metric that is asked for was not measured, and another is shown."""
    if asked not in [*METRICS] or asked == choice.metric:
        return ""
    return f"No {results.title(asked)} here so far."


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def about(results: Results, metric: str) -> str:
    """What was measured, on how much, and what has to be known before numbers are compared."""
    counts = sorted({count_of(x, metric) for x in results.lines if getattr(x, metric) is not None})
    n = ", ".join(f"{count:,}" for count in counts)
    text = f"Label {links.escape(results.label)}, guidance {results.guidance:g}, n = {n}"
    if metric in ERRORS:
        return f"{text}; the converged sample is order 3 at {results.reference_nfe} evaluations."
    held = results.held_out
    if held is not None and getattr(held, metric) is not None:
        text += f"; held-out real pictures have {value_text(held, metric)} (n = {held.n:,})"
    return f"{text}. " + (report.warning(counts[0]) if metric in DISTANCES else "")


def plot_of(results: Results, choice: Choice) -> go.Figure:
    """The plot of the metric that is chosen.

    A few lines have their names beside their ends, more have a legend with the settings' values
    alone, which fit a phone; whole names come on hovering. A click on a point opens its samples.
    """
    figure = results.figure(choice.metric, choice.solvers)
    few = len(figure.data) <= LABELLED
    for k, trace in enumerate(figure.data):
        trace.customdata = [samples_query(results, trace.name, nfe) for nfe in trace.x]
        trace.name = brief(trace.name)
        trace.line = {"color": COLOURS[k % len(COLOURS)], "width": 2.5 if few else 2}
        trace.marker = {"symbol": MARKS[k % len(MARKS)], "size": 8}
    lines = len(figure.data)
    tidy(figure, 440 if few else 400 + 20 * lines)
    logarithmic = METRICS[choice.metric].log
    if few:
        figure.update_layout(showlegend=False, margin={"b": 48, "r": 118, "t": 16})
        ends = [math.log10(x) for trace in figure.data for x in trace.x]
        room = 0.05 * (max(ends) - min(ends)) or 0.1  # labels are not to stretch the axis
        figure.update_xaxes(range=[min(ends) - room, max(ends) + room])
        _label_ends(figure, logarithmic)
    else:
        figure.update_layout(
            showlegend=True,
            legend={"orientation": "v", "yanchor": "top", "y": -60 / 380, "x": 0},
            margin={"b": 60 + 20 * lines, "r": 15},
        )
    figure.update_shapes(line_color="#808080")
    if choice.nfe is not None:
        figure.add_vline(x=choice.nfe, line={"dash": "dot", "color": "#808080", "width": 1})
    figure.update_yaxes(title_standoff=8, automargin=True)
    values = [y for trace in figure.data for y in trace.y if y > 0]
    if logarithmic and values:
        figure.update_yaxes(log_ticks(values))
    return figure


LABEL_PX, PLOT_PX = 30, 376  # of a label of two lines; of the plot's own height


def _label_ends(figure: go.Figure, logarithmic: bool) -> None:
    """Each line's name to the right of its last point, apart from its neighbours'."""
    scale = math.log10 if logarithmic else float
    every = [scale(y) for trace in figure.data for y in trace.y if y > 0 or not logarithmic]
    if not every:
        return
    pixel = (max(every) - min(every) or 1) * 1.12 / PLOT_PX
    below = -math.inf
    for trace in sorted(figure.data, key=lambda one: one.y[-1]):
        if logarithmic and trace.y[-1] <= 0:
            continue
        at = scale(trace.y[-1])
        lifted = max(at, below + LABEL_PX * pixel)
        below = lifted
        figure.add_annotation(
            x=math.log10(trace.x[-1]),
            y=at,
            yshift=(lifted - at) / pixel,
            xshift=8,
            text="<br>".join(textwrap.wrap(trace.name, 17)[:2]),
            font={"color": trace.line.color, "size": 12},
            align="left",
            xanchor="left",
            showarrow=False,
        )


def samples_query(results: Results, solver: str, nfe: int) -> str:
    """The link to samples of one solver at one budget, as their tab makes them; "" for none.

    None is of labels that were drawn, one a seed.
    """
    if results.label == DRAWN:
        return ""
    words = dict(word.partition("=")[::2] for word in solver.split() if "=" in word)
    clips = any(line.difference is not None for line in results.lines)
    asked = {
        "tab": "video" if clips else "generate",
        **{"model": results.model, "label": results.label, "guidance": results.guidance},
        # what an adaptive solver spent on average is no budget
        **({} if words.get("method") == "adaptive" else {"nfe": nfe}),
        **({"seed": results.notes["seed"]} if "seed" in results.notes else {}),
    }
    return "?" + urlencode({**asked, **words, "run": 1})


def make_files(results: Results, choice: Choice, stem: str, serving: Serving) -> dict[str, Path]:
    """The table as CSV, all results as JSON, the plot as PNG and as a page for any browser."""
    folder = serving.path(stem).parent
    files = {kind: folder / f"{stem}.{kind}" for kind in KINDS}
    headers, rows = table(results, choice)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    write_text(files["csv"], out.getvalue())
    write_text(files["json"], results.to_json())
    write_bytes(files["png"], results.png([choice.metric], choice.solvers))
    write_text(files["html"], results.figure(choice.metric, choice.solvers).to_html())
    return files


def metric_menu(asked: Any, *every: Results | None) -> Any:
    """The update of the menu of metrics: what any of these results has; hidden where none has."""
    offered = {m: results.title(m) for results in every if results for m in results.measured()}
    if not offered:
        return gr.update(visible=False)
    choices = [(title, m) for m, title in offered.items()]
    # one that is on offer stays chosen, whatever was chosen since it was asked for
    value = {} if asked in offered else {"value": next(iter(offered))}
    return gr.update(choices=choices, visible=True, **value)


class Board:
    """One metric of some results: a verdict, a plot, a table, and files of them.

    Which metric is a menu's choice, which several boards may share (`metric_menu`).
    """

    def __init__(self, name: str, filters: bool) -> None:
        self.stem, self.filters = name, filters

    def menus(self, metric: gr.Dropdown | None = None) -> None:
        """What is chosen, in the current column; `metric` is another board's menu."""
        name = self.stem
        self.model = Menu([], label="Model", visible=False, elem_id=f"{name}-model")
        self.metric = metric or Menu([], label="Metric", visible=False, elem_id=f"{name}-metric")
        self.nfe = Menu(
            [EVERY],
            value=EVERY,
            label="Budget (NFE) of table and winner",
            visible=False,
            elem_id=f"{name}-nfe",
        )
        self.solvers = Menu(
            [],
            multiselect=True,
            label="Solvers of plot and table (the menu has the best first)",
            visible=False,
            elem_id=f"{name}-solvers",
        )

    def results(self) -> None:
        """Verdict and plot, then table and files, in the current column."""
        name = self.stem
        self.text = gr.Markdown(elem_id=f"{name}-text", elem_classes="board-text")
        self.plot = gr.Plot(show_label=False, visible=False, elem_id=f"{name}-plot")
        self.table = gr.Dataframe(
            interactive=False,
            visible=False,
            show_search="filter" if self.filters else "none",
            label="Figures",
            max_height=420,
            wrap=True,
            elem_id=f"{name}-table",
        )
        with gr.Row():
            self.make = gr.Button("Make files", size="sm", visible=False, elem_id=f"{name}-make")
            self.downloads = [
                gr.DownloadButton(kind.upper(), size="sm", visible=False) for kind in KINDS
            ]

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [
            self.solvers,
            self.nfe,
            self.text,
            self.plot,
            self.table,
            self.make,
            *self.downloads,
        ]

    @property
    def choices(self) -> list[gr.components.Component]:
        return [self.metric, self.solvers, self.nfe]

    def nothing(self, text: str) -> list[Any]:
        """Updates that show a sentence and nothing else."""
        off = gr.update(visible=False)
        return [off if widget is not self.text else text for widget in self.outputs]

    async def show(
        self, serving: Serving, results: Results, values: Sequence[Any], more: str = ""
    ) -> list[Any]:
        """Updates for `outputs`. Raises what a file of something else may make of it."""
        choice = choose(results, *values)
        if choice is None:
            return self.nothing("Nothing was measured.")
        headers, rows = table(results, choice)
        ranking = results.ranking(choice.metric)
        names = dict.fromkeys([*ranking, *(line.solver for line in results.lines)])
        text = [
            verdict(results, choice),
            about(results, choice.metric),
            unmeasured(results, choice),
            instead(results, values[0], choice),
            more,
        ]
        return [
            gr.update(choices=list(names), value=list(choice.solvers), visible=self.filters),
            gr.update(
                choices=[EVERY, *map(str, budgets_of(results, choice.metric))],
                value=EVERY if choice.nfe is None else str(choice.nfe),
                visible=self.filters,
            ),
            "\n\n".join(part for part in text if part),
            await serving.plot(plot_of, results, choice),
            gr.update(
                value={"headers": [column(h) for h in headers], "data": rows},
                column_widths=WIDTHS[len(headers)],
                visible=True,
            ),
            gr.update(visible=True),
            *[gr.update(visible=True, interactive=False)] * len(KINDS),
        ]

    async def files(self, serving: Serving, results: Results, values: Sequence[Any]) -> list[Any]:
        choice = choose(results, *values)
        if choice is None:
            raise gr.Error("Nothing was measured.")
        stem = file_name(self.stem, results.model, choice.metric)
        made = await serving.write(make_files, results, choice, stem, serving)
        return [gr.DownloadButton(value=str(made[kind]), interactive=True) for kind in KINDS]
