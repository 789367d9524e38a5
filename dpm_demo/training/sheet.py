"""A sheet of samples beside a checkpoint: fixed seeds for each label, 20 evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dpm_demo.media.clips import gif
from dpm_demo.media.files import write_bytes
from dpm_demo.media.grid import sheet, upscale
from dpm_demo.media.pixels import MAX_SIDE, to_uint8
from dpm_demo.media.png import png
from dpm_demo.models.checkpoint import load_checkpoint
from dpm_demo.models.unet import UNet, UNet3D
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

SEEDS = tuple(range(8))
CLIP_SEEDS = (0,)  # a clip costs as much as its 16 frames, and is drawn at every save
ROWS = 64  # a sheet shows the first of many choices
FPS = 12
SOLVER = Solver(nfe=20, order=2)
GUIDANCE = 3.5


def write_sheet(network: UNet, folder: Path) -> None:
    """Draws `sheet.png` from the checkpoint just written to `folder`: a row for each choice of the
    last label axis (of the first `ROWS`), a column for each seed, nothing picked; of clips
    `sheet.gif`, three a row.

    It is computed where the network is. The settings are in the PNG's text.
    """
    where = next(network.parameters()).device
    model = load_checkpoint(folder, where)
    clips = isinstance(network, UNet3D)
    names = list(model.labels.values())[-1][:ROWS] if model.labels else ("any",)
    seeds, rows = CLIP_SEEDS if clips else SEEDS, []
    for name in names:
        cond = [model.condition(name, GUIDANCE)] * len(seeds) if model.labels else None
        x = initial_noise(seeds, model.shape).to(where)
        rows.append(integrate(model.denoise, x, SOLVER, lam_span=model.lam_span, cond=cond))
    pixels = to_uint8(torch.cat(rows).cpu()).numpy()
    if clips:
        frames = [sheet(pixels[:, k], 3, gap=1) for k in range(pixels.shape[1])]
        gif(np.stack(frames), FPS, _scale(frames[0]), folder / "sheet.gif")
        return
    text = {
        "rows": ", ".join(names),
        "columns": f"seeds {seeds[0]} to {seeds[-1]}",
        "settings": f"{SOLVER.nfe} evaluations, order {SOLVER.order}, guidance {GUIDANCE}",
    }
    drawn = sheet(pixels, len(seeds), gap=1)
    write_bytes(folder / "sheet.png", png(upscale(drawn, _scale(drawn)), text))


def _scale(drawn: np.ndarray) -> int:
    """Small pictures are shown at twice their size."""
    return 2 if 2 * max(drawn.shape[:2]) <= MAX_SIDE else 1
