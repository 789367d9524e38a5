"""One's own network as a model: `wrap(net, kind)` says in one line what its output means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from dpm_demo.models.denoiser import Denoiser
from dpm_demo.models.diffusers.labels import LabelMap
from dpm_demo.models.model import Model, Size
from dpm_demo.solver.schedule import alpha, lambdas_of_betas, sigma

Kind = Literal["eps", "v", "x0", "score", "sigma", "flow"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: EDM's noise levels, 80 to 0.002, as λ = −log σ (2206.00364, table 1).
SIGMA_SPAN = (-math.log(80.0), -math.log(0.002))
#: Where schedules place their nodes on a flow path without a shift; docs/models.md has the figures.
FLOW_SPAN = (-4.0, 4.0)


def flow_span(shift: float = 1.0) -> tuple[float, float]:
    """The nodes' ends of a flow model: a shift σ' = sσ/(1 + (s−1)σ) is λ' = λ − log s."""
    if not 0 < shift < math.inf:
        raise ValueError(f"shift must be a positive number, not {shift!r}")
    return FLOW_SPAN[0] - math.log(shift), FLOW_SPAN[1] - math.log(shift)


def wrap(
    net: Callable[..., Any],
    kind: Kind,
    *,
    betas: Sequence[float] | np.ndarray | Tensor | None = None,
    span: tuple[float, float] | None = None,
    shape: Sequence[int] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    guidance: float = 1.0,
    decode: Callable[[Tensor], Tensor] | None = None,
    time: Callable[[Tensor], Tensor] | None = None,
    shift: float = 1.0,
    name: str = "my model",
    device: str | torch.device | None = None,
) -> Model:
    """A `Model` of a network `net(x, time)`, or `net(x, time, labels)` where it has `labels`.

    kind says what the network sees and answers, with x = α x0 + σ ε, α² + σ² = 1:

    "eps", "v", "x0"  noise ε, velocity v = α ε − σ x0, or data; "score" is ∇ log p = −ε/σ.
                      Time is the float label of the `betas` it was trained with, else λ = log(α/σ)
    "sigma"           D(x0 + σ ε, σ) is the data (k-diffusion, EDM); time is σ
    "flow"            velocity ε − x0 of the state (1−σ) x0 + σ ε; time is σ, from 1 (noise) to 0

    `time` maps what is named here to what the network takes (`lambda s: 1000 * s`). x: (n, *shape)
    in the network's dtype; time: (n,) likewise, but float32 for 16 bits; labels: (n,) whole numbers
    (n, axes for several axes), where the number of choices stands for "any". The answer is a
    tensor, or what diffusers networks return; channels beyond those of x (a learned variance) are
    left out. `shape` is read off a diffusers network; without any, `generate` takes that of its
    `x_T`.
    `span` are the ends of the nodes in λ: from `betas`, else ±4 less log `shift` ("flow"), or
    EDM's ("sigma"). `decode` makes pictures of samples. `guidance` is used where none is asked for.

    ValueError, one sentence, for a kind that is none and for what is missing.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    where = _device_of(net) if device is None else torch.device(device)
    if betas is not None and kind in ("sigma", "flow"):
        raise ValueError(f'betas mean nothing with kind "{kind}": leave them out')
    if betas is not None:
        label_map = LabelMap(lambdas_of_betas(betas), where)
        time = label_map if time is None else _after(label_map, time)
        span = label_map.span if span is None else span
    if span is None and kind in ("sigma", "flow"):
        span = SIGMA_SPAN if kind == "sigma" else flow_span(shift)
    if span is None:
        raise ValueError(f'kind "{kind}" needs betas, or span: the ends of the nodes in λ')
    low, high = (float(end) for end in span)
    if not low < high:
        raise ValueError(f"span must rise, from noise to data, not {span}")
    own = _shape_of(net) if shape is None else tuple(int(n) for n in shape)
    axes = {axis: tuple(map(str, names)) for axis, names in (labels or {}).items()}
    if decode is not None and not own:
        raise ValueError("shape must be given with decode, (channels, height, width) for pictures")
    latents = None if decode is None else Decoded(decode, own, (low, high), where)
    network = AsData(net, kind, time)
    denoise = Denoiser(network, "data", tuple(map(len, axes.values())), dtype=None)
    return Model(
        name=name,
        shape=own,
        lam_span=(low, high),
        denoise=denoise,
        denoise_float32=denoise,
        device=where,
        labels=axes,
        title=name,
        latents=latents,
        guidance=float(guidance),
        family=kind,
    )


class AsData(nn.Module):
    """Any network as a data prediction `forward(x, lam, labels)` of a variance-preserving state."""

    def __init__(
        self, net: Callable[..., Any], kind: Kind, time: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.net, self.kind, self.time = net, kind, time
        weights = net.parameters() if isinstance(net, nn.Module) else iter(())
        self.dtype = next((w.dtype for w in weights if w.is_floating_point()), None)

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None = None) -> Tensor:
        exact = lam.double() if lam.device.type != "mps" else lam
        column = exact.view(-1, *[1] * (x.ndim - 1))
        a, s = alpha(column).to(x.dtype), sigma(column).to(x.dtype)
        if self.kind == "sigma":  # the variance-exploding state x/α
            return self._call(x / a, (-exact).exp(), labels, x)
        if self.kind == "flow":
            share = torch.sigmoid(-column)  # σ of the flow path; λ is the same log(α/σ) there
            state = x * ((1 - share) ** 2 + share**2).sqrt().to(x.dtype)
            velocity = self._call(state, torch.sigmoid(-exact), labels, x)
            return state - share.to(x.dtype) * velocity
        answer = self._call(x, exact, labels, x)
        if self.kind == "x0":
            return answer
        if self.kind == "v":
            return a * x - s * answer
        if self.kind == "score":
            answer = -s * answer
        return (x - s * answer) / a

    def time_told(self, lam: Tensor) -> Tensor:
        """What the network is told of λ, (n,)."""
        at = {"sigma": torch.exp, "flow": torch.sigmoid}.get(self.kind, torch.neg)(-lam)
        return at if self.time is None else self.time(at)

    def _call(self, state: Tensor, at: Tensor, labels: Tensor | None, like: Tensor) -> Tensor:
        at = at if self.time is None else self.time(at)
        given = [] if labels is None else [labels[:, 0] if labels.shape[1] == 1 else labels]
        state = state if self.dtype is None else state.to(self.dtype)
        # 16 bits know labels near 1000 to within 4
        told = at.to(torch.promote_types(state.dtype, torch.float32))
        answer = self.net(state, told, *given)
        answer = getattr(answer, "sample", answer)
        answer = answer[0] if isinstance(answer, tuple) else answer
        if answer.shape[1] > like.shape[1]:  # a learned variance
            answer = answer[:, : like.shape[1]]
        if answer.shape != like.shape:
            raise ValueError(
                f"the network answered {tuple(answer.shape)} to a state of {tuple(like.shape)}"
            )
        return answer.to(like.dtype)


class Decoded:
    """The latents of a model whose pictures are `decode(x0)`."""

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        shape: tuple[int, ...],
        span: tuple[float, float],
        device: torch.device,
    ) -> None:
        self._decode, self._span = decode, span
        self._shape = shape
        self._picture = tuple(self.decode(torch.zeros(1, *shape, device=device)).shape[1:])

    def shape(self, size: Size | None = None, frames: int | None = None) -> tuple[int, ...]:
        if size is not None and tuple(size) != self._picture[-2:]:
            raise ValueError(f"size: pictures are {self._picture[-2:]} here, not {size}.")
        return self._shape

    def picture_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._picture

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        return self._decode(x0)

    def preview(self, x0: Tensor) -> Tensor:
        return self.decode(x0)

    def row_bytes(self, shape: tuple[int, ...]) -> int:
        return 0

    def span(self, shape: tuple[int, ...]) -> tuple[float, float]:
        return self._span


def _after(
    first: Callable[[Tensor], Tensor], then: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    return lambda at: then(first(at))


def _device_of(net: Callable[..., Any]) -> torch.device:
    if isinstance(net, nn.Module):
        for tensor in net.parameters():
            return tensor.device
    return torch.device("cpu")


def _shape_of(net: Callable[..., Any]) -> tuple[int, ...]:
    config = getattr(net, "config", None)
    size = getattr(config, "sample_size", None)
    channels = getattr(config, "in_channels", None)
    if isinstance(channels, int) and size is not None:
        sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        return (channels, *sides)
    return ()
