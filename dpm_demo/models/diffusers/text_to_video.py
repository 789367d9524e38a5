"""Text to video on Stable Diffusion's schedule: ModelScope's 3-D UNet, and AnimateDiff's."""

from __future__ import annotations

from torch import Tensor

from dpm_demo.models.diffusers.family import Given
from dpm_demo.models.diffusers.stable_diffusion import StableDiffusion


class TextToVideo(StableDiffusion):
    pipelines = ("TextToVideoSDPipeline",)
    title = "text-to-video (ModelScope)"
    video = True
    frames = 16
    guidance = 9.0


class AnimateDiff(TextToVideo):
    pipelines = ("AnimateDiffPipeline",)
    title = "AnimateDiff"
    guidance = 7.5

    @property
    def most_frames(self) -> int:
        return int(self.network.config.motion_max_seq_length)

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        words = given["encoder_hidden_states"].repeat_interleave(state.shape[2], dim=0)
        return self.network(state, time.float(), words, return_dict=False)[0]
