"""How much a clip moves: figures of generated clips to hold against those of real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A clip whose neighbouring frames differ by less on average, of 255, is called almost still.
STILL = 0.5
_AT_ONCE = 32  # clips in memory as floats


@dataclass(frozen=True)
class Motion:
    """Figures over `n` clips; `difference` is of 255, `psnr` in dB (infinite if most are still)."""

    n: int
    difference: float
    psnr: float
    still: float

    def __str__(self) -> str:
        return (
            f"n = {self.n}: median |difference| of neighbouring frames {self.difference:.2f} of "
            f"255, PSNR between them {self.psnr:.1f} dB, almost still {100 * self.still:.1f} %"
        )


def differences(clips: np.ndarray) -> np.ndarray:
    """Mean |x_(t+1) − x_t| of each clip, of 255: uint8 `(n, 3, frames, h, w)` -> `(n,)`.

    Over all pixels and all neighbouring frames; the jump from the last frame to the first is none.
    Raises ValueError for anything but such clips of at least two frames.
    """
    return _over_clips(clips, np.abs)


def neighbour_psnr(clips: np.ndarray) -> np.ndarray:
    """PSNR in dB between neighbouring frames of each clip: 20 log10(255 / RMSE), `(n,)`.

    RMSE is over all pixels and all pairs of a clip; one that does not move at all has infinity.
    """
    squares = _over_clips(clips, np.square)
    with np.errstate(divide="ignore"):
        decibels: np.ndarray = 10 * np.log10(255.0**2 / squares)
    return decibels


def motion(clips: np.ndarray) -> Motion:
    """The medians over clips, and the share of those that are almost still (below `STILL`)."""
    moved = differences(clips)
    return Motion(
        n=len(clips),
        difference=float(np.median(moved)),
        psnr=float(np.median(neighbour_psnr(clips))),
        still=float(np.mean(moved < STILL)),
    )


def _over_clips(clips: np.ndarray, size: np.ufunc) -> np.ndarray:
    if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[2] < 2 or len(clips) == 0:
        raise ValueError(
            "clips must be uint8 of shape (n, 3, frames, h, w) with at least two frames, "
            f"got {clips.dtype} {clips.shape}"
        )
    means: list[float] = []
    for start in range(0, len(clips), _AT_ONCE):
        steps = np.diff(clips[start : start + _AT_ONCE].astype(np.float32), axis=2)
        means += size(steps).mean(axis=(1, 2, 3, 4), dtype=np.float64).tolist()
    return np.array(means)


def within(made: Motion, real: Motion) -> dict[str, bool]:
    """Whether they move as real ones: difference ±30 %, PSNR ±3 dB, still at most 5 points more."""
    return {
        "difference": abs(made.difference - real.difference) <= 0.3 * real.difference,
        "psnr": made.psnr == real.psnr or abs(made.psnr - real.psnr) <= 3,
        "still": made.still <= real.still + 0.05,
    }
