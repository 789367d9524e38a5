"""Network output -> data prediction at lam, with labels and guidance row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dpm_demo.models.model import Condition

Target = Literal["velocity", "noise", "data"]
TARGETS: tuple[Target, ...] = ("velocity", "noise", "data")
Precision = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def to_x0(output: Tensor, x: Tensor, lam: Tensor, target: Target) -> Tensor:
    """The data prediction from what a network of kind `target` says about x at lam.

    With alpha^2 = sigmoid(2 lam), sigma^2 = sigmoid(-2 lam), x = alpha x0 + sigma eps:
    velocity v = alpha eps - sigma x0 gives x0 = alpha x - sigma v; noise gives
    x0 = (x - sigma eps) / alpha = x / alpha - e^-lam eps.
    """
    if target == "data":
        return output
    lam = lam.to(x.device, x.dtype).view(-1, *[1] * (x.ndim - 1))
    alpha, sigma = torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()
    if target == "velocity":
        return alpha * x - sigma * output
    return (x - sigma * output) / alpha


def velocity_of(x0: Tensor, noise: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """`(x, v)`: x = alpha x0 + sigma noise, v = alpha noise - sigma x0."""
    lam = lam.to(x0.device, x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    alpha, sigma = torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()
    return alpha * x0 + sigma * noise, alpha * noise - sigma * x0


class Denoiser:
    """A network as `denoise(x, lam, cond) -> x0`: x `(n, *shape)`, lam `(n,)`, a cond a row.

    `network(x, lam, labels)` sees lam itself, or `time_of(lam)` where a map to float labels is
    given (diffusers checkpoints). Only rows whose guidance is neither 0 nor 1 are doubled.
    The answer is float32 whatever precision the network runs in; a `dtype` of None keeps x's.
    It has gradients to x, to lam and to the network's weights where the caller's mode asks for any.
    """

    def __init__(
        self,
        network: nn.Module,
        target: Target,
        axes: Sequence[int] = (),
        precision: Precision = "float32",
        time_of: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        self.network, self.target, self.axes = network, target, tuple(axes)
        self.dtype = dtype
        self.precision, self.time_of = precision, time_of

    def __call__(
        self, x: Tensor, lam: Tensor, cond: Sequence[Condition | None] | None = None
    ) -> Tensor:
        if not self.axes:
            return self._predict(x, lam, None)
        conds = [c or Condition(self.axes) for c in cond or [None] * len(x)]
        pairs = [self._choices(c) for c in conds]
        labels = [
            away if c.guidance == 0 else own for c, (own, away) in zip(conds, pairs, strict=True)
        ]
        doubled = [i for i, c in enumerate(conds) if self._doubled(c)]
        rows = torch.tensor([*labels, *[pairs[i][1] for i in doubled]], device=x.device)
        if not doubled:
            return self._predict(x, lam, rows)
        pick = torch.tensor(doubled, device=x.device)
        both = self._predict(torch.cat([x, x[pick]]), torch.cat([lam, lam[pick]]), rows)
        x0, x0_any = both[: len(x)], both[len(x) :]
        weight = torch.tensor([conds[i].guidance for i in doubled], device=x.device)
        weight = weight.view(-1, *[1] * (x.ndim - 1)).to(x0.dtype)
        x0[pick] = torch.lerp(x0_any, x0[pick], weight)
        return x0

    def _predict(self, x: Tensor, lam: Tensor, labels: Tensor | None) -> Tensor:
        time = self.time_of(lam) if self.time_of is not None else lam
        with torch.autocast(
            x.device.type, DTYPES[self.precision], enabled=self.precision != "float32"
        ):
            x = x if self.dtype is None else x.to(self.dtype)
            output = self.network(x, time, labels)
        return to_x0(output.to(x.dtype), x, lam, self.target)

    def network_rows(self, cond: Sequence[Condition | None]) -> int:
        """How many rows the network computes for these conditions (guided rows count twice)."""
        return sum(2 if c is not None and self._doubled(c) else 1 for c in cond)

    def _choices(self, c: Condition) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a row asks for, and what its guidance leads away from; unsaid columns are "any"."""
        away = c.payload if isinstance(c.payload, tuple) else self.axes
        return (*c.labels, *self.axes[len(c.labels) :]), away

    def _doubled(self, c: Condition) -> bool:
        # where both rows of the pair are the same, one will do
        own, away = self._choices(c)
        return c.guidance not in (0, 1) and own != away
