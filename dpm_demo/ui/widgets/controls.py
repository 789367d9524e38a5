"""The controls of a solver and of a model's label, shared by the tabs that generate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from dpm_demo.models.model import Model
from dpm_demo.request.codec import solver_text, solver_words
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import condition_of
from dpm_demo.solver.settings import (
    ADAPTIVE_FIELDS,
    CHOICES,
    FIXED_FIELDS,
    NFE_MAX,
    REPLACED_BY_TABLE,
    Solver,
)
from dpm_demo.ui.arrivals import LOOK
from dpm_demo.ui.kept import Newest
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.sessions import CAPACITY
from dpm_demo.ui.widgets.as_is import Dial, Menu
from dpm_demo.ui.widgets.fields import named
from dpm_demo.ui.widgets.prompts import PromptControls

SCHEDULES = [
    ("even in log-SNR (λ)", "logsnr"),
    ("even in cosine time", "cosine"),
    ("even in linear-β time", "linear"),
    ("quadratic in linear-β time", "quadratic"),
    ("Karras, ρ = 7", "karras"),
]
CALIBRATED = ("calibrated: fitted to this model", "calibrated")
METHODS = [
    ("multistep: reuse past evaluations", "multistep"),
    ("singlestep: look ahead inside a step", "singlestep"),
    ("adaptive: choose step sizes by error", "adaptive"),
]
PREDICTIONS = [("data (DPM-Solver++)", "data"), ("noise (DPM-Solver)", "noise")]
ANY = "any"


def schedules(model: Model | None) -> list[tuple[str, str]]:
    """The menu of schedules: what was fitted to the model is in it where there is such a thing."""
    return [*SCHEDULES, CALIBRATED] if model is not None and model.fits else SCHEDULES


class SolverControls:
    """Widgets for every field of `Solver`; `values(args)` turns what they hold into settings."""

    def __init__(self, default: Solver, model: Model | None = None) -> None:
        self.widgets: dict[str, gr.components.Component] = {}
        w = self.widgets
        w["nfe"] = Dial(
            1,
            100,
            default.nfe,
            step=1,
            label="Model evaluations (NFE)",
            info="How often the network is called for a sample: what sampling costs. "
            "Up to 100 here, 1000 in Python.",
        )
        w["order"] = Dial(
            1,
            3,
            3 if default.order == "auto" else default.order,
            step=1,
            label="Order",
            info="1 is DDIM. Halving the step divides the error by 2, 4 or 8 at order 1, 2 or 3.",
        )
        w["auto"] = gr.Checkbox(
            False,
            label="Dynamic order",
            info="1 for the first fifth of the evaluations, 2 until three fifths, then 3.",
        )
        w["method"] = gr.Dropdown(
            METHODS, value=default.method, label="Method", info="How higher order is reached."
        )
        w["schedule"] = Menu(
            schedules(model),
            value=default.schedule,
            label="Schedule",
            info="Where the evaluations lie between noise and picture.",
        )
        w["prediction"] = gr.Radio(
            PREDICTIONS,
            value=default.prediction,
            label="Prediction form",
            info="What is held constant (or linear, or quadratic) within a step.",
        )
        with gr.Accordion("More solver settings", open=False):
            self._advanced(default)

    def _advanced(self, default: Solver) -> None:
        w = self.widgets
        w["lower_order_final"] = gr.Checkbox(
            default.lower_order_final,
            label="Lower order at the end",
            info="Tapers the order over the last steps; steadier with few evaluations.",
        )
        w["denoise_to_zero"] = gr.Checkbox(
            default.denoise_to_zero,
            label="Denoise to zero",
            info="The last evaluation returns the network's picture itself.",
        )
        w["corrector"] = gr.Checkbox(
            default.corrector,
            label="UniPC corrector (multistep)",
            info="Redoes each step once the next evaluation is known, at no extra cost.",
        )
        w["weights"] = gr.Radio(
            list(CHOICES["weights"]),
            value=default.weights,
            label="Weights",
            info='"published" are the formulas in print; their multistep order 3 is of order 2.',
        )
        w["threshold"] = gr.Radio(
            [("none", "none"), ("static", "static"), ("dynamic", "dynamic")],
            value=str(default.threshold).lower(),
            label="Thresholding",
            info="Clips the predicted picture (data form only).",
        )
        w["eta"] = Dial(
            0,
            1,
            default.eta,
            step=0.05,
            label="Noise η",
            info="0 is the ODE; 1 the full reverse SDE (data form, orders 1 and 2).",
        )
        w["window"] = Dial(
            0,
            16,
            default.window,
            step=1,
            label="Parallel window",
            info="0: one after the other. 2 or more: Picard sweeps over that many steps.",
        )
        w["tolerance"] = gr.Number(
            default.tolerance,
            label="Tolerance (adaptive)",
            info="Local error aimed at; smaller is more exact and costs more evaluations.",
        )
        w["cap"] = Dial(
            5,
            NFE_MAX,
            Solver(method="adaptive").nfe,
            step=5,
            label="Cap on evaluations (adaptive)",
            info="Where a run ends that cannot meet its tolerance; the budget above is not asked.",
        )
        w["more"] = gr.Textbox(
            self.more(default),
            label="More",
            max_lines=1,
            placeholder="controller=i table=heun",
            info="Words field=value for whatever has no control here; they go before one.",
        )

    @property
    def inputs(self) -> list[gr.components.Component]:
        return list(self.widgets.values())

    @property
    def menus(self) -> list[gr.components.Component]:
        """The menus of schedules, which depend on the model."""
        return [self.widgets["schedule"]]

    def values(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """Settings for `read`: fields that mean nothing with the method are left out."""
        flat = dict(zip(self.widgets, args, strict=True))
        if flat.pop("auto"):
            flat["order"] = "auto"
        cap, more = flat.pop("cap"), solver_words(flat.pop("more") or "")
        adaptive = more.get("method", flat["method"]) == "adaptive"
        if adaptive:
            flat["nfe"] = cap
        for name in FIXED_FIELDS if adaptive else ADAPTIVE_FIELDS:
            flat.pop(name, None)
        # it is on at first, and has no meaning with these
        if flat["method"] != "multistep" or flat.get("eta") or flat.get("window"):
            flat.pop("corrector", None)
        if more.get("table") or (flat | more).get("schedule") == "calibrated":  # it decides these
            flat = {k: v for k, v in flat.items() if k not in REPLACED_BY_TABLE}
        return flat | more

    def more(self, solver: Solver, model: Model | None = None) -> str:
        """What of `solver` no widget can show, as words field=value."""
        own = {name for name in self.widgets if name != "schedule"}
        if _offered(solver, model):
            own.add("schedule")
        words = (word.partition("=") for word in solver_text(solver).split())
        return " ".join(f"{name}={value}" for name, _, value in words if name not in own)

    def show(self, solver: Solver, model: Model | None = None) -> list[Any]:
        """Updates that make the widgets show `solver` (a link, a preset, another default)."""
        apart = ("auto", "cap", "more")
        shown = {name: getattr(solver, name) for name in self.widgets if name not in apart}
        adaptive = solver.method == "adaptive"
        shown["nfe"] = Solver().nfe if adaptive else solver.nfe
        shown["cap"] = solver.nfe if adaptive else Solver(method="adaptive").nfe
        shown["more"] = self.more(solver, model)
        if not _offered(solver, model):
            shown["schedule"] = CHOICES["schedule"][0]
        shown["auto"] = solver.order == "auto"
        shown["order"] = 3 if solver.order == "auto" else solver.order
        shown["threshold"] = str(solver.threshold).lower()
        updates = {name: gr.update(value=shown[name]) for name in self.widgets}
        updates["schedule"] = gr.update(value=shown["schedule"], choices=schedules(model))
        return list(updates.values())


def _offered(solver: Solver, model: Model | None) -> bool:
    return solver.schedule in [name for _, name in schedules(model)]


class LabelControls:
    """Model, its label axes (at most two) and guidance; labels in `start` are chosen.

    A first click should show something that one recognises.
    """

    def __init__(
        self,
        models: list[tuple[str, str]],
        first: Model | None,
        guidance: float,
        prompts: bool = False,
        start: str = "smileys",
    ) -> None:
        name = first.name if first else (models[0][1] if models else None)
        self.model = gr.Dropdown(
            models, value=name, label="Model", info="A pretrained network, or an exact one."
        )
        with gr.Row():
            self.axes = [Menu(**menu, min_width=120) for menu in _axes(first, start.split())]
        self._guidance = guidance  # of a model of pixels
        latent = first is not None and first.latents is not None
        self.guidance = Dial(
            0,
            value=first.guidance if latent and first is not None else guidance,
            step=0.25,
            label="Guidance",
            **_guidance(first),
        )
        self.prompts = PromptControls(first) if prompts else None
        named(model=self.model, label=self.axes[0], guidance=self.guidance)

    @property
    def inputs(self) -> list[gr.components.Component]:
        more = [] if self.prompts is None else self.prompts.widgets
        return [self.model, *self.axes, self.guidance, *more]

    def values(self, args: tuple[Any, ...]) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        if self.prompts is not None:
            count = len(self.prompts.widgets)
            args, asked = args[:-count], self.prompts.values(args[-count:])
        model, *words, guidance = args
        label = " ".join(str(w) for w in words if w and w != ANY) or ANY
        return {"model": model, "label": label, "guidance": guidance, **asked}

    def show(
        self, model: Model, label: str = ANY, guidance: float | None = None, wanted: Any = None
    ) -> list[Any]:
        """Updates for `inputs` when another model is chosen or a link (`wanted`) is read."""
        words = [label, *label.split()]  # a choice may be several words
        shown: dict[str, Any] = {} if guidance is None else {"value": guidance}
        if model.latents is not None:
            shown = {"value": model.guidance, **shown}
        return [
            gr.update(value=model.name),
            *[gr.update(**menu) for menu in _axes(model, words)],
            gr.update(**_guidance(model), **shown),
            *([] if self.prompts is None else self.prompts.show(model, wanted)),
        ]

    def follow(
        self, serving: Serving, note: gr.Markdown, menus: Sequence[gr.components.Component] = ()
    ) -> None:
        """Shows the labels of whichever model is chosen, and in `note` its way to here.

        `menus` are those of schedules: a model may have one of its own.
        """
        # by visitor: the chosen model, if it is not there yet
        coming: Newest[str | None, str] = Newest(CAPACITY)
        skips = [gr.skip()] * (len(self.inputs) - 1 + len(menus))

        def shown(model: Model, strength: Any, kept: str = ANY) -> list[Any]:
            own = gr.update(choices=schedules(model))
            # what another model bears may lie beyond the end of this one's slider
            number = isinstance(strength, (int, float))
            own_or_kept = model.latents is not None or (number and strength <= _strongest(model))
            updates = self.show(model, kept, None if own_or_kept else self._guidance)
            return [*updates[1:], *[own] * len(menus)]

        async def relabel(
            name: str, one: str, two: str, strength: Any, request: gr.Request
        ) -> list[Any]:
            coming.pop(request.session_hash, None)
            kept = " ".join(str(word) for word in (one, two) if word)  # as far as it has them
            try:
                model = await asyncio.wait_for(serving.model(name), LOOK)
                updates = shown(model, strength, kept)
                # Gradio says a choice again when one leaves the menu: what is chosen by then stays
                for update, word in zip(updates, (one, two), strict=False):
                    if update["value"] == word:
                        del update["value"]
                return updates
            except asyncio.TimeoutError:
                coming[request.session_hash] = name
                return skips

        async def way(name: str, request: gr.Request) -> AsyncIterator[Any]:
            yield gr.skip()  # without any, Gradio would empty the note
            of = note._id, request.session_hash
            before = serving.begun_by(request.session_hash)
            async with aclosing(serving.arrivals.way(str(name), of)) as sentences:
                async for sentence in sentences:
                    # what a run says there stays: of the way it tells itself, if it needs the model
                    if before is not None and serving.begun_by(request.session_hash) == before:
                        yield sentence

        async def relabel_late(name: str, strength: Any, request: gr.Request) -> list[Any]:
            if coming.get(request.session_hash) != name:
                return skips
            updates = shown(await serving.model(name), strength)
            # in the meantime another one may have been chosen
            return updates if coming.pop(request.session_hash, "") == name else skips

        # The page runs the events of one trigger in turn: a model that is there has its labels at
        # once, any other has them after its way. The labels do not stream, as a slider that a
        # stream skips loses its value. "multiple": a choice during a download counts.
        shared: dict[str, Any] = {"trigger_mode": "multiple"}
        labels = [*self.inputs[1:], *menus]
        chosen = [self.model, *self.axes, self.guidance]
        self.model.input(relabel, chosen, labels, **shared)
        shared["show_progress"] = "hidden"
        self.model.input(way, self.model, note, **shared)
        self.model.input(relabel_late, [self.model, self.guidance], labels, **shared)


async def as_followed(serving: Serving, wanted: GenerateRequest) -> GenerateRequest:
    """`wanted` without the label and prompts of another model, which `follow` is about to take."""
    try:
        model = await asyncio.wait_for(serving.model(wanted.model), LOOK)
    except (asyncio.TimeoutError, gr.Error):  # it is not there (yet)
        return wanted
    for kept in (wanted, replace(wanted, negative_prompt="")):
        with suppress(ValueError):
            condition_of(kept, model)
            return kept
    return replace(wanted, label=ANY, prompt="", negative_prompt="")


def _strongest(model: Model | None) -> int:
    """Where the slider of guidance ends."""
    return 20 if model is not None and model.latents is not None else 6


def _guidance(model: Model | None) -> dict[str, Any]:
    """Where the slider of guidance ends and what it says; hidden where it means nothing."""
    rows = model is None or model.guided == "rows"
    return {
        "maximum": _strongest(model),
        "info": "Follows the label more strictly; other than 0 and 1 each evaluation computes "
        "two network rows."
        if rows
        else "Follows the prompt more strictly; an input of the network.",
        "visible": model is not None and model.conditional and model.guided != "no",
    }


def _axes(model: Model | None, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Two menus of a model's labels, at those of `words`; one that has nothing to offer is hidden.

    The second axis, what to draw, comes first.
    """
    axes = list(model.labels.items()) if model is not None else []
    for k in (1, 0):
        axis, names = axes[k] if k < len(axes) else ("label", ())
        yield {
            "choices": [ANY, *names],
            "value": next((word for word in words if word in names), ANY),
            "label": axis.capitalize(),
            "info": "The drawing style." if axis == "style" else "What to draw.",
            "visible": bool(names),
        }
