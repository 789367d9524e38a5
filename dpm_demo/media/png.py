"""PNG in bytes: a uint8 picture with texts in it, and the texts read back."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from PIL import Image, PngImagePlugin

from dpm_demo.media.pixels import MAX_SIDE, Pixels, check_picture


def png(array: Pixels, text: Mapping[str, str] | None = None, *, level: int = 6) -> bytes:
    """One picture as PNG bytes, with `text` in its text chunks.

    Args:
        array: `(h, w, 3)` or `(h, w, 4)` uint8.
        text: settings to carry, keyword to text. Latin-1 goes into tEXt, anything else into iTXt.
        level: zlib effort 0 to 9; 1 is for live previews (0.4 ms, not 0.7, for 32 x 256 pixels).

    Raises:
        ValueError: the array is not a uint8 picture, or a keyword is not 1 to 79 Latin-1 letters.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        if not 1 <= len(key) <= 79 or not key.isascii() or not key.isprintable():
            raise ValueError(f"text keyword must be 1 to 79 printable ASCII letters, got {key!r}.")
        info.add_text(key, value)
    out = io.BytesIO()
    Image.fromarray(check_picture(array, most=None)).save(
        out, "PNG", pnginfo=info, compress_level=level
    )
    return out.getvalue()


def png_text(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG: what `png(array, text)` was given.

    Raises:
        ValueError: the bytes are no PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ValueError(f"its sides are {picture.size}, more than {MAX_SIDE} pixels")
            picture.load()  # text chunks may follow the pixels
            chunks = getattr(picture, "text", {})
            return {str(key): str(value) for key, value in chunks.items()}
    except Image.UnidentifiedImageError:
        raise ValueError("data must be a PNG picture, and this is none.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"data must be a PNG picture, but reading it failed: {error}.") from None


def data_uri(data: bytes, mime: str = "image/png") -> str:
    """`data:` address of some bytes, for a page that must not fetch anything."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
