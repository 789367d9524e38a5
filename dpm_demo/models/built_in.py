"""The models that need no file, and which of them every page offers: the exact mixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dpm_demo.models.exact import (
    MIXTURE_NAME,
    VIDEO_MIXTURE_NAME,
    mixture_model,
    mixture_video_model,
)
from dpm_demo.models.model import Model


@dataclass(frozen=True)
class BuiltIn:
    """A model that needs no file; `make` builds it on a device."""

    name: str
    title: str
    make: Callable[[torch.device], Model]
    frames: int = 1


EXACT = (
    BuiltIn(MIXTURE_NAME, "mixture (exact)", mixture_model),
    BuiltIn(VIDEO_MIXTURE_NAME, "mixture (exact), moving", mixture_video_model, frames=16),
)
