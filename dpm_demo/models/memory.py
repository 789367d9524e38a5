"""How much memory weights may take on a machine, and how much those of a model do."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from dpm_demo.models.model import Model

#: Weights that are kept at most: four float32 models of 256 × 256, or all the embedded ones.
MEMORY_BYTES = 2 * 2**30


def weights_room(device: torch.device) -> int:
    """Bytes that weights may take on a device: most of a GPU, half of the processor's memory."""
    if device.type == "cuda":
        return int(0.8 * torch.cuda.get_device_properties(device).total_memory)
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return max(MEMORY_BYTES, pages * os.sysconf("SC_PAGE_SIZE") // 2 if pages > 0 else 0)


def model_bytes(model: Model) -> int:
    """Bytes that a model holds, and its encoders will by the first prompt; 0 without a network."""
    network = getattr(model.denoise_float32, "network", None)
    pipe = getattr(model.latents, "pipe", None)
    parts = [network] if pipe is None else list(pipe.components.values())
    held = [part for part in parts if isinstance(part, nn.Module)]
    tensors = (t for part in held for t in (*part.parameters(), *part.buffers()))
    later = getattr(model.latents, "encoder_bytes", {})
    coming = sum(size for part, size in later.items() if getattr(pipe, part, None) is None)
    return coming + sum(t.numel() * t.element_size() for t in tensors)


def bytes_of_folder(
    folder: Path, dtype: torch.dtype = torch.float32, unused: Collection[str] = ()
) -> int:
    """Bytes that the weights of a folder take, by their headers; 0 if not readable.

    Of several variants of a part the plain one, which is loaded; `unused` parts are left out.
    """
    found = [p for p in folder.rglob("*.safetensors") if p.parent.name not in unused]
    plain = {path.parent for path in found if _is_plain(path)}
    total = 0
    for path in found:
        if path.parent in plain and not _is_plain(path):
            continue
        with contextlib.suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
            names = file.keys()
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return total * dtype.itemsize


def _is_plain(path: Path) -> bool:
    """Whether weights are of no variant ("fp16"): x.safetensors, x-00001-of-00002.safetensors."""
    return "." not in path.name.removesuffix(".safetensors")
