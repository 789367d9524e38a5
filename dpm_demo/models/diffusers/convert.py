"""Pickled weights of other people's pipelines made into safetensors, once, by the operator.

The one place that opens a pickle, and only with torch's restricted unpickler, which builds tensors
and plain containers and calls nothing else. The page and `dpm.load` never come here.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dpm_demo.media.files import plain_modes
from dpm_demo.models.diffusers.files import reason
from dpm_demo.models.diffusers.hub import MAX_DOWNLOAD, check_size, checked_id, listed, snapshot
from dpm_demo.models.diffusers.offered import OFFERED, pinned
from dpm_demo.models.diffusers.unconditional import network_of
from dpm_demo.models.diffusers.unconditional_folder import (
    CONFIGS,
    WEIGHTS,
    Pipeline,
    read_pipeline,
)
from dpm_demo.models.graph import file_hash
from dpm_demo.models.model import CheckpointError


def convert(
    source: str | Path,
    out: str | Path,
    revision: str | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    max_bytes: int = MAX_DOWNLOAD,
) -> Path:
    """Writes the folder `out` with the pipeline of `source`, its weights as float32 safetensors.

    `source` is a folder in diffusers' format or an id of the hub ("owner/name"), fetched at
    `revision`; without one, an id of `offered.OFFERED` is fetched at the revision that is pinned
    there, and any other at the newest. `progress` is told the fraction fetched. `out` must not
    exist or be empty, and appears whole or not at all. The scheduler's configuration is copied
    as it is. Raises CheckpointError, one sentence, for a source that cannot be had or used, for a
    pickle that is truncated or holds anything but tensors, and for weights that do not fit.
    """
    folder = Path(out)
    _check_free(folder)
    text = str(source)
    if not text.startswith("hub:") and Path(text).is_dir():
        if revision is not None:
            raise CheckpointError(f"revision: {revision!r:.60} means nothing for a folder.")
        pipeline = read_pipeline(Path(text), Path(text).resolve().name)
        _check_weights(pipeline, pipeline.pickle.is_file(), pipeline.weights.is_file())
        origin = pipeline.name
    else:
        ident = checked_id(text)
        revision = revision or pinned(ident)
        pipeline = _fetched(ident, revision, progress, max_bytes)
        origin = f"{ident}, revision {revision or 'main'}"
    weights = _tensors(pipeline)
    try:
        _write(pipeline, weights, folder, origin)
    except OSError as error:
        raise CheckpointError(
            f"out: {str(folder)!r:.120} could not be written ({reason(error)}); name another."
        ) from error
    return folder


def _check_free(folder: Path) -> None:
    try:
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise CheckpointError(
            f"out: {str(folder)!r:.120} cannot be looked into ({reason(error)}); name another."
        ) from error
    if taken:
        raise CheckpointError(
            f"out: {str(folder)!r:.120} exists already and is not an empty folder; name another."
        )


def _check_weights(pipeline: Pipeline, pickled: bool, safe: bool) -> None:
    if safe:
        raise CheckpointError(
            f"{pipeline.name}: it has safetensors and nothing to convert; load it as it is."
        )
    if not pickled:
        raise CheckpointError(
            f"{pipeline.name}: it has no weights ({pipeline.inside(pipeline.pickle)} is missing); "
            "check the source and its revision."
        )


def _fetched(
    ident: str,
    revision: str | None,
    progress: Callable[[float], None] | None,
    max_bytes: int,
) -> Pipeline:
    """The pipeline with its pickled weights in Hugging Face's cache, their sum checked."""
    name = f"hub:{ident}"
    folder = snapshot(ident, revision, CONFIGS, True)
    pipeline = read_pipeline(folder, name)
    pickled, safe = pipeline.inside(pipeline.pickle), pipeline.inside(pipeline.weights)
    files = listed(ident, revision, (pickled, safe))
    sums = {o.pickle_sha256 for o in OFFERED if (o.id, o.revision) == (ident, revision)}
    if files is not None:
        _check_weights(pipeline, pickled in files, safe in files)
        check_size(name, files[pickled].size, max_bytes)
        sums.add(files[pickled].sha256)
    folder = snapshot(ident, revision, (*CONFIGS, pickled), True, progress)
    pipeline = read_pipeline(folder, name)
    if not pipeline.pickle.is_file():  # from a cache that has no more, as the hub did not answer
        raise CheckpointError(f"{name}: {pickled} could not be fetched; check the network.")
    if (wanted := sums - {""}) and wanted != {file_hash(pipeline.pickle)}:
        raise CheckpointError(
            f"{name}: {pickled} is not the file that is expected (another SHA-256); remove it "
            "from Hugging Face's cache and fetch it again."
        )
    return pipeline


def _tensors(pipeline: Pipeline) -> dict[str, Tensor]:
    """The weights in the pickle, by the restricted unpickler. Raises CheckpointError."""
    name, path = pipeline.name, pipeline.pickle
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise _damaged(pipeline) from error
        raise CheckpointError(
            f"{name}: {path.name} would run {found[1][:80]}, and nothing but tensors is read from "
            "a pickle; do not use this file."
        ) from error
    except Exception as error:  # whatever the reader of a stranger's file raises
        raise _damaged(pipeline) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided
        for key, value in content.items()
    ):
        raise CheckpointError(
            f"{name}: {path.name} is not one flat table of named weights; convert another model."
        )
    # a stride of 0 makes a terabyte of a few bytes
    if sum(t.numel() * t.element_size() for t in content.values()) > path.stat().st_size:
        raise CheckpointError(
            f"{name}: {path.name} claims more weights than it holds; do not use this file."
        )
    # clones, as safetensors takes no two that share memory
    return {
        key: value.detach().clone(memory_format=torch.contiguous_format)
        for key, value in content.items()
    }


def _damaged(pipeline: Pipeline) -> CheckpointError:
    # torch's own words advise to read the file without the restriction
    return CheckpointError(
        f"{pipeline.name}: {pipeline.pickle.name} is truncated, damaged or no file of torch's; "
        "fetch it again."
    )


def _write(pipeline: Pipeline, weights: dict[str, Tensor], out: Path, origin: str) -> None:
    """The whole folder beside its place, and then moved there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    # two levels deep, so that a page whose checkpoints these are lists nothing half made
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as stage:
        raw, whole = Path(stage, "raw"), Path(stage, "whole")
        raw.mkdir()
        shutil.copyfile(pipeline.unet / "config.json", raw / "config.json")
        save_file(weights, raw / WEIGHTS, metadata={"format": "pt"})
        # diffusers reads and writes, so that the names of old attention layers become today's;
        # what does not fit its configuration is refused as it is in any folder
        unet = network_of(replace(pipeline, unet=raw)).unet
        unet.save_pretrained(whole / "unet", safe_serialization=True)
        (whole / "scheduler").mkdir()
        shutil.copyfile(pipeline.scheduler, whole / "scheduler" / pipeline.scheduler.name)
        shutil.copyfile(pipeline.folder / "model_index.json", whole / "model_index.json")
        config = whole / "unet" / "config.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)  # a folder that is about to go
        config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (whole / "README.md").write_text(
            f"Converted with `python -m dpm_demo convert` from {origin}: the weights of "
            f"`{pipeline.pickle.name}` (SHA-256 {file_hash(pipeline.pickle)}) in float32. "
            "The licence is that of the source.\n",
            encoding="utf-8",
        )
        plain_modes(whole)
        if out.exists():
            out.rmdir()
        whole.rename(out)
