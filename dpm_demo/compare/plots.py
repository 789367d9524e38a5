"""Plots of comparisons: error against evaluations, and where each solver puts them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from dpm_demo.compare.figures import Figures, row_title, rows_of, slope
from dpm_demo.compare.layout import Cell, Layout
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver

COLOURS = ("#3b6fd4", "#d4663b", "#3ba55d", "#9a58c9", "#b8942a", "#c43c6e")
MARKS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def tidy(figure: go.Figure, height: int) -> go.Figure:
    """One look for every plot of the page: transparent, readable in light and dark."""
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 45},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
        legend={"orientation": "h", "y": -0.25},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)"}
    figure.update_xaxes(**grid)
    figure.update_yaxes(**grid)
    return figure


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis over positive values, written out.

    Plotly's own are lone digits between the decades, or decades alone and so perhaps none.
    """
    low, high = math.log10(min(values)), math.log10(max(values))
    digits = (1, 2, 5) if high - low < 2 else (1,)
    exponents = range(math.floor(low) - 1, math.ceil(high) + 2)
    ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def slope_text(nfe: Sequence[float], error: Sequence[float]) -> str:
    """The measured slope for a legend; two points always lie on a line, so these are named."""
    measured = slope(nfe, error)
    if measured is None:
        return ""
    return f" (slope {measured:.2f}{', of two points' if len(nfe) == 2 else ''})"


def convergence(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> go.Figure:
    """Error to the reference against NFE, log-log, with measured slopes and guides 1, 2, 3.

    With several seeds a line is the RMS over them and the band their least and greatest error.
    """
    figure = go.Figure()
    errors = [v.rmse for v in values.values() if v.rmse]
    for row, known in rows_of(cells, values):
        colour = COLOURS[row % len(COLOURS)]
        x = [v.nfe for v in known]
        y = [v.rmse for v in known]
        title = row_title(comparison, row)
        legend = title + slope_text(x, [e or 0.0 for e in y])
        if len(cells.seeds) > 1 and len(x) > 1:
            low = [min(v.rmse_by_seed) for v in known]
            high = [max(v.rmse_by_seed) for v in known]
            figure.add_scatter(
                x=[*x, *x[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                opacity=0.15,
                fillcolor=colour,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                name=f"{title} band",
            )
        figure.add_scatter(
            x=x,
            y=y,
            name=legend,
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": MARKS[row % len(MARKS)], "size": 9},
            hovertemplate="NFE %{x}, RMSE %{y:.3g}<extra>" + title + "</extra>",
        )
    if errors and len(comparison.budgets) > 1:
        first, last = min(comparison.budgets), max(comparison.budgets)
        for order in (1, 2, 3):
            figure.add_scatter(
                x=[first, last],
                y=[max(errors), max(errors) * (first / last) ** order],
                mode="lines",
                line={"color": "rgba(128,128,128,0.6)", "dash": "dot", "width": 1},
                name=f"slope {order}",
                showlegend=False,
                hovertemplate=f"guide of slope {order}<extra></extra>",
            )
    figure.update_xaxes(
        type="log",
        title_text="model evaluations (NFE)",
        tickvals=sorted(comparison.budgets),
        ticktext=[str(n) for n in sorted(comparison.budgets)],
    )
    figure.update_yaxes(type="log", title_text="RMSE to the converged sample")
    if shown := [y for trace in figure.data for y in trace.y if y > 0]:
        figure.update_yaxes(log_ticks(shown))
    return tidy(figure, 420)


def lam_axis(
    comparison: Comparison, span: tuple[float, float], taken: Mapping[int, list[float]]
) -> go.Figure:
    """Where each row evaluates, at its largest budget; `taken` says it of some rows."""
    figure = go.Figure()
    nfe = max(comparison.budgets)
    for row in reversed(range(len(comparison.rows))):
        solver = comparison.rows[row]
        lam = taken.get(row) or planned(solver, nfe, span)
        title = f"{row + 1}: {row_title(comparison, row)}"
        figure.add_scatter(
            x=lam,
            y=[title] * len(lam),
            mode="markers",
            showlegend=False,
            name=title,
            marker={"symbol": "line-ns-open", "size": 12, "color": COLOURS[row % len(COLOURS)]},
            hovertemplate="λ = %{x:.3f}<extra></extra>",
        )
    figure.update_xaxes(
        title_text=f"λ of {nfe} evaluations, from noise to picture",
        range=[span[0] - 0.2, span[1] + 0.2],
    )
    figure.update_yaxes(automargin=True)
    return tidy(figure, 110 + 34 * len(comparison.rows))


def planned(solver: Solver, nfe: int, span: tuple[float, float]) -> list[float]:
    """λ of the evaluations a solver will make; empty where its settings alone do not tell."""
    if solver.method == "adaptive" or solver.schedule == "calibrated":
        return []
    return [lam for lam, _ in plan(replace(solver, nfe=nfe), span).evaluations]


def convergence_png(comparison: Comparison, cells: Layout, values: Mapping[Cell, Figures]) -> bytes:
    """The convergence plot as a PNG (matplotlib: no browser is needed to draw it)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for trace in convergence(comparison, cells, values).data:
        if trace.mode == "lines+markers":
            axes.loglog(trace.x, trace.y, "o-", color=trace.line.color, label=trace.name)
        elif trace.mode == "lines":  # a guide
            axes.loglog(trace.x, trace.y, ":", color="grey", linewidth=0.8)
    axes.set_xticks(sorted(comparison.budgets), [str(n) for n in sorted(comparison.budgets)])
    axes.minorticks_off()
    axes.set_xlabel("model evaluations (NFE)")
    axes.set_ylabel("RMSE to the converged sample")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
