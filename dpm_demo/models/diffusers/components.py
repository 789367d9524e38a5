"""A pipeline's folder as a pipeline object of diffusers: whole, in parts, sharded, in a variant.

Configurations and safetensors are all that is read: no pickle, no code of the folder's. Text
encoders are left out until a prompt needs them.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from dpm_demo.models.diffusers.files import BUILDING, read_json, readable, reason, variant_of
from dpm_demo.models.model import CheckpointError

UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
_LIBRARIES = ("diffusers", "transformers")


def build(
    folder: Path, name: str, encoders: tuple[str, ...], *, dtype: torch.dtype, variant: str | None
) -> Any:
    """The pipeline object with all components that are there, `encoders` left out."""
    import diffusers

    index = read_json(folder / "model_index.json", name)
    pipeline = getattr(diffusers, index["_class_name"], None)
    if pipeline is None:
        raise CheckpointError(
            f"{name}: this diffusers ({diffusers.__version__}) has no {index['_class_name']}; "
            "a newer one has it (pip install -U diffusers)."
        )
    takes = inspect.signature(pipeline.__init__).parameters
    given: dict[str, Any] = {}
    for part, value in index.items():
        if part not in takes:
            continue
        if not isinstance(value, list):
            given[part] = value
        elif part in encoders or part in UNUSED or not (folder / part).is_dir():
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
            f"{name}: a prompt needs {library}; pip install 'transformers>=4.45'."
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
        kept = library == "diffusers" and getattr(made, "_keep_in_fp32_modules", None)
        if kept and not find_spec("accelerate"):  # without it diffusers cannot load such a network
            raise CheckpointError(
                f"{name}: {part} needs accelerate; pip install 'accelerate>=0.31'."
            )
    try:
        with BUILDING, readable(folder / part) as where:
            found = made.from_pretrained(str(where), **settings)
    except Exception as error:  # of a stranger's folder: whatever the library raises
        raise CheckpointError(
            f"{name}: {part}/ cannot be read ({reason(error)}); fetch it again."
        ) from error
    if isinstance(found, torch.nn.Module):
        found = found.eval().requires_grad_(False)
        # without accelerate diffusers leaves buffers in float32
        found = found if library != "diffusers" or kept else found.to(dtype)
    return found


def encoder_loader(
    folder: Path,
    name: str,
    encoders: tuple[str, ...],
    dtype: torch.dtype,
    place: Callable[[torch.nn.Module], Any],
) -> Any:
    """A function that loads those `encoders` that a pipeline object does not have.

    `place` is told of each, to bring it where it computes.
    """
    index = read_json(folder / "model_index.json", name)

    def load(pipe: Any) -> None:
        for part in encoders:
            value = index.get(part)
            if getattr(pipe, part, None) is None and value and value[0] and value[1]:
                found = component(folder, part, value, name, dtype=dtype)
                if isinstance(found, torch.nn.Module):
                    place(found)
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
