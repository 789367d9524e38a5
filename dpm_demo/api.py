"""The Python API: `load`, `generate`, `stream`; the mathematics alone is `dpm_demo.solver`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dpm_demo.calibrate.defaults import default_solver
from dpm_demo.engine import inline as engine
from dpm_demo.engine.events import Frame
from dpm_demo.engine.job import Job, Track
from dpm_demo.models import built_in
from dpm_demo.models.checkpoint import folder_of, list_folders
from dpm_demo.models.checkpoint import load_checkpoint as _load_checkpoint
from dpm_demo.models.denoiser import DTYPES
from dpm_demo.models.device import pick_device
from dpm_demo.models.model import CheckpointError, Condition, Model
from dpm_demo.models.runtime import check_runtime
from dpm_demo.solver.plan import check_nodes
from dpm_demo.solver.settings import Solver

EXACT = {one.name: one.make for one in built_in.EXACT}


def load(
    name: Any,
    device: str = "auto",
    *,
    dtype: str | torch.dtype | None = None,
    variant: str | None = None,
    offload: bool = False,
    runtime: str = "auto",
) -> Model:
    """A pretrained model: a name in `checkpoints/`, a folder, or "hub:owner/name".

    "mixture" and "mixture-video" are exact ones that need no file. A folder may hold a pipeline of
    diffusers of a family that docs/models.md lists; such a pipeline object is taken too, and its
    parts are shared. For those: `dtype` ("float32", "bfloat16", "float16"; bfloat16 on CUDA unless
    said), the `variant` of the weights ("fp16"), and `offload`: text encoders leave memory after
    each prompt, pictures are decoded in slices, and on a GPU the parts take turns (accelerate).

    `runtime` says what computes a checkpoint on a processor: "torch", "onnx" (ONNX Runtime), or
    "auto", the quicker of the two by measurement. All other models are torch's.

    Raises CheckpointError (a ValueError), one sentence that says which file and what to do.
    """
    computed = check_runtime(runtime)
    if not isinstance(name, (str, os.PathLike)):
        _check_torch(computed, type(name).__name__)
        return _of_object(name, offload)
    name = os.fspath(name)
    where = pick_device(device)
    if name in EXACT:
        _check_torch(computed, name)
        return EXACT[name](where)
    if name.startswith("hub:"):
        _check_torch(computed, name)
        from dpm_demo.models.diffusers.registry import load_from_hub

        return load_from_hub(name, where, dtype=_dtype(dtype), variant=variant, offload=offload)
    folder = Path(os.path.abspath(folder_of(name)))  # also "." has a name
    if os.path.exists(folder / "model_index.json") or os.path.isdir(folder / "unet"):
        _check_torch(computed, folder.name)
        from dpm_demo.models.diffusers.registry import load_folder

        return load_folder(folder, where, dtype=_dtype(dtype), variant=variant, offload=offload)
    if not os.path.exists(folder / "config.json"):  # unlike Path.exists, false for any name
        known = ", ".join([*list_folders(), *EXACT])
        raise CheckpointError(
            f"model: {name[:80]!r} is no checkpoint ({known}), no folder with a config.json, "
            'and no "hub:owner/name".'
        )
    from dpm_demo.models.diffusers.components import refuse_bare_network

    refuse_bare_network(folder)
    return _load_checkpoint(folder, where, computed)


def _check_torch(runtime: str, name: str) -> None:
    if runtime == "onnx":
        raise CheckpointError(f"runtime: {name} is no checkpoint, only torch computes it, not onnx")


def _of_object(pipe: Any, offload: bool) -> Model:
    if not hasattr(pipe, "components") or not hasattr(pipe, "scheduler"):
        raise CheckpointError(
            f"model: {type(pipe).__name__} is no name, no folder and no pipeline object of "
            "diffusers; a network becomes a model by `dpm.wrap(network, kind=…)`."
        )
    from dpm_demo.models.diffusers.registry import model_of_pipeline

    return model_of_pipeline(pipe, offload=offload)


def _dtype(asked: str | torch.dtype | None) -> torch.dtype | None:
    if asked is None or isinstance(asked, torch.dtype):
        return asked
    if asked not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {asked!r:.60}")
    return DTYPES[asked]


def _job(
    model: Model,
    solver: Solver | None,
    seeds: Iterable[int],
    label: str | Mapping[str, str] | None,
    guidance: float | None,
    *,
    prompt: str | Sequence[Any] | Any = None,
    negative_prompt: str | Sequence[str] = "",
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    x_T: Tensor | None = None,
    lambdas: Sequence[float] | None = None,
) -> Job:
    own = tuple(seeds)
    strength = model.guidance if guidance is None else guidance
    words = zip(
        _each("prompt", prompt, own), _each("negative_prompt", negative_prompt, own), strict=True
    )
    conditions = tuple(_condition(model, label, strength, *pair) for pair in words)
    if solver is None:
        guided = any(model.rows(condition) == 2 for condition in conditions)
        fitted = model if lambdas is None else None
        solver = default_solver(guidance=strength if guided else 1.0, model=fitted)
    model.check_threshold(solver.threshold)
    free = model.latents is not None or not model.shape
    if x_T is not None and free and size is None and frames is None:
        shape = tuple(x_T.shape[1:])
    else:
        shape = model.shape_for(size, frames)
    if not shape:
        raise ValueError(f"{model.name} has no shape of its own: wrap(…, shape=…), or x_T, says it")
    if lambdas is not None:
        lambdas = check_nodes(solver, lambdas)
    rows = {model.resolved(solver, cond) for cond in conditions} or {solver}
    if len(rows) > 1:
        raise ValueError('schedule "calibrated": these prompts need different tables; ask in turn')
    track = Track(
        rows.pop(),
        own,
        cond=conditions if model.conditional else None,
        lam_span=model.span_for(shape) if lambdas is None else None,
        lambdas=lambdas,
        start=x_T,
        restart=model.restart,
    )
    return Job(model.denoise, shape, (track,), device=model.device, record=False)


def _each(name: str, value: Any, seeds: tuple[int, ...]) -> list[Any]:
    """One for each seed of what is one for all, or a list."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(seeds)
    if len(value) != len(seeds):
        raise ValueError(f"{name} must be one for each of the {len(seeds)} seeds, not {len(value)}")
    return list(value)


