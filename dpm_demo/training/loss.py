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


def draw_lam(n: int, generator: torch.Generator, t_logit: float = 0.0) -> Tensor:
    """lam `(n,)` as it is trained: four in five from t logit-normal, the rest uniform in lam.

    `t_logit` is the mean of logit t: above 0 more is trained where noise prevails, which is where
    words decide what is drawn (docs/checkpoints.md). The cosine clock is
    lam = -log tan(pi t / 2). Of logit-normal t alone fewer than one in 100,000 falls beyond
    |lam| = 4.2, where every sampler starts and ends: hence the uniform part.
    """
    t = torch.sigmoid(t_logit + torch.randn(n, generator=generator))
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
    labels: Tensor,
    axes: tuple[int, ...],
    share: float,
    generator: torch.Generator,
    words: int = 0,
) -> Tensor:
    """Labels with every axis set to "any" in `share` of the rows, and each axis alone too.

    Guidance needs the fully unconditional network; the page also offers "any" on one axis.
    """
    any_of = torch.tensor(axes)
    if labels.shape[1] > len(axes):
        return _drop_words(labels, axes, share, generator, words)
    n = len(labels)
    one = torch.rand(n, len(axes), generator=generator) < share
    both = torch.rand(n, 1, generator=generator) < share
    return torch.where(one | both, any_of, labels)


def _drop_words(
    choices: Tensor, axes: tuple[int, ...], share: float, generator: torch.Generator, words: int
) -> Tensor:
    """Labels and words, of `words` known, with what a prompt may leave unsaid left unsaid.

    Everything in `share` of the rows; the words of a further `share`, so that a label alone means
    something; each axis but the first in half of the rows, so that words alone do; and of the
    words, in two rows of three, each one with a chance of a half, though never all.
    """
    n, width = choices.shape
    none = torch.tensor([*axes, *[words] * (width - len(axes))])

    def some(chance: float, columns: int = 1) -> Tensor:
        return torch.rand(n, columns, generator=generator) < chance

    everything, silent, thinned = some(share), some(share), some(2 / 3)
    axis = [some(0.5 if k else share) for k in range(len(axes))]
    told = choices[:, len(axes) :] != words
    keep = torch.rand(told.shape, generator=generator).masked_fill(~told, 2.0)
    drop = thinned & (keep > 0.5) & (keep > keep.amin(dim=1, keepdim=True))
    return torch.where(everything | torch.cat([*axis, drop | silent], dim=1), none, choices)
