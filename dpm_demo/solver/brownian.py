"""The noise of the SDE: one seeded Brownian path a sample, the same for every budget."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BrownianPath"]

_END = 32.0  # the dyadic grid covers λ in [−32, 32]
_DEPTH = 15  # its cells are 2e−3 wide in λ
_MASK = (1 << 64) - 1


class BrownianPath:
    """B(τ) with τ = e^{2ηλ}, (n, *shape), one independent path for each seed.

    Known at the nodes of a dyadic grid in λ by Brownian bridges, each drawn from its own seeded
    generator, so that B at one λ is the same whatever else is asked for: 10 and 20 steps see the
    same noise. Inside the finest cell a last bridge is drawn, keyed by λ and tied to the point
    asked for before. λ must be asked for in rising order. Drawn on the CPU, in float32 normals.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int], eta: float) -> None:
        self.seeds = tuple(int(seed) for seed in seeds)
        self.shape = tuple(shape)
        self.eta = eta
        self._generator = torch.Generator()
        self._branch: dict[tuple[int, int], Tensor] = {}  # (level, index): the way to the last λ
        self._asked: deque[tuple[float, Tensor]] = deque(maxlen=4)

    def increment(self, lam: float, target: float, like: Tensor) -> Tensor:
        """B(τ(target)) − B(τ(lam)), as a tensor with the dtype and device of `like`."""
        before, after = self._at(lam), self._at(target)
        step = (after - before).to(like.dtype)
        if like.device.type == "cuda":  # pinned, or the copy would wait for the device
            return step.pin_memory().to(like.device, non_blocking=True)
        return step.to(like.device)

    def _at(self, lam: float) -> Tensor:
        if not abs(lam) < _END:
            raise ValueError(f"eta above 0 needs every node within ±{_END:g}, not {lam}")
        for asked, value in self._asked:
            if asked == lam:
                return value
        left = (-_END, torch.zeros(len(self.seeds), *self.shape, dtype=torch.float64))
        if (0, 0) not in self._branch:
            spread = math.sqrt(self._lapse(-_END, _END))
            self._branch[0, 0] = self._normals((0, 0)) * spread
        right = (_END, self._branch[0, 0])
        index = 0
        for level in range(1, _DEPTH + 1):
            at = 0.5 * (left[0] + right[0])
            key = (level, index)
            if key not in self._branch:
                self._branch = {k: v for k, v in self._branch.items() if k[0] < level}
                self._branch[key] = self._bridge(left, right, at, key)
            index *= 2
            if lam < at:
                right = (at, self._branch[key])
            else:
                left = (at, self._branch[key])
                index += 1
        for asked, value in self._asked:
            if left[0] < asked < lam:
                left = (asked, value)
        key = (_DEPTH + 1, round(lam * 2**36))
        value = self._bridge(left, right, lam, key) if lam > left[0] else left[1]
        self._asked.append((lam, value))
        return value

    def _bridge(
        self,
        left: tuple[float, Tensor],
        right: tuple[float, Tensor],
        at: float,
        key: tuple[int, int],
    ) -> Tensor:
        """B at `at` given B at both sides: its mean is linear in τ, its variance τ₁τ₂/(τ₁+τ₂)."""
        before, after = self._lapse(left[0], at), self._lapse(at, right[0])
        whole = before + after
        spread = math.sqrt(before * (after / whole))
        return torch.lerp(left[1], right[1], before / whole).add_(self._normals(key), alpha=spread)

    def _lapse(self, lam: float, target: float) -> float:
        """τ(target) − τ(lam) without cancellation."""
        return math.exp(2 * self.eta * lam) * math.expm1(2 * self.eta * (target - lam))

    def _normals(self, key: tuple[int, int]) -> Tensor:
        rows = [
            torch.randn(self.shape, generator=self._generator.manual_seed(_mix(seed, *key)))
            for seed in self.seeds
        ]
        return torch.stack(rows).double()


def _mix(*parts: int) -> int:
    """A 63-bit seed from integers (splitmix64), so that neighbouring keys are unrelated."""
    state = 0
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
