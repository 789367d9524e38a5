"""Motion figures on clips whose motion is known."""

import numpy as np
import pytest

from dpm_demo.quality.motion import Motion, differences, motion, neighbour_psnr, within


def _ramp(step: int, frames: int = 8) -> np.ndarray:
    """A grey that brightens by `step` a frame: (3, frames, 4, 6)."""
    grey = (10 + step * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(grey[None, :, None, None], (3, frames, 4, 6))


def test_a_ramp_of_seven_a_frame_differs_by_seven_and_its_psnr_follows() -> None:
    clips = np.stack([_ramp(7), _ramp(-1)[:, ::-1], _ramp(0)])
    np.testing.assert_allclose(differences(clips), [7, 1, 0])
    np.testing.assert_allclose(
        neighbour_psnr(clips), [20 * np.log10(255 / 7), 20 * np.log10(255), np.inf]
    )


def test_dark_and_bright_turns_do_not_wrap_around_in_eight_bits() -> None:
    flicker = np.zeros((1, 3, 4, 2, 2), np.uint8)
    flicker[:, :, ::2] = 255
    assert differences(flicker)[0] == 255 and neighbour_psnr(flicker)[0] == 0


def test_the_medians_and_the_share_of_still_clips() -> None:
    clips = np.stack([_ramp(0), _ramp(0), _ramp(4), _ramp(4), _ramp(6)])
    found = motion(clips)
    assert found == Motion(5, 4.0, pytest.approx(20 * np.log10(255 / 4)), 0.4)
    assert "almost still 40.0 %" in str(found)


def test_many_clips_give_what_they_give_alone() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (70, 3, 5, 4, 4)).astype(np.uint8)
    alone = np.concatenate([differences(clip[None]) for clip in clips])
    np.testing.assert_allclose(differences(clips), alone)


def test_real_motion_is_met_within_the_bounds_of_each_figure() -> None:
    real = Motion(64, 4.0, 30.0, 0.10)
    assert all(within(Motion(64, 5.1, 32.9, 0.15), real).values())
    assert within(Motion(64, 5.3, 33.1, 0.16), real) == dict.fromkeys(
        ("difference", "psnr", "still"), False
    )


def test_what_is_no_clip_is_refused() -> None:
    for bad in (np.zeros((1, 3, 1, 4, 4), np.uint8), np.zeros((1, 3, 4, 4, 4)), _ramp(1)):
        with pytest.raises(ValueError, match="clips must be uint8"):
            motion(bad)
