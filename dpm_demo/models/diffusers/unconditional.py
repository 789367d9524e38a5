"""Other people's pretrained models: unconditional `UNet2DModel` pipelines in diffusers' format.

Configurations and safetensors are all that is read: no pickle, no code of the folder's, and no
pipeline class. (`convert.py` makes safetensors of pickled weights when the operator asks.)
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dpm_demo.models.calibrated import FILE, load_fits, with_fits
from dpm_demo.models.denoiser import Denoiser, Target
from dpm_demo.models.device import processor_precision
from dpm_demo.models.diffusers.files import BUILDING, readable, reason, variant_of
from dpm_demo.models.diffusers.hub import MAX_DOWNLOAD, fetch_diffusers
from dpm_demo.models.diffusers.labels import LabelMap
from dpm_demo.models.diffusers.offered import OFFERED
from dpm_demo.models.diffusers.unconditional_folder import (
    WEIGHTS,
    Pipeline,
    described,
    read_pipeline,
    refusal_of_pickle,
)
from dpm_demo.models.graph import file_hash
from dpm_demo.models.model import CheckpointError, Model


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
            raise refusal_of_pickle(name, pipeline.folder)
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


def _digest(pipeline: Pipeline) -> str:
    parts = sorted(pipeline.unet.glob("*.safetensors"))
    if len(parts) == 1:
        return file_hash(parts[0])[:16]
    return hashlib.sha256("".join(map(file_hash, parts)).encode()).hexdigest()[:16]


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
    `progress` is told the fraction fetched. Solvers fitted to it are read from a folder, as with a
    checkpoint, and not from that cache. Raises CheckpointError, one sentence, for any fault.
    """
    text = str(folder_or_id)
    local = not text.startswith("hub:") and Path(text).is_dir()
    if local:
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
    said = pipeline.shape, pipeline.target, pipeline.lambdas
    model = _model(network, said, where, name, title, _digest(pipeline))
    return with_fits(model, load_fits(folder / FILE, model.digest)) if local else model


def model_of_object(pipe: Any, name: str) -> Model:
    """The model of an unconditional pipeline object: it shares a network of float32."""
    unet, scheduler = pipe.unet, pipe.scheduler
    config, settings = (
        {**part.config, "_class_name": type(part).__name__} for part in (unet, scheduler)
    )
    said = described(config, settings, name)
    if unet.dtype != torch.float32:
        unet = copy.deepcopy(unet).float()
    network = _Plain(unet, said[0][0]).eval().requires_grad_(False)
    return _model(network, said, torch.device(unet.device), name, name, "")


def _model(
    network: _Plain,
    said: tuple[tuple[int, ...], Target, np.ndarray],
    where: torch.device,
    name: str,
    title: str,
    digest: str,
) -> Model:
    shape, target, lambdas = said
    labels = LabelMap(lambdas, where)
    low, high = labels.span
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise CheckpointError(f"{name}: its noise schedule spans nothing; use another model.")
    exact = Denoiser(network, target, (), "float32", labels)
    precision = processor_precision(where)
    quick = exact
    if precision != "float32":
        quick = Denoiser(network, target, (), precision, labels)
    return Model(
        name=name,
        shape=shape,
        lam_span=(low, high),
        denoise=quick,
        denoise_float32=exact,
        device=where,
        digest=digest,
        title=title,
    )
