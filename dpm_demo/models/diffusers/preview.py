"""Latents as colours: a linear map, fitted by least squares on what the decoder itself says."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_SIDE, _SAMPLES = 8, 6


class LinearPreview:
    """(n, c, …) latents -> (n, 3, …) colours of the same resolution: one small product.

    An approximation: it sees colour and shape, and no texture finer than a latent.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias  # (3, c), (3,)

    @classmethod
    def fit(
        cls, decode: Callable[[Tensor], Tensor], shape: tuple[int, ...], device: torch.device
    ) -> LinearPreview:
        """Fitted on six random latents, every other one smooth, and what `decode` makes of them."""
        channels, video = shape[0], len(shape) == 4
        sides = (1, _SIDE, _SIDE) if video else (_SIDE, _SIDE)
        random = torch.Generator().manual_seed(0)
        latents = torch.randn(_SAMPLES, channels, *sides, generator=random)
        latents[::2] = latents[::2].mean((-1, -2), keepdim=True) * _SIDE + 0.1 * latents[::2]
        pictures = decode(latents.to(device)).cpu()
        if video:
            colours = functional.adaptive_avg_pool3d(pictures, (1, _SIDE, _SIDE))
        else:
            colours = functional.adaptive_avg_pool2d(pictures, (_SIDE, _SIDE))
        known = latents.movedim(1, -1).reshape(-1, channels)
        known = torch.cat([known, torch.ones(len(known), 1)], 1)
        wanted = colours.movedim(1, -1).reshape(len(known), -1)
        solution = torch.linalg.lstsq(known.double(), wanted.double()).solution.float().to(device)
        return cls(solution[:-1].T.contiguous(), solution[-1])

    def __call__(self, x0: Tensor) -> Tensor:
        colours = torch.einsum("kc,nc...->nk...", self.weight.to(x0), x0)
        return colours + self.bias.to(x0).view(-1, *[1] * (x0.ndim - 2))
