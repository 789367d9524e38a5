"""From settings to the engine's job: checked against a model and the operator's limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpm_demo.engine.job import Job, Track, recorded_size
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.codec import read
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import NETWORK_BYTES, Limits, memory_needed, swept
from dpm_demo.solver.settings import Solver


def condition_of(request: GenerateRequest, model: Model) -> Condition:
    """What every row is asked to be. Raises ValueError for what the model does not know."""
    return model.condition(
        request.label,
        request.guidance,
        prompt=request.prompt or None,
        negative_prompt=request.negative_prompt,
    )


@dataclass(frozen=True)
class Checked:
    """A request with what its model makes of it: every row's condition, the samples' shape."""

    request: GenerateRequest
    model: Model
    condition: Condition
    shape: tuple[int, ...]

    @classmethod
    def of(cls, request: GenerateRequest, model: Model) -> Checked:
        """Raises ValueError, one sentence, for what the model does not know or make."""
        model.check_threshold(request.solver.threshold)
        shape = model.shape_for(request.size, request.frames or None)
        return cls(request, model, condition_of(request, model), shape)

    @property
    def rows(self) -> int:
        """Network rows of one evaluation of one picture: 2 where it is guided."""
        return self.model.rows(self.condition)

    @property
    def strength(self) -> float:
        """The guidance that its rows are computed with: 1 where nothing is followed."""
        return self.request.guidance if self.rows == 2 else 1.0

    @property
    def cost(self) -> int:
        """What an evaluation of a sample costs: network rows times frames."""
        picture = self.model.picture_shape(self.shape)
        return self.rows * (picture[1] if len(picture) == 4 else 1)

    @property
    def numbers(self) -> int:
        """Numbers of a sample, or as many as its network and its pictures need memory for."""
        return _numbers(self.model.latents, self.shape)

    def track(
        self,
        solver: Solver | None = None,
        seeds: Iterable[int] | None = None,
        *,
        pictures: bool = True,
    ) -> Track:
        """Its seeds with its solver, or with others; `pictures` as in `Track`."""
        cond = self.condition if self.model.conditional else None
        return Track(
            self.model.resolved(solver or self.request.solver, cond),
            self.request.seeds if seeds is None else tuple(seeds),
            cond=cond,
            lam_span=self.model.span_for(self.shape),
            restart=self.model.restart,
            pictures=pictures,
        )

    def job(self, tracks: Iterable[Track] | None = None, *, float32: bool = False) -> Job:
        """Its tracks, or others, as a job of the engine; in `float32` where errors are measured.

        bfloat16, which a processor may have and prefer, would be a floor of the size of order 3's
        error.
        """
        return Job(
            self.model.denoise_float32 if float32 else self.model.denoise,
            self.shape,
            tuple(tracks) if tracks is not None else (self.track(),),
            device=self.model.device,
            latents=self.model.latents,
        )


def _numbers(latents: Any, shape: tuple[int, ...]) -> int:
    if latents is None:
        return math.prod(shape)
    recorded = 3 * math.prod(recorded_size(latents, shape))
    return max(recorded, latents.row_bytes(shape) // NETWORK_BYTES)


def job_memory(job: Job) -> int:
    """Bytes that a job may need beside the weights, as `limits.memory_needed` counts them."""
    recorded = [track.steps for track in job.tracks if track.pictures for _ in track.seeds]
    others = sum(len(track.seeds) for track in job.tracks if not track.pictures)
    kept = sum(len(track.seeds) * swept(track.solver) for track in job.tracks)
    return memory_needed(recorded, _numbers(job.latents, job.shape), others, kept)


def checked(request: GenerateRequest, model: Model, limits: Limits) -> Checked:
    """The request, if `model` and `limits` allow it. Raises ValueError, one sentence."""
    # before anything is made for each of its samples
    request.check(limits)
    wanted = Checked.of(request, model)
    request.check(limits, wanted.cost, wanted.numbers)
    return wanted


def request_of(values: Mapping[str, Any], model: Model, limits: Limits) -> GenerateRequest:
    """The checked request of flat `values`. Raises ValueError for anything bad in it."""
    return checked(read(values), model, limits).request
