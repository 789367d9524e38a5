"""The record of a trajectory: its points, and uint8 pictures of x0 and x_t at each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from dpm_demo.engine.events import Point
from dpm_demo.engine.job import Job
from dpm_demo.media.pixels import to_uint8
from dpm_demo.media.thin import at_or_before, spread
from dpm_demo.solver.schedule import alpha, sigma

MAX_PICTURES = 64


def in_window(x: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """Variance-preserving states x_t `(n, c, …)` at λ `(n,)` over α + 2σ, to be shown as data is.

    That window holds the whole data range and two standard deviations of noise on top: pure noise
    is clipped at ±2 (5 % of its pixels), and at σ = 0 the mapping is that of the data prediction,
    so x_t and x0 end as the same picture.
    """
    window = (alpha(lam.double()) + 2 * sigma(lam.double())).to(x.device, x.dtype)
    return x / window.view(-1, *[1] * (x.ndim - 1))


def state_to_uint8(x: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """States x_t `(n, c, …)` at λ `(n,)` as uint8 `(n, …, c)`, seen through `in_window`."""
    return to_uint8(in_window(x, lam))


def fitted(pictures: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Pictures `(n, 3, h, w)` or clips `(n, 3, f, h, w)` at another size; the same at their own."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    smaller = pictures.shape[-1] > size[-1]
    mode = "area" if smaller else ("bilinear" if len(size) == 2 else "trilinear")
    return torch.nn.functional.interpolate(pictures.float(), size, mode=mode)


def shown(
    job: Job, x0: torch.Tensor, x: torch.Tensor, lam: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """uint8 pictures of data predictions and states at λ, of latents by their preview."""
    if job.latents is None:
        return to_uint8(x0), state_to_uint8(x, lam)
    states = in_window(x, lam)
    x0, x = (fitted(job.latents.preview(latent), job.picture) for latent in (x0, states))
    return to_uint8(x0), to_uint8(x)


@dataclass
class Film:
    """Points of one trajectory and its uint8 pictures, thinned evenly as they become many.

    At most 2 · `MAX_PICTURES` are held, every `stride`-th one; `develop` chooses the final ones.
    """

    points: list[Point] = field(default_factory=list)
    shot: int = 0
    stride: int = 1
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    latest: tuple[torch.Tensor, torch.Tensor] = field(init=False)

    def add_point(self, nfe: int, lam: float, stage: int = 0) -> None:
        """Notes an evaluation; it shows the latest picture until one is added for it."""
        self.points.append(Point(nfe, lam, stage, self.shot - 1))

    def add_picture(self, x0: torch.Tensor, x: torch.Tensor) -> None:
        """Adds the picture of the last point: uint8 `(rows, …, c)` each."""
        last = self.points[-1]
        self.points[-1] = Point(last.nfe, last.lam, last.stage, self.shot)
        if self.shot % self.stride == 0:
            self.kept[self.shot] = (x0, x)
        self.latest = (x0, x)
        self.shot += 1
        if len(self.kept) > 2 * MAX_PICTURES:
            self.stride *= 2
            self.kept = {k: v for k, v in self.kept.items() if k % self.stride == 0}

    def develop(
        self, row: int, count: int | None = None
    ) -> tuple[tuple[Point, ...], np.ndarray, np.ndarray]:
        """The first `count` points (all if None) of one row, with its x0 and x_t pictures.

        The last picture always is among them; a point whose picture was thinned out shows the
        nearest one before it.
        """
        points = self.points[:count]
        last = max((p.picture for p in points), default=-1)
        if last < 0:
            nothing = np.zeros((0,), np.uint8)
            return tuple(Point(p.nfe, p.lam, p.stage, -1) for p in points), nothing, nothing
        frames = {k: v for k, v in self.kept.items() if k <= last}
        if last == self.shot - 1:
            frames[last] = self.latest
        every = sorted(frames)
        numbers = [every[k] for k in spread(len(every), MAX_PICTURES)]
        x0 = torch.stack([frames[k][0][row] for k in numbers]).cpu().numpy()
        x = torch.stack([frames[k][1][row] for k in numbers]).cpu().numpy()
        shown = tuple(
            Point(p.nfe, p.lam, p.stage, at_or_before(numbers, p.picture)) for p in points
        )
        return shown, x0, x
