"""Pictures as the player takes them: sheets in an address, in a number that a browser can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dpm_demo.engine.film import fitted
from dpm_demo.media.grid import sprite_sheet
from dpm_demo.media.png import data_uri, png
from dpm_demo.media.thin import spread

RECORD_BYTES = 32 * 2**20  # uncompressed, of all the pictures of a run's last value


def sheet_uri(pictures: Sequence[np.ndarray] | np.ndarray, level: int = 1) -> str:
    """A sheet of pictures or clips (`media.grid.sprite_sheet`) as a data URI.

    Level 1 of zlib, as a preview lives for a tenth of a second.
    """
    return data_uri(png(sprite_sheet(pictures), level=level))


def kept_of(count: int, picture_bytes: int, sheets: int) -> list[int]:
    """Which of `count` pictures of a record are sent, if as many `sheets` fill `RECORD_BYTES`.

    Numbers from 0, evenly, the first (noise) and the last (the sample) among them.
    """
    return spread(count, max(2, RECORD_BYTES // max(1, picture_bytes * sheets)))


def at_size(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """uint8 `(…, c)`, a picture or a clip, at the size of a recorded one, made as those are."""
    every = torch.from_numpy(picture).movedim(-1, 0)[None]
    return fitted(every, tuple(size))[0].round().byte().movedim(0, -1).numpy()
