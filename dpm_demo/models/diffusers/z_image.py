"""Z-Image: flow told backwards (time 1 − σ, velocity x0 − ε), and prompts of any length in lists.

Its authors' guidance g adds g (prompt − any) to the prompt: it is our guidance 1 + g.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Size


class ZImage(Family):
    pipelines = ("ZImagePipeline",)
    title = "Z-Image"
    patch = 2
    guidance = 6.0

    def side(self) -> Size:
        return 1024, 1024

    @property
    def width(self) -> int:
        return int(self.network.config.dim)

    def time_of(self, lam: Tensor) -> Tensor:
        return 1 - self.path.time(lam) / 1000

    def encode(self, text: str, negative: bool) -> Given:
        found, _ = self.pipe.encode_prompt(
            text, device=self.device, do_classifier_free_guidance=False
        )
        return {"words": found[0][None]}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        pictures = list(state[:, :, None].unbind(0))
        output = self.network(
            pictures, time.float(), list(given["words"].unbind(0)), return_dict=False
        )[0]
        return -torch.stack(list(output))[:, :, 0]
