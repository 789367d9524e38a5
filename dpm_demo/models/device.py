"""Devices as data: which one a run uses, and the precision that it computes well in."""

from __future__ import annotations

import re

import torch

from dpm_demo.models.denoiser import Precision


def pick_device(name: str = "auto") -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:n" names; "auto" is CUDA where there is one.

    "cuda" is the first GPU, with its index. Raises ValueError, one sentence, for any other name,
    where no GPU can be used, and for an index that no GPU has.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f'device: {str(name)[:40]!r} is not "auto", "cpu", "cuda" or "cuda:n".')
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not count:
        return torch.device("cpu")
    index = int(match[1] or 0)
    if index >= count:
        have = f"has {count} (cuda:0 to cuda:{count - 1})" if count else "has no usable CUDA GPU"
        raise ValueError(f'device: "{name}" was asked for, but this machine {have}; try "auto".')
    return torch.device("cuda", index)


def pick_devices(name: str = "auto") -> list[torch.device]:
    """All devices that a service with this name uses: every GPU for "auto" and "cuda".

    Raises ValueError as `pick_device`.
    """
    first = pick_device(name)
    if first.type == "cpu" or name not in ("auto", "cuda"):
        return [first]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def processor_precision(device: torch.device) -> Precision:
    """bfloat16 where the hardware computes in it, float16 on older GPUs, float32 elsewhere."""
    if device.type == "cuda":
        # without emulation: an emulated bfloat16 is slower than float32
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if native else "float16"
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported() and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"
