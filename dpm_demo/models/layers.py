"""What the embedded networks are made of; `unet` puts it together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAM_WIDTH = 12.0  # the lam features' fundamental period; the trained span is about 10 wide
LAM_CYCLES = 4.0  # the highest feature turns this often over that period
LAM_FEATURES = 32


def lam_features(lam: Tensor) -> Tensor:
    """Sines and cosines of lam, `(n,) -> (n, 2 LAM_FEATURES)`, at 1/8 ... 4 cycles over 12."""
    cycles = torch.linspace(LAM_CYCLES / LAM_FEATURES, LAM_CYCLES, LAM_FEATURES, device=lam.device)
    angle = lam.float()[:, None] * (2 * math.pi / LAM_WIDTH) * cycles
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def zero(layer: nn.Conv2d | nn.Linear | nn.Conv1d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Norm(nn.GroupNorm):
    """GroupNorm in float32, as autocast has it on CUDA: a CPU is 4 times slower in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def norm_of(dim: int) -> Norm:
    return Norm(min(16, dim // 4), dim)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the condition as scale and shift between them."""

    def __init__(self, dim_in: int, dim: int, dim_emb: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm_of(dim_in), nn.Conv2d(dim_in, dim, 3, padding=1)
        self.norm2, self.conv2 = norm_of(dim), zero(nn.Conv2d(dim, dim, 3, padding=1))
        self.emb = nn.Linear(dim_emb, 2 * dim)
        self.skip = nn.Conv2d(dim_in, dim, 1) if dim_in != dim else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention, on a CPU in float32: backwards it is 4 times slower there in bfloat16."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float())


class Attention(nn.Module):
    """Self-attention of `(n, tokens, dim)`, zero at initialisation.

    Of `(n, frames, places, dim)` it is that of each place over its frames.

    With `qk_norm` queries and keys have mean square 1, so that no logit exceeds sqrt(dim / heads)
    (arXiv 2312.02696). Without it they grow in training until the softmax is all but an argmax
    (logits of 1,500 in `emoji-image`), which no longer learns and makes the field jump in lam.
    """

    def __init__(self, dim: int, qk_norm: bool = False, head: int = 64) -> None:
        super().__init__()
        self.heads, self.qk_norm = max(1, dim // head), qk_norm
        self.norm, self.qkv = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim)
        self.out = zero(nn.Linear(dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        if tokens.ndim == 4:
            qkv = qkv.transpose(1, 2).flatten(0, 1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.qk_norm:
            q, k = (F.rms_norm(x.float(), x.shape[-1:], eps=1e-6) for x in (q, k))
        mixed = attend(q, k, v).transpose(1, 2)
        if tokens.ndim == 4:
            mixed = mixed.unflatten(0, (-1, tokens.shape[2])).transpose(1, 2)
        out: Tensor = self.out(mixed.flatten(-2))
        return out


def _pooled(table: nn.Embedding, numbers: Tensor) -> Tensor:
    """The sum / sqrt(count) of the vectors of `(n, slots)` words; the last index means none."""
    known = (numbers < table.num_embeddings - 1)[..., None].to(table.weight.dtype)
    return (table(numbers) * known).sum(dim=1) / known.sum(dim=1).clamp(min=1).sqrt()


class Words(nn.Module):
    """A vector a word of `(n, slots)` numbers; their sum / sqrt(count), through two layers.

    The last index, the number of words, means none. The second layer is zero at initialisation,
    so a fresh one changes nothing.
    """

    def __init__(self, words: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(words + 1, dim)
        nn.init.normal_(self.table.weight, std=0.3)
        self.mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), zero(nn.Linear(2 * dim, dim)))

    def forward(self, numbers: Tensor) -> Tensor:
        out: Tensor = self.mix(_pooled(self.table, numbers))
        return out


class Guess(nn.Module):
    """What a prompt alone tells of the picture: `(n, axes + slots) -> (n, channels, 16, 16)`.

    A vector a choice, and a vector a word (their sum / sqrt(count), as in `Words`), through two
    layers of `width`. A UNet hears a condition as scale and shift of whole channels, which say the
    same of every place; that a word is *this* shape takes it hours to learn, and this minutes
    (`dpm_demo.training.guess`, docs/checkpoints.md).
    """

    SIDE = 16

    def __init__(self, axes: Sequence[int], words: int, width: int, channels: int) -> None:
        super().__init__()
        dim = 256
        self.table = nn.Embedding(words + 1, dim)
        self.labels = nn.ModuleList(nn.Embedding(count + 1, dim) for count in axes)
        for table in (self.table, *self.labels):
            nn.init.normal_(table.weight, std=0.3)
        self.draw = nn.Sequential(
            nn.Linear(dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, channels * self.SIDE**2),
        )

    def forward(self, choices: Tensor) -> Tensor:
        axes = len(self.labels)
        said = _pooled(self.table, choices[:, axes:])
        for axis, table in enumerate(self.labels):
            said = said + table(choices[:, axis])
        return self.draw(said).unflatten(1, (-1, self.SIDE, self.SIDE))


class Temporal(nn.Module):
    """Mixes the frames of a clip at every place: attention and a convolution along time.

    Both end in a zero-initialised layer, so a fresh one leaves its input as it is. The position
    in time enters as sines and cosines of the frame's place on the (closed) loop. Tokens stay
    where the spatial layers left them, `(n, frames, places, dim)`: a shift in time is then a shift
    of whole frames, so that the convolution is three products of matrices and nothing is permuted.
    """

    def __init__(self, dim: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.position = nn.Linear(8, dim, bias=False)
        self.attention = Attention(dim, qk_norm)
        self.norm, self.conv1 = norm_of(dim), nn.Conv1d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, padding=1)
        zero(self.conv2)

    def forward(self, tokens: Tensor) -> Tensor:
        frames = tokens.shape[1]
        turn = torch.arange(frames, device=tokens.device) * (2 * math.pi / frames)
        angle = turn[:, None] * torch.arange(1, 5, device=tokens.device)
        place = self.position(torch.cat([angle.sin(), angle.cos()], dim=1).to(tokens.dtype))
        tokens = tokens + self.attention(tokens + place[:, None])
        h = self._along(F.silu(self._normed(tokens)), self.conv1)
        return tokens + self._along(F.silu(h), self.conv2)

    def _normed(self, x: Tensor) -> Tensor:
        """`norm` of each place by itself: statistics over its frames and a group's channels."""
        x, norm = x.float(), self.norm

        def mean(values: Tensor) -> Tensor:  # (n, frames, places, dim) -> (n, 1, places, dim)
            groups = values.mean(1, keepdim=True).unflatten(-1, (norm.num_groups, -1))
            return groups.mean(-1, keepdim=True).expand_as(groups).flatten(-2)

        x = x - mean(x)
        scale = torch.rsqrt(mean(x.square()) + norm.eps)
        return torch.addcmul(norm.bias, x, scale * norm.weight)

    def _along(self, x: Tensor, conv: nn.Conv1d) -> Tensor:
        """A convolution of width 3 along the frames, with zeros beyond the first and the last."""
        before, now, after = conv.weight.unbind(-1)
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))
        out = F.linear(x, now, conv.bias)
        return out + F.linear(padded[:, :-2], before) + F.linear(padded[:, 2:], after)


class Block(nn.Module):
    """A residual block, then attention over space, then (video only) over time."""

    def __init__(
        self,
        dim_in: int,
        dim: int,
        dim_emb: int,
        attention: bool,
        temporal: bool,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.res = ResBlock(dim_in, dim, dim_emb)
        self.attention = Attention(dim, qk_norm) if attention else None
        self.temporal = Temporal(dim, qk_norm) if temporal else None

    def forward(self, x: Tensor, emb: Tensor, frames: int) -> Tensor:
        x = self.res(x, emb)
        if self.attention is None and self.temporal is None:
            return x
        tokens = x.flatten(2).transpose(1, 2)
        if self.attention is not None:
            tokens = tokens + self.attention(tokens)
        if self.temporal is not None:
            tokens = self.temporal(tokens.unflatten(0, (-1, frames))).flatten(0, 1)
        return tokens.transpose(1, 2).view_as(x)
