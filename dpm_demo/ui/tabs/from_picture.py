"""Starting from a picture (a part of the tab "Generate"): midway through noise, and all the way.

Midway: the picture is noised to a level of one's choice and denoised from there (SDEdit, Meng et
al. 2108.01073). Inversion: the same ODE is solved from picture to noise, and from there back.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from dpm_demo.compare.figures import psnr, rmse
from dpm_demo.engine.events import Done, Preview, SampleRecord
from dpm_demo.engine.job import Job, Track
from dpm_demo.media.decode import PIXELS_MAX, decode
from dpm_demo.media.grid import sprite_sheet, upscale
from dpm_demo.media.pixels import to_data
from dpm_demo.media.png import data_uri, png
from dpm_demo.models.model import Model
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import request_of
from dpm_demo.request.limits import check_cost
from dpm_demo.solver import add_noise, alpha, cosine_lam, cosine_time, initial_noise, sigma
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.serving import Serving, ended, refuse
from dpm_demo.ui.tabs.base import on_click
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
        uri = value["tiles"][0]["record"]["x0"]
        data = base64.b64decode(uri.partition("base64,")[2], validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            if opened.width != width or not height <= opened.height <= SHEET_MAX * height:
                raise missing
            sheet = np.asarray(opened.convert("RGB"))
    except (KeyError, IndexError, TypeError, AttributeError, binascii.Error) as error:
        raise missing from error
    except (OSError, SyntaxError, ValueError) as error:
        raise missing from error
    return sheet[-height:]


# ---------------------------------------------------------------- midway


def lam_of_level(level: float, span: tuple[float, float]) -> float:
    """λ at which a noise level starts: even in cosine time, 0 the picture and 1 pure noise.

    Raises ValueError unless 0 < level <= 1, where there is something to solve.
    """
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level <= 1:
        raise ValueError(
            f"noise level must be above 0 (the picture itself) and at most 1, not {level!r:.60}"
        )
    noise, data = cosine_time(span[0]), cosine_time(span[1])
    lam = cosine_lam(data + level * (noise - data), -math.inf)
    return span[0] if level == 1 else min(max(lam, span[0]), span[1])


def midway_job(request: GenerateRequest, model: Model, picture: np.ndarray, lam: float) -> Job:
    """From `picture`, uint8, noised to λ, to the end of the model's span: one sample a seed."""
    track = Track(
        request.solver,
        request.seeds,
        cond=_condition(request, model),
        lam_span=(lam, model.lam_span[1]),
        start=partial(_noised, picture, request.seeds, model.shape, lam),
    )
    return Job(model.denoise, model.shape, (track,), device=model.device)


def _noised(picture: np.ndarray, seeds: tuple[int, ...], shape: tuple[int, ...], lam: float) -> Any:
    """Called where torch runs, which may be another process."""
    noise = initial_noise(seeds, shape)
    return add_noise(noise.new_tensor(to_data(picture)), lam, noise)


def _condition(request: GenerateRequest, model: Model) -> Any:
    return model.condition(request.label, request.guidance) if model.labels else None


async def midway(
    serving: Serving, request: GenerateRequest, model: Model, picture: np.ndarray, level: float
) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
    """Streams the player's value and a line of text."""
    lam = lam_of_level(level, model.lam_span)
    job = midway_job(request, model, picture, lam)
    wall = Wall(job, device=str(model.device), titles=[f"seed {s}" for s in request.seeds])
    note = f"midway {request.model} level={level:g} nfe={request.solver.nfe} count={request.count}"
    async with aclosing(serving.play(job, wall, note)) as events:
        async for value, event in events:
            if isinstance(event, Done) and not event.error:
                rows = event.tracks[0].rows
                spent = sorted({row.nfe for row in rows})
                apart = [
                    rmse(row.sample, to_data(picture)) for row in rows if row.sample is not None
                ]
                text = (
                    f"Started at λ = {lam:.2f}, from {alpha(lam):.2f} × the picture + "
                    f"{sigma(lam):.2f} × noise: {len(rows)} × {' to '.join(map(str, spent))} "
                    f"evaluations in {event.seconds:.2f} s. RMSE to the picture "
                    f"{np.sqrt(np.mean(np.square(apart))):.2g}."
                )
                if not all(row.converged for row in rows):
                    text += " **The cap on evaluations was reached before the end: not converged.**"
                yield value, text
            else:
                yield value, ended(event)


# ---------------------------------------------------------------- there and back


