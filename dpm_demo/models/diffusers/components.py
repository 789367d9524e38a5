"""A pipeline's folder as a pipeline object of diffusers: whole, in parts, sharded, in a variant.

Configurations and safetensors are all that is read: no pickle, no code of the folder's. Text
encoders are left out until a prompt needs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dpm_demo.models.diffusers.hub import _BUILDING, reason
from dpm_demo.models.model import CheckpointError

__all__ = ["build", "digest", "encoder_loader", "read_json", "refuse_bare_network", "variant_of"]

_UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
_LIBRARIES = ("diffusers", "transformers")


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A configuration, with or without a byte order mark. Raises CheckpointError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name}: {path.name} is missing or not readable ({type(error).__name__}); "
            "fetch the folder again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: {path.name} holds no settings; fetch the folder again.")
    return content


def variant_of(folder: Path, name: str, asked: str | None = None) -> str | None:
    """The variant ("fp16") of the weights in a component's folder; None for plain ones.

    Plain weights come first, then a variant that is there alone. Raises CheckpointError where
    there are no safetensors, or not of the variant `asked` for.
    """
    found = {
        parts[1] if len(parts := path.name.removesuffix(".safetensors").split(".")) > 1 else None
        for path in folder.glob("*.safetensors")
    }
    found = {None if v is None or "-of-" in v else v.split("-")[0] for v in found}
    if asked in found or (asked is None and len(found) == 1):
        return asked if asked in found else next(iter(found))
    if not found:
        pickled = any(folder.glob("*.bin"))
        raise CheckpointError(
            f"{name}: {folder.name}/ has no safetensors"
            + (", only pickled weights (.bin), which can run code and are not read" * pickled)
            + "; fetch the folder again with its .safetensors files."
        )
    there = ", ".join(sorted(v or "none" for v in found))
    raise CheckpointError(
        f'{name}: {folder.name}/ has weights of the variants {there}; say variant="…" for one.'
    )


def build(
    folder: Path, name: str, encoders: tuple[str, ...], *, dtype: torch.dtype, variant: str | None
) -> Any:
    """The pipeline object with all components that are there, `encoders` left out."""
    import diffusers

    index = read_json(folder / "model_index.json", name)
    pipeline = getattr(diffusers, index["_class_name"])
    takes = inspect.signature(pipeline.__init__).parameters
    given: dict[str, Any] = {}
    for part, value in index.items():
        if part not in takes:
            continue
        if not isinstance(value, list):
            given[part] = value
        elif part in encoders or part in _UNUSED or not (folder / part).is_dir():
            given[part] = None
        else:
            given[part] = component(folder, part, value, name, dtype=dtype, variant=variant)
    for part, parameter in takes.items():
        if part not in given and part != "self" and parameter.default is inspect.Parameter.empty:
            given[part] = None
    if "requires_safety_checker" in takes:
        given["requires_safety_checker"] = False
    try:
        return pipeline(**given)
    except Exception as error:  # of a stranger's folder: whatever the library raises
        absent = ", ".join(k for k, v in given.items() if v is None and k not in encoders)
        raise CheckpointError(
            f"{name}: {index['_class_name']} cannot be made of what is in the folder "
            f"({reason(error)}; missing: {absent or 'nothing'}); fetch it again."
        ) from error


def component(
    folder: Path,
    part: str,
    value: list[Any],
    name: str,
    *,
    dtype: torch.dtype,
    variant: str | None = None,
) -> Any:
    """One component, built by the class that the index names. Raises CheckpointError."""
    library, kind = value[0], value[1]
    if not library or not kind:
        return None
    if str(library).startswith("dpm_demo.") and kind == "DPMScheduler":
        library = "dpm_demo"
    elif library not in _LIBRARIES:
        raise CheckpointError(f"{name}: {part} is of {library!s:.40}, whose code is not run here.")
    try:
        home = importlib.import_module(library)
    except ImportError as error:
        raise CheckpointError(
            f"{name}: a prompt needs {library}; pip install 'dpm-demo[text-to-image]'."
        ) from error
    made = getattr(home, str(kind), None)
    if made is None:
        raise CheckpointError(f"{name}: {part} is a {kind!s:.60}, unknown to {library}.")
    if not (folder / part).is_dir():
        raise CheckpointError(
            f"{name}: {part}/ is missing; fetch the folder again, or pass embeddings of your own "
            "(`prompt=Embeddings(...)`)."
        )
    settings: dict[str, Any] = {"local_files_only": True}
    if isinstance(made, type) and issubclass(made, torch.nn.Module):
        settings |= {"use_safetensors": True, "torch_dtype": dtype}
        settings["variant"] = variant_of(folder / part, name, variant)
    try:
        with _BUILDING, _readable(folder / part) as where:
            found = made.from_pretrained(str(where), **settings)
    except Exception as error:  # of a stranger's folder: whatever the library raises
        raise CheckpointError(
            f"{name}: {part}/ cannot be read ({reason(error)}); fetch it again."
        ) from error
    if isinstance(found, torch.nn.Module):
        found = found.to(dtype).eval().requires_grad_(False)
    return found


def encoder_loader(folder: Path, name: str, encoders: tuple[str, ...], dtype: torch.dtype) -> Any:
    """A function that loads those `encoders` that a pipeline object does not have."""
    index = read_json(folder / "model_index.json", name)

    def load(pipe: Any) -> None:
        for part in encoders:
            value = index.get(part)
            if getattr(pipe, part, None) is None and value and value[0] and value[1]:
                found = component(folder, part, value, name, dtype=dtype)
                if isinstance(found, torch.nn.Module):
                    found = found.to(_device_of(pipe))
                pipe.register_modules(**{part: found})

    return load


def refuse_bare_network(folder: Path) -> None:
    """Raises CheckpointError for a network's folder without its pipeline, saying what to do."""
    config = read_json(folder / "config.json", folder.name)
    kind = str(config.get("_class_name", ""))
    if "network" in config or not kind:
        return
    raise CheckpointError(
        f"{folder.name}: it is a bare {kind[:60]} without its pipeline: load the folder above it, "
        f"or `dpm.wrap(diffusers.{kind[:60]}.from_pretrained(folder), kind=…, betas=…)`."
    )


def digest(folder: Path) -> str:
    """Sixteen digits that name the weights: of each file its size, its first and last 64 KiB.

    An approximation of a hash of all of it, which takes seconds a gigabyte.
    """
    found = hashlib.sha256()
    for path in sorted(folder.glob("*/*.safetensors")):
        with path.open("rb") as file:
            size = path.stat().st_size
            found.update(f"{path.relative_to(folder).as_posix()} {size}".encode())
            found.update(file.read(2**16))
            file.seek(max(0, size - 2**16))
            found.update(file.read(2**16))
    return found.hexdigest()[:16]


def _device_of(pipe: Any) -> torch.device:
    network = getattr(pipe, "unet", None) or pipe.transformer
    return network.device


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[Path]:
    """The folder, or a likeness of it by links whose JSON has lost its byte order marks."""
    marked = [p for p in folder.glob("*.json") if p.read_bytes()[:3] == b"\xef\xbb\xbf"]
    if not marked:
        yield folder
        return
    with tempfile.TemporaryDirectory() as room:
        for path in folder.iterdir():
            if path in marked:
                Path(room, path.name).write_text(path.read_text("utf-8-sig"), encoding="utf-8")
            else:
                os.symlink(path.resolve(), Path(room, path.name))
        yield Path(room)
