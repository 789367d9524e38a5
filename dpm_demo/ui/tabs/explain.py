"""Tab "How it works": the forward process, the schedules, evaluations and orders, the trap."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpm_demo.compare.plots import tidy
from dpm_demo.media.grid import upscale
from dpm_demo.media.pixels import to_levels
from dpm_demo.media.png import data_uri, png
from dpm_demo.request.generate import SEED_MAX
from dpm_demo.solver import alpha, cosine_time, nodes, sigma
from dpm_demo.solver.settings import CHOICES
from dpm_demo.ui.playground import answers
from dpm_demo.ui.playground.component import Playground
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.widgets import samplers
from dpm_demo.ui.widgets.as_is import Dial

SPAN = (-5.0, 4.6)
PICTURES = ("smiley", "stripes", "gradient")
COLOURS = {
    "logsnr": "#3b6fd4",
    "cosine": "#d4663b",
    "linear": "#3ba55d",
    "quadratic": "#9a58c9",
    "karras": "#b8942a",
}

INTRO = r"""
### From a picture to noise, and back
The **forward process** mixes a picture $x_0$ with noise $\varepsilon$:
$\;x_\lambda = \alpha\,x_0 + \sigma\,\varepsilon$, with $\alpha^2 + \sigma^2 = 1$.
One number says how noisy it is, <dfn title="lambda">λ</dfn>: $\lambda = \log(\alpha/\sigma)$,
half the log of the signal-to-noise ratio.
"""

EVALUATION = r"""
### What an evaluation is
A trained network looks at a noisy picture and $\lambda$ and predicts the clean one. One such look
is **one evaluation**; nearly all the time of sampling goes into them, so cost is counted in
evaluations (<dfn title="evaluations">NFE</dfn>), never in "steps". Between evaluations the solver
only adds a few pictures up.

Noise becomes a picture along the *probability-flow* equation. In $\hat x = x/\alpha$ and
$\lambda$ it is $\;\dfrac{d\hat x}{d\lambda} = -e^{-\lambda}\,\hat\varepsilon(\hat x, \lambda)$,
and a step of length $h$ has the exact solution
$$\hat x' = e^{-h}\,\hat x + \int_0^h e^{-(h-s)}\,\hat x_0(\lambda + s)\,ds.$$
DPM-Solver integrates the exponential exactly and only approximates the network's prediction
$\hat x_0$ along the step, as a polynomial through evaluations that it already has.

### What order means
<dfn title="order">Order</dfn> 1 holds the prediction constant (that is DDIM), order 2 draws a
line through two evaluations, order 3 a parabola through three. Halve the step length, and the
error falls by 2, 4 or 8.
*Multistep* methods reuse past evaluations, so a step costs one; *singlestep* methods spend two or
three inside a step and need no past.
"""

TRAP = r"""
### A trap that is in print
The weights of a step follow from one condition: they must integrate polynomials exactly,
$\sum_k w_k r_k^{\,j} = \int_0^1 t^j e^{zt}dt \big/ \int_0^1 e^{zt}dt$. For the **multistep
solver of order 3**, the formula that the papers print and libraries copy takes its second
difference without the factor 2 that belongs to it:
$$D_2 = \frac{D_1^{(0)} - D_1^{(1)}}{r_0 + r_1}$$
where the Taylor term needs
$$2\,\frac{D_1^{(0)} - D_1^{(1)}}{r_0 + r_1}.$$
It still converges, at **order 2**. On an exactly solvable mixture the measured slopes are 2.00 as
printed and 3.00 with the exact weights, which are our default; *Weights: published* brings the
printed formulas back. With very few evaluations the two trade places: measure before you choose.
(`python -m benchmarks.solver_orders` prints the slopes.)
"""


@lru_cache
def _picture(name: str) -> np.ndarray:
    """A drawn example in [-1, 1], `(32, 32, 3)`; nothing to download."""
    y, x = np.mgrid[0:32, 0:32] / 31 * 2 - 1
    out = np.ones((32, 32, 3))
    if name == "smiley":
        out[x**2 + y**2 < 0.85] = (1.0, 0.72, -0.7)
        for eye in (-0.33, 0.33):
            out[((x - eye) / 0.11) ** 2 + ((y + 0.25) / 0.17) ** 2 < 1] = -0.7
        mouth = (np.hypot(x, y - 0.05) < 0.55) & (np.hypot(x, y - 0.05) > 0.42) & (y > 0.15)
        out[mouth] = -0.7
    elif name == "stripes":
        out[...] = np.where((np.floor((x + y) * 4) % 2 == 0)[..., None], (0.9, -0.6, -0.6), 1.0)
    else:
        out = np.stack([x, y, -x], axis=-1)
    return out


def forward_html(name: str, lam: float, seed: float) -> str:
    """The noised example at lam as one crisp picture, with the numbers of the mixture."""
    if name not in PICTURES:
        raise ValueError(f"picture must be one of {', '.join(PICTURES)}, not {name!r:.40}")
    if not isinstance(lam, (int, float)) or not -10 <= lam <= 10:
        raise ValueError(f"lambda must be a number from -10 to 10, not {lam!r:.40}")
    if not isinstance(seed, (int, float)) or not 0 <= seed <= SEED_MAX or seed % 1:
        raise ValueError(f"seed must be a whole number from 0 to {SEED_MAX}, not {seed!r:.40}")
    x0 = _picture(name)
    signal, noise = alpha(lam), sigma(lam)
    x = signal * x0 + noise * np.random.default_rng(int(seed)).standard_normal(x0.shape)
    shown = to_levels(x)
    src = data_uri(png(upscale(shown, 7)))
    return (
        f'<figure class="forward"><img src="{src}" width="224" height="224" '
        f'alt="the {name} with signal {signal:.3f} and noise {noise:.3f}">'
        f"<figcaption>α = {signal:.3f}, σ = {noise:.3f}, λ = {lam:.2f}, "
        f"t = {cosine_time(lam):.3f} (cosine time)</figcaption></figure>"
    )


def schedule_plot() -> go.Figure:
    """α, σ and λ against the time of each schedule: the share of its evaluations still to come."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=("α (solid) and σ (dotted)", "λ"))
    time = {"x0": 1, "dx": -0.01}
    for name in CHOICES["schedule"]:
        lam = np.array(nodes(name, 100, SPAN))
        style, dotted = {"color": COLOURS[name]}, {"color": COLOURS[name], "dash": "dot"}
        signal, noise = np.array([(alpha(at), sigma(at)) for at in lam]).T
        for column, values, line in ((1, signal, style), (1, noise, dotted), (2, lam, style)):
            figure.add_scatter(
                y=values.astype(np.float32),  # of half the bytes
                name=name,
                line=line,
                showlegend=values is signal,
                row=1,
                col=column,
                **time,
            )
    figure.update_xaxes(title_text="time (1 is noise)")  # two of them fit a phone
    return tidy(figure, 340)


