"""Pictures and videos as files and bytes: uint8 numpy in, PNG, GIF, MP4, WebP and ZIP out.

Arrays are `(h, w, c)` pictures and `(frames, h, w, c)` videos, uint8, c = 3 (RGB) or 4 (RGBA).
All upscaling is by an integer and nearest, so that a pixel of the network stays a square.
Nothing here imports torch: the engine hands over numpy, and this may run in any thread.
"""

from __future__ import annotations

import base64
import bisect
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

Pixels = NDArray[np.uint8]

MAX_SIDE = 8192  # of a written file; far above what the page asks for, far below all memory
GIF_MAX_FPS = 50  # a GIF counts in 1/100 s, and browsers slow down anything shorter than 2 of them
SPELLED = {"λ": "lambda", "η": "eta", "σ": "sigma", "α": "alpha", "ρ": "rho", "−": "-", "₀": "0"}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same archive, byte for byte


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
    Image.fromarray(_picture(array)).save(out, "PNG", pnginfo=info, compress_level=level)
    return out.getvalue()


def png_text(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG: what `png(array, text)` was given.

    Raises:
        ValueError: the bytes are no PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()  # text chunks may follow the pixels
            chunks = getattr(picture, "text", {})
            return {str(key): str(value) for key, value in chunks.items()}
    except (OSError, SyntaxError) as error:
        raise ValueError(f"data must be a PNG picture, but reading it failed: {error}.") from None


def data_uri(data: bytes, mime: str = "image/png") -> str:
    """`data:` address of some bytes, for a page that must not fetch anything."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def upscale(array: Pixels, factor: int) -> Pixels:
    """`(..., h, w, c) -> (..., factor h, factor w, c)`, every pixel a square of itself."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"scale must be a whole number of at least 1, got {factor!r}.")
    side = factor * max(array.shape[-3:-1])
    if side > MAX_SIDE:
        raise ValueError(f"scale {factor} makes a side of {side} pixels; at most {MAX_SIDE}.")
    return array if factor == 1 else array.repeat(factor, axis=-3).repeat(factor, axis=-2)


def sheet(
    pictures: Pixels | Sequence[Pixels], columns: int, *, gap: int = 0, fill: int = 255
) -> Pixels:
    """A grid of equal pictures, row by row: `n x (h, w, c) -> (rows h, columns w, c)`.

    `gap` pixels of `fill` lie between the cells, and cells that are left over are `fill`.
    """
    stack = _pictures(pictures, "pictures")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    n, h, w, c = stack.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), fill, np.uint8)
    for k, picture in enumerate(stack):
        y, x = k // columns * (h + gap), k % columns * (w + gap)
        grid[y : y + h, x : x + w] = picture
    return grid


def strip(frames: Pixels | Sequence[Pixels]) -> Pixels:
    """The frames of one video side by side: `(frames, h, w, c) -> (h, frames w, c)`."""
    stack = _pictures(frames, "frames")
    return np.ascontiguousarray(np.concatenate(list(stack), axis=1))


def sprite_sheet(pictures: Pixels | Sequence[Pixels]) -> Pixels:
    """What the player cuts its tiles from: one row a picture, one column a frame.

    Args:
        pictures: `(n, h, w, c)` pictures, or `(n, frames, h, w, c)` videos.

    Returns:
        `(n h, w, c)`, or `(n h, frames w, c)`.
    """
    stack = np.asarray(pictures)
    if stack.dtype != np.uint8 or stack.ndim not in (4, 5) or 0 in stack.shape:
        raise ValueError(
            f"pictures must be uint8 of shape (n, h, w, c) or (n, frames, h, w, c), "
            f"got {stack.dtype} {stack.shape}."
        )
    if stack.ndim == 4:
        stack = stack[:, None]
    n, frames, h, w, c = stack.shape
    return np.ascontiguousarray(stack.transpose(0, 2, 1, 3, 4)).reshape(n * h, frames * w, c)


