"""Do labelled samples show their label? The embedded classifier is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dpm_demo.models.model import Model
from dpm_demo.quality.extract import EMOJI_FEATURES
from dpm_demo.quality.features import accuracy, load_features
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver
from dpm_demo.training.data import EMOJI_AXES, Pictures

AXIS = "category"


def shows_categories(axes: Mapping[str, Sequence[str]]) -> bool:
    """Whether the categories among these labels are those that the classifier knows."""
    return tuple(axes.get(AXIS, ())) == EMOJI_AXES[AXIS]


def class_accuracy(
    model: Model,
    per_class: int,
    guidance: float,
    nfe: int = 20,
    on_progress: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The share of samples whose most likely category is the one asked for, by category and "all".

    Category k has the seeds from 1000 k on. Raises ValueError for a model without categories.
    """
    if not shows_categories(model.labels):
        raise ValueError(f"model: {model.name} has no categories of emoji to ask for.")
    judge = load_features(EMOJI_FEATURES)
    solver, right = Solver(nfe=nfe, order=2), {}
    for k, name in enumerate(model.labels[AXIS]):
        seeds = range(1000 * k, 1000 * k + per_class)
        cond = [model.condition(name, guidance)] * per_class
        noise = initial_noise(seeds, model.shape).to(model.device)
        x = integrate(model.denoise, noise, solver, lam_span=model.lam_span, cond=cond).cpu()
        right[name] = share_named(judge, x, torch.full((per_class,), k))
        on_progress()
    return {**right, "all": sum(right.values()) / len(right)}


def share_named(judge: nn.Module, x: Tensor, wanted: Tensor) -> float:
    """The share of pictures `(n, 3, h, w)` whose most likely category is the one of `wanted`."""
    with torch.no_grad():
        hit = judge(x.clamp(-1, 1))[AXIS].argmax(1) == wanted
    return float(hit.float().mean())


def held_out_accuracy(pictures: Pictures) -> float:
    """The same of held-out real pictures."""
    judge = load_features(EMOJI_FEATURES)
    return accuracy(judge, pictures.subset(held=True))[AXIS]
