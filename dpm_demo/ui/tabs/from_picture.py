"""Starting from a picture (a part of the tab "Generate"): midway through noise, and all the way.

Midway: the picture is noised to a level of one's choice and denoised from there (SDEdit, Meng et
al. 2108.01073). Inversion: the same ODE is solved from picture to noise, and from there back.
"""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from dpm_demo.media.decode import PIXELS_MAX, decode
from dpm_demo.media.grid import upscale
from dpm_demo.request.codec import read
from dpm_demo.request.job import Checked, checked
from dpm_demo.request.limits import check_cost
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.runs import on_click
from dpm_demo.ui.sentences import refuse
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs.from_picture_runs import (
    check_inversion,
    check_start,
    invert,
    lam_of_level,
    midway,
)
from dpm_demo.ui.widgets.controls import LabelControls, SolverControls

SHOWN_SIZE = 256  # to which a sample is enlarged, by whole pixels, where it becomes the picture
SHEET_MAX = 128  # pictures of a sheet that the page may send back; the player's have 64

INTRO = """
**Noise and denoise** adds noise of the chosen level to a picture and denoises it from there:
the more noise, the freer the result. **Invert and return** follows the same equation from the
picture *to* noise, then back: how near it comes to where it began is the solver's own error, and
falls with more evaluations. Both use the model, label and solver settings of this tab.
"""


# ---------------------------------------------------------------- pictures


def read_picture(source: str | Path | Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """Any picture as uint8 `(h, w, 3)` of the model's size: cropped around its centre, resized.

    It is read as training reads its pictures (`media.decode`). Whole multiples of the size are
    averaged exactly, so that an enlarged sample comes back as it was.
    Raises ValueError, one sentence.
    """
    height, width = check_shape(shape)
    try:
        image = decode(source).image
    except ValueError as error:
        raise ValueError(_refusal(error)) from error
    smaller = image.width > width and image.height > height
    method = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(image, (width, height), method))


def _refusal(reason: object) -> str:
    return (
        f"picture: this file is {reason}; take a PNG, JPEG, WebP or GIF of at most "
        f"{PIXELS_MAX // 10**6} million pixels."
    )