def labelled_grid(
    pictures: Sequence[Sequence[Pixels | None]],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    *,
    scale: int = 4,
    best: Sequence[Sequence[bool]] | None = None,
    title: str = "",
) -> Pixels:
    """A table of pictures with its titles and captions burnt in, for export.

    Args:
        pictures: rows of cells, all of one shape `(h, w, 3)`; None is an empty cell.
        row_titles, column_titles: one for each row and column.
        captions: under each cell; lines are split at newlines.
        scale: integer upscaling of the pictures.
        best: cells to mark (a frame and a star).
        title: a line above everything.

    Returns:
        `(H, W, 3)` uint8, black on white.

    Raises:
        ValueError: the table is empty, ragged, or its pictures differ in shape.
    """
    rows, columns = len(row_titles), len(column_titles)
    filled = [cell for row in pictures for cell in row if cell is not None]
    if not filled or len(pictures) != rows or any(len(row) != columns for row in pictures):
        raise ValueError(
            f"pictures must be {rows} rows of {columns} cells, like the titles, and not all empty."
        )
    for name, table in (("captions", captions), ("best", best)):
        if table is not None and [len(row) for row in table] != [columns] * rows:
            raise ValueError(f"{name} must have {rows} rows of {columns} entries.")
    height, width = (scale * side for side in _pictures(filled, "pictures").shape[1:3])

    font, small, heading = (ImageFont.load_default(size) for size in (14, 12, 16))
    texts = [[str(cell) for cell in row] for row in captions] if captions is not None else []
    lines = max((cell.count("\n") + 1 for row in texts for cell in row if cell), default=0)
    widest = max((_width(t, small) for row in texts for c in row for t in c.split("\n")), default=0)
    margin, gap, line = 16, 12, 16
    cell_width = max(width, min(widest, 2 * width + 80))
    cell_height = height + lines * line + (4 if lines else 0)
    left = margin + min(240, max(_width(t, font) for t in row_titles)) + gap
    top = margin + (28 if title else 0) + 24
    size = (
        left + columns * (cell_width + gap) - gap + margin,
        top + rows * (cell_height + gap) - gap + margin,
    )
    if max(size) > MAX_SIDE:
        raise ValueError(f"the grid would be {size[0]} x {size[1]} pixels; at most {MAX_SIDE}.")

    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, margin), _clip(title, heading, size[0] - 2 * margin), "black", heading)
    for j, name in enumerate(column_titles):
        x = left + j * (cell_width + gap)
        draw.text((x, top - 22), _clip(name, font, cell_width), "black", font)
    for i, name in enumerate(row_titles):
        y = top + i * (cell_height + gap)
        draw.text((margin, y + height // 2 - 8), _clip(name, font, left - margin - gap), 0, font)
        for j, cell in enumerate(pictures[i]):
            x = left + j * (cell_width + gap)
            box = (x - 1, y - 1, x + width, y + height)
            if cell is None:
                draw.rectangle(box, fill="#f2f2f2", outline="#cccccc")
            else:
                canvas.paste(Image.fromarray(upscale(_picture(cell)[..., :3], scale)), (x, y))
                draw.rectangle(box, outline="#cccccc")
            if best is not None and best[i][j]:
                draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), outline=0, width=2)
                draw.polygon(_star(x + width - 12, y + 12, 9), fill="white", outline="black")
            for n, caption in enumerate(texts[i][j].split("\n") if texts else []):
                place = (x, y + height + 4 + n * line)
                draw.text(place, _clip(caption, small, cell_width), "#333333", small)
    return np.asarray(canvas)