def check_inversion(solver: Solver) -> None:
    """Raises ValueError for a solver that has no way from picture to noise."""
    if solver.eta > 0:
        raise ValueError(f"eta must be 0 on the way from picture to noise, not {solver.eta}")
    if solver.denoise_to_zero:
        raise ValueError("denoise_to_zero must be off on the way from picture to noise")


def way_job(request: GenerateRequest, model: Model, state: np.ndarray, back: bool) -> Job:
    """One sample from `state`, float32 `(3, h, w)`, to noise, or `back` to the picture.

    In float32, as its error is what one wants to see.
    """
    low, high = model.lam_span
    track = Track(
        request.solver,
        request.seeds,
        cond=_condition(request, model),
        lam_span=(low, high) if back else (high, low),
        start=state[None],
    )
    return Job(model.denoise_float32, model.shape, (track,), device=model.device)


TITLES = ("the picture", "noise found", "reconstruction")


@dataclass
class RoundTrip:
    """The player's values of an inversion: three tiles, as in `TITLES`.

    The middle one shows the state x_t in every view, as its data prediction is the picture again.
    """

    picture: np.ndarray
    lam: float  # where the picture lies
    found: SampleRecord | None = None  # the way there, once it has ended
    found_tile: dict[str, Any] | None = None

    def live(self, value: dict[str, Any], event: Preview) -> dict[str, Any]:
        """What a preview of the part under way shows, from its wall's value."""
        x0, x = [self.picture], [self.picture]
        if self.found is not None:
            x0, x = [*x0, self.found.x[-1]], [*x, self.found.x[-1]]
        if newest := event.pictures.get(0):
            x0 = [*x0, newest.x if self.found is None else newest.x0]
            x = [*x, newest.x]
        sheets = {"index": list(range(len(x))), "x0": _sheet(x0), "x": _sheet(x)}
        later = 0 if self.found is None else 1 << 20  # after every value of the way there
        return {**self._value(value), "seq": value["seq"] + later, "live": sheets}

    def turn(self, value: dict[str, Any], row: SampleRecord) -> None:
        """Takes the end of the way there, and its wall's last value; the way back comes next."""
        self.found_tile = self._found(value["tiles"][0])
        self.found = row

    def final(self, value: dict[str, Any], captions: Sequence[str] = ()) -> dict[str, Any]:
        """The last value of all, with complete records; also where the way there went wrong."""
        out = self._value(value)
        point = {"nfe": 0, "stage": 0, "picture": 0, "lam": self.lam, "t": cosine_time(self.lam)}
        sheet = _sheet([self.picture])
        out["tiles"][0]["record"] = {"x0": sheet, "x": sheet, "points": [point]}
        if self.found_tile is not None:
            out["tiles"][1] = dict(self.found_tile)
        for tile, caption in zip(out["tiles"][1:], captions, strict=False):
            tile["caption"] = caption
        return out

    def _value(self, value: dict[str, Any]) -> dict[str, Any]:
        tiles: list[dict[str, Any]] = [{"title": title, "state": "waiting"} for title in TITLES]
        tiles[0]["state"] = "done"
        if self.found_tile is not None:
            tiles[1] = {k: v for k, v in self.found_tile.items() if k != "record"}
        own = value["tiles"][0] if value["tiles"] else {"state": "stopped"}
        if self.found is None:
            tiles[1] = self._found(own)
        else:
            tiles[2] = {**own, "title": TITLES[2]}
        return {**value, "tiles": tiles, "columns": 3}

    @staticmethod
    def _found(tile: dict[str, Any]) -> dict[str, Any]:
        if "record" in tile:
            tile = {**tile, "record": {**tile["record"], "x0": tile["record"]["x"]}}
        return {**tile, "title": TITLES[1]}


def _sheet(pictures: Sequence[np.ndarray]) -> str:
    return data_uri(png(sprite_sheet(pictures), level=1))