def check_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a model of RGB pictures. Raises ValueError for any other."""
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(
            f"model: it makes samples of shape {shape}, and only one of pictures in colour can "
            "start from a picture; choose another."
        )
    return shape[1], shape[2]


def sample_of(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The finished sample in a player's value, uint8 `(h, w, 3)`: the end of its first tile.

    The value comes from the page, so nothing in it is trusted. Raises ValueError, one sentence.
    """
    height, width = check_shape(shape)
    missing = ValueError("picture: there is no such finished sample of this model above.")
    try:
        if value["tiles"][0]["state"] != "done":
            raise missing
        uri = value["tiles"][0]["record"]["x0"]
        data = base64.b64decode(uri.partition("base64,")[2], validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            if opened.width != width or not height <= opened.height <= SHEET_MAX * height:
                raise missing
            sheet = np.asarray(opened.convert("RGB"))
    except (LookupError, TypeError, AttributeError, OSError, SyntaxError, ValueError) as error:
        raise missing from error
    return sheet[-height:]


# ---------------------------------------------------------------- the part of the tab


class PictureInput(gr.Image):
    """An upload whose value is a path; a file that is no picture gives one sentence."""

    def get_block_name(self) -> str:
        return "image"  # the page knows no component of this name

    def preprocess(self, payload: Any) -> Any:
        try:
            return super().preprocess(payload)
        except Exception as error:  # whatever Pillow finds in a stranger's file
            raise gr.Error(_refusal("no picture that can be read")) from error


def build(
    serving: Serving,
    labels: LabelControls,
    solver: SolverControls,
    count: gr.components.Component,
    seed: gr.components.Component,
    above: Player,
) -> None:
    """Builds the accordion inside the current column; `above` is the player whose samples it takes.

    Model, label, solver, count and seed are those of the tab.
    """
    with gr.Accordion("Start from a picture", open=False, elem_id="start"):
        gr.Markdown(INTRO)
        with gr.Row():
            picture = PictureInput(
                type="filepath",
                image_mode=None,
                format="png",
                sources=["upload", "clipboard"],
                label="Picture",
                height=260,
                elem_id="start-picture",
            )
            with gr.Column(min_width=220):
                level = gr.Slider(
                    0,
                    1,
                    0.6,
                    step=0.01,
                    label="Noise level",
                    info="0 is the picture itself, 1 forgets it.",
                    elem_id="start-level",
                )
                with gr.Row():
                    number = gr.Number(
                        1, label="Sample", precision=0, minimum=1, min_width=80, scale=1
                    )
                    take = gr.Button(
                        "Take this sample from above", size="sm", scale=2, elem_id="start-take"
                    )
                go = gr.Button("Noise and denoise", variant="primary", elem_id="start-go")
                turn = gr.Button("Invert and return", elem_id="start-invert")
                stop = gr.Button("Stop", variant="stop", size="sm")
        player = Player(
            elem_id="start-player",
            label="Started from a picture",
            placeholder="Upload a picture, or take a sample from above.",
        )
        note = gr.Markdown(elem_id="start-note")
    inputs = [*labels.inputs, *solver.inputs, count, seed, picture, level]
    n, m = len(labels.inputs), len(solver.inputs)

    async def prepared(args: tuple[Any, ...], **changes: Any) -> tuple[Checked, np.ndarray]:
        flat = labels.values(args[:n]) | solver.values(args[n : n + m])
        flat |= {"count": args[n + m], "seed": args[n + m + 1], **changes}
        model = await serving.model(str(flat["model"]))
        wanted = checked(read(flat), model, serving.limits)
        check_start(wanted)
        path = args[n + m + 2]
        if not path:
            raise ValueError("picture: upload one first, or take a sample from above.")
        return wanted, await serving.encode(read_picture, path, model.shape)

    async def of_midway(*args: Any) -> tuple[Checked, np.ndarray, float]:
        wanted, start = await prepared(args)
        return wanted, start, lam_of_level(args[-1], wanted.model.lam_span)

    async def of_round_trip(*args: Any) -> tuple[Checked, np.ndarray]:
        wanted, start = await prepared(args, count=1)
        check_inversion(wanted.request.solver)
        check_cost(2 * wanted.track().budget * wanted.rows, serving.limits)
        return wanted, start

    def run(ready: tuple[Checked, np.ndarray, float]) -> AsyncGenerator[Any, None]:
        return midway(serving, *ready)

    def round_trip(ready: tuple[Checked, np.ndarray]) -> AsyncGenerator[Any, None]:
        return invert(serving, *ready)

    async def uploaded(path: str) -> None:
        """Refuses at once what the page draws and nothing here can read, such as an SVG."""
        try:
            await serving.encode(read_picture, path, (3, 1, 1))
        except ValueError as error:
            raise refuse(error) from error

    async def take_sample(value: Any, name: str, _number: Any) -> np.ndarray:
        model = await serving.model(str(name))
        try:
            sample = await serving.encode(sample_of, value, model.shape)
        except ValueError as error:
            raise refuse(error) from error
        return upscale(sample, max(1, SHOWN_SIZE // max(sample.shape[:2])))

    picture.upload(uploaded, picture, None, show_progress="hidden")
    on_click(serving, "start", go.click, inputs, [player, note], note, of_midway, run)
    on_click(serving, "start", turn.click, inputs, [player, note], note, of_round_trip, round_trip)
    serving.stops("start", stop.click)
    take.click(
        take_sample,
        [above, labels.model, number],
        picture,
        # only the tile that is asked for travels, not the whole wall
        js="(v, name, k) => [v && { tiles: [(v.tiles || [])[k - 1]] }, name, k]",
        show_progress="hidden",
    )
