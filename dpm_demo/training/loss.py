"""The training loss: which lam are drawn, and what the network is asked for there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dpm_demo.models.denoiser import Target, velocity_of

Teacher = Callable[
    [Tensor, Tensor, Tensor | None], Tensor
]  # (x, lam, labels) -> the network's target

LAM_TRAINED = (-5.3, 5.0)  # what the uniform part of the draw covers


def draw_lam(n: int, generator: torch.Generator) -> Tensor:
    """lam `(n,)` as it is trained: four in five from t logit-normal, the rest uniform in lam.

    The cosine clock is lam = -log tan(pi t / 2). Of logit-normal t alone fewer than one in
    100,000 falls beyond |lam| = 4.2, where every sampler starts and ends: hence the uniform part.
    """
    t = torch.sigmoid(torch.randn(n, generator=generator))
    lam = -torch.log(torch.tan(torch.pi / 2 * t)).clamp(*LAM_TRAINED)
    low, high = LAM_TRAINED
    spread = low + (high - low) * torch.rand(n, generator=generator)
    return torch.where(torch.rand(n, generator=generator) < 0.2, spread, lam)


def denoising_loss(
    network: nn.Module,
    x0: Tensor,
    lam: Tensor,
    noise: Tensor,
    labels: Tensor | None,
    target: Target = "velocity",
    teacher: Teacher | None = None,
) -> Tensor:
    """Mean squared error of the network's own target at x = alpha x0 + sigma noise.

    With a `teacher` the target is what that says there, not what is true of x0 and noise.
    """
    x, velocity = velocity_of(x0, noise, lam)
    if teacher is None:
        wanted = {"velocity": velocity, "noise": noise, "data": x0}[target]
    else:
        wanted = teacher(x, lam, labels)
    return (network(x, lam, labels).float() - wanted).square().mean()


def autoguided(strong: nn.Module, weak: nn.Module, weight: float) -> Teacher:
    """weak + weight (strong - weak), both with the same label: autoguidance (arXiv 2406.02507).

    A network that knows less errs in the same directions, further; beyond `weight` 1 the sum moves
    away from them. Taught to one network (guidance distillation, arXiv 2210.03142) it costs a
    sample nothing. What that network then samples from is sharper than what it was trained on.
    """

    def say(x: Tensor, lam: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            return torch.lerp(weak(x, lam, labels).float(), strong(x, lam, labels).float(), weight)

    return say


def drop_labels(
    labels: Tensor, axes: tuple[int, ...], share: float, generator: torch.Generator
) -> Tensor:
    """Labels with every axis set to "any" in `share` of the rows, and each axis alone too.

    Guidance needs the fully unconditional network; the page also offers "any" on one axis.
    """
    any_of = torch.tensor(axes)
    n = len(labels)
    one = torch.rand(n, len(axes), generator=generator) < share
    both = torch.rand(n, 1, generator=generator) < share
    return torch.where(one | both, any_of, labels)