def gif(
    frames: Pixels | Sequence[Pixels],
    fps: float,
    scale: int,
    path: str | os.PathLike[str],
    *,
    hold: float = 0.0,
) -> Path:
    """A looping GIF; each frame has 256 colours of its own and no dithering.

    The last frame stays `hold` seconds longer. A GIF counts in 1/100 s, so `fps` is met to
    rounding; runs of equal frames are stored once, with their time added up.

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
    step = 10 * round(100 / fps)
    times = [step] * len(pages)
    times[-1] += 10 * round(100 * hold)
    path = Path(path)
    pages[0].save(
        path, "GIF", save_all=True, append_images=pages[1:], duration=times, loop=0, optimize=False
    )
    return path


def animated_webp(
    frames: Pixels | Sequence[Pixels], fps: float, scale: int, path: str | os.PathLike[str]
) -> Path:
    """A looping, lossless animated WebP: bit for bit the frames that went in.

    Raises:
        ValueError: frames are no uint8 video, or fps is outside 0.1 ... 1000.
    """
    stack = upscale(_video(frames, fps, 1000), scale)
    pages = [Image.fromarray(frame) for frame in stack]
    path = Path(path)
    pages[0].save(
        path,
        "WEBP",
        save_all=True,
        append_images=pages[1:],
        duration=[round(1000 / fps)] * len(pages),
        loop=0,
        lossless=True,
        exact=True,  # the colour under a transparent pixel is kept too
        quality=70,  # of a lossless file: the effort spent, not the fidelity
    )
    return path


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
    part = path.with_name(f".{path.stem}.part.mp4")  # a reader never meets a half-written file
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
        writer: Any
        with imageio.get_writer(part, **options) as writer:
            for frame in stack:
                writer.append_data(np.ascontiguousarray(frame))
        _check_decodes(part, stack.shape[0], (stack.shape[2], stack.shape[1]))
        os.replace(part, path)
    except OSError as error:
        raise RuntimeError(f"the video {path.name} could not be encoded: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def zip_files(files: Mapping[str, bytes], path: str | os.PathLike[str]) -> Path:
    """A ZIP of named bytes; the same files give the same archive.

    Raises:
        ValueError: there is no file, or a name is absolute, empty, or leaves the archive.
    """
    if not files:
        raise ValueError("files must name at least one file for the archive, got none.")
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise ValueError(f"files must have plain relative names, got {name!r}.")
    path = Path(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
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


def _picture(array: Pixels) -> Pixels:
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ValueError(
            f"a picture must be uint8 of shape (h, w, 3) or (h, w, 4), "
            f"got {array.dtype} {array.shape}."
        )
    if 0 in array.shape or max(array.shape[:2]) > MAX_SIDE:
        raise ValueError(f"a picture's sides must be 1 to {MAX_SIDE} pixels, got {array.shape}.")
    return np.ascontiguousarray(array)


def _pictures(stack: Pixels | Sequence[Pixels], name: str) -> Pixels:
    pictures = [_picture(picture) for picture in stack]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"{name} must be one or more of one shape, got shapes {sorted(shapes)}.")
    return np.stack(pictures)


def _video(frames: Pixels | Sequence[Pixels], fps: float, fastest: float) -> Pixels:
    if not 0.1 <= fps <= fastest:  # false for NaN too
        raise ValueError(f"fps must be between 0.1 and {fastest}, got {fps}.")
    return _pictures(frames, "frames")


def _width(text: str, font: Any) -> int:
    return int(font.getlength(_drawable(text)[:1000])) + 1


def _clip(text: str, font: Any, room: int) -> str:
    """`text`, or as much of its start as fits into `room` pixels and an ellipsis."""
    text = _drawable(text)
    if _width(text, font) <= room:
        return text
    ends = range(min(len(text), 400))
    end = bisect.bisect_right(ends, room, key=lambda n: _width(text[:n] + "...", font)) - 1
    return text[: max(end, 0)] + "..."


def _drawable(text: str) -> str:
    """`text` in letters that Pillow's built-in font has: it has no Greek and no minus."""
    for sign, letters in SPELLED.items():
        text = text.replace(sign, letters)
    return text


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2, 0.42 * radius, radius)
    points = zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)
    return [(float(a), float(b)) for a, b in points]
