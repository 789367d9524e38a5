"""Requests of models whose samples are latents: previews, decoded ends, sizes, memory."""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import tiny

import dpm_demo as dpm
from dpm_demo.engine.events import Done, Preview
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import SHOWN_SIDE
from dpm_demo.models.model import Model
from dpm_demo.request.codec import comparison_of_query, comparison_query, read, to_query
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked, request_of
from dpm_demo.request.limits import Limits

FRAMES = {"text_to_video": 3, "animatediff": 3, "wan": 5}


@cache
def model_of(name: str) -> Model:
    return dpm.load(tiny.FAMILIES[name]())


def asked(name: str, **more: Any) -> dict[str, Any]:
    words = {} if name == "dit" else {"prompt": "a cat"}
    size = {"height": 16, "width": 16, "frames": FRAMES.get(name, 0)}
    return {"model": name, "nfe": 4, "count": 2, "guidance": 2.0, **words, **size, **more}


def ran(name: str, preview_hz: float) -> tuple[Done, list[Preview], Any]:
    request = request_of(asked(name), model_of(name), Limits())
    job = Checked.of(request, model_of(name)).job()
    # rows of a network call by their number, not by the clock: bits depend on it
    events = list(run_inline(job, tick_ms=math.inf, preview_hz=preview_hz))
    assert isinstance(events[-1], Done) and events[-1].error is None
    return events[-1], [e for e in events if isinstance(e, Preview)], job


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_previews_and_the_decoded_end_are_pictures_of_one_size(name):
    done, previews, job = ran(name, math.inf)
    shape = model_of(name).picture_shape(job.shape)
    seen = [p for preview in previews for p in preview.pictures.values()]
    assert seen and all(p.x0.shape == p.x.shape == (*job.picture, 3) for p in seen)
    for row in done.tracks[0].rows:
        assert row.sample is not None and row.sample.shape == shape
        assert row.latent is not None and row.latent.shape == job.shape
        assert row.x0.shape == (5, *job.picture, 3)
        decoded = model_of(name).decode(torch.from_numpy(row.latent)[None])[0].numpy()
        assert np.abs(decoded - row.sample).max() < 1e-4


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_watching_changes_no_bit_of_a_sample(name):
    watched, alone = ran(name, math.inf)[0], ran(name, 0.0)[0]
    for one, other in zip(watched.tracks[0].rows, alone.tracks[0].rows, strict=True):
        assert np.array_equal(one.sample, other.sample)
        assert np.array_equal(one.latent, other.latent)


def test_large_pictures_are_recorded_small_and_sampled_large():
    model = model_of("stable_diffusion")
    request = request_of(asked("sd", height=2 * SHOWN_SIDE, width=64, nfe=1), model, Limits())
    job = Checked.of(request, model).job()
    assert job.picture == (SHOWN_SIDE, 32)
    assert job.shape == (4, SHOWN_SIDE, 32)


def test_the_span_follows_the_shift_of_the_size():
    model = model_of("flux")
    small, large = (model.span_for(model.shape_for((s, s))) for s in (16, 256))
    assert small[0] > large[0] and small[1] - small[0] == pytest.approx(large[1] - large[0])


def test_prompts_and_sizes_go_through_links_as_they_are():
    request = read(asked("sd", prompt="a “cat” & ü, 100 %", negative_prompt="x=y"))
    assert read(dict(parse_qsl(to_query(request)))) == request
    wanted = Comparison(model="sd", prompt="a & b", negative_prompt="c", height=16, width=24)
    found, complaints = comparison_of_query(parse_qsl(comparison_query(wanted)))
    assert found == wanted and complaints == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 17}, "height and width must be multiples of 2"),
        ({"frames": 9}, "makes single pictures"),
        ({"height": -2}, "height must be a whole number up to 4096"),
        ({"prompt": "x" * 2001}, "prompt must have at most 2000 letters"),
        ({"height": 4096, "width": 4096}, "GB of memory"),
        ({"label": "cat"}, "label: 'cat' is unknown"),
        ({"threshold": "static"}, "clips pictures, and .* samples latents"),
    ],
)
def test_what_cannot_be_is_refused_before_it_starts(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        request_of(asked("sd", **changes), model_of("stable_diffusion"), Limits(memory=2**30))


def test_memory_counts_the_network_row_where_it_is_more_than_the_pictures():
    model = model_of("stable_diffusion")
    request = GenerateRequest(height=512, width=512)
    latents = model.latents
    assert latents is not None
    assert Checked.of(request, model).numbers >= latents.row_bytes((4, 256, 256)) // 600


def test_a_prompt_to_a_model_of_labels_is_refused():
    with pytest.raises(ValueError, match="takes no words"):
        request_of({"prompt": "a cat"}, dpm.load("mixture"), Limits())
