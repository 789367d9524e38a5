"""Distributions whose denoiser and probability flow are known, so that error meets the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_demo.models.calibrated import load_fits
from dpm_demo.models.model import Model
from dpm_demo.solver.schedule import alpha, sigma


@dataclass(frozen=True)
class Mixture:
    """Every number of a sample is drawn from Σ w_k N(μ_k, s_k²) by itself, in any shape.

    The probability flow of one dimension is monotone and keeps the marginals, so it is known:
    x_t = F_t⁻¹(F_T(x_T)) with F_t(x) = Σ w_k Φ((x − α_t μ_k)/√(α_t² s_k² + σ_t²)).
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.weights) == len(self.means) == len(self.stds) > 0:
            raise ValueError("weights, means and stds must be lists of the same length, not empty")
        if abs(sum(self.weights) - 1) > 1e-9 or min(self.weights) <= 0:
            raise ValueError(f"weights must be positive and sum to 1, not {self.weights}")
        if min(self.stds) <= 0:
            raise ValueError(f"stds must be positive, not {self.stds}")

    def denoise(self, x: Tensor, lam: float | Tensor, cond: Sequence[Any] | None = None) -> Tensor:
        """E[x0 | x_t = x] at λ; x: (n, *shape), lam: a float or (n,); `cond` changes nothing.

        Σ_k p_k (μ_k + α s_k² (x − α μ_k)/V_k), V_k = α² s_k² + σ², p_k ∝ w_k N(x; α μ_k, V_k).
        """
        a, s = _scales(x, lam)
        log_p, means = [], []
        for weight, mean, std in zip(self.weights, self.means, self.stds, strict=True):
            variance = (a * std) ** 2 + s**2
            gap = x - a * mean
            scale = weight * variance.rsqrt()
            log_p.append(torch.addcmul(scale.log(), gap, gap / variance, value=-0.5))
            means.append(mean + a * std**2 / variance * gap)
        p = torch.stack(log_p).softmax(0)
        return (p * torch.stack(means)).sum(0)

    def flow(self, x: Tensor, lam: float | Tensor, target: float | Tensor) -> Tensor:
        """The exact probability-flow solution from `x` at λ to `target`, in float64.

        Both λ are floats, or tensors like x. By bisection of F, or of 1 − F above the median,
        where F has no digits left.
        """
        x = x.double()
        below, above = self._tails(x, lam)
        low = torch.full_like(x, -40.0)
        high = torch.full_like(x, 40.0)
        lower_half = below < above
        for _ in range(64):
            middle = 0.5 * (low + high)
            under, over = self._tails(middle, target)
            too_low = torch.where(lower_half, under < below, over > above)
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
        return 0.5 * (low + high)

    def _tails(self, x: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor]:
        a, s = alpha(lam), sigma(lam)
        below, above = torch.zeros_like(x), torch.zeros_like(x)
        for weight, mean, std in zip(self.weights, self.means, self.stds, strict=True):
            z = (x - a * mean) / ((a * std) ** 2 + s**2) ** 0.5
            below += weight * torch.special.ndtr(z)
            above += weight * torch.special.ndtr(-z)
        return below, above


#: The mixture that orders of convergence are measured on.
MIXTURE = Mixture(weights=(0.3, 0.5, 0.2), means=(-1.2, 0.3, 1.0), stds=(0.25, 0.3, 0.2))


def _scales(x: Tensor, lam: float | Tensor) -> tuple[Tensor, Tensor]:
    """α and σ with x's dtype, shaped to broadcast over the rows of x (or λ of every number)."""
    at = torch.as_tensor(lam, dtype=torch.float64).to(x.device)
    if at.ndim < x.ndim:
        at = at.reshape(-1, *[1] * (x.ndim - 1))
    return alpha(at).to(x.dtype), sigma(at).to(x.dtype)


#: The built-in models of the page: how they are named where a checkpoint's name may stand.
MIXTURE_NAME = "mixture"
VIDEO_MIXTURE_NAME = "mixture-video"
DIGEST = "exact"  # it has no weights; solvers fitted to one of these are beside this file


