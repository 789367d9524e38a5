"""The embedded feature extractor: a small classifier of emoji by category and style.

Distances in its features are called "FD (emoji features)", never FID: FID is Inception's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dpm_demo.media.files import replacing, write_text
from dpm_demo.media.pixels import from_levels
from dpm_demo.models.model import CheckpointError
from dpm_demo.training.data import EMOJI_AXES, Draw, Pictures

FEATURES = 192


class _Residual(nn.Module):
    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(dim_in), nn.Conv2d(dim_in, dim, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(dim), nn.Conv2d(dim, dim, 3, padding=1)
        self.skip = nn.Conv2d(dim_in, dim, 1) if dim_in != dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        out: Tensor = self.skip(x) + h
        return out


class EmojiClassifier(nn.Module):
    """Pictures `(n, 3, 32, 32)` in [-1, 1] -> logits of every label axis; `features` before them.

    The features are what the heads read: `(n, 192)`, averaged over the 4x4 last places.
    """

    num_features = FEATURES

    def __init__(self, axes: dict[str, int], dim: int = 48) -> None:
        super().__init__()
        self.axes = dict(axes)
        self.stem = nn.Conv2d(12, dim, 3, padding=1)
        dims = [dim, 2 * dim, FEATURES]
        self.blocks = nn.ModuleList(
            _Residual(a, b) for a, b in zip([dim, *dims[:-1]], dims, strict=True)
        )
        self.norm = nn.BatchNorm2d(FEATURES)
        self.heads = nn.ModuleDict({k: nn.Linear(FEATURES, n) for k, n in axes.items()})

    def features(self, x: Tensor) -> Tensor:
        h = self.stem(F.pixel_unshuffle(x, 2))
        for k, block in enumerate(self.blocks):
            h = block(h if k == 0 else F.max_pool2d(h, 2))
        return F.relu(self.norm(h)).mean((2, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        f = F.dropout(self.features(x), 0.3, self.training)
        return {k: head(f) for k, head in self.heads.items()}


def accuracy(network: EmojiClassifier, pictures: Pictures, batch: int = 128) -> dict[str, float]:
    """Share of pictures whose most likely choice is their label, for every axis it knows."""
    network.eval()
    known = [(k, axis) for k, axis in enumerate(pictures.axes) if axis in network.axes]
    right = dict.fromkeys((axis for _, axis in known), 0)
    with torch.no_grad():
        for rows in torch.arange(len(pictures)).split(batch):
            logits = network(from_levels(pictures.data[rows]))
            for k, axis in known:
                hit = logits[axis].argmax(1) == pictures.labels[rows, k]
                right[axis] += int(hit.sum())
    return {axis: n / max(len(pictures), 1) for axis, n in right.items()}


def check_emoji(pictures: Pictures) -> None:
    """Raises ValueError for pictures that are no prepared emoji: the extractor knows no others."""
    if pictures.axes != EMOJI_AXES or pictures.data.shape[2:] != (32, 32):
        shape = " x ".join(map(str, pictures.data.shape[2:]))
        raise ValueError(
            f"data: the extractor is of emoji of 32 x 32 pixels with labels {', '.join(EMOJI_AXES)}"
            f", and these pictures are of {shape} with {', '.join(pictures.axes) or 'none'}; give "
            "what `python -m dpm_demo prepare images` writes."
        )


def train_features(
    pictures: Pictures,
    out: Path,
    minutes: float = 20.0,
    batch: int = 64,
    on_progress: Callable[[int, float, float], None] = lambda iteration, loss, left: None,
) -> dict[str, float]:
    """Trains the classifier on all but the held-out motifs; returns its accuracy on these.

    Augmentation: mirroring where the motif allows, shifts of up to 3 pixels over white, noise.
    """
    check_emoji(pictures)
    torch.manual_seed(0)
    seen, held = pictures.subset(held=False), pictures.subset(held=True)
    network = EmojiClassifier({k: len(v) for k, v in pictures.axes.items()})
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    draw, began, iteration = Draw(seen), time.monotonic(), 0
    while (spent := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * spent))
        x, labels = draw(batch)
        x = F.pad(x, (3, 3, 3, 3), value=1.0)
        dy, dx = (int(v) for v in torch.randint(0, 7, (2,), generator=draw.generator))
        x = x[:, :, dy : dy + 32, dx : dx + 32]
        x = x + 0.1 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)
        network.train()
        logits = network(x)
        loss = torch.stack(
            [
                F.cross_entropy(logits[axis], labels[:, k], label_smoothing=0.1)
                for k, axis in enumerate(pictures.axes)
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        iteration += 1
        on_progress(iteration, loss.item(), 60 * minutes * (1 - spent))
    scores = accuracy(network, held)
    save_features(network, out, {"iterations": iteration, "held_out_accuracy": scores})
    return scores


def save_features(network: EmojiClassifier, out: Path, trained: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in network.state_dict().items()
    }
    with replacing(out / "model.safetensors") as part:
        save_file(weights, part)
    config = {"network": "EmojiClassifier", "axes": network.axes, "trained": trained}
    write_text(out / "features.json", json.dumps(config, indent=2) + "\n")


def load_features(folder: Path) -> EmojiClassifier:
    """The extractor in a folder. Raises CheckpointError, one sentence, where there is none."""
    try:
        config = json.loads((folder / "features.json").read_text("utf-8-sig"))
        network = EmojiClassifier(config["axes"])
        weights = load_file(folder / "model.safetensors")
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        )
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        if isinstance(error, (AttributeError, TypeError)):
            said = "its parts are of other kinds"
        raise CheckpointError(
            f"{folder.name}: the feature extractor cannot be read ({said}); "
            "train one with `python -m dpm_demo features`."
        ) from error
    return network.eval().requires_grad_(False)
