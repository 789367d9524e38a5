"""PixArt-α and -Σ: a transformer on DiT's schedule, prompts by T5 with a mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given


class PixArt(Family):
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    title = "PixArt-α, -Σ"
    patch = 2
    guidance = 4.5

    def encode(self, text: str, negative: bool) -> Given:
        states, mask, _, _ = self.pipe.encode_prompt(text, False, device=self.device)
        return {"encoder_hidden_states": states, "encoder_attention_mask": mask}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        added: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
        if self.network.config.sample_size == 128:
            height, width = (s * self.scale for s in state.shape[-2:])
            sides = torch.tensor([[height, width]], device=state.device, dtype=state.dtype)
            added = {
                "resolution": sides.expand(len(state), -1),
                "aspect_ratio": (sides[:, :1] / sides[:, 1:]).expand(len(state), -1),
            }
        output = self.network(
            state, timestep=time.float(), added_cond_kwargs=added, **given, return_dict=False
        )[0]
        return output[:, : self.channels]
