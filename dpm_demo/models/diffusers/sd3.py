"""Stable Diffusion 3 and 3.5: flow, time 1000 σ, three text encoders (the third may be absent)."""

from __future__ import annotations

from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given


class StableDiffusion3(Family):
    pipelines = ("StableDiffusion3Pipeline",)
    title = "Stable Diffusion 3, 3.5"
    encoders = (
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "tokenizer",
        "tokenizer_2",
        "tokenizer_3",
    )
    patch = 2
    guidance = 7.0

    @property
    def longest(self) -> int:
        """Its positions are a table, of which the middle is taken."""
        most = self.network.config.pos_embed_max_size
        return super().longest if not most else min(4096, most * self.patch * self.scale)

    def encode(self, text: str, negative: bool) -> Given:
        states, _, pooled, _ = self.pipe.encode_prompt(
            text, None, None, device=self.device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        return self.network(state, timestep=time, **given, return_dict=False)[0]
