"""Clips as files that play: GIF, lossless animated WebP, MP4.

Arrays are videos `(frames, h, w, c)`, uint8, c = 3 (RGB) or 4 (RGBA). No file is half-written:
a reader meets the whole of it, or none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpm_demo.media.files import replacing
from dpm_demo.media.grid import upscale
from dpm_demo.media.pixels import Pixels, check_pictures

GIF_MAX_FPS = 50  # a GIF counts in 1/100 s, and browsers slow down anything shorter than 2 of them


def gif(
    frames: Pixels | Sequence[Pixels],
    fps: float,
    scale: int,
    path: str | os.PathLike[str],
    *,
    hold: float = 0.0,
) -> Path:
    """A looping GIF; each frame has 256 colours of its own and no dithering.

    The last frame stays `hold` seconds longer. A GIF counts in 1/100 s: frame k ends at (k + 1) /
    `fps` rounded to that, so rounding never adds up; runs of equal frames are stored once.

    Raises:
        ValueError: frames are no uint8 video, or fps is outside 0.1 ... 50.
    """
    stack = _video(frames, fps, GIF_MAX_FPS)
    big = (stack.shape[2] * scale, stack.shape[1] * scale)
    upscale(stack[:0], scale)  # refuses a bad scale
    pages = []
    for frame in stack:
        # Quantised before it is enlarged: the same colours for 1/scale^2 of the work.
        page = Image.fromarray(frame[..., :3]).quantize(256, dither=Image.Dither.NONE)
        pages.append(page.resize(big, Image.Resampling.NEAREST))
    times = [10 * ticks for ticks in durations(len(pages), fps, 100)]
    times[-1] += 10 * round(100 * hold)
    return _save(pages, path, times, format="GIF", optimize=False)


def durations(frames: int, fps: float, ticks: int) -> list[int]:
    """Whole ticks (1/`ticks` s) that each frame is shown; the first k last k / fps, to rounding."""
    ends = [round(ticks * k / fps) for k in range(frames + 1)]
    return [b - a for a, b in pairwise(ends)]


def animated_webp(
    frames: Pixels | Sequence[Pixels], fps: float, scale: int, path: str | os.PathLike[str]
) -> Path:
    """A looping, lossless animated WebP: bit for bit the frames that went in.

    Raises:
        ValueError: frames are no uint8 video, or fps is outside 0.1 ... 1000.
    """
    stack = upscale(_video(frames, fps, 1000), scale)
    pages = [Image.fromarray(frame) for frame in stack]
    return _save(
        pages,
        path,
        durations(len(pages), fps, 1000),
        format="WEBP",
        lossless=True,
        exact=True,  # the colour under a transparent pixel is kept too
        quality=70,  # of a lossless file: the effort spent, not the fidelity
    )


def _save(
    pages: list[Image.Image], path: str | os.PathLike[str], times: list[int], **options: Any
) -> Path:
    """The pages as one looping file, each for its time in ms."""
    first, *rest = pages
    with replacing(path) as part:
        first.save(part, save_all=True, append_images=rest, duration=times, loop=0, **options)
    return Path(path)


def mp4(
    frames: Pixels | Sequence[Pixels], fps: float, scale: int, path: str | os.PathLike[str]
) -> Path:
    """An h264 video (yuv420p, index first) that plays in every browser.

    Frames are enlarged before encoding, because yuv420p halves the colour's resolution, and an
    odd side is padded by repeating its last row or column. The written file is decoded again:
    ffmpeg can fail without an error.

    Raises:
        ValueError: frames are no uint8 video, or fps is outside 0.1 ... 240.
        RuntimeError: the file does not decode to these frames; nothing is left at `path`.
    """
    import imageio.v2 as imageio  # 0.3 s to import, and only videos need it

    stack = upscale(_video(frames, fps, 240)[..., :3], scale)
    h, w = stack.shape[1:3]
    stack = np.pad(stack, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    path = Path(path)
    options: dict[str, Any] = {
        "format": "FFMPEG",
        "fps": fps,
        "codec": "libx264",
        "pixelformat": "yuv420p",
        "macro_block_size": 1,
        "quality": None,
        "ffmpeg_log_level": "error",
        "output_params": ["-crf", "14", "-preset", "fast", "-movflags", "+faststart"],
    }
    try:
        with replacing(path) as part:
            imageio.mimwrite(part, list(stack), **options)
            _check_decodes(part, stack.shape[0], (stack.shape[2], stack.shape[1]))
    except OSError as error:
        raise RuntimeError(f"the video {path.name} could not be encoded: {error}.") from error
    return path


def _check_decodes(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Raises RuntimeError unless the video at `path` decodes to `frames` frames of `size`."""
    import imageio.v2 as imageio

    reader: Any
    try:
        with imageio.get_reader(path, format="FFMPEG") as reader:
            shapes = [frame.shape[1::-1] for frame in reader]
    except (OSError, RuntimeError, IndexError, StopIteration) as error:
        raise RuntimeError(f"the encoded video cannot be read back: {error}.") from error
    if shapes != [size] * frames:
        found = f"{len(shapes)} frames of {set(shapes) or 'no size'}"
        raise RuntimeError(f"the encoded video holds {found}, not {frames} frames of {size}.")


def _video(frames: Pixels | Sequence[Pixels], fps: float, fastest: float) -> Pixels:
    if not 0.1 <= fps <= fastest:  # false for NaN too
        raise ValueError(f"fps must be between 0.1 and {fastest}, got {fps}.")
    return check_pictures(frames, "frames")
