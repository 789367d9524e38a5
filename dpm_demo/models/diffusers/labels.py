"""The discrete noise schedules of other people's networks, as λ, and their float labels."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpm_demo.solver.schedule import ALPHA_BAR_MIN, COSINE_LAM_MIN


class LabelMap:
    """The map from λ to the float label of a network trained with T discrete labels, and back.

    Linear between neighbouring labels in λ = −log(σ/α), which is to say in the log σ of the
    scaled coordinates; monotone, and clipped to the labels 0 … T−1. Float labels: rounding them
    moves σ by 4.5 % (Karras, 20 evaluations) to 28 % (exponential). Both directions work on
    tensors (n,), on their device and without waiting for it, in float64 where the device has it
    (a float32 label near 1000 is off by 6e−5, which is 1e−5 in λ on a cosine schedule).

    lambdas: λ of the labels 0 … T−1, decreasing. `ValueError` otherwise.
    """

    def __init__(self, lambdas: Sequence[float] | np.ndarray, device: str | torch.device = "cpu"):
        table = np.asarray(lambdas, dtype=np.float64)
        if table.ndim != 1 or len(table) < 2 or not np.isfinite(table).all():
            raise ValueError("lambdas must be a list of two or more finite numbers")
        if not (np.diff(table) < 0).all():
            raise ValueError("lambdas must decrease with the label")
        where = torch.device(device)
        dtype = torch.float32 if where.type == "mps" else torch.float64
        self._rising = torch.tensor(table[::-1].copy(), dtype=dtype, device=where)
        self._ends = float(table[-1]), float(table[0])
        self._last = len(table) - 1

    @property
    def span(self) -> tuple[float, float]:
        """The nodes' ends: λ of the last label, clipped at −5.1, and λ of label 0.

        A cosine schedule ends near λ = −9.9, where α is lost in rounding. Only the solver's span is
        clipped, so the label at its start is that of λ = −5.1, and not the last one.
        """
        return max(self._ends[0], COSINE_LAM_MIN), self._ends[1]

    def __call__(self, lam: Tensor) -> Tensor:
        """The float labels of λ."""
        at = lam.to(self._rising.dtype).clamp(*self._ends).contiguous()
        above = torch.searchsorted(self._rising, at).clamp(1, self._last)
        low, high = self._rising[above - 1], self._rising[above]
        return self._last + 1 - above - (at - low) / (high - low)

    def lam(self, label: Tensor) -> Tensor:
        """λ of float labels, the inverse of the map."""
        place = (self._last - label.to(self._rising.dtype)).clamp(0, self._last)
        below = place.floor().clamp(max=self._last - 1).long()
        low, high = self._rising[below], self._rising[below + 1]
        return low + (place - below) * (high - low)


def schedule_lambdas(config: dict[str, Any]) -> np.ndarray:
    """λ of the labels 0 … T−1 from a scheduler's configuration: (T,) float64, decreasing.

    λ = ½ log(ᾱ/(1 − ᾱ)) with ᾱ from diffusers' own DDPM scheduler, float32 as the networks were
    trained with: any of its β schedules, `trained_betas`, CogVideoX's `snr_shift_scale`, and any
    number of labels. A schedule that ends in pure noise gets a last ᾱ of 2⁻²⁴ or less.
    `ValueError` for a schedule that is not variance preserving with discrete labels, or not known
    to diffusers.
    """
    from diffusers import CogVideoXDDIMScheduler, DDPMScheduler

    if "beta_schedule" not in config and config.get("trained_betas") is None:
        config = {**_defaults(str(config.get("_class_name", "it"))), **config}
    if config.get("use_flow_sigmas"):
        raise ValueError("flow matching is not variance preserving")
    if config.get("timestep_type") == "continuous":
        raise ValueError('timestep_type "continuous" tells the network log σ, and no label')
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or isinstance(steps, bool) or not 2 <= steps <= 100_000:
        raise ValueError(f"num_train_timesteps is {steps!r}")
    fields = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "rescale_betas_zero_snr",
    )
    try:
        said = {k: config[k] for k in fields if k in config}
        if config.get("snr_shift_scale") in (None, 1):
            scheduler: Any = DDPMScheduler(**said)
        else:
            scheduler = CogVideoXDDIMScheduler(**said, snr_shift_scale=config["snr_shift_scale"])
    except (NotImplementedError, TypeError, RuntimeError) as error:
        raise ValueError(f"its β schedule cannot be built: {error}") from error
    cumulated: Tensor = vars(scheduler)["alphas_cumprod"]
    alpha_bar = cumulated.double().numpy().copy()
    if len(alpha_bar) > 1 and alpha_bar[-1] <= 0:
        alpha_bar[-1] = min(ALPHA_BAR_MIN, alpha_bar[-2] / 4)
    if not ((alpha_bar > 0) & (alpha_bar < 1)).all() or not (np.diff(alpha_bar) < 0).all():
        raise ValueError("its β must lie between 0 and 1")
    return 0.5 * (np.log(alpha_bar) - np.log1p(-alpha_bar))


def _defaults(class_name: str) -> dict[str, Any]:
    """The β schedule that a class of diffusers has where a configuration says none."""
    import diffusers

    made = getattr(diffusers, class_name, None)
    takes = inspect.signature(made).parameters if isinstance(made, type) else {}
    if "beta_schedule" not in takes:
        raise ValueError(f"{class_name} has no β schedule")
    fields = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps")
    return {name: takes[name].default for name in fields if name in takes}
