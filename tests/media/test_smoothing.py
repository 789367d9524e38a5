"""Smoothing along time: what does not move stays, and neither end is darkened."""

import numpy as np
import pytest

from dpm_demo.media.smoothing import kernel, smooth


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("sigma", [0.25, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("frames", [1, 2, 16])
def test_a_constant_clip_is_not_changed(sigma: float, loop: bool, frames: int) -> None:
    still = np.full((3, frames, 4, 5), 0.7, np.float32)
    np.testing.assert_allclose(smooth(still, sigma, loop=loop, axis=1), still, rtol=1e-6)
    white = np.full((frames, 4, 5, 3), 255, np.uint8)
    assert np.array_equal(smooth(white, sigma, loop=loop), white)


def test_a_bright_end_stays_bright_where_zero_padding_would_darken_it() -> None:
    clip = np.zeros((16, 2, 2))
    clip[0] = clip[1] = 1.0
    mixed = smooth(clip, 1.0)
    padded = np.convolve(np.r_[np.zeros(4), clip[:, 0, 0], np.zeros(4)], kernel(1.0), "valid")
    assert padded[0] < 0.7 and mixed[0, 0, 0] > 0.9
    assert mixed[-1, 0, 0] == 0
    np.testing.assert_allclose(mixed[4:12, 0, 0], padded[4:12])  # inside, padding is no matter


def test_a_loop_has_no_ends() -> None:
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(9, 3, 2))
    for sigma in (0.5, 2.0, 5.0):  # the kernel may be longer than the clip
        turned = smooth(np.roll(clip, 4, axis=0), sigma, loop=True)
        np.testing.assert_allclose(turned, np.roll(smooth(clip, sigma, loop=True), 4, axis=0))
        np.testing.assert_allclose(smooth(clip, sigma, loop=True).mean(0), clip.mean(0), atol=1e-12)


def test_an_impulse_becomes_the_kernel() -> None:
    clip = np.zeros(41)
    clip[20] = 1
    weights = kernel(2.5)
    assert np.isclose(weights.sum(), 1) and np.array_equal(weights, weights[::-1])
    ratio = weights[len(weights) // 2 + 5] / weights[len(weights) // 2]
    assert np.isclose(ratio, np.exp(-0.5 * 2**2))
    np.testing.assert_allclose(smooth(clip, 2.5)[10:31], weights)


def test_width_zero_is_off_and_other_widths_are_refused() -> None:
    clip = np.arange(12, dtype=np.uint8).reshape(6, 2)
    kept = smooth(clip, 0)
    assert np.array_equal(kept, clip) and kept is not clip
    for bad in (-0.1, 8.1, float("nan"), float("inf"), "1", True):
        with pytest.raises(ValueError, match="sigma must be from 0 to 8"):
            smooth(clip, bad)
    with pytest.raises(ValueError, match="at least one"):
        smooth(np.zeros((0, 2)), 1.0)


def test_a_wider_kernel_leaves_less_motion() -> None:
    clip = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
    moved = [
        np.abs(np.diff(smooth(clip, s, loop=True).astype(float), axis=0)).mean()
        for s in (0.0, 0.5, 1.0, 2.0)
    ]
    assert moved == sorted(moved, reverse=True) and moved[-1] < 0.1 * moved[0]
