"""Checkpoint folders: `config.json` beside `model.safetensors`, and nothing that can run code."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpm_demo.media.files import replacing, write_text
from dpm_demo.models.calibrated import FILE, load_fits
from dpm_demo.models.denoiser import TARGETS, Denoiser, Target
from dpm_demo.models.device import processor_precision
from dpm_demo.models.graph import GRAPH
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.models.runtime import Runtime, quickest
from dpm_demo.models.unet import UNet, UNet3D
from dpm_demo.models.words import Vocabulary

_PACKAGE = Path(__file__).resolve().parents[1]
#: Beside the package in a clone, inside it where it was installed from a wheel.
CHECKPOINTS = next(
    (
        folder / "checkpoints"
        for folder in (_PACKAGE, _PACKAGE.parent)
        if (folder / "checkpoints").is_dir()
    ),
    _PACKAGE.parent / "checkpoints",
)
NETWORKS: dict[str, type[UNet]] = {"UNet": UNet, "UNet3D": UNet3D}
LAM_MIN, LAM_MAX = -5.0, 4.6


def save_checkpoint(
    folder: Path,
    network: UNet,
    *,
    target: Target,
    shape: tuple[int, ...],
    labels: Mapping[str, tuple[str, ...]],
    trained: Mapping[str, Any] | None = None,
    lam_span: tuple[float, float] = (LAM_MIN, LAM_MAX),
    vocabulary: Vocabulary | None = None,
) -> None:
    """Writes `config.json` and `model.safetensors` (16-bit), each by an atomic rename.

    A `graph.onnx` and a `calibrated.json` of other weights are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "network": type(network).__name__,
        "arguments": network.config,
        "target": target,
        "shape": list(shape),
        "labels": {axis: list(names) for axis, names in labels.items()},
        "lam_min": lam_span[0],
        "lam_max": lam_span[1],
        "trained": dict(trained or {}),
    }
    if vocabulary is not None:
        config["vocabulary"] = {"slots": vocabulary.slots, "words": " ".join(vocabulary.words)}
    weights = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    with replacing(folder / "model.safetensors") as part:
        save_file(weights, part)
        before = folder / "model.safetensors"
        if not before.exists() or _digest(part) != _digest(before):
            for made_of_them in (GRAPH, FILE):
                (folder / made_of_them).unlink(missing_ok=True)
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """The checked `config.json` of a checkpoint folder. Raises CheckpointError."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8-sig"))
        low, high = float(config["lam_min"]), float(config["lam_max"])
        known = config["network"] in NETWORKS and config["target"] in TARGETS
        shape = [int(s) for s in config["shape"]]
        labels = {str(a): [str(n) for n in names] for a, names in config["labels"].items()}
        told = config.get("vocabulary")
        words = told and Vocabulary(tuple(str(told["words"]).split()), int(told["slots"]))
        if len(words.words if words else ()) != config["arguments"].get("words", 0):
            raise ValueError("its vocabulary is not the network's")
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{folder.name}: config.json is missing or not readable ({type(error).__name__}: "
            f"{str(error)[:120]}); fetch the folder again."
        ) from error
    if not known or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise CheckpointError(
            f"{folder.name}: config.json names an unknown network or target, or an empty lam span; "
            "fetch the folder again."
        )
    return {**config, "shape": shape, "labels": labels, "vocabulary": words}


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The finite float32 weights of a folder; safetensors only. Raises CheckpointError."""
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        others = sorted(
            p.name
            for p in folder.glob("*")
            if p.suffix in (".safetensors", ".bin", ".pt", ".ckpt") and p != path
        )
        there = f" (there is {', '.join(others)[:80]}, which is not read)" if others else ""
        raise CheckpointError(
            f"{folder.name}: model.safetensors is missing{there}; fetch the folder again, or save "
            "the weights as one file of that name."
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{folder.name}: model.safetensors is truncated or damaged ({error}); "
            "fetch the file again."
        ) from error
    for key, value in weights.items():
        if not value.isfinite().all():
            raise CheckpointError(
                f"{folder.name}: weight {key} is not finite; fetch the file again or train anew."
            )
    return {k: v.float() for k, v in weights.items()}


