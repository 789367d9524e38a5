"""What words alone tell of a picture, fitted before the network that draws it."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from dpm_demo.models.layers import Guess
from dpm_demo.models.unet import UNet
from dpm_demo.training.data import Draw, Pictures
from dpm_demo.training.loss import drop_labels


def fit_guess(
    network: UNet, pictures: Pictures, drop: float, rounds: int = 300, rows: int = 256
) -> float:
    """Fits `network.guess` so that it draws the mean picture of what is said, by least squares.

    E |g(choices) - x0|^2 with x0 averaged over squares to 16 x 16, over labels and words left out
    as training leaves them out (`drop_labels`), each picture seen about `rounds` times; nothing
    else of the network changes. Returns the mean square that is left, over the last tenth, of
    levels from -1 to 1.
    """
    guess = network.guess
    assert guess is not None
    axes, where = tuple(network.axes), guess.table.weight.device
    small = [F.adaptive_avg_pool2d(x.float(), Guess.SIDE) for x in pictures.data.split(1024)]
    draw = Draw(replace(pictures, data=torch.cat(small).round().byte()), 0, mirrored=False)
    optimizer = torch.optim.AdamW(guess.parameters(), lr=2e-3, betas=(0.9, 0.99))
    iterations, left = max(400, rounds * len(pictures) // rows), 0.0
    for k in range(iterations):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 2 * (1 - k / iterations))
        x0, choices = draw(rows)
        choices = drop_labels(choices, axes, drop, draw.generator, len(pictures.vocabulary))
        loss = F.mse_loss(guess(choices.to(where)), x0.to(where))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (last := k - iterations * 9 // 10) >= 0:
            left += (loss.item() - left) / (last + 1)
    return left
