"""FLUX.1: flow, time σ, latents packed 2 × 2; guidance is an input of "dev", and none of "schnell".

There is no negative prompt: the network was distilled to need one row only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Condition, Size


class Flux(Family):
    pipelines = ("FluxPipeline",)
    title = "FLUX.1"
    encoders = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    patch = 2
    guidance = 3.5

    def setup(self) -> None:
        self.guided = "input" if self.network.config.guidance_embeds else "no"

    @property
    def channels(self) -> int:
        return self.network.config.in_channels // 4

    def side(self) -> Size:
        return (self.pipe.default_sample_size * self.scale,) * 2

    def time_of(self, lam: Tensor) -> Tensor:
        return self.path.time(lam) / 1000

    def encode(self, text: str, negative: bool) -> Given:
        states, pooled, _ = self.pipe.encode_prompt(text, device=self.device)
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def given(self, cond: Condition, negative: bool) -> Given:
        found = super().given(cond, negative)
        if self.guided != "input":
            return found
        return {**found, "guidance": torch.tensor([cond.guidance], device=self.device)}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        n, c, h, w = state.shape
        words = given["encoder_hidden_states"]
        ids = self.pipe._prepare_latent_image_ids(n, h // 2, w // 2, state.device, state.dtype)
        packed = self.network(
            hidden_states=self.pipe._pack_latents(state, n, c, h, w),
            timestep=time.to(state.dtype),
            txt_ids=torch.zeros(words.shape[1], 3, device=state.device, dtype=state.dtype),
            img_ids=ids,
            **given,
            return_dict=False,
        )[0]
        return self.pipe._unpack_latents(packed, h * self.scale, w * self.scale, self.scale)
