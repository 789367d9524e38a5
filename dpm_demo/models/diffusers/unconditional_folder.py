"""What the configurations of an unconditional pipeline's folder say; its weights are not read."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpm_demo.models.denoiser import Target
from dpm_demo.models.diffusers.files import read_json
from dpm_demo.models.diffusers.labels import LabelMap, schedule_lambdas
from dpm_demo.models.diffusers.offered import pinned
from dpm_demo.models.diffusers.paths import TARGETS
from dpm_demo.models.model import CheckpointError

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLE = "diffusion_pytorch_model.bin"
#: A pipeline's files: parts in folders of their own, or (the oldest uploads) all in one.
CONFIGS = (
    "model_index.json",
    "unet/config.json",
    "config.json",
    "scheduler/scheduler_config.json",
    "scheduler_config.json",
)
WEIGHT_FILES = (f"unet/{WEIGHTS}", WEIGHTS)
SIZES = (32, 256)


@dataclass(frozen=True)
class Pipeline:
    """What a folder's configurations say, checked; its weights have not been looked at."""

    name: str
    folder: Path
    unet: Path
    scheduler: Path
    shape: tuple[int, ...]
    target: Target
    lambdas: np.ndarray

    @property
    def weights(self) -> Path:
        return self.unet / WEIGHTS

    @property
    def pickle(self) -> Path:
        return self.unet / PICKLE

    def inside(self, path: Path) -> str:
        """A file's name as the hub and `allow_patterns` write it."""
        return path.relative_to(self.folder).as_posix()


def is_diffusers(folder: Path) -> bool:
    """Whether a folder is a pipeline in diffusers' format, whole or not."""
    return (folder / "model_index.json").is_file() or (folder / "unet").is_dir()


def _index(folder: Path, name: str) -> dict[str, Any]:
    """`model_index.json`; where it is absent beside a network, what the network's own says."""
    if not (folder / "model_index.json").exists() and (folder / "unet" / "config.json").is_file():
        kind = read_json(folder / "unet" / "config.json", name).get("_class_name")
        return {"_class_name": "its folder", "unet": ["diffusers", kind]}
    return read_json(folder / "model_index.json", name)


def read_pipeline(folder: Path, name: str) -> Pipeline:
    """The checked configuration of a pipeline's folder. Raises CheckpointError, one sentence."""
    index = _index(folder, name)
    parts = {
        key: value[1]
        for key, value in index.items()
        if not key.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1]
    }
    others = sorted(set(parts) - {"unet", "scheduler"})
    if others or parts.get("unet") != "UNet2DModel":
        found = f"has {', '.join(others)}" if others else f"has a {parts.get('unet')} network"
        raise CheckpointError(
            f"{name}: {index.get('_class_name')} {found}, so it is a latent or conditional "
            "pipeline; only unconditional UNet2DModel pipelines (DDPM, DDIM) can be used."
        )
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    config = read_json(unet / "config.json", name)
    inner = folder / "scheduler"
    path = (inner if inner.is_dir() else folder) / "scheduler_config.json"
    return Pipeline(name, folder, unet, path, *described(config, read_json(path, name), name))


def described(
    config: dict[str, Any], scheduler: dict[str, Any], name: str
) -> tuple[tuple[int, ...], Target, np.ndarray]:
    """Shape, target and λ that a network's and a scheduler's configurations say, checked."""
    kind = scheduler.get("prediction_type")
    if kind is None:  # before diffusers 0.10
        kind = "epsilon" if scheduler.get("predict_epsilon", True) else "sample"
    if kind not in TARGETS:
        raise CheckpointError(
            f"{name}: prediction_type {kind!r} is not one of {', '.join(TARGETS)}; "
            "use another model."
        )
    try:
        lambdas = schedule_lambdas(scheduler)
        LabelMap(lambdas)
    except ValueError as error:
        raise CheckpointError(
            f"{name}: the noise schedule cannot be used ({error}); "
            "use a model of a variance-preserving schedule with discrete labels."
        ) from error
    return _shape(config, scheduler, name), TARGETS[kind], lambdas


def _shape(config: dict[str, Any], scheduler: dict[str, Any], name: str) -> tuple[int, int, int]:
    """(3, h, w) of an unconditional network over pixels. Raises CheckpointError for any other."""

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(
            f"{name}: {what}; only unconditional UNet2DModel networks over RGB pictures of "
            f"{SIZES[0]} to {SIZES[1]} pixels a side can be used."
        )

    if config.get("_class_name") != "UNet2DModel":
        raise refuse(f"its network is a {config.get('_class_name')}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise refuse("its network is class-conditional")
    if config.get("time_embedding_type", "positional") != "positional":
        # fourier: a σ instead of a label; learned: a table with nothing between whole labels
        raise refuse(f"its time embedding is {config['time_embedding_type']!r}, not positional")
    channels, given = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels != 3:
        raise refuse(f"its network has {channels!r} input channels")
    learned = scheduler.get("variance_type") in ("learned", "learned_range")
    if given != 3 * (1 + learned):
        raise refuse(f"its network has {given!r} output channels")
    size = config.get("sample_size")
    sides: list[Any] = list(size) if isinstance(size, (list, tuple)) else [size, size]
    blocks = config.get("block_out_channels")
    step = 2 ** (len(blocks) - 1) if isinstance(blocks, (list, tuple)) and blocks else 8
    whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
    if not whole or not all(SIZES[0] <= s <= SIZES[1] and s % step == 0 for s in sides):
        raise refuse(f"its sample_size is {size!r}")
    return (3, sides[0], sides[1])


def refusal_of_pickle(name: str, folder: Path, revision: str | None = None) -> CheckpointError:
    """The refusal of pickled weights, with the command that makes safetensors of them."""
    if name.startswith("hub:"):
        source = name.removeprefix("hub:")
        out = source.split("/")[1]
        if revision not in (None, pinned(source)):
            out += f" --revision {revision}"
    else:
        # as short as it can be typed; the page need not show where the operator keeps things
        near = folder.resolve().is_relative_to(Path.cwd())
        source = shlex.quote(os.path.relpath(folder) if near else str(folder))
        out = shlex.quote(f"{name}-safetensors")
    return CheckpointError(
        f"{name}: its weights are pickled (.bin), which can run code, and are not read; "
        f"`python -m dpm_demo convert {source} --out checkpoints/{out}` makes safetensors of them."
    )
