"""The files of one run: a sheet and a film of pictures; MP4, GIF, WebP and ZIP of clips."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_demo.engine.events import Done
from dpm_demo.media.clips import animated_webp, gif, mp4
from dpm_demo.media.files import zip_files
from dpm_demo.media.grid import sheet
from dpm_demo.media.names import file_name, mark_of
from dpm_demo.media.pixels import MAX_SIDE, uint8
from dpm_demo.media.png import png
from dpm_demo.media.smoothing import smooth
from dpm_demo.media.thin import chosen, fitting
from dpm_demo.request.codec import settings, to_text
from dpm_demo.request.generate import GenerateRequest

FPS = 12  # of clips, as the player's loops
SHOWN = 384  # pixels of a written file's longer side, reached by whole multiples
TEXT = "dpm-demo"  # the text chunk of a PNG that carries its settings
KINDS_OF_FILE = ("mp4", "gif", "webp", "zip")


def stem_of(request: GenerateRequest) -> str:
    """What the files of a run are called before their ending: other settings, another name."""
    said = request.prompt or request.label.replace("any", "")
    mark = mark_of(to_text(request))
    return file_name(request.model, said[:40], request.seed, f"nfe{request.solver.nfe}", mark)


def clip_stem(request: GenerateRequest, sigma: float, loop: bool) -> str:
    """The same of clips, which may be smoothed along time, as a closed loop or not."""
    smoothed = f"-smoothed-{sigma:g}{'' if loop else '-open'}" if sigma else ""
    return stem_of(request) + smoothed


def sheet_png(done: Done, request: GenerateRequest) -> bytes:
    """The samples as one PNG at their own size, settings in its text chunk "dpm-demo"."""
    samples = [uint8(s) for s in done.tracks[0].samples]
    columns = math.ceil(math.sqrt(len(samples)))
    return png(sheet(samples, columns), {TEXT: to_text(request), "Software": "dpm-demo"})


def denoising_gif(done: Done, path: Path) -> Path:
    """All samples denoising together: a frame an evaluation, or `media.thin.FRAMES_MAX` of them.

    Of more samples than a film can show it is the first.
    """
    rows = done.tracks[0].rows
    rows = rows[: (MAX_SIDE // max(rows[0].x0.shape[1:3])) ** 2]
    columns = math.ceil(math.sqrt(len(rows)))
    moments = chosen(max(len(row.points) for row in rows))
    first = sheet([row.picture_at(moments[-1]) for row in rows], columns)
    scale, most = fitting(first.nbytes, max(1, SHOWN // max(first.shape[:2])), len(moments))
    kept = [moments[k - 1] for k in chosen(len(moments), most)]
    frames = [sheet([row.picture_at(k) for row in rows], columns) for k in kept]
    return gif(np.stack(frames), 8, scale, path, hold=1.0)


@dataclass(frozen=True, eq=False)
class Clips:
    """Finished samples of one request, float32 `(n, 3, frames, h, w)` in [-1, 1]."""

    request: GenerateRequest
    samples: np.ndarray

    def pixels(self, sigma: float = 0.0, loop: bool = True) -> np.ndarray:
        """uint8 `(n, frames, h, w, 3)`, smoothed along time by `sigma` frames."""
        smoothed = smooth(self.samples, sigma, loop=loop, axis=2)
        return np.stack([uint8(sample) for sample in smoothed])


def wall_of_clips(pixels: np.ndarray) -> np.ndarray:
    """`(n, frames, h, w, 3)` as one video `(frames, H, W, 3)`, all clips in step."""
    columns = math.ceil(math.sqrt(len(pixels)))
    return np.stack([sheet(pixels[:, k], columns) for k in range(pixels.shape[1])])


def clip_files(
    clips: Clips, folder: Path, sigma: float = 0.0, loop: bool = True
) -> dict[str, Path]:
    """MP4, GIF, lossless WebP and a ZIP of every frame as PNG with settings.json, by kind."""
    request, pixels = clips.request, clips.pixels(sigma, loop)
    stem = clip_stem(request, sigma, loop)
    path = {kind: folder / f"{stem}.{kind}" for kind in KINDS_OF_FILE}
    frames = wall_of_clips(pixels)
    wanted = max(1, SHOWN // max(frames.shape[1:3]))
    scale, _ = fitting(frames[0].nbytes, wanted, len(frames))
    mp4(frames, FPS, scale, path["mp4"])
    gif(frames, FPS, scale, path["gif"])
    animated_webp(frames, FPS, scale, path["webp"])
    packed = {
        f"seed-{seed}/frame-{k:02d}.png": png(frame)
        for seed, clip in zip(request.seeds, pixels, strict=True)
        for k, frame in enumerate(clip)
    }
    about = {**settings(request), "fps": FPS, "smoothing": {"sigma": sigma, "loop": loop}}
    packed["settings.json"] = json.dumps(about, indent=2).encode()
    zip_files(packed, path["zip"])
    return path
