"""What the hub has of a model, and how it comes into Hugging Face's cache, at a known revision."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpm_demo.models.diffusers.files import reason
from dpm_demo.models.diffusers.offered import Offered
from dpm_demo.models.diffusers.unconditional_folder import (
    CONFIGS,
    WEIGHT_FILES,
    read_pipeline,
    refusal_of_pickle,
)
from dpm_demo.models.model import CheckpointError

#: No single weights file above this is fetched unless who asks says another limit.
MAX_DOWNLOAD = 2 * 2**30
_SECONDS = 3.0  # how long the hub may take to say whether it has a model
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def fetch_diffusers(
    ident: str,
    allow_network: bool = False,
    revision: str | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    max_bytes: int = MAX_DOWNLOAD,
) -> Path:
    """The folder of a hub model in Hugging Face's cache, fetched into it with `allow_network`.

    The configurations come first: a pipeline that cannot be used is refused before its weights are
    fetched, and so are weights above `max_bytes`. No tensor is computed with. Raises
    CheckpointError, one sentence, for an id that is none, and for whatever is not to be had.
    """
    name = checked_id(ident)
    folder = snapshot(name, revision, CONFIGS, allow_network)
    if not allow_network:
        return folder
    pipeline = read_pipeline(folder, f"hub:{name}")
    wanted, pickled = pipeline.inside(pipeline.weights), pipeline.inside(pipeline.pickle)
    # where the hub does not say (a copy on disk may do), the download reports what is wrong
    files = listed(name, revision, (wanted, pickled)) or {}
    if pickled in files and wanted not in files:
        raise refusal_of_pickle(pipeline.name, folder, revision)
    if wanted in files:
        check_size(pipeline.name, files[wanted].size, max_bytes)
    return snapshot(name, revision, (*CONFIGS, wanted), True, progress)


def checked_id(ident: str) -> str:
    """ "owner/name" of an id, with or without "hub:". Raises CheckpointError for any other text."""
    name = ident.removeprefix("hub:")
    if not _ID.fullmatch(name) or ".." in name:
        raise CheckpointError(
            f'model: {name[:80]!r} is neither a folder nor a hub model\'s "owner/name".'
        )
    return name


def check_size(name: str, size: int, max_bytes: int) -> None:
    """Raises CheckpointError for a weights file above the limit."""
    if size > max_bytes:
        raise CheckpointError(
            f"{name}: its weights are {size / 1e6:.0f} MB, above the limit of "
            f"{max_bytes / 1e6:.0f} MB; use a smaller model."
        )


def snapshot(
    name: str,
    revision: str | None,
    files: Sequence[str],
    allow_network: bool,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """The folder of those files of a hub model. Raises CheckpointError for any failure."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(files),
                local_files_only=not allow_network,
                tqdm_class=_bar(progress or (lambda fraction: None)),
            )
        )
    except Exception as error:  # of the network: timeouts, HTTP, disk, each library's own
        if not allow_network:
            raise CheckpointError(
                f"hub:{name} is not on this machine, and nothing may be fetched from the network; "
                "use another model, or ask the operator for --allow-hub."
            ) from error
        raise CheckpointError(
            f"hub:{name} could not be fetched ({type(error).__name__}: {reason(error)}); "
            "check the name and the network, or use another model."
        ) from error


@dataclass(frozen=True)
class Listed:
    """What the hub says of a file; `sha256` is "" where it says none."""

    size: int
    sha256: str = ""


def listed(name: str, revision: str | None, files: Sequence[str]) -> dict[str, Listed] | None:
    """Those of the files that the hub has; None where it does not answer."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().get_paths_info(name, list(files), revision=revision)
    except Exception:  # of the network, whatever the library raises
        return None
    return {
        entry.path: Listed(int(entry.size), getattr(getattr(entry, "lfs", None), "sha256", ""))
        for entry in found
        if hasattr(entry, "size")  # a folder has none
    }


def _bar(report: Callable[[float], None]) -> type:
    """A silent progress bar class that reports the fraction of the bytes that were fetched."""
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # no thread of its own

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.unit == "B" and self.total:
                report(min(1.0, self.n / self.total))
            return shown

    return Bar


def on_disk(model: Offered) -> bool:
    """Whether a model's weights lie in Hugging Face's cache; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    return any(
        isinstance(try_to_load_from_cache(model.id, file, revision=model.revision), str)
        for file in WEIGHT_FILES
    )


def answering(models: Sequence[Offered], seconds: float = _SECONDS) -> frozenset[str]:
    """Ids of those models whose safetensors the hub says it has, asked all at once."""
    from huggingface_hub import HfApi

    def has(model: Offered) -> bool:
        try:
            info = HfApi().model_info(model.id, revision=model.revision, timeout=seconds)
        except Exception:  # no answer, no offer
            return False
        return any(file.rfilename in WEIGHT_FILES for file in info.siblings or ())

    if not models:
        return frozenset()
    with ThreadPoolExecutor(len(models), thread_name_prefix="hub") as pool:
        return frozenset(m.id for m, yes in zip(models, pool.map(has, models), strict=True) if yes)
