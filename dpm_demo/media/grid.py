"""Many pictures in one: enlarged, in a sheet or strip, or in a table with titles burnt in.

All upscaling is by an integer and nearest, so that a pixel of the network stays a square.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpm_demo.media.pixels import MAX_SIDE, Pixels, check_picture, check_pictures

SPELLED = {"λ": "lambda", "η": "eta", "σ": "sigma", "α": "alpha", "ρ": "rho", "−": "-", "₀": "0"}


def upscale(array: Pixels, factor: int) -> Pixels:
    """`(..., h, w, c) -> (..., factor h, factor w, c)`, every pixel a square of itself."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"scale must be a whole number of at least 1, got {factor!r}.")
    side = factor * max(array.shape[-3:-1])
    if side > MAX_SIDE:
        raise ValueError(f"scale {factor} makes a side of {side} pixels; at most {MAX_SIDE}.")
    return array if factor == 1 else array.repeat(factor, axis=-3).repeat(factor, axis=-2)


def sheet(pictures: Pixels | Sequence[Pixels], columns: int, *, gap: int = 0) -> Pixels:
    """A grid of equal pictures, row by row: `n x (h, w, c) -> (rows h, columns w, c)`.

    `gap` white pixels lie between the cells, and cells that are left over are white.
    """
    stack = check_pictures(pictures, "pictures")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    n, h, w, c = stack.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), 255, np.uint8)
    for k, picture in enumerate(stack):
        y, x = k // columns * (h + gap), k % columns * (w + gap)
        grid[y : y + h, x : x + w] = picture
    return grid


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
        scale: integer upscaling of the pictures; less where the table would be too large.
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
    sides = check_pictures(filled, "pictures").shape[1:3]

    font, small, heading = (ImageFont.load_default(size) for size in (14, 12, 16))
    texts = [[str(cell) for cell in row] for row in captions] if captions is not None else []
    lines = max((cell.count("\n") + 1 for row in texts for cell in row if cell), default=0)
    widest = max((_width(t, small) for row in texts for c in row for t in c.split("\n")), default=0)
    margin, gap, line = 16, 12, 16
    left = margin + min(240, max(_width(t, font) for t in row_titles)) + gap
    top = margin + (28 if title else 0) + 24
    for factor in range(max(scale, 1), 0, -1):
        height, width = (factor * side for side in sides)
        cell_width = max(width, min(widest, 2 * width + 80))
        cell_height = height + lines * line + (4 if lines else 0)
        size = (
            left + columns * (cell_width + gap) - gap + margin,
            top + rows * (cell_height + gap) - gap + margin,
        )
        if max(size) <= MAX_SIDE:
            break
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
                canvas.paste(Image.fromarray(upscale(check_picture(cell)[..., :3], factor)), (x, y))
                draw.rectangle(box, outline="#cccccc")
            if best is not None and best[i][j]:
                draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), outline=0, width=2)
                draw.polygon(_star(x + width - 12, y + 12, 9), fill="white", outline="black")
            for n, caption in enumerate(texts[i][j].split("\n") if texts else []):
                place = (x, y + height + 4 + n * line)
                draw.text(place, _clip(caption, small, cell_width), "#333333", small)
    return np.asarray(canvas)


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
