"""Which family a pipeline belongs to, and the model it becomes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dpm_demo.models.diffusers.components import build, component, digest, encoder_loader
from dpm_demo.models.diffusers.dit import DiT
from dpm_demo.models.diffusers.family import Family
from dpm_demo.models.diffusers.files import read_json
from dpm_demo.models.diffusers.flux import Flux
from dpm_demo.models.diffusers.guided import GuidedDenoiser
from dpm_demo.models.diffusers.hub import checked_id
from dpm_demo.models.diffusers.pixart import PixArt
from dpm_demo.models.diffusers.sd3 import StableDiffusion3
from dpm_demo.models.diffusers.stable_diffusion import StableDiffusion, StableDiffusionXL
from dpm_demo.models.diffusers.text_to_video import AnimateDiff, TextToVideo
from dpm_demo.models.diffusers.unconditional import load_diffusers, model_of_object
from dpm_demo.models.diffusers.wan import Wan
from dpm_demo.models.diffusers.z_image import ZImage
from dpm_demo.models.memory import bytes_of_folder
from dpm_demo.models.model import CheckpointError, Model

if TYPE_CHECKING:
    from dpm_demo.models.diffusers.offload import Turns


FAMILIES: tuple[type[Family], ...] = (
    StableDiffusion,
    StableDiffusionXL,
    TextToVideo,
    AnimateDiff,
    DiT,
    StableDiffusion3,
    Flux,
    ZImage,
    Wan,
    PixArt,
)
_OWN = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline")
TINY = ("taesd", "tiny_vae", "vae_tiny")


def family_of(class_name: str, name: str) -> type[Family]:
    """The family of a pipeline's class. Raises CheckpointError, naming those that are known."""
    for family in FAMILIES:
        if class_name in family.pipelines:
            return family
    known = ", ".join(p for family in FAMILIES for p in family.pipelines)
    raise CheckpointError(
        f"{name}: {class_name[:60]} is of no family that is known here ({known}; and "
        "unconditional DDPMPipeline, DDIMPipeline); use one of those, or `dpm.wrap(network, …)`."
    )


def known_family(folder: Path) -> bool:
    """Whether a folder's pipeline is for `load_family`: anything but an unconditional UNet2D."""
    if not (folder / "model_index.json").is_file():
        return False
    try:
        index = read_json(folder / "model_index.json", folder.name)
    except CheckpointError:
        return False
    unet = index.get("unet")
    plain = isinstance(unet, list) and len(unet) == 2 and unet[1] == "UNet2DModel"
    return not plain and index.get("_class_name") not in _OWN


def load_folder(folder: Path, device: torch.device, **options: Any) -> Model:
    """Any pipeline of diffusers in a folder, unconditional ones included."""
    if known_family(folder):
        return load_family(folder, folder.resolve().name, device, **options)
    return load_diffusers(folder, device)


def load_from_hub(
    ident: str,
    device: torch.device,
    *,
    allow_network: bool = True,
    revision: str | None = None,
    progress: Callable[[float], None] | None = None,
    max_bytes: int = sys.maxsize,
    **options: Any,
) -> Model:
    """The same by "hub:owner/name", from Hugging Face's cache or fetched into it."""
    from dpm_demo.models.diffusers.fetch import fetch_pipeline

    fetched: dict[str, Any] = {"progress": progress, "max_bytes": max_bytes}
    folder = fetch_pipeline(
        ident, allow_network, revision, variant=options.get("variant"), **fetched
    )
    if known_family(folder):
        return load_family(folder, f"hub:{checked_id(ident)}", device, **options)
    return load_diffusers(ident, device, allow_network, revision, **fetched)


def load_family(
    folder: Path,
    name: str,
    device: torch.device,
    *,
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    offload: bool = False,
    title: str = "",
) -> Model:
    """The model in a pipeline's folder. Raises CheckpointError, one sentence, for any fault.

    dtype: bfloat16 on CUDA, float32 elsewhere, unless said. Text encoders are loaded by the first
    prompt, and leave memory after it with `offload`, which also decodes in slices and tiles, and
    has the parts take turns on a GPU.
    """
    index = read_json(folder / "model_index.json", name)
    family = family_of(str(index.get("_class_name")), name)
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    pipe = build(folder, name, family.encoders, dtype=dtype, variant=variant)
    for part in (family.network_name, "scheduler"):
        if getattr(pipe, part, None) is None:
            raise CheckpointError(f"{name}: {part}/ is missing; fetch the folder again.")
    turns = _turns(device, name) if offload else None
    if turns is None:
        pipe.to(device)
    place = (lambda part: part.to(device)) if turns is None else turns.add
    loader = encoder_loader(folder, name, family.encoders, dtype, place)
    model = _model(family, pipe, name, loader, offload, turns, digest(folder), title)
    assert isinstance(model.latents, Family)
    if not offload:
        model.latents.encoder_bytes = {
            part: bytes_of_folder(folder / part, dtype) for part in family.encoders
        }
    for tiny in TINY:
        if (folder / tiny).is_dir():
            _use_tiny(model, folder / tiny, device, dtype)
    return model


def model_of_pipeline(pipe: Any, name: str = "", offload: bool = False) -> Model:
    """The model in a pipeline object of diffusers, whose parts it shares."""
    kind = type(pipe).__name__
    if kind in _OWN:
        return model_of_object(pipe, name or kind)
    family = family_of(kind, name or kind)
    for part in getattr(pipe, "components", {}).values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    network = getattr(pipe, family.network_name)
    turns = _turns(torch.device(network.device), name or kind) if offload else None
    return _model(family, pipe, name or kind, None, offload, turns, "", "")


def _turns(device: torch.device, name: str) -> Turns | None:
    """What has a pipeline's parts take turns on a GPU; a processor has nowhere to send them."""
    if device.type == "cpu":
        return None
    if find_spec("accelerate") is None:
        raise CheckpointError(
            f"{name}: with offload its parts take turns on {device}, which needs accelerate; "
            "pip install 'accelerate>=0.31'."
        )
    from dpm_demo.models.diffusers.offload import Turns

    return Turns(device)


def _model(
    kind: type[Family],
    pipe: Any,
    name: str,
    loader: Any,
    offload: bool,
    turns: Turns | None,
    weights: str,
    title: str,
) -> Model:
    vae = getattr(pipe, "vae", None)
    if offload and vae is not None:
        for switch in ("enable_slicing", "enable_tiling"):
            if hasattr(vae, switch):
                getattr(vae, switch)()
    if turns is not None:
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                turns.add(part)
    try:
        family = kind(pipe, name, loader, offload, turns)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{error}; use another model.") from error
    denoise = GuidedDenoiser(family)
    shape = family.shape()
    return Model(
        name=name,
        shape=shape,
        lam_span=family.span(shape),
        denoise=denoise,
        denoise_float32=denoise,
        device=family.device,
        labels=getattr(family, "labels", {}),
        digest=weights,
        title=title or name,
        latents=family,
        prompted=family.prompted,
        guidance=family.guidance,
        guided=family.guided,
        family=family.title,
        restart=family.restart,
    )


def _use_tiny(model: Model, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Previews by an `AutoencoderTiny` on disk."""
    family = model.latents
    assert isinstance(family, Family)
    if family.picture_frames(2) == 2:  # it knows nothing of time that is compressed
        family.tiny = component(
            folder.parent, folder.name, ["diffusers", "AutoencoderTiny"], model.name, dtype=dtype
        ).to(device)
