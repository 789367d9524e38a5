"""The Python API: `load`, `generate`, `stream`; the mathematics alone is `dpm_demo.solver`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dpm_demo.engine import inline as engine
from dpm_demo.engine.errors import JobFailed
from dpm_demo.engine.events import Cancelled, Done, Failed, Frame
from dpm_demo.engine.job import Job, Track
from dpm_demo.models.checkpoint import CHECKPOINTS, list_checkpoints
from dpm_demo.models.checkpoint import load_checkpoint as _load_checkpoint
from dpm_demo.models.device import pick_device
from dpm_demo.models.exact import (
    MIXTURE_NAME,
    VIDEO_MIXTURE_NAME,
    mixture_model,
    mixture_video_model,
)
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.solver.settings import Solver

EXACT = {MIXTURE_NAME: mixture_model, VIDEO_MIXTURE_NAME: mixture_video_model}


def load(name: str, device: str = "auto") -> Model:
    """A pretrained model: a name in `checkpoints/`, a folder, or "hub:owner/name".

    "mixture" and "mixture-video" are exact ones that need no file.

    Raises CheckpointError (a ValueError), one sentence that says which file and what to do.
    """
    where = pick_device(device)
    if name in EXACT:
        return EXACT[name](where)
    if name.startswith("hub:"):
        from dpm_demo.models.diffusers.hub import load_diffusers

        return load_diffusers(name, where, allow_network=True)
    folder = Path(name)
    if name in list_checkpoints():
        folder = CHECKPOINTS / name
    elif os.path.exists(folder / "model_index.json") or os.path.isdir(folder / "unet"):
        from dpm_demo.models.diffusers.hub import load_diffusers

        return load_diffusers(folder, where)
    elif not os.path.exists(folder / "config.json"):  # unlike Path.exists, false for any name
        known = ", ".join([*list_checkpoints(), *EXACT])
        raise CheckpointError(
            f"model: {name[:80]!r} is no checkpoint ({known}), no folder with a config.json, "
            'and no "hub:owner/name".'
        )
    return _load_checkpoint(folder, where)


def _job(
    model: Model,
    solver: Solver,
    seeds: Iterable[int],
    label: str | Mapping[str, str] | None,
    guidance: float,
    record: bool,
) -> Job:
    condition = model.condition(label, guidance)
    track = Track(
        solver,
        tuple(seeds),
        cond=condition if model.labels else None,
        lam_span=model.lam_span,
    )
    return Job(model.denoise, model.shape, (track,), device=model.device, record=record)


def generate(
    model: Model,
    solver: Solver,
    seeds: Iterable[int] = (0,),
    label: str | Mapping[str, str] | None = None,
    guidance: float = 3.5,
) -> Tensor:
    """Samples `(n, *model.shape)`, float32 in about [-1, 1], one a seed.

    Sample k depends on its own seed, not on its neighbours (to rounding). Runs in the calling
    thread. Raises ValueError for an unknown label or bad guidance, JobFailed if the network's
    answer is not finite.
    """
    job = _job(model, solver, seeds, label, guidance, record=False)
    for event in engine.run_inline(job, preview_hz=0.0):
        if isinstance(event, Done):
            return torch.from_numpy(event.tracks[0].samples)
        if isinstance(event, Failed):
            raise JobFailed(event.error)
        if isinstance(event, Cancelled):
            break
    raise JobFailed("the run ended without a result")


def stream(
    model: Model,
    solver: Solver,
    seeds: Iterable[int] = (0,),
    label: str | Mapping[str, str] | None = None,
    guidance: float = 3.5,
) -> Iterator[Frame]:
    """The same, one frame a trajectory point: `frame.nfe`, `.lam`, `.x`, `.x0`, `.rows`.

    The last frame (`final`) holds the sample. Inner stages of singlestep methods are no points.
    """
    return engine.stream(_job(model, solver, seeds, label, guidance, record=False))
