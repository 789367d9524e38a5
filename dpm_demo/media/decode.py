"""Any picture file as RGB pixels: the one door for training, measuring and uploads.

A camera's orientation is followed, transparency is laid on white, 16 and 32 bits a sample are
scaled to 8, CMYK and palettes become RGB, and of an animation the first frame is taken.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PIXELS_MAX = 50_000_000  # of a picture, before it is decoded
#: Endings of the files that are taken for pictures where a folder is read.
SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("png", "jpg", "jpeg", "jfif", "webp", "gif", "avif"),
        *("bmp", "tif", "tiff", "ppm", "pgm", "pbm"),
    )
)
# What Pillow raises for files that are damaged, cut short, or of something else.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError),
    RuntimeError,  # of an AVIF
    *(struct.error, OverflowError),  # of what a camera wrote beside it
)
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # modes with more than 8 bits a sample


@dataclass(frozen=True)
class Decoded:
    """The picture, in mode RGB, and how many frames its file has: of several, it is the first."""

    image: Image.Image
    frames: int


def decode(source: str | Path | bytes | Image.Image) -> Decoded:
    """The first frame of a picture as RGB.

    Raises ValueError, half a sentence without the file's name, for what is no picture, is
    truncated, or has more than 50 million pixels (which is refused before it is decoded).
    """
    try:
        with warnings.catch_warnings():  # of large pictures: the bound here is our own
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = _open(source)
            width, height = opened.size
            if width * height > PIXELS_MAX:
                raise _too_large(f"{width} x {height} pixels are")
            frames = int(getattr(opened, "n_frames", 1))
            if frames > 1:
                opened.seek(0)
            return Decoded(to_rgb(opened), frames)
    except Image.DecompressionBombError:
        raise _too_large("its pixels are") from None
    except _TooLarge:
        raise
    except (*_DAMAGED, MemoryError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        said = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({reason[0][:100]})"
        raise ValueError(f"no picture that can be read{said}") from error


class _TooLarge(ValueError):
    """Says what a picture too large to be decoded has."""


def _too_large(what: str) -> _TooLarge:
    return _TooLarge(f"too large: {what} more than {PIXELS_MAX // 10**6} million")


def _open(source: str | Path | bytes | Image.Image) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def to_rgb(image: Image.Image) -> Image.Image:
    """One frame as RGB: upright, over white, 8 bits a sample."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 or 32 bits or floats as uint8, from the whole range of their kind.

    Files do not say which range they use. Integers: 0 to 65,535, unless one is above (or below 0,
    as Pillow reads the upper half of 32 bits): then 0 to 2^32 - 1. Floats: 0 to the first of 1,
    255, 65,535 that none is above, else to the greatest. What is not finite is black.
    """
    if np.issubdtype(values.dtype, np.integer):
        wide = values.astype(np.int64)
        if wide.min() < 0 or wide.max() > 65_535:
            wide, top = wide % 2**32, float(2**32 - 1)
        else:
            top = 65_535.0
        scaled = wide / top
    else:
        known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        greatest = float(known.max())
        top = next((t for t in (1.0, 255.0, 65_535.0) if greatest <= t), greatest)
        scaled = known / top
    return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
