"""A sheet of samples beside a checkpoint: fixed seeds for each label, 20 evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dpm_demo.media.clips import gif
from dpm_demo.media.files import write_bytes
from dpm_demo.media.grid import sheet, upscale
from dpm_demo.media.pixels import to_uint8
from dpm_demo.media.png import png
from dpm_demo.models.checkpoint import load_checkpoint
from dpm_demo.models.model import Model
from dpm_demo.models.unet import UNet, UNet3D
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

SEEDS = tuple(range(8))
CLIP_SEEDS = (0,)  # a clip costs as much as its 16 frames, and is drawn at every save
FPS = 12
SOLVER = Solver(nfe=20, order=2)
GUIDANCE = 3.5


def draw_samples(model: Model, seeds: tuple[int, ...], guidance: float = GUIDANCE) -> np.ndarray:
    """uint8 samples, channels last: all seeds of the last label axis's first choice, and so on."""
    rows = []
    for name in _names(model):
        cond = [model.condition(name, guidance)] * len(seeds) if model.labels else None
        x = initial_noise(seeds, model.shape)
        rows.append(integrate(model.denoise, x, SOLVER, lam_span=model.lam_span, cond=cond))
    return to_uint8(torch.cat(rows)).numpy()


def _names(model: Model) -> tuple[str, ...]:
    return list(model.labels.values())[-1] if model.labels else ("any",)


def draw_sheet(folder: Path, seeds: tuple[int, ...] = SEEDS, guidance: float = GUIDANCE) -> bytes:
    """PNG: a row for each choice of the last label axis, a column for each seed, nothing picked.

    Clips show their middle frame. The settings are in the PNG's text.
    """
    model = load_checkpoint(folder)
    names, pixels = _names(model), draw_samples(model, seeds, guidance)
    if pixels.ndim == 5:
        pixels = pixels[:, pixels.shape[1] // 2]
    text = {
        "rows": ", ".join(names),
        "columns": f"seeds {seeds[0]} to {seeds[-1]}",
        "settings": f"{SOLVER.nfe} evaluations, order {SOLVER.order}, guidance {guidance}",
    }
    return png(upscale(sheet(pixels, len(seeds), gap=1), 2), text)


def draw_film(
    folder: Path,
    path: Path,
    seeds: tuple[int, ...] = CLIP_SEEDS,
    guidance: float = GUIDANCE,
    columns: int = 3,
) -> Path:
    """The clips of `draw_sheet` as one looping GIF, row by row."""
    clips = draw_samples(load_checkpoint(folder), seeds, guidance)
    frames = [sheet(clips[:, k], columns, gap=1) for k in range(clips.shape[1])]
    return gif(np.stack(frames), FPS, 2, path)


def write_sheet(network: UNet, folder: Path) -> None:
    """Draws `sheet.png` (clips: `sheet.gif`) from the checkpoint just written to `folder`."""
    if isinstance(network, UNet3D):
        draw_film(folder, folder / "sheet.gif")
    else:
        write_bytes(folder / "sheet.png", draw_sheet(folder))
