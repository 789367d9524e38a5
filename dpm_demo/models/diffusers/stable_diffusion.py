"""Stable Diffusion 1.x, 2.x and XL: `UNet2DConditionModel`, float labels of scaled-linear betas.

The UNet of a latent consistency model (LCM) has guidance as an input, and needs one row only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Condition


class StableDiffusion(Family):
    pipelines = ("StableDiffusionPipeline",)
    title = "Stable Diffusion 1.x, 2.x"
    network_name = "unet"

    def setup(self) -> None:
        if self.network.config.in_channels != self.network.config.out_channels:
            raise ValueError(
                f"{self.name}: its network takes {self.network.config.in_channels} channels "
                "(inpainting, or depth); only text-to-image networks can be used"
            )
        # pipelines of videos leave that input out
        if not self.video and self.network.config.get("time_cond_proj_dim") is not None:
            self.guided = "input"

    def given(self, cond: Condition, negative: bool) -> Given:
        found = super().given(cond, negative)
        if self.guided != "input":
            return found
        told = self.pipe.get_guidance_scale_embedding(
            torch.tensor([cond.guidance - 1]), self.network.config.time_cond_proj_dim
        )
        return {**found, "timestep_cond": told.to(self.device, self.network.dtype)}

    def encode(self, text: str, negative: bool) -> Given:
        found = self.pipe.encode_prompt(text, self.device, 1, False)
        return {"encoder_hidden_states": found[0]}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        return self.network(state, time.float(), **given, return_dict=False)[0]


class StableDiffusionXL(StableDiffusion):
    pipelines = ("StableDiffusionXLPipeline",)
    title = "Stable Diffusion XL"
    encoders = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    guidance = 5.0

    def encode(self, text: str, negative: bool) -> Given:
        states, _, pooled, _ = self.pipe.encode_prompt(
            text, device=self.device, do_classifier_free_guidance=False
        )
        if negative and not text and self.pipe.config.force_zeros_for_empty_prompt:
            states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
        return {"encoder_hidden_states": states, "text_embeds": pooled}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        sides = [s * self.scale for s in state.shape[-2:]]
        ids = torch.tensor([*sides, 0, 0, *sides], device=state.device, dtype=state.dtype)
        added = {"text_embeds": given["text_embeds"], "time_ids": ids.expand(len(state), -1)}
        return self.network(
            state,
            time.float(),
            encoder_hidden_states=given["encoder_hidden_states"],
            timestep_cond=given.get("timestep_cond"),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]

    def scaled(self, x0: Tensor) -> Tensor:
        config = self.pipe.vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            return super().scaled(x0)
        mean, std = (torch.tensor(v).view(1, -1, 1, 1).to(x0) for v in (mean, std))
        return x0 * std / config.scaling_factor + mean
