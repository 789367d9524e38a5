"""Files of other people's folders: JSON with a mark before it, variants and shards of weights."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpm_demo.models.model import CheckpointError

# diffusers patches torch.nn.init while it builds a network: two at a time would leave it patched
BUILDING = threading.Lock()


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


def reason(error: BaseException) -> str:
    """The first line of an error, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0][:160] if lines else type(error).__name__).rstrip(" .;:")


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[Path]:
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
