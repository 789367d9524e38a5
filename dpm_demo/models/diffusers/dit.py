"""DiT: a class label a row (one more stands for "any"), and a learned variance left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Condition


class DiT(Family):
    pipelines = ("DiTPipeline",)
    title = "DiT"
    encoders = ()
    prompted = False
    patch = 2
    guidance = 4.0

    @property
    def scale(self) -> int:
        return 2 ** (len(self.pipe.vae.config.block_out_channels) - 1)

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """ImageNet's names, of several of a class one; its number where it has none."""
        count = self.network.config.num_embeds_ada_norm
        numbers = {v: k for k, v in sorted(self.pipe.labels.items(), reverse=True)}
        names = (str(numbers.get(k, k)).split(",")[0] for k in range(count))
        return {"class": tuple(_unlike(names))}

    def given(self, cond: Condition, negative: bool) -> Given:
        count = self.network.config.num_embeds_ada_norm
        label = count if negative or not cond.labels else cond.labels[0]
        return {"class_labels": torch.tensor([label], device=self.device)}

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        output = self.network(state, time.float(), **given, return_dict=False)[0]
        return output[:, : self.channels]


def _unlike(names: Iterable[str]) -> list[str]:
    """Names, the second "crane" as "crane 2"."""
    seen: dict[str, int] = {}
    unlike = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unlike.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return unlike
