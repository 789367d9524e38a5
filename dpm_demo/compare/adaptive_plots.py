"""Plots of adaptive runs: where each tried step landed, and its size, error and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpm_demo.compare.plots import COLOURS, tidy
from dpm_demo.engine.events import SolverDecision

PLOT_HEIGHT = 640
SHOWN_ERRORS = (1e-12, 1e12)  # what a logarithmic axis can show of 0 and of infinity


def hops_figure(
    decisions: Sequence[SolverDecision],
    titles: Sequence[str],
    span: tuple[float, float],
    fixed: Sequence[float] = (),
) -> go.Figure:
    """Every tried step as a hop along λ, a lane a sample: it lands green, or bounces red.

    `fixed` are the λ of fixed steps at the same cost, in a lane of their own below.
    """
    figure = go.Figure()
    steps = [c for c in decisions if c.kind == "step"]
    strides = [b - a for a, b in pairwise(fixed)]
    longest = max([c.data["h"] for c in steps] + strides, default=1.0)
    lanes = {k: len(titles) - k for k in range(len(titles))}
    for name, colour, symbol, dash, kept in HOPS:
        own = [c for c in steps if bool(c.data["accepted"]) == kept]
        arcs = [_arc(c.lam, c.data["h"], lanes.get(c.tile, 0), longest) for c in own]
        _hops(figure, arcs, {"color": colour, "dash": dash, "width": 1.5})
        figure.add_scatter(
            x=[c.lam + c.data["h"] for c in own],
            y=[lanes.get(c.tile, 0) for c in own],
            customdata=[[c.lam, c.data["h"], c.data["error"], c.nfe] for c in own],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 0}},
            hovertemplate="from λ %{customdata[0]:.2f} by %{customdata[1]:.2f}: error "
            "%{customdata[2]:.2g} of the tolerance, after %{customdata[3]} evaluations"
            f"<extra>{name}</extra>",
        )
    if fixed:
        arcs = [_arc(a, b - a, 0, longest) for a, b in pairwise(fixed)]
        _hops(figure, arcs, {"color": "#808080", "width": 1})
        figure.add_scatter(
            x=list(fixed[1:]),
            y=[0] * len(strides),
            mode="markers",
            name="fixed steps",
            marker={"color": "#808080", "symbol": "circle", "size": 6},
            hovertemplate="λ %{x:.2f}<extra>fixed steps</extra>",
        )
    names = {lanes[k]: title for k, title in enumerate(titles)} | ({0: "fixed"} if fixed else {})
    lowest = 0 if fixed else 1
    figure.update_yaxes(
        tickvals=list(names), ticktext=list(names.values()), range=[lowest - 0.25, len(titles) + 1]
    )
    figure.update_xaxes(
        range=[span[0] - 0.15, span[1] + 0.15], title_text="λ: from noise to picture"
    )
    tidy(figure, 150 + 62 * (len(titles) + 1)).update_yaxes(
        showgrid=False, zeroline=False
    ).update_xaxes(zeroline=False)
    return figure.update_layout(
        uirevision="hops",
        margin={"l": 64, "r": 12, "t": 34, "b": 42},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
    )


#: How hops are drawn: name, colour, mark where they land, line, whether they were kept.
HOPS = (
    ("landed: kept", "#2f9e44", "circle", "solid", True),
    ("bounced: tried again shorter", "#e03131", "x", "dot", False),
)


def _arc(start: float, length: float, lane: int, longest: float) -> tuple[list[float], list[float]]:
    turn = np.linspace(0, np.pi, 13)
    x = start + length * (1 - np.cos(turn)) / 2
    y = lane + 0.85 * length / longest * np.sin(turn)
    return x.round(4).tolist(), y.round(4).tolist()


def _hops(
    figure: go.Figure, arcs: Sequence[tuple[list[float], list[float]]], line: Mapping[str, Any]
) -> None:
    figure.add_scatter(
        x=[x for arc in arcs for x in (*arc[0], None)],
        y=[y for arc in arcs for y in (*arc[1], None)],
        mode="lines",
        line=line,
        hoverinfo="skip",
        showlegend=False,
    )


def steps_figure(
    decisions: Sequence[SolverDecision], titles: Sequence[str], span: tuple[float, float]
) -> go.Figure:
    """Step size, local error and order of every tried step, over λ; one colour a sample."""
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.05)
    for k, title in enumerate(titles):
        steps = [c for c in decisions if c.tile == k and c.kind == "step"]
        kept = [c for c in steps if c.data["accepted"]]
        missed = [c for c in steps if not c.data["accepted"]]
        for own, name, mark in (
            (kept, title, {"mode": "lines+markers", "marker": {"size": 7}}),
            (missed, f"{title}, rejected", {"mode": "markers", "marker": {"symbol": "x-thin"}}),
        ):
            for row, value in ((1, _step_size), (2, _local_error)):
                _scatter(figure, row, own, value, name, k, mark)
        # samples of the same order would hide each other
        shift = 0.05 * (k - (len(titles) - 1) / 2)
        figure.add_scatter(
            x=[x for c in kept for x in (c.lam, c.lam + c.data["h"])],
            y=[c.data["order"] + shift for c in kept for _ in range(2)],
            mode="lines",
            line={"color": COLOURS[k % len(COLOURS)]},
            name=title,
            legendgroup=title,
            showlegend=False,
            hovertemplate="λ %{x:.3f}<extra>" + title + "</extra>",
            row=3,
            col=1,
        )
        changed = [c for c in decisions if c.tile == k and c.kind == "stability"]
        figure.add_scatter(
            x=[c.lam for c in changed],
            y=[c.data["order"] + shift for c in changed],
            text=[ACTIONS[c.data["action"]] for c in changed],
            mode="markers",
            marker={"symbol": "diamond-open", "size": 11, "color": COLOURS[k % len(COLOURS)]},
            name=f"{title}, stability",
            legendgroup=title,
            showlegend=False,
            hovertemplate="λ %{x:.3f}: %{text}<extra>" + title + "</extra>",
            row=3,
            col=1,
        )
    _axes(figure, span)
    return tidy(figure, PLOT_HEIGHT).update_layout(legend={"y": -0.12}, uirevision="steps")


ACTIONS = {
    "lower": "stability control lowered the order and halved the step",
    "restore": "stability control raised the order again",
}


def _step_size(decision: SolverDecision) -> float:
    return float(decision.data["h"])


def _local_error(decision: SolverDecision) -> float:
    return min(max(float(decision.data["error"]), SHOWN_ERRORS[0]), SHOWN_ERRORS[1])


def _scatter(
    figure: go.Figure,
    row: int,
    steps: Sequence[SolverDecision],
    value: Any,
    name: str,
    sample: int,
    mark: Mapping[str, Any],
) -> None:
    colour = COLOURS[sample % len(COLOURS)]
    rejected = mark["mode"] == "markers"
    marker = {"color": colour, "size": 9, **mark["marker"]}
    figure.add_scatter(
        x=[c.lam for c in steps],
        y=[value(c) for c in steps],
        customdata=[[c.nfe, c.data["h"], c.data["error"], c.data["order"]] for c in steps],
        mode=mark["mode"],
        line={"color": colour, "width": 1},
        # a thin cross has no area: its line carries the colour
        marker={**marker, "line": {"width": 2, "color": colour}} if rejected else marker,
        name=name,
        legendgroup=name,
        showlegend=row == 1 and bool(steps),
        hovertemplate="λ %{x:.3f}, h %{customdata[1]:.3g}, E %{customdata[2]:.3g}, "
        "order %{customdata[3]}, after %{customdata[0]} evaluations<extra>" + name + "</extra>",
        row=row,
        col=1,
    )


def _axes(figure: go.Figure, span: tuple[float, float]) -> None:
    figure.add_hline(y=1, line={"dash": "dot", "color": "#808080"}, row=2, col=1)
    figure.update_xaxes(range=[span[0] - 0.2, span[1] + 0.2])
    figure.update_xaxes(title_text="λ (noise left, picture right)", row=3, col=1)
    figure.update_yaxes(title_text="step size h", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title_text="local error E",
        type="log",
        exponentformat="power",
        nticks=6,
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="order", range=[0.6, 3.4], tickvals=[1, 2, 3], row=3, col=1)
