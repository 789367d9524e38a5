"""What words say before a network has seen a picture with one: what the labels beside them say."""

from __future__ import annotations

import torch
from torch import nn

from dpm_demo.models.unet import UNet
from dpm_demo.training.data import Pictures
from dpm_demo.training.loss import drop_labels


def told_axes(pictures: Pictures) -> list[int]:
    """The label axes that the words of a picture decide: rows of the same words agree on them."""
    assert pictures.words is not None
    _, same = pictures.words.unique(dim=0, return_inverse=True)
    first = torch.zeros(int(same.max()) + 1, dtype=torch.long)
    first[same] = torch.arange(len(same))
    labels = pictures.labels.long()
    agree = (labels == labels[first[same]]).all(dim=0)
    return [int(axis) for axis in agree.nonzero().flatten()]


def words_as_labels(
    network: UNet, pictures: Pictures, drop: float, iterations: int = 3000, rows: int = 256
) -> float:
    """Fits the vectors of words so that a prompt says what the labels of its pictures say.

    Labels enter a network as vectors that are added to its embedding; so do words (`Words`). Over
    prompts thinned as training thins them (`drop_labels`), W(words) = sum over `told_axes` of
    (table[label] - table[any]) is fitted by least squares, and W() = 0; nothing else changes. A
    network that knows labels then draws "cat" as it draws "animals", where random vectors would
    have to learn that from pictures. Returns the share of the variance that is left.
    """
    words = network.words
    assert words is not None
    axes, count, choices = tuple(network.axes), len(pictures.vocabulary), pictures.choices
    where = words.table.weight.device
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        said = torch.zeros(len(pictures), words.table.embedding_dim)
        for axis in told_axes(pictures):
            table, own = network.labels[axis], pictures.labels[:, axis].long().to(where)
            said += (table(own) - table(torch.tensor([axes[axis]], device=where))).cpu()
    optimizer = torch.optim.Adam(words.parameters(), lr=2e-3)
    missed = total = 0.0
    for k in range(iterations):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 2 * (1 - k / iterations))
        some = torch.randint(len(pictures), (rows,), generator=generator)
        told = drop_labels(choices[some], axes, drop, generator, count)[:, len(axes) :]
        wanted = said[some] * (told != count).any(dim=1, keepdim=True)
        loss = nn.functional.mse_loss(words(told.to(where)).cpu(), wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if k >= iterations * 9 // 10:
            missed, total = missed + loss.item(), total + wanted.square().mean().item()
    return missed / max(total, 1e-30)
