"""Wan 2.1 and 2.2: video by flow, time 1000 σ; 2.2 has two networks, one for each end of the path.

A multistep solver starts anew at the boundary between the two (in diffusers its history runs on).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Size


class Wan(Family):
    pipelines = ("WanPipeline",)
    title = "Wan 2.1, 2.2"
    patch = 2
    video = True
    frames = 81
    guidance = 5.0

    def side(self) -> Size:
        return 480, 832

    @property
    def scale(self) -> int:
        return int(self.pipe.vae_scale_factor_spatial)

    def latent_frames(self, frames: int) -> int:
        if (frames - 1) % self.pipe.vae_scale_factor_temporal:
            raise ValueError(
                f"frames must be 1 more than a multiple of {self.pipe.vae_scale_factor_temporal} "
                f"for {self.name}, not {frames}."
            )
        return 1 + (frames - 1) // self.pipe.vae_scale_factor_temporal

    def picture_frames(self, frames: int) -> int:
        return 1 + (frames - 1) * self.pipe.vae_scale_factor_temporal

    @property
    def restart(self) -> float | None:
        ratio = self.pipe.config.boundary_ratio
        return None if ratio is None else math.log((1 - ratio) / ratio)

    @property
    def most_words(self) -> int:
        return 512  # that of the pipeline's call, not of `encode_prompt`

    def encode(self, text: str, negative: bool) -> Given:
        found, _ = self.pipe.encode_prompt(
            text,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.most_words,
        )
        return {"encoder_hidden_states": found}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        """Each row by the network that its time belongs to."""
        boundary = self.pipe.config.boundary_ratio
        if boundary is None:
            return self._by(self.network, state, time, given)
        low = time < 1000 * boundary
        output = torch.empty_like(state)
        for network, rows in ((self.network, ~low), (self.pipe.transformer_2, low)):
            if rows.any():
                mine = {key: value[rows] for key, value in given.items()}
                output[rows] = self._by(network, state[rows], time[rows], mine)
        return output

    def _by(self, network: torch.nn.Module, state: Tensor, time: Tensor, given: Given) -> Tensor:
        if self.pipe.config.expand_timesteps:  # one time a token
            tokens = state.shape[2] * (state.shape[3] // 2) * (state.shape[4] // 2)
            time = time[:, None].expand(-1, tokens)
        return network(state, time, **given, return_dict=False)[0]

    def scaled(self, x0: Tensor) -> Tensor:
        config = self.pipe.vae.config
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1, 1).to(x0)
            for v in (config.latents_mean, config.latents_std)
        )
        return x0 * std + mean

    def decode_one(self, latents: Tensor) -> Tensor:
        return self.pipe.vae.decode(latents, return_dict=False)[0].float()
