"""The two ways in which other people's networks are told time: discrete labels, and flow.

A path says for λ what a network of it takes as time and state, and what its output means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_demo.models.denoiser import Target, to_x0
from dpm_demo.models.diffusers.labels import LabelMap, schedule_lambdas
from dpm_demo.models.model import CheckpointError
from dpm_demo.models.wrap import flow_span

TARGETS: dict[str, Target] = {"epsilon": "noise", "v_prediction": "velocity", "sample": "data"}


class Path(Protocol):
    """λ is (n,), states and outputs (n, *shape); x is the variance-preserving state.

    `time` is from 0 to about 1000, as pipelines of diffusers hand it to their networks.
    """

    def span(self, tokens: int = 0) -> tuple[float, float]: ...

    def time(self, lam: Tensor) -> Tensor: ...

    def state(self, x: Tensor, lam: Tensor) -> Tensor: ...

    def x0(self, output: Tensor, x: Tensor, lam: Tensor) -> Tensor: ...


class Discrete:
    """Float labels of a β schedule; noise, velocity or data. ValueError for another schedule."""

    def __init__(self, config: Mapping[str, Any], device: torch.device) -> None:
        kind = config.get("prediction_type") or "epsilon"
        if kind not in TARGETS:
            raise ValueError(f"prediction_type {kind!r} is not one of {', '.join(TARGETS)}")
        self.target = TARGETS[kind]
        self.labels = LabelMap(schedule_lambdas(dict(config)), device)

    def span(self, tokens: int = 0) -> tuple[float, float]:
        return self.labels.span

    def time(self, lam: Tensor) -> Tensor:
        return self.labels(lam)

    def state(self, x: Tensor, lam: Tensor) -> Tensor:
        return x

    def x0(self, output: Tensor, x: Tensor, lam: Tensor) -> Tensor:
        return to_x0(output, x, lam, self.target)


class Flow:
    """σ from 1 to 0, and velocity ε − x0 of the state (1−σ) x0 + σ ε, with λ = log((1−σ)/σ)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def span(self, tokens: int = 0) -> tuple[float, float]:
        """±4, less the logarithm of the shift, which may grow with the number of tokens."""
        if self.config.get("use_dynamic_shifting"):
            return flow_span(dynamic_shift(self.config, tokens))
        return flow_span(float(self.config.get("flow_shift") or self.config.get("shift") or 1.0))

    def time(self, lam: Tensor) -> Tensor:
        return 1000 * torch.sigmoid(-lam)

    def state(self, x: Tensor, lam: Tensor) -> Tensor:
        share = self._column(x, lam)
        return x * ((1 - share) ** 2 + share**2).sqrt().to(x.dtype)

    def x0(self, output: Tensor, x: Tensor, lam: Tensor) -> Tensor:
        return self.state(x, lam) - self._column(x, lam).to(x.dtype) * output

    @staticmethod
    def _column(x: Tensor, lam: Tensor) -> Tensor:
        exact = lam if lam.device.type == "mps" else lam.double()
        return torch.sigmoid(-exact).view(-1, *[1] * (x.ndim - 1))


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """e^μ with μ linear in the number of tokens, as FLUX's authors set it."""
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return math.exp(low + (high - low) * (tokens - few) / (many - few))


def path_of(config: Mapping[str, Any], device: torch.device, name: str) -> Path:
    """The path that a scheduler's configuration describes. Raises CheckpointError."""
    kind = str(config.get("_class_name", ""))
    if "FlowMatch" in kind or config.get("use_flow_sigmas") or config.get("flow_match"):
        if config.get("invert_sigmas"):
            raise CheckpointError(f"{name}: its flow runs backwards (invert_sigmas); not read.")
        said = config.get("prediction_type") or "flow_prediction"
        if config.get("use_flow_sigmas") and said != "flow_prediction":
            raise CheckpointError(
                f"{name}: its prediction_type {said!r:.40} on a flow is not read, only "
                '"flow_prediction"; use another model.'
            )
        return Flow(config)
    try:
        return Discrete(config, device)
    except ValueError as error:
        raise CheckpointError(
            f"{name}: the noise schedule cannot be used ({error}); use a model of discrete labels "
            "or of a flow."
        ) from error