def nodes_plot(nfe: int) -> go.Figure:
    """Where each schedule puts its evaluations, on the λ axis."""
    figure = go.Figure()
    for name in reversed(CHOICES["schedule"]):
        lam = nodes(name, nfe, SPAN)
        figure.add_scatter(
            x=lam,
            y=[name] * len(lam),
            mode="markers",
            name=name,
            marker={"color": COLOURS[name], "size": 9, "symbol": "line-ns-open"},
            hovertemplate="λ = %{x:.3f}<extra>" + name + "</extra>",
            showlegend=False,
        )
    figure.update_xaxes(title_text="λ (noise on the left, picture on the right)")
    return tidy(figure, 260)


MATH: list[dict[str, Any]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


PLANE = "### Watch what an order buys"

LINE = """
### One dimension, step by step
The dark curve is what a perfect network would say along the exact path. Between evaluations a
solver does not know it: it puts a constant, a line or a parabola through what it has seen. The
shaded area is what it misses (a step weighs it with $e^{-(h-s)}$, so its right end counts most).
"""


def _asked(serving: Serving, work: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """`work` as a server function of a playground: checked, and on the thread of torch."""

    async def ask(payload: Any) -> dict[str, Any]:
        call = serving.engine.call(partial(answers.answered, work, payload))
        return await asyncio.wrap_future(call)

    ask.__name__ = work.__name__
    return ask


def build(serving: Serving) -> None:
    """Builds the tab inside the current Blocks."""
    gr.Markdown(PLANE)
    Playground(
        "plane.js",
        "Particles in the plane",
        [_asked(serving, answers.scene), _asked(serving, answers.walks)],
        elem_id="plane",
    )
    gr.Markdown(LINE, latex_delimiters=MATH)
    Playground(
        "line.js", "One dimension, step by step", [_asked(serving, answers.line)], elem_id="line"
    )
    gr.Markdown(INTRO, latex_delimiters=MATH)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            picture = gr.Radio(PICTURES, value=PICTURES[0], label="Picture")
            lam = Dial(
                -5, 4.6, 1.0, step=0.05, label="λ", info="−5 is nearly all noise, 4.6 nearly none."
            )
            seed = gr.Number(0, label="Noise seed")
        with gr.Column(scale=1, min_width=300):
            shown = gr.HTML(forward_html(PICTURES[0], 1.0, 0), elem_id="forward-picture")

    def forward(name: str, at: float, number: float) -> str:
        try:
            return forward_html(name, at, number)
        except ValueError as error:
            return f"<p>{html.escape(str(error))}</p>"

    gr.on(
        [picture.change, lam.change, seed.change],  # type: ignore[attr-defined]
        forward,
        [picture, lam, seed],
        shown,
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    gr.Markdown(EVALUATION, latex_delimiters=MATH)
    gr.Markdown(
        "### Schedules: where the evaluations lie\n"
        "Every schedule here fills the same span of λ, so solvers are compared on the same "
        "problem; they differ in where they look closely: slowly where a curve is flat, in large "
        "strides where it is steep."
    )
    gr.Plot(schedule_plot(), show_label=False)
    budget = Dial(
        2, 50, 12, step=1, label="Evaluations", info="And a last node each, where the sample lies."
    )
    where = gr.Plot(nodes_plot(12), show_label=False)
    budget.change(
        lambda n: nodes_plot(min(max(int(n), 2), 50) if isinstance(n, (int, float)) else 12),
        budget,
        where,
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    gr.Markdown(TRAP, latex_delimiters=MATH)
    samplers.build()
    gr.Markdown(
        "Papers: [DPM-Solver](https://arxiv.org/abs/2206.00927), "
        "[DPM-Solver++](https://arxiv.org/abs/2211.01095), "
        "[EDM](https://arxiv.org/abs/2206.00364), [UniPC](https://arxiv.org/abs/2302.04867)."
    )
