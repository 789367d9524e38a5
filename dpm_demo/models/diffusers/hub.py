"""Other people's pretrained models: unconditional `UNet2DModel` pipelines in diffusers' format.

Configurations and safetensors are all that is read: no pickle, no code of the folder's, and no
pipeline class. (`convert.py` makes safetensors of pickled weights when the operator asks.)
A latent model would come in here too: its decoder belongs after the sampler, as one more field of
`Model` that media is made through; the solver would not change.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dpm_demo.models.denoiser import Denoiser, Target
from dpm_demo.models.device import processor_precision
from dpm_demo.models.diffusers.files import BUILDING, read_json, readable, reason, variant_of
from dpm_demo.models.diffusers.labels import LabelMap, schedule_lambdas
from dpm_demo.models.diffusers.offered import OFFERED, Offered
from dpm_demo.models.model import CheckpointError, Model

__all__ = [
    "OFFERED",
    "LabelMap",
    "Offered",
    "answering",
    "fetch_diffusers",
    "is_diffusers",
    "load_diffusers",
    "on_disk",
    "schedule_lambdas",
]


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
TARGETS: dict[str, Target] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "data"}
SIZES = (32, 256)
#: No single weights file above this is fetched, whoever asks.
MAX_DOWNLOAD = 2 * 2**30
_SECONDS = 3.0  # how long the hub may take to say whether it has a model
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


# --- a folder -------------------------------------------------------------------------------------


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
    scheduler = read_json(path, name)
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
    shape = _shape(config, scheduler, name)
    return Pipeline(name, folder, unet, path, shape, TARGETS[kind], lambdas)


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
    step = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else 8
    whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
    if not whole or not all(SIZES[0] <= s <= SIZES[1] and s % step == 0 for s in sides):
        raise refuse(f"its sample_size is {size!r}")
    return (3, sides[0], sides[1])


class _Plain(nn.Module):
    """A `UNet2DModel` as `network(x, label, None) -> prediction`, a learned variance left out."""

    def __init__(self, unet: Any, channels: int) -> None:
        super().__init__()
        self.unet: Any = unet
        self.channels = channels

    def forward(self, x: Tensor, label: Tensor, labels: None = None) -> Tensor:
        return self.unet(x, label, return_dict=False)[0][:, : self.channels]


def network_of(pipeline: Pipeline) -> _Plain:
    """The float32 network with its weights. Raises CheckpointError, one sentence, for any fault."""
    from diffusers import UNet2DModel

    name, path = pipeline.name, pipeline.weights
    parts = sorted(pipeline.unet.glob("*.safetensors"))
    if not parts:
        if pipeline.pickle.is_file():
            raise _pickled(name, pipeline.folder)
        raise CheckpointError(f"{name}: {WEIGHTS} is missing; fetch the folder again.")
    for part in parts:
        try:
            with safe_open(part, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{name}: {part.name} is truncated or damaged ({reason(error)}); fetch it again."
            ) from error
    variant = None if path.is_file() else variant_of(pipeline.unet, name)
    try:
        with BUILDING, readable(pipeline.unet) as where:
            unet, report = UNet2DModel.from_pretrained(
                str(where),
                variant=variant,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        odd = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
        if odd:
            raise ValueError(f"{len(odd)} weights too many or too few, such as {odd[0]}")
    except Exception as error:  # of a stranger's folder: whatever the library raises
        raise CheckpointError(
            f"{name}: weights and config.json do not fit each other ({reason(error)}); "
            "fetch both files again."
        ) from error
    unet = unet.float()
    for key, value in unet.state_dict().items():
        if not value.isfinite().all():
            raise CheckpointError(f"{name}: weight {key} is not finite; fetch {WEIGHTS} again.")
    return _Plain(unet, pipeline.shape[0])


def _pickled(name: str, folder: Path, revision: str | None = None) -> CheckpointError:
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


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def _digest(pipeline: Pipeline) -> str:
    parts = sorted(pipeline.unet.glob("*.safetensors"))
    if len(parts) == 1:
        return sha256(parts[0])[:16]
    return hashlib.sha256("".join(map(sha256, parts)).encode()).hexdigest()[:16]


def load_diffusers(
    folder_or_id: str | Path,
    device: str | torch.device = "cpu",
    allow_network: bool = False,
    revision: str | None = None,
    *,
    progress: Callable[[float], None] | None = None,
    max_bytes: int = MAX_DOWNLOAD,
) -> Model:
    """The model of an unconditional `UNet2DModel` pipeline: a local folder, or an id of the hub.

    Noise, velocity and data networks ("epsilon", "v_prediction", "sample"), any β schedule of the
    configuration, any number of labels; RGB of 32 to 256 pixels a side. `Model.lam_span` runs from
    λ of the last label, clipped at −5.1 (which matters for cosine), to λ of label 0; `LabelMap`
    gives the network the float label of whichever λ it is asked at, the clipped end included.

    An existing folder is read where it is. An id ("owner/name", or "hub:owner/name", which is never
    taken for a folder) is read from Hugging Face's cache, and fetched only with `allow_network`.
    `progress` is told the fraction fetched. Raises CheckpointError, one sentence, for any fault.
    """
    text = str(folder_or_id)
    if not text.startswith("hub:") and Path(text).is_dir():
        folder, name, title = Path(text), Path(text).resolve().name, Path(text).resolve().name
    else:
        folder = fetch_diffusers(
            text, allow_network, revision, progress=progress, max_bytes=max_bytes
        )
        ident = text.removeprefix("hub:")
        name = f"hub:{ident}"
        title = next((o.title for o in OFFERED if o.id == ident), ident)
    pipeline = read_pipeline(folder, name)
    where = torch.device(device)
    network = network_of(pipeline)
    network.to(where).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    labels = LabelMap(pipeline.lambdas, where)
    low, high = labels.span
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise CheckpointError(f"{name}: its noise schedule spans nothing; use another model.")
    exact = Denoiser(network, pipeline.target, (), "float32", labels)
    precision = processor_precision(where)
    quick = exact
    if precision != "float32":
        quick = Denoiser(network, pipeline.target, (), precision, labels)
    return Model(
        name=name,
        shape=pipeline.shape,
        lam_span=(low, high),
        denoise=quick,
        denoise_float32=exact,
        device=where,
        digest=_digest(pipeline),
        title=title,
    )


# --- the hub --------------------------------------------------------------------------------------


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
        raise _pickled(pipeline.name, folder, revision)
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


def pinned(ident: str) -> str | None:
    """The revision at which `OFFERED` names that id; None if it does not."""
    return next((model.revision for model in OFFERED if model.id == ident), None)


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