def weights_digest(folder: Path) -> str:
    """Tells the weights of a folder from others. Raises CheckpointError where they are missing."""
    try:
        return _digest(folder / "model.safetensors")
    except OSError as error:
        raise CheckpointError(
            f"{folder.name}: model.safetensors cannot be read ({error.strerror})."
        ) from error


def _digest(weights: Path) -> str:
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def load_network(folder: Path, device: str | torch.device = "cpu") -> UNet:
    """The network in a checkpoint folder, frozen. Raises CheckpointError, one sentence."""
    config, weights = read_config(folder), load_weights(folder)
    try:
        network = NETWORKS[config["network"]](**config["arguments"])
        network.load_state_dict(weights)
        channels, *sides = config["shape"]
        axes = 3 if isinstance(network, UNet3D) else 2
        if channels != network.config["channels"] or len(sides) != axes or min(sides) < 1:
            raise ValueError(f"samples of {config['shape']} are none of this network's")
        if any(side % network.multiple for side in sides[-2:]):
            raise ValueError(f"sides must be multiples of {network.multiple}, not {sides[-2:]}")
        if list(network.config["axes"]) != [len(names) for names in config["labels"].values()]:
            raise ValueError("the labels are not the network's")
    except (TypeError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{folder.name}: weights and config.json do not fit each other ({reason}); "
            "fetch both files again."
        ) from error
    network.to(torch.device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def load_checkpoint(
    folder: Path, device: str | torch.device = "cpu", runtime: Runtime = "auto"
) -> Model:
    """The model in a checkpoint folder, computed by `runtime` (dpm_demo.models.runtime).

    Raises CheckpointError, one sentence, for any fault.
    """
    config, network = read_config(folder), load_network(folder, device)
    where = torch.device(device)
    shape, target = tuple(config["shape"]), config["target"]
    vocabulary: Vocabulary | None = config["vocabulary"]
    axes = tuple(len(names) for names in config["labels"].values())
    axes += vocabulary.sizes if vocabulary is not None else ()
    both = quickest(folder, network, shape, axes, runtime) if where.type == "cpu" else None
    exact = Denoiser(network if both is None else both, target, axes)
    # where ONNX Runtime computes, float32 is the quick precision too
    precision = processor_precision(where) if both is None else "float32"
    quick = exact if precision == "float32" else Denoiser(network, target, axes, precision)
    digest = weights_digest(folder)
    return Model(
        name=folder.name,
        shape=shape,
        lam_span=(float(config["lam_min"]), float(config["lam_max"])),
        denoise=quick,
        denoise_float32=exact,
        device=where,
        labels={axis: tuple(names) for axis, names in config["labels"].items()},
        digest=digest,
        fits=load_fits(folder / FILE, digest),
        title=str(config.get("title", folder.name)),
        prompted=vocabulary is not None,
        vocabulary=vocabulary,
        runtime=str(both) if both is not None else f"torch ({precision})",
    )


def list_checkpoints(root: Path = CHECKPOINTS) -> list[str]:
    """Names of the folders in `root` that hold a sampling model, whole or not."""
    return [path.parent.name for path in sorted(root.glob("*/config.json"))]


def list_folders(root: Path = CHECKPOINTS) -> list[str]:
    """Names of those, and of the pipelines in diffusers' format beside them."""
    pipelines = {path.parent.name for path in root.glob("*/model_index.json")}
    return sorted(pipelines.union(list_checkpoints(root)))


def folder_of(name: str, root: Path = CHECKPOINTS) -> Path:
    """The folder that a model's name means: one in `root`, else the path that it is."""
    return root / name if name in list_folders(root) else Path(name)