@dataclass(frozen=True)
class PictureMixture:
    """A mixture in every coefficient of a cosine transform: exact, and yet it looks like pictures.

    x = Qᵀ (c ∘ u) with Q the orthonormal two-dimensional DCT, u a `mixture` number in every
    coefficient, c falling with frequency (smooth clouds of colour). Noise is the same in every
    orthonormal basis, so the denoiser and the probability flow are known in the basis of Q.

    With more than one of `frames`, x is `(n, c, frames, size, size)`, and Q also turns time, by the
    cosines and sines of a closed loop: the last frame flows into the first.
    """

    mixture: Mixture = MIXTURE
    size: int = 32
    falloff: float = 1.6
    frames: int = 1
    slowness: float = 1.0  # how much more a cycle in time damps than one across the picture

    def __post_init__(self) -> None:
        k = torch.arange(self.size, dtype=torch.float64)
        q = torch.cos(torch.pi / self.size * (k[None, :] + 0.5) * k[:, None])
        q *= (2 / self.size) ** 0.5
        q[0] /= 2**0.5
        turns, time = _loop_basis(self.frames)
        # a DCT counts half cycles
        cycles = (2 * self.slowness * turns)[:, None, None] ** 2
        scale = (1 + (cycles + k[:, None] ** 2 + k[None, :] ** 2).sqrt()) ** -self.falloff
        # an average pixel keeps a spread of about 0.5, so that few pixels leave [-1, 1]
        scale *= 0.5 * self.size * self.frames**0.5 / scale.square().sum().sqrt()
        object.__setattr__(self, "_basis", q)
        object.__setattr__(self, "_time", time)
        object.__setattr__(self, "_scale", scale if self.frames > 1 else scale[0])

    def _scale_of(self, x: Tensor) -> Tensor:
        scale: Tensor = self._scale.to(x)  # type: ignore[attr-defined]
        return scale

    def _turn(self, x: Tensor, back: bool = False) -> Tensor:
        """Q x, or Qᵀ x."""
        q, time = (b.to(x) for b in (self._basis, self._time))  # type: ignore[attr-defined]
        if back:
            q, time = q.T, time.T
        if self.frames > 1:
            x = (time @ x.flatten(-2)).view(x.shape)
        return q @ x @ q.T

    def denoise(self, x: Tensor, lam: float | Tensor, cond: Sequence[Any] | None = None) -> Tensor:
        """E[x0 | x_t = x] at λ; x: (n, ..., size, size), or (n, ..., frames, size, size)."""
        c = self._scale_of(x)
        # a coefficient c u at λ is u at λ + log c, seen through x / c rescaled to keep VP form
        at = torch.as_tensor(lam, dtype=torch.float64).to(x.device)
        at = at.reshape(-1, *[1] * (x.ndim - 1)) + c.double().log()
        u_t, own = self._as_unit(self._turn(x), at, c)
        return self._turn(c * self.mixture.denoise(u_t, own), back=True)

    def flow(self, x: Tensor, lam: float, target: float) -> Tensor:
        """The exact probability-flow solution from `x` at λ to `target`, in float64."""
        x = x.double()
        c = self._scale_of(x)
        low, high = (torch.as_tensor(v) + c.log() for v in (lam, target))
        u_t, _ = self._as_unit(self._turn(x), low.expand_as(x), c)
        u = self.mixture.flow(u_t, low, high)
        scale = c * alpha(torch.tensor(target, dtype=x.dtype)) / alpha(high)
        return self._turn(u * scale, back=True)

    @staticmethod
    def _as_unit(y: Tensor, own: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """y = α c u + σ ε as a variance-preserving state of u: its λ is λ + log c = `own`.

        y / √(α² c² + σ²) has signal-to-noise α c / σ, which is e^(λ + log c).
        """
        lam = own - c.double().log()
        scale = (alpha(lam).double() * c) ** 2 + sigma(lam).double() ** 2
        return y / scale.sqrt().to(y.dtype), own


def _loop_basis(frames: int) -> tuple[Tensor, Tensor]:
    """Cycles a loop of each basis vector, and the orthonormal vectors, rows of (frames, frames).

    1, cos and sin of once around, of twice, and so on: each as smooth across the end as within.
    """
    place = torch.arange(frames, dtype=torch.float64) * (2 * torch.pi / frames)
    turns = (torch.arange(frames) + 1) // 2
    angle = turns[:, None] * place
    rows = torch.where((torch.arange(frames) % 2 == 0)[:, None], angle.cos(), angle.sin())
    if frames % 2 == 0:
        rows[-1] = angle[-1].cos()  # the sine of the highest frequency vanishes at every frame
    return turns.double(), rows / rows.norm(dim=1, keepdim=True)


def mixture_model(device: torch.device) -> Model:
    """The page's "mixture (exact)": 3 x 32 x 32, instant, its truth known (`PictureMixture`)."""
    exact = PictureMixture()
    return _model(exact, MIXTURE_NAME, "mixture (exact)", (3, exact.size, exact.size), device)


def mixture_video_model(device: torch.device) -> Model:
    """Its moving sister, "mixture (exact), moving": a closed loop of 3 x 16 x 32 x 32."""
    exact = PictureMixture(frames=16, falloff=2.0, slowness=2.0)
    shape = (3, exact.frames, exact.size, exact.size)
    return _model(exact, VIDEO_MIXTURE_NAME, "mixture (exact), moving", shape, device)


def _model(
    exact: PictureMixture, name: str, title: str, shape: tuple[int, ...], device: torch.device
) -> Model:
    return Model(
        name=name,
        shape=shape,
        lam_span=(-5.0, 4.6),
        denoise=exact.denoise,
        denoise_float32=exact.denoise,
        device=device,
        digest=DIGEST,
        fits=load_fits(Path(__file__).with_name(f"{name}.calibrated.json"), DIGEST),
        title=title,
        exact_solution=exact.flow,
    )
