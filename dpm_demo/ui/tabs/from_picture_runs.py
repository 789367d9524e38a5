"""The two runs that start from a picture: through noise of a chosen level, and there and back.

Midway is SDEdit (Meng et al., 2108.01073); the inversion solves the same ODE from picture to noise.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np

from dpm_demo.compare.figures import psnr, rmse
from dpm_demo.engine.events import Done, Preview, SampleRecord
from dpm_demo.engine.job import Job
from dpm_demo.media.pixels import to_data
from dpm_demo.request.job import Checked
from dpm_demo.solver import add_noise, alpha, cosine_lam, cosine_time, initial_noise, sigma
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.sheets import sheet_uri
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.sentences import capped, ended, spent
from dpm_demo.ui.serving import Serving

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


def check_start(wanted: Checked) -> None:
    """Raises ValueError for what cannot start from a picture."""
    model = wanted.model
    if model.latents is not None:
        raise ValueError(f"model: {model.name} makes latents; a model of pixels starts here.")
    if wanted.request.solver.schedule == "calibrated":
        raise ValueError(
            "schedule: the calibrated one is fitted to the whole way from noise to a picture; "
            "choose another to start from a picture."
        )


def midway_job(wanted: Checked, picture: np.ndarray, lam: float) -> Job:
    """From `picture`, uint8, noised to λ, to the end of the model's span: one sample a seed."""
    start = partial(_noised, picture, wanted.request.seeds, wanted.shape, lam)
    span = lam, wanted.model.lam_span[1]
    return wanted.job([replace(wanted.track(), lam_span=span, start=start)])


def _noised(picture: np.ndarray, seeds: tuple[int, ...], shape: tuple[int, ...], lam: float) -> Any:
    """Called where torch runs, which may be another process."""
    noise = initial_noise(seeds, shape)
    return add_noise(noise.new_tensor(to_data(picture)), lam, noise)


async def midway(
    serving: Serving, wanted: Checked, picture: np.ndarray, lam: float
) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
    """Streams the player's value and a line of text."""
    request, job = wanted.request, midway_job(wanted, picture, lam)
    wall = Wall(job, titles=[f"seed {s}" for s in request.seeds])
    note = f"midway {request.model} λ={lam:.2f} nfe={request.solver.nfe} count={request.count}"
    async with aclosing(serving.play(job, wall, note)) as events:
        async for value, event in events:
            if isinstance(event, Done) and not event.error:
                apart = rmse(event.tracks[0].samples, to_data(picture))
                yield (
                    value,
                    f"Started at λ = {lam:.2f}, from {alpha(lam):.2f} × the picture + "
                    f"{sigma(lam):.2f} × noise: {spent(event)}. RMSE to the picture "
                    f"{apart:.2g}.{capped(event)}",
                )
            else:
                yield value, ended(event)


# ---------------------------------------------------------------- there and back


def check_inversion(solver: Solver) -> None:
    """Raises ValueError for a solver that has no way from picture to noise."""
    if solver.eta > 0:
        raise ValueError(f"eta must be 0 on the way from picture to noise, not {solver.eta}")
    if solver.denoise_to_zero:
        raise ValueError("denoise_to_zero must be off on the way from picture to noise")


def way_job(wanted: Checked, state: np.ndarray, back: bool) -> Job:
    """One sample from `state`, float32 `(3, h, w)`, to noise, or `back` to the picture.

    In float32, as its error is what one wants to see.
    """
    low, high = wanted.model.lam_span
    span = (low, high) if back else (high, low)
    track = replace(wanted.track(), lam_span=span, start=state[None])
    return wanted.job([track], float32=True)


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
        sheets = {"index": list(range(len(x))), "x0": sheet_uri(x0), "x": sheet_uri(x)}
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
        sheet = sheet_uri([self.picture])
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


async def invert(
    serving: Serving, wanted: Checked, picture: np.ndarray
) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
    """From picture to noise and back from that noise; streams the player's value and a text."""
    request, run = wanted.request, uuid4().hex
    trip = RoundTrip(picture, wanted.model.lam_span[1])
    samples, nfe, seconds = [to_data(picture)], 0, 0.0
    for back in (False, True):
        job = way_job(wanted, samples[-1], back)
        wall = Wall(job, run=run)
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
                nfe, seconds = nfe + row.nfe, seconds + event.seconds
                if not back:
                    trip.turn(value, row)
    original, found, again = samples
    error = rmse(again, original)
    # rounded first, so that there is no "-0.00"
    mean = round(float(found.mean()), 2) + 0.0
    spread = f"mean {mean:.2f}, standard deviation {found.std():.2f}"
    text = (
        f"{nfe} evaluations there and back in {seconds:.2f} s. RMSE of the round trip "
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
