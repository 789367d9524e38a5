"""The embedded networks: a UNet for pictures, and the same one with time between its layers.

`UNet` folds `fold` x `fold` pixels into channels before its first level, which makes it about
twice as fast on a CPU as a UNet of the same arithmetic that starts at full resolution. Its time
input is lam = log(alpha / sigma) itself, through a few *low* frequencies: a solver of order 3 needs
a field that is smooth in lam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_demo.models.layers import LAM_FEATURES, Block, Guess, Words, lam_features, norm_of, zero


class UNet(nn.Module):
    """The picture network: `(x (n, c, h, w), lam (n,), labels (n, axes)) -> (n, c, h, w)`.

    With `words` of them known, further columns of `labels` are numbers of words (`Words`).
    `dim_mults` are the widths of the levels in units of `dim`; `axes` the number of choices of
    each label axis, whose last index (the count itself) means "any"; `qk_norm` is `Attention`'s;
    with a `guess` of this width it sees beside x what the words alone tell of it (`Guess`).
    The output is whatever it was trained to be (velocity for the embedded checkpoints); `Denoiser`
    turns it into x0.

    Raises ValueError if h or w is not a multiple of fold x 2^(levels - 1).
    """

    temporal = False

    def __init__(
        self,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 2, 4),
        channels: int = 3,
        fold: int = 2,
        blocks: int = 2,
        axes: Sequence[int] = (),
        words: int = 0,
        qk_norm: bool = False,
        guess: int = 0,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "dim": dim,
            "dim_mults": list(dim_mults),
            "channels": channels,
            "fold": fold,
            "blocks": blocks,
            "axes": list(axes),
            **({"words": words} if words else {}),
            **({"qk_norm": True} if qk_norm else {}),
            **({"guess": guess} if guess else {}),
        }
        self.fold, self.axes = fold, tuple(axes)
        self.multiple = fold * 2 ** (len(dim_mults) - 1)
        dims = [dim * m for m in dim_mults]
        emb = 4 * dim

        def block(dim_in: int, level: int) -> Block:
            kind = {"attention": level > 0, "temporal": self.temporal, "qk_norm": qk_norm}
            return Block(dim_in, dims[level], emb, **kind)

        self.time = nn.Sequential(nn.Linear(2 * LAM_FEATURES, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.labels = nn.ModuleList(nn.Embedding(count + 1, emb) for count in axes)
        self.words = Words(words, emb) if words else None
        self.guess = Guess(axes, words, guess, channels) if guess else None
        seen = channels * fold**2 + (channels if guess else 0)
        self.stem = nn.Conv2d(seen, dims[0], 3, padding=1)
        self.down, self.pool = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        width, skips = dims[0], [dims[0]]
        for level, out in enumerate(dims):
            for _ in range(blocks):
                self.down.append(block(width, level))
                width = out
                skips.append(out)
            if level < len(dims) - 1:
                self.pool.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
                skips.append(out)
        last = len(dims) - 1
        self.middle = nn.ModuleList([block(width, last), block(width, last)])
        for level in reversed(range(len(dims))):
            for _ in range(blocks + 1):
                self.up.append(block(width + skips.pop(), level))
                width = dims[level]
            if level > 0:
                self.grow.append(nn.Conv2d(width, width, 3, padding=1))
        self.head = nn.Sequential(
            norm_of(width), nn.SiLU(), zero(nn.Conv2d(width, channels * fold**2, 3, padding=1))
        )
        self.blocks = blocks

    def embed(self, lam: Tensor, labels: Tensor | None) -> Tensor:
        emb = self.time(lam_features(lam).to(self.stem.weight.dtype))
        labels = self._said(lam, labels)
        for axis, table in enumerate(self.labels):
            emb = emb + table(labels[:, axis])
        if self.words is not None:
            emb = emb + self.words(labels[:, len(self.axes) :])
        return F.silu(emb)

    def _said(self, lam: Tensor, labels: Tensor | None) -> Tensor:
        """`labels`, or a row of "any" and of no word for each lam."""
        if labels is not None:
            return labels
        none = [*self.axes, *([self.config["words"]] if self.words is not None else [])]
        return torch.tensor(none, dtype=torch.long, device=lam.device).expand(lam.shape[0], -1)

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None = None) -> Tensor:
        labels = self._said(lam, labels)
        guess = None if self.guess is None else self.guess(labels)
        return self._spatial(x, self.embed(lam, labels), frames=1, guess=guess)

    def _spatial(self, x: Tensor, emb: Tensor, frames: int, guess: Tensor | None = None) -> Tensor:
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise ValueError(
                f"shape: height and width must be multiples of {self.multiple}, "
                f"not {x.shape[-2]} x {x.shape[-1]}."
            )
        # channels-last is what convolution kernels want, on CPU and on CUDA
        h = F.pixel_unshuffle(x, self.fold)
        if guess is not None:
            if guess.shape[-2:] != h.shape[-2:]:
                guess = F.interpolate(guess, h.shape[-2:], mode="bilinear")
            h = torch.cat([h, guess.to(h.dtype)], dim=1)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for i, layer in enumerate(self.down):
            h = layer(h, emb, frames)
            skips.append(h)
            if (i + 1) % self.blocks == 0 and i + 1 < len(self.down):
                h = self.pool[i // self.blocks](h)
                skips.append(h)
        for layer in self.middle:
            h = layer(h, emb, frames)
        per_level = self.blocks + 1
        for i, layer in enumerate(self.up):
            h = layer(torch.cat([h, skips.pop()], dim=1), emb, frames)
            if (i + 1) % per_level == 0 and i + 1 < len(self.up):
                h = self.grow[i // per_level](F.interpolate(h, scale_factor=2.0))
        return F.pixel_shuffle(self.head(h), self.fold)


class UNet3D(UNet):
    """The clip network: `(n, c, frames, h, w)`, any number of frames.

    It is `UNet` applied to each frame, with `Temporal` after every block; these are zero at
    initialisation, so a fresh UNet3D with a UNet's weights *is* that UNet, frame by frame.

    `motion` are the amplitudes of the data along time, of 0, 1, 2, ... turns a loop (`spectrum`).
    With them a clip is taken for Gaussian along time first, with variance r s_k^2 in the
    orthonormal mode k, s_k = motion_k sqrt(frames), where r is how much each place of *this* clip
    moves (`_prior` reads it from x). The network is left what that does not say: it also sees the
    best linear guess of the clip and log r, and its answer u counts, with
    V = alpha^2 r s_k^2 + sigma^2, as

        v_k = alpha sigma (1 - r s_k^2) / V x_k + sqrt(r) s_k / sqrt(V) u_k,       v_0 = u_0

    which is the velocity for which u has variance 1 (arXiv 2206.00364, appendix B.6, mode by mode).
    Asked for v itself, which is mostly noise to be passed on exactly, a network errs by more than
    most of a clip moves, and what should be still flickers.
    """

    temporal = True

    def __init__(self, *, motion: Sequence[float] = (), **arguments: Any) -> None:
        if arguments.get("guess"):
            raise ValueError("guess: a clip is not guessed from its words; leave it out.")
        super().__init__(**arguments)
        self.config["motion"] = list(motion)
        if motion:
            seen = 2 * self.config["channels"] + 2
            self.stem = nn.Conv2d(seen * self.fold**2, self.stem.out_channels, 3, padding=1)

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None = None) -> Tensor:
        frames = x.shape[2]
        emb = self.embed(lam, labels).repeat_interleave(frames, dim=0)
        if not self.config["motion"]:
            return self._frames(x, emb)

        waves = _waves(frames, x.device)

        def along(clip: Tensor) -> Tensor:
            return (waves @ clip.float().flatten(3)).view_as(clip)

        def back(modes: Tensor) -> Tensor:
            return (waves.T @ modes.flatten(3)).view_as(modes)

        modes = along(x)
        guess, skip, scale, moving = self._prior(modes, lam, frames)
        moving = moving.log().expand(-1, -1, frames, -1, -1)
        u = self._frames(torch.cat([x, back(guess * modes), moving], dim=1), emb)
        return back(skip * modes + scale * along(u))

    def _frames(self, x: Tensor, emb: Tensor) -> Tensor:
        n, c, frames, h, w = x.shape
        flat = self._spatial(x.transpose(1, 2).reshape(n * frames, c, h, w), emb, frames)
        return flat.view(n, frames, -1, h, w).transpose(1, 2)

    def _prior(self, modes: Tensor, lam: Tensor, frames: int) -> tuple[Tensor, ...]:
        """The factors of x_k in the guess and in v, that of u_k, and r at each place and overall.

        With V_k of r = 1 and known_k = alpha^2 s_k^2 / V_k, E |x_k|^2 / V_k is 1 + (r - 1) known_k.
        Its mean over modes (weighted by known), colours and pixels therefore tells r, the better
        the more is known: over the whole clip well, over 3 x 3 pixels with a doubt, and so these
        lean on the whole clip, as that leans on 1 (ridge regression). It is smooth in x and lam.
        """
        amplitudes = torch.tensor(self.config["motion"], device=lam.device)
        turns = _turns(frames, lam.device).clamp(max=len(amplitudes) - 1)
        s2 = (amplitudes[turns].square() * frames)[:, None, None]
        # one number a mode: both waves of a mode count half, and the mean of the clip is not known
        share = 1 / (1 + (2 * turns % frames != 0).float()) * (turns > 0)
        lam = lam.float()[:, None, None, None, None]
        alpha2, sigma2 = torch.sigmoid(2 * lam), torch.sigmoid(-2 * lam)
        known = alpha2 * s2 / (alpha2 * s2 + sigma2)
        weight = known * share[:, None, None]
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-12)  # a frame knows nothing
        told = (weight * known).sum(dim=2, keepdim=True)
        power = (weight * modes.square() / (alpha2 * s2 + sigma2)).sum(dim=2).mean(dim=1)
        place = F.avg_pool2d(F.pad(power, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        r: Tensor | float = 1.0
        scales = []
        for mean, doubt in ((power.mean(dim=(1, 2), keepdim=True), 0.0005), (place, 0.05)):
            excess = mean[:, None, None] - 1 + told
            r = (told * excess + doubt * r) / (told.square() + doubt)
            r = 0.5 * (r + (r.square() + 4e-4).sqrt())  # a smooth max(r, 0), 0.01 at 0
            scales.append(r.expand(-1, -1, -1, *place.shape[1:]))
        s2 = r * s2
        total = alpha2 * s2 + sigma2
        skip, scale = (alpha2 * sigma2).sqrt() * (1 - s2) / total, (s2 / total).sqrt()
        rest = torch.zeros_like(s2[:, :, :1])
        skip = torch.cat([rest, skip[:, :, 1:]], dim=2)
        scale = torch.cat([rest + 1, scale[:, :, 1:]], dim=2)
        return alpha2.sqrt() * s2 / total, skip, scale, torch.cat(scales, dim=1)


def _turns(frames: int, device: torch.device) -> Tensor:
    """Turns a loop of each of the `frames` real waves: 0, 1, 1, 2, 2, ..., frames / 2 if even."""
    return (torch.arange(frames, device=device) + 1) // 2


def _waves(frames: int, device: torch.device) -> Tensor:
    """The real Fourier basis along a loop, orthonormal, `(wave, frame)`; turns as in `_turns`.

    A product with it costs a tenth of a Fourier transform of so few frames.
    """
    turns, angle = _turns(frames, device), 2 * math.pi / frames * torch.arange(frames).double()
    phase = turns[:, None].double() * angle.to(device)
    odd = torch.arange(frames, device=device)[:, None] % 2 == 1
    waves = torch.where(odd, phase.cos(), phase.sin())
    waves[0] = 1.0
    return F.normalize(waves, dim=1).float()


def spectrum(clips: Tensor) -> list[float]:
    """Amplitudes along time of clips `(n, c, frames, h, w)`, uint8, of 0, 1, ... turns a loop.

    That of k turns is rms |F_k| / sqrt(frames), F the orthonormal Fourier transform of [-1, 1].
    """
    power = torch.zeros(clips.shape[2] // 2 + 1, dtype=torch.float64)
    for some in clips.split(64):
        modes = torch.fft.rfft(some.float() / 127.5 - 1, dim=2, norm="ortho")
        power += modes.abs().square().mean(dim=(1, 3, 4), dtype=torch.float64).sum(dim=0)
    return [round(float(p), 5) for p in (power / len(clips) / clips.shape[2]).sqrt()]
