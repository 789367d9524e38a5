"""Starting from a picture: midway through noise, and all the way to it and back."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from dpm_demo.compare.figures import rmse
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.worker import Engine
from dpm_demo.media.grid import upscale
from dpm_demo.media.pixels import to_data, uint8
from dpm_demo.media.png import data_uri, png
from dpm_demo.models.exact import MIXTURE_NAME, mixture_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Words
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.solver import add_noise, cosine_time, initial_noise
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.component import Player
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import from_picture as start
from dpm_demo.ui.tabs import from_picture_runs as runs
from dpm_demo.ui.widgets.controls import LabelControls, SolverControls

MODEL = mixture_model(torch.device("cpu"))
SHAPE = MODEL.shape


def exact_sample(seed: int = 7) -> np.ndarray:
    """A picture of the mixture's own distribution, uint8."""
    return uint8(MODEL.exact_solution(initial_noise([seed], SHAPE), *MODEL.lam_span)[0].numpy())


PICTURE = exact_sample()


def asked(count: int = 1, **solver: Any) -> Checked:
    request = GenerateRequest(MIXTURE_NAME, guidance=1.0, count=count, solver=Solver(**solver))
    return Checked.of(request, MODEL)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A service that offers the exact mixture and nothing else."""
    one = Serving(Engine(), ModelLibrary("cpu", root=tmp_path, offered=()))
    yield one
    one.close()


# -------------------------------------------------------------------------------------- pictures


def test_an_enlarged_sample_comes_back_as_it_was() -> None:
    large = Image.fromarray(upscale(PICTURE, 8))
    assert (start.read_picture(large, SHAPE) == PICTURE).all()
    assert (start.read_picture(Image.fromarray(PICTURE), SHAPE) == PICTURE).all()


def test_a_wide_picture_is_cropped_around_its_centre() -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = (10, 200, 30)
    assert (start.read_picture(Image.fromarray(wide), SHAPE) == (10, 200, 30)).all()


def test_a_small_picture_of_any_mode_is_enlarged_to_the_models_size() -> None:
    for mode in ("L", "P", "1", "CMYK", "I;16", "LA"):
        picture = start.read_picture(Image.new(mode, (5, 9)), SHAPE)
        assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8


def test_what_is_transparent_becomes_white() -> None:
    assert (start.read_picture(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), SHAPE) == 255).all()


def test_the_orientation_of_a_camera_is_followed(tmp_path: Path) -> None:
    upright = np.zeros((64, 64, 3), np.uint8)
    upright[:32] = 255
    exif = Image.Exif()
    exif[274] = 3  # upside down
    Image.fromarray(upright[::-1, ::-1]).save(tmp_path / "a.png", exif=exif)
    assert (start.read_picture(tmp_path / "a.png", SHAPE)[:16] == 255).all()


def test_a_file_that_is_no_picture_gives_one_sentence(tmp_path: Path) -> None:
    broken = png(np.zeros((64, 64, 3), np.uint8))[:60]
    for name, content in {"a.png": b"not a picture", "b.png": broken, "c.svg": b"<svg/>"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"^picture: this file is no picture"):
            start.read_picture(tmp_path / name, SHAPE)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (9000, 6000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="9000 x 6000 pixels"):
        start.read_picture(tmp_path / "large.png", SHAPE)


def test_only_models_of_colour_pictures_can_start_from_one() -> None:
    for shape in ((3, 8, 32, 32), (1, 28, 28), (2,)):
        with pytest.raises(ValueError, match=r"^model: "):
            start.check_shape(shape)


def test_pixels_become_data_and_back_without_loss() -> None:
    assert (uint8(to_data(PICTURE)) == PICTURE).all()


# ------------------------------------------------------------------------ the sample of a player


def player_value(pictures: np.ndarray) -> dict[str, Any]:
    sheet = data_uri(png(pictures.reshape(-1, *pictures.shape[2:])))
    return {"tiles": [{"state": "done", "record": {"x0": sheet}}]}


def test_the_sample_of_a_player_is_the_last_picture_of_its_tile() -> None:
    film = np.stack([np.zeros_like(PICTURE), PICTURE])
    assert (start.sample_of(player_value(film), SHAPE) == PICTURE).all()


def test_nothing_else_that_a_page_may_send_is_a_sample() -> None:
    bomb = base64.b64encode(png(np.zeros((32 * 129, 32, 3), np.uint8))).decode()
    other_size = player_value(np.zeros((1, 16, 16, 3), np.uint8))
    gif = io.BytesIO()
    Image.fromarray(PICTURE).save(gif, "GIF")
    for value in (
        None,
        3,
        {},
        {"tiles": []},
        {"tiles": [None]},
        {"tiles": [{**player_value(PICTURE[None])["tiles"][0], "state": "stopped"}]},
        {"tiles": [{"state": "done", "record": None}]},
        {"tiles": [{"state": "done", "record": {"x0": 5}}]},
        {"tiles": [{"state": "done", "record": {"x0": "data:image/png;base64,%%%"}}]},
        {"tiles": [{"state": "done", "record": {"x0": "data:image/png;base64,AAAA"}}]},
        {"tiles": [{"state": "done", "record": {"x0": "base64," + bomb}}]},
        {"tiles": [{"state": "done", "record": {"x0": data_uri(gif.getvalue(), "image/gif")}}]},
        other_size,
    ):
        with pytest.raises(ValueError, match=r"^picture: there is no such finished sample"):
            start.sample_of(value, SHAPE)


# ---------------------------------------------------------------------------------------- midway


def test_the_noise_level_is_even_in_cosine_time_between_the_models_ends() -> None:
    low, high = MODEL.lam_span
    assert runs.lam_of_level(1, MODEL.lam_span) == low
    assert runs.lam_of_level(1e-9, MODEL.lam_span) == pytest.approx(high, abs=1e-3)
    half = cosine_time(runs.lam_of_level(0.5, MODEL.lam_span))
    assert half == pytest.approx((cosine_time(low) + cosine_time(high)) / 2, abs=1e-9)


@pytest.mark.parametrize("level", [0, -0.1, 1.01, math.nan, math.inf, None, "0.5", True])
def test_a_level_with_nothing_to_solve_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match=r"^noise level must be above 0"):
        runs.lam_of_level(level, MODEL.lam_span)


def test_midway_is_the_exact_solution_from_the_noised_picture() -> None:
    lam, wanted = -0.5, asked(count=2, nfe=60, order=3)
    *_, done = run_inline(runs.midway_job(wanted, PICTURE, lam))
    assert isinstance(done, Done) and {row.nfe for row in done.tracks[0].rows} == {60}
    x0 = torch.from_numpy(to_data(PICTURE))[None]
    noised = add_noise(x0, lam, initial_noise(wanted.request.seeds, SHAPE))
    truth = MODEL.exact_solution(noised, lam, MODEL.lam_span[1])
    assert rmse(done.tracks[0].samples, truth.numpy()) < 1e-3


def test_more_noise_leads_further_from_the_picture() -> None:
    apart = []
    for level in (0.1, 0.4, 0.7, 1.0):
        lam = runs.lam_of_level(level, MODEL.lam_span)
        *_, done = run_inline(runs.midway_job(asked(nfe=12), PICTURE, lam))
        apart.append(rmse(done.tracks[0].samples[0], to_data(PICTURE)))
    assert apart == sorted(apart) and apart[-1] > 4 * apart[0]


def test_samples_that_cost_differently_are_told_from_the_least_to_the_most(
    serving: Serving,
) -> None:
    wanted = asked(count=4, method="adaptive", nfe=400, tolerance=0.001)

    async def texts() -> list[str]:
        return [text async for _, text in runs.midway(serving, wanted, PICTURE, -2.0)]

    (said,) = re.findall(r"4 × (\d+) to (\d+) evaluations", asyncio.run(texts())[-1])
    *_, done = run_inline(runs.midway_job(wanted, PICTURE, -2.0))
    spent = sorted(row.nfe for row in done.tracks[0].rows)
    assert len(set(spent)) > 2 and tuple(map(int, said)) == (spent[0], spent[-1])


def test_a_prompt_counts_on_the_way_from_a_picture() -> None:
    model = replace(MODEL, prompted=True)
    wanted = Checked.of(GenerateRequest(MIXTURE_NAME, guidance=1.0, prompt="a cat"), model)
    (track,) = runs.midway_job(wanted, PICTURE, 0.0).tracks
    assert track.cond == wanted.condition and track.cond.payload == Words("a cat")


# --------------------------------------------------------------------------------- there and back


def inverted(serving: Serving, **solver: Any) -> tuple[list[dict[str, Any]], str]:
    async def collect() -> list[tuple[dict[str, Any], str]]:
        stream = runs.invert(serving, asked(**solver), PICTURE)
        return [news async for news in stream]

    news = asyncio.run(collect())
    return [value for value, _ in news], news[-1][1]


def test_inversion_finds_the_noise_of_the_exact_flow() -> None:
    low, high = MODEL.lam_span
    state = to_data(PICTURE)
    job = runs.way_job(asked(nfe=120, order=3), state, back=False)
    *_, done = run_inline(job)
    truth = MODEL.exact_solution(torch.from_numpy(state)[None], high, low)
    assert rmse(done.tracks[0].samples, truth.numpy()) < 0.02


def test_the_round_trip_improves_with_evaluations(serving: Serving) -> None:
    errors = []
    for nfe in (6, 12, 24):
        _, text = inverted(serving, nfe=nfe)
        errors.append(float(text.split("**")[1]))
        assert f"{2 * nfe} evaluations there and back" in text
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_the_player_ends_with_picture_noise_and_reconstruction(serving: Serving) -> None:
    values, _ = inverted(serving, nfe=24)
    last = values[-1]
    assert last["final"] and not any(value["final"] for value in values[:-1])
    assert [tile["title"] for tile in last["tiles"]] == list(runs.TITLES)
    assert len({value["run"] for value in values}) == 1
    assert [v["seq"] for v in values] == sorted({v["seq"] for v in values})
    shown = [start.sample_of({"tiles": [tile]}, SHAPE).astype(int) for tile in last["tiles"]]
    assert (shown[0] == PICTURE).all()
    assert np.abs(shown[2] - PICTURE).mean() < 3
    assert np.abs(shown[1] - PICTURE).mean() > 30
    for value in values[:-1]:  # the picture stays in sight
        assert value["live"]["index"][0] == 0


def test_a_solver_without_a_way_to_noise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^eta must be 0"):
        runs.check_inversion(Solver(eta=0.5))
    with pytest.raises(ValueError, match=r"^denoise_to_zero must be off"):
        runs.check_inversion(Solver(denoise_to_zero=True))
    runs.check_inversion(Solver(method="adaptive"))


def test_an_adaptive_inversion_that_meets_its_cap_says_so(serving: Serving) -> None:
    values, text = inverted(serving, method="adaptive", nfe=10, tolerance=1e-6)
    assert text.startswith("**Not converged:** the cap of 10")
    assert values[-1]["final"] and values[-1]["tiles"][2]["state"] == "waiting"


# --------------------------------------------------------------------------- the part of the page


@pytest.fixture
def page(serving: Serving) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as demo:
        labels = LabelControls(serving.library.choices(), MODEL, 1.0)
        solver = SolverControls(Solver(nfe=6))
        count = gr.Slider(1, 16, 2, step=1)
        seed = gr.Number(0, precision=0)
        start.build(serving, labels, solver, count, seed, Player())
    return demo


def pressed(page: gr.Blocks, name: str, **changes: Any) -> list[Any]:
    """What the handler of that name answers to the page as it is first shown."""
    handler = next(fn for fn in page.fns.values() if fn.name == name)
    values = [changes.get(str(w.label), w.value) for w in handler.inputs]  # type: ignore[attr-defined]

    async def collect() -> list[Any]:
        visitor = SimpleNamespace(session_hash="me")
        return [answer async for answer in handler.fn(visitor, *values)]

    return asyncio.run(collect())


def test_the_buttons_start_from_an_uploaded_picture(page: gr.Blocks, tmp_path: Path) -> None:
    path = str(tmp_path / "picture.png")
    Image.fromarray(upscale(PICTURE, 4)).save(path)
    value, text = pressed(page, "run", Picture=path, **{"Noise level": 0.3})[-1]
    assert value["final"] and len(value["tiles"]) == 2 and "Started at λ" in text
    value, text = pressed(page, "round_trip", Picture=path)[-1]
    assert value["final"] and len(value["tiles"]) == 3 and "there and back" in text


def test_the_buttons_refuse_in_one_sentence(page: gr.Blocks, tmp_path: Path) -> None:
    path = str(tmp_path / "picture.png")
    Image.fromarray(PICTURE).save(path)
    (tmp_path / "text.png").write_text("no picture")
    for name, changes, sentence in (
        ("run", {}, "upload one first"),
        ("run", {"Picture": path, "Noise level": 0}, "noise level must be above 0"),
        ("run", {"Picture": path, "Schedule": "calibrated"}, "schedule: the calibrated one"),
        ("round_trip", {"Picture": path, "Schedule": "calibrated"}, "schedule: the calibrated one"),
        ("run", {"More": "contr"}, "solver: 'contr' is not of the form field=value"),
        ("round_trip", {"Picture": path, "Noise η": 0.5}, "eta must be 0"),
        ("round_trip", {"Picture": str(tmp_path / "text.png")}, "no picture that can be read"),
    ):
        with pytest.raises(gr.Error, match=sentence):
            pressed(page, name, **changes)


def test_what_the_page_draws_and_nobody_reads_is_refused_as_it_is_uploaded(
    page: gr.Blocks, tmp_path: Path
) -> None:
    path = tmp_path / "drawn.svg"
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (check,) = [event for event in page.fns.values() if event.fn and event.name == "uploaded"]
    with pytest.raises(gr.Error, match="no picture that can be read"):
        asyncio.run(check.fn(str(path)))


def test_an_upload_that_is_no_picture_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no picture")
    upload = start.PictureInput(type="filepath", image_mode=None)
    payload = upload.data_model(path=str(path), orig_name="text.png")
    with pytest.raises(gr.Error, match="no picture that can be read"):
        upload.preprocess(payload)
