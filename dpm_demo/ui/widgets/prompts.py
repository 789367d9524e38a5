"""The controls of a model that takes words or makes pictures of several sizes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dpm_demo.models.model import Model
from dpm_demo.request.generate import PROMPT_MAX
from dpm_demo.ui.widgets.fields import named

NAMES = ("prompt", "negative_prompt", "height", "width", "frames")


class PromptControls:
    """Prompt, negative prompt, size and frames; hidden where the chosen model has none of them."""

    def __init__(self, first: Model | None) -> None:
        kinds = _visible(first)
        self.widgets: list[gr.components.Component] = [
            gr.Textbox(
                "",
                label="Prompt",
                info=_info(first),
                max_length=PROMPT_MAX,
                lines=2,
                visible=kinds["prompt"],
                elem_classes="prompt",
            ),
            gr.Textbox(
                "",
                label="Negative prompt",
                info="What guidance leads away from.",
                max_length=PROMPT_MAX,
                max_lines=2,
                visible=kinds["negative_prompt"],
            ),
        ]
        self.words = tuple(self.widgets)
        with gr.Row():
            for name, unit in (("Height", "pixels"), ("Width", "pixels"), ("Frames", "a clip")):
                self.widgets.append(
                    gr.Number(
                        0,
                        label=name,
                        info=f"{unit}; 0: the model's own",
                        precision=0,
                        visible=kinds[name.lower()],
                        min_width=90,
                    )
                )
        named(**dict(zip(NAMES, self.widgets, strict=True)))

    @staticmethod
    def values(args: tuple[Any, ...]) -> dict[str, Any]:
        return {
            k: (v or "") if "prompt" in k else (v or 0) for k, v in zip(NAMES, args, strict=True)
        }

    @staticmethod
    def show(model: Model, wanted: Any = None) -> list[Any]:
        """Updates when another model is chosen; of a link too, where `wanted` has the fields."""
        kinds = _visible(model)
        values = {
            name: {} if wanted is None else {"value": getattr(wanted, name)} for name in NAMES
        }
        if wanted is None:  # a size that another model was asked for may be none of this one
            values |= {name: {"value": 0} for name in ("height", "width", "frames")}
        for name in NAMES:  # nor is anything kept where it cannot be seen
            values[name] = values[name] if kinds[name] else {"value": "" if "prompt" in name else 0}
        values["prompt"] = {**values["prompt"], "info": _info(model)}
        return [gr.update(visible=kinds[name], **values[name]) for name in NAMES]


def _info(model: Model | None) -> str:
    known = None if model is None else model.vocabulary
    if known is None:
        return "What to draw, in words; the end of a very long prompt is cut off."
    return f"What to draw, in at most {known.slots} of the {len(known.words):,} words it knows."


def _visible(model: Model | None) -> dict[str, bool]:
    words = model is not None and model.prompted
    sized = model is not None and model.latents is not None
    return {
        "prompt": words,
        "negative_prompt": words and model is not None and model.guided == "rows",
        "height": sized,
        "width": sized,
        "frames": sized and model is not None and model.frames > 1,
    }