async def invert(
    serving: Serving, request: GenerateRequest, model: Model, picture: np.ndarray
) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
    """From picture to noise and back from that noise; streams the player's value and a text."""
    check_inversion(request.solver)
    run, device = uuid4().hex, str(model.device)
    trip = RoundTrip(picture, model.lam_span[1])
    samples, spent, seconds = [to_data(picture)], 0, 0.0
    for back in (False, True):
        job = way_job(request, model, samples[-1], back)
        wall = Wall(job, device=device, run=run)
        note = f"invert {request.model} nfe={request.solver.nfe} {'back' if back else 'there'}"
        async with aclosing(serving.play(job, wall, note)) as events:
            async for value, event in events:
                last = value
                if isinstance(event, Preview):
                    value["status"]["text"] = "back to a picture" if back else "to noise"
                    yield trip.live(value, event), ""
                    continue
                row = event.tracks[0].rows[0] if event.tracks else None
                if row is None or row.sample is None or not row.converged:
                    yield trip.final(value), _unfinished(event, row, request.solver)
                    return
                samples.append(row.sample)
                spent, seconds = spent + row.nfe, seconds + event.seconds
                if not back:
                    trip.turn(value, row)
    original, found, again = samples
    error = rmse(again, original)
    # rounded first, so that there is no "-0.00"
    mean = round(float(found.mean()), 2) + 0.0
    spread = f"mean {mean:.2f}, standard deviation {found.std():.2f}"
    text = (
        f"{spent} evaluations there and back in {seconds:.2f} s. RMSE of the round trip "
        f"**{error:.2g}** ({psnr(error):.1f} dB). The noise found has {spread}; "
        "the noise that pictures are made from has 0 and 1."
    )
    yield trip.final(last, (spread, f"RMSE {error:.2g}")), text


def _unfinished(event: Any, row: SampleRecord | None, solver: Solver) -> str:
    if row is not None and row.sample is not None:
        return (
            f"**Not converged:** the cap of {solver.nfe} evaluations was reached on the way, so "
            "there is no noise to return from."
        )
    return ended(event)


# ---------------------------------------------------------------- the part of the tab


class PictureInput(gr.Image):
    """An upload whose value is a path; a file that is no picture gives one sentence."""

    def get_block_name(self) -> str:
        return "image"  # the page knows no component of this name

    def preprocess(self, payload: Any) -> Any:
        try:
            return super().preprocess(payload)
        except Exception as error:  # whatever Pillow finds in a stranger's file
            refusal = _refusal("no picture that can be read")
            raise gr.Error(refusal, print_exception=False) from error


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

    async def checked(
        args: tuple[Any, ...], **changes: Any
    ) -> tuple[GenerateRequest, Model, np.ndarray]:
        flat = labels.values(args[:n]) | solver.values(args[n : n + m])
        flat |= {"count": args[n + m], "seed": args[n + m + 1], **changes}
        model = await serving.model(str(flat["model"]))
        try:
            request = request_of(flat, model, serving.limits)
            if model.latents is not None:
                raise ValueError(
                    f"model: {model.name} makes latents; a model of pixels starts here."
                )
            path = args[n + m + 2]
            if not path:
                raise ValueError("picture: upload one first, or take a sample from above.")
            return request, model, await serving.encode(read_picture, path, model.shape)
        except ValueError as error:
            raise refuse(error) from error

    async def of_midway(*args: Any) -> tuple[GenerateRequest, Model, np.ndarray, float]:
        request, model, start = await checked(args)
        try:
            lam_of_level(args[-1], model.lam_span)
        except ValueError as error:
            raise refuse(error) from error
        return request, model, start, args[-1]

    async def of_round_trip(*args: Any) -> tuple[GenerateRequest, Model, np.ndarray]:
        request, model, start = await checked(args, count=1)
        try:
            check_inversion(request.solver)
            rows = model.rows(model.condition(request.label, request.guidance))
            check_cost(2 * request.solver.nfe * rows, serving.limits)
        except ValueError as error:
            raise refuse(error) from error
        return request, model, start

    async def run(
        wanted: tuple[GenerateRequest, Model, np.ndarray, float],
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(midway(serving, *wanted)) as stream:
            async for value, text in stream:
                yield value, text

    async def round_trip(
        wanted: tuple[GenerateRequest, Model, np.ndarray],
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(invert(serving, *wanted)) as stream:
            async for value, text in stream:
                yield value, text

    async def take_sample(value: Any, name: str, _number: Any) -> np.ndarray:
        model = await serving.model(str(name))
        try:
            sample = await serving.encode(sample_of, value, model.shape)
        except ValueError as error:
            raise refuse(error) from error
        return upscale(sample, max(1, SHOWN_SIZE // max(sample.shape[:2])))

    on_click(serving, "start", go, inputs, [player, note], note, of_midway, run)
    on_click(serving, "start", turn, inputs, [player, note], note, of_round_trip, round_trip)
    serving.stops("start", stop)
    take.click(
        take_sample,
        [above, labels.model, number],
        picture,
        # only the tile that is asked for travels, not the whole wall
        js="(v, name, k) => [v && { tiles: [(v.tiles || [])[k - 1]] }, name, k]",
        show_progress="hidden",
        api_visibility="private",
    )