def _condition(
    model: Model,
    label: str | Mapping[str, str] | None,
    guidance: float,
    prompt: Any,
    negative_prompt: str,
) -> Condition:
    if prompt is None or isinstance(prompt, str):
        return model.condition(label, guidance, prompt=prompt, negative_prompt=negative_prompt)
    own = model.prompted and model.vocabulary is None
    if not (own and hasattr(prompt, "positive")):
        raise ValueError(f"prompt must be text, or Embeddings of one's own, not {prompt!r:.60}")
    if negative_prompt:
        raise ValueError("negative_prompt: Embeddings bring their own negative; leave it empty")
    return replace(model.condition(label, guidance), payload=prompt)


def generate(
    model: Model,
    solver: Solver | None = None,
    seeds: Iterable[int] = (0,),
    label: str | Mapping[str, str] | None = None,
    guidance: float | None = None,
    *,
    prompt: str | Sequence[Any] | Any = None,
    negative_prompt: str | Sequence[str] = "",
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    output: Literal["pixels", "latent"] = "pixels",
    x_T: Tensor | None = None,
    lambdas: Sequence[float] | None = None,
    callback: Callable[[Frame], None] | None = None,
) -> Tensor:
    """Pictures (n, 3, h, w) or clips (n, 3, frames, h, w), float32 in about [-1, 1], one a seed.

    A `solver` of None is `default_solver(20, guidance, model)`.
    `prompt` and `negative_prompt` are texts, or lists of one a seed (a prompt may be `Embeddings`
    too); `size` is (height, width) in pixels. `guidance` is the model's own where it is None.
    `output="latent"` returns the samples before they are decoded. `x_T` is the variance-preserving
    state at the first node, and says the size of latents; `lambdas` are nodes of one's own (the
    first may be −∞ on a flow, the last ∞). `callback` gets every trajectory point (as `stream`
    yields them).

    Sample k depends on its own seed, not on its neighbours (to rounding). Runs in the calling
    thread. Raises ValueError for an unknown label or bad guidance, JobFailed if the network's
    answer is not finite.
    """
    if output not in ("pixels", "latent"):
        raise ValueError(f"output must be 'pixels' or 'latent', not {output!r:.60}")
    job = _job(
        model,
        solver,
        seeds,
        label,
        guidance,
        prompt=prompt,
        negative_prompt=negative_prompt,
        size=size,
        frames=frames,
        x_T=x_T,
        lambdas=lambdas,
    )
    samples = _samples(job, callback)
    return samples if output == "latent" else model.decode(samples.to(model.device)).cpu()


def serve(model: Model, **options: Any) -> Any:
    """The page of one's own model in a browser: `host=`, `port=`, `share=`, `auth=`, `wait=`."""
    from dpm_demo.ui.page import serve_model

    return serve_model(model, **options)


def _samples(job: Job, callback: Callable[[Frame], None] | None) -> Tensor:
    if callback is not None:
        rows: dict[int, Tensor] = {}
        for frame in engine.stream(job):
            if frame.final:
                rows.update(zip(frame.rows, frame.x.float().cpu(), strict=True))
            callback(frame)
        return torch.stack([rows[k] for k in sorted(rows)])
    return torch.from_numpy(engine.run_to_end(job).tracks[0].samples)


def stream(
    model: Model,
    solver: Solver | None = None,
    seeds: Iterable[int] = (0,),
    label: str | Mapping[str, str] | None = None,
    guidance: float | None = None,
    **asked: Any,
) -> Iterator[Frame]:
    """The same, one frame a trajectory point: `frame.nfe`, `.lam`, `.x`, `.x0`, `.rows`.

    `asked`: prompt, negative_prompt, size, frames, x_T, lambdas, as in `generate`.
    The last frame (`final`) holds the sample. Inner stages of singlestep methods are no points.
    """
    return engine.stream(_job(model, solver, seeds, label, guidance, **asked))
