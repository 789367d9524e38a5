"""From settings to the engine's job: checked against a model and the operator's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dpm_demo.engine.job import Job, Track
from dpm_demo.models.model import Model
from dpm_demo.request.codec import read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import Limits


def request_of(values: Mapping[str, Any], model: Model, limits: Limits) -> GenerateRequest:
    """The checked request. Raises ValueError, one sentence, for anything bad in it."""
    request = read(values)
    condition = model.condition(request.label, request.guidance)
    rows = model.rows(condition) * model.frames
    request.check(limits, rows_a_sample=rows, numbers=math.prod(model.shape))
    return request


def job_of(request: GenerateRequest, model: Model, exact: bool = False) -> Job:
    """The engine's job for a checked request."""
    condition = model.condition(request.label, request.guidance)
    track = Track(
        request.solver,
        request.seeds,
        cond=condition if model.labels else None,
        lam_span=model.lam_span,
    )
    return Job(
        model.denoise_float32 if exact else model.denoise,
        model.shape,
        (track,),
        device=model.device,
    )
