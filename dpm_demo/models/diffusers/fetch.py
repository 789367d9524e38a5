"""Any pipeline of the hub into Hugging Face's cache: refused before its weights, if at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dpm_demo.models.diffusers.files import read_json, reason
from dpm_demo.models.diffusers.hub import (
    MAX_DOWNLOAD,
    check_size,
    checked_id,
    fetch_diffusers,
    snapshot,
)
from dpm_demo.models.diffusers.registry import family_of, known_family
from dpm_demo.models.model import CheckpointError

#: Configurations and tokenizers; the weights of the parts, whole or in shards, never pickled.
TEXTS = ("model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.jinja")
WEIGHTS = ("diffusion_pytorch_model", "model")


def patterns(variant: str | None) -> tuple[str, ...]:
    """What is fetched of a pipeline: one variant of its weights, not all that there are."""
    kind = "" if variant is None else f".{variant}"
    shard = "-?????-of-?????"
    names = [f"*/{w}{end}.safetensors" for w in WEIGHTS for end in (kind, kind + shard)]
    return (*TEXTS, *names, *([] if variant is None else [f"*/*{shard}{kind}.safetensors"]))


def fetch_pipeline(
    ident: str,
    allow_network: bool = False,
    revision: str | None = None,
    *,
    variant: str | None = None,
    progress: Callable[[float], None] | None = None,
    max_bytes: int = MAX_DOWNLOAD,
) -> Path:
    """The folder of a hub model in the cache, fetched into it with `allow_network`.

    An unknown family is refused by its class, and weights above `max_bytes` by their size, before
    they are fetched. Raises CheckpointError, one sentence, for whatever is not to be had.
    """
    name = checked_id(ident)
    folder = snapshot(name, revision, ("model_index.json",), allow_network)
    if not known_family(folder):
        return fetch_diffusers(
            ident, allow_network, revision, progress=progress, max_bytes=max_bytes
        )
    index = read_json(folder / "model_index.json", f"hub:{name}")
    family_of(str(index.get("_class_name")), f"hub:{name}")
    if not allow_network:
        return folder
    wanted = patterns(variant)
    try:
        size = _size(name, revision, wanted)
    except CheckpointError:
        with suppress(CheckpointError):  # where the hub does not answer, the disk's copy will do
            return snapshot(name, revision, wanted, False)
        raise
    check_size(f"hub:{name}", size, max_bytes)
    return snapshot(name, revision, wanted, True, progress)


def _size(name: str, revision: str | None, wanted: tuple[str, ...]) -> int:
    """Bytes of the files of those patterns, as the hub says."""
    from fnmatch import fnmatch

    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    except Exception as error:  # of the network, whatever the library raises
        raise CheckpointError(
            f"hub:{name}: the hub does not say how large it is ({reason(error)}); try again."
        ) from error
    files = [s for s in info.siblings or () if any(fnmatch(s.rfilename, p) for p in wanted)]
    return sum(int(s.size or 0) for s in files)
