"""From settings to the engine's job: checked against a model and the operator's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpm_demo.engine.job import Job, Track, recorded_size
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.codec import read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import NETWORK_BYTES, Limits
from dpm_demo.solver.settings import Solver


def condition_of(request: GenerateRequest, model: Model) -> Condition:
    """What every row is asked to be. Raises ValueError for what the model does not know."""
    return model.condition(
        request.label,
        request.guidance,
        prompt=request.prompt or None,
        negative_prompt=request.negative_prompt,
    )


def shape_of(request: GenerateRequest, model: Model) -> tuple[int, ...]:
    """The shape of a sample. Raises ValueError for a size that the model does not make."""
    return model.shape_for(request.size, request.frames or None)


def numbers_of(request: GenerateRequest, model: Model) -> int:
    """Numbers of a sample, or as many as its network and its pictures need memory for."""
    shape = shape_of(request, model)
    if model.latents is None:
        return math.prod(shape)
    recorded = 3 * math.prod(recorded_size(model.latents, shape))
    return max(recorded, model.latents.row_bytes(shape) // NETWORK_BYTES)


def rows_of(request: GenerateRequest, model: Model) -> int:
    """What an evaluation of a sample costs: network rows (2 if guided) times frames."""
    picture = model.picture_shape(shape_of(request, model))
    frames = picture[1] if len(picture) == 4 else 1
    return model.rows(condition_of(request, model)) * frames


def request_of(values: Mapping[str, Any], model: Model, limits: Limits) -> GenerateRequest:
    """The checked request. Raises ValueError, one sentence, for anything bad in it."""
    request = read(values)
    model.check_threshold(request.solver.threshold)
    request.check(limits, rows_of(request, model), numbers_of(request, model))
    return request


def tracks_job(
    request: GenerateRequest,
    model: Model,
    tracks: Sequence[tuple[Solver, Sequence[int]]],
    *,
    exact: bool = False,
    record: bool = True,
) -> Job:
    """What `request` asks for as a job of other solvers and seeds, `exact` in float32."""
    condition, shape = condition_of(request, model), shape_of(request, model)
    cond = condition if model.conditional else None
    span = model.span_for(shape)
    return Job(
        model.denoise_float32 if exact else model.denoise,
        shape,
        tuple(
            Track(model.resolved(solver, cond), tuple(seeds), cond, span, restart=model.restart)
            for solver, seeds in tracks
        ),
        device=model.device,
        record=record,
        latents=model.latents,
    )


def job_of(request: GenerateRequest, model: Model, exact: bool = False) -> Job:
    """The engine's job for a checked request."""
    return tracks_job(request, model, [(request.solver, request.seeds)], exact=exact)
