"""What the families of other people's pipelines share; each says the rest in a few lines.

A family owns a pipeline object of diffusers for its parts (network, encoders, decoder) and never
runs its loop or its scheduler.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dpm_demo.models.diffusers.paths import Path, path_of
from dpm_demo.models.diffusers.preview import LinearPreview
from dpm_demo.models.model import Condition, Guided, Size, Words

if TYPE_CHECKING:
    from dpm_demo.models.diffusers.offload import Turns


Given = dict[str, Tensor]  # what the network is told of one row, each with a first axis of 1
_KEPT = 64  # encoded prompts


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Prompt embeddings of one's own, in the names of the family's network; (1, …) each."""

    positive: Mapping[str, Tensor]
    negative: Mapping[str, Tensor] | None = None


class Family:
    """A pipeline as latents, conditions and one network call.

    pipelines   class names in `model_index.json` that belong here
    network     the component that predicts; `encoders` those that only prompts need
    patch       the side of the latents must be divisible by it
    guided      what guidance is, as in `Model`
    """

    pipelines: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""
    network_name: ClassVar[str] = "transformer"
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "tokenizer")
    prompted: ClassVar[bool] = True
    video: ClassVar[bool] = False
    frames: ClassVar[int] = 1
    patch: ClassVar[int] = 1
    guidance: ClassVar[float] = 7.5
    guided: Guided = "rows"

    def __init__(
        self,
        pipe: Any,
        name: str,
        load_encoders: Callable[[Any], None] | None = None,
        offload: bool = False,
        turns: Turns | None = None,
    ) -> None:
        self.pipe, self.name, self.offload, self._turns = pipe, name, offload, turns
        self._load_encoders = load_encoders
        self.network: Any = getattr(pipe, self.network_name)
        self.device = torch.device(self.network.device) if turns is None else turns.device
        config = {**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__}
        self.path: Path = path_of(config, self.device, name)
        # a decoder may keep what it is about in itself, and freed encoders may be at work
        self._encoding, self._decoding = threading.Lock(), threading.Lock()
        self.predicting: AbstractContextManager[Any] = nullcontext()
        if turns is not None:  # a part at work must not be sent away
            self._encoding = self._decoding = self.predicting = threading.Lock()
        self._encoded: OrderedDict[tuple[str, bool], Given] = OrderedDict()
        self.tiny: Any = None  # a tiny decoder, if there is one
        self.encoder_bytes: dict[str, int] = {}  # of those that the first prompt loads, to stay
        self._linear: LinearPreview | None = None
        self.setup()

    # --- what a family says

    def setup(self) -> None:
        """Whatever a family looks up once."""

    def encode(self, text: str, negative: bool) -> Given:
        """The embeddings of one prompt; its encoders are loaded."""
        raise NotImplementedError

    @property
    def most_words(self) -> int | None:
        """How many tokens of a prompt its language model is told; those of CLIP know theirs."""
        said = inspect.signature(self.pipe.encode_prompt).parameters.get("max_sequence_length")
        return None if said is None else int(said.default)

    def predict(self, state: Tensor, time: Tensor, given: Given) -> Tensor:
        """The network's output; state (n, *shape), time (n,) as `time_of` gives it."""
        raise NotImplementedError

    def time_of(self, lam: Tensor) -> Tensor:
        """What the network is told of λ."""
        return self.path.time(lam)

    @property
    def restart(self) -> float | None:
        """λ from which on another network answers."""
        return None

    def scaled(self, x0: Tensor) -> Tensor:
        """Latents as the decoder wants them."""
        config = self.pipe.vae.config
        return x0 / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)

    def side(self) -> Size:
        """Height and width in pixels where none is asked for."""
        size = self.network.config.sample_size
        sides = size if isinstance(size, (tuple, list)) else (size, size)
        return sides[0] * self.scale, sides[1] * self.scale

    # --- conditions

    def given(self, cond: Condition, negative: bool) -> Given:
        """What the network is told of a row, or of the row that guidance leads away from."""
        if isinstance(cond.payload, Embeddings):
            found = cond.payload.negative if negative else cond.payload.positive
            if found is None:
                raise ValueError(f"guidance {cond.guidance} needs negative embeddings too")
            return {k: self._told(v) for k, v in found.items()}
        words = cond.payload if isinstance(cond.payload, Words) else Words()
        key = (words.negative if negative else words.prompt, negative)
        with self._encoding:
            if key not in self._encoded:
                self._encoded[key] = self._encode(*key)
            while len(self._encoded) > _KEPT:
                self._encoded.popitem(last=False)
            self._encoded.move_to_end(key)
            return self._encoded[key]

    @torch.no_grad()
    def _encode(self, text: str, negative: bool) -> Given:
        """The embeddings of a prompt, by encoders that come for it and, with `offload`, leave."""
        self.ensure_encoders()
        found = {k: self._told(v).detach() for k, v in self.encode(text, negative).items()}
        self._warn_of_a_cut(text)
        if self.offload:
            self.free_encoders()
        return found

    def _warn_of_a_cut(self, text: str) -> None:
        """Says that a prompt is longer than any of its encoders reads."""
        lengths = []
        for part in self.encoders:
            tokenizer: Any = getattr(self.pipe, part.replace("text_encoder", "tokenizer"), None)
            absent = tokenizer is None or getattr(self.pipe, part) is None
            if absent or not part.startswith("text_encoder"):
                continue
            most = None if "CLIP" in type(tokenizer).__name__ else self.most_words
            most = most or tokenizer.model_max_length
            lengths.append((len(tokenizer(text, verbose=False).input_ids) - most, most))
        over, most = min(lengths, default=(0, 0))
        if over > 0:
            warnings.warn(
                f"prompt: {self.name} reads the first {most} tokens of it; {over} are left out.",
                stacklevel=2,
            )

    def _told(self, value: Tensor) -> Tensor:
        """Embeddings as the network computes; masks are of whole numbers, and stay."""
        dtype = self.network.dtype if value.is_floating_point() else value.dtype
        return value.to(self.device, dtype)

    def ensure_encoders(self) -> None:
        """Loads the text encoders, which only a prompt needs."""
        if self._load_encoders is not None:
            self._load_encoders(self.pipe)

    def free_encoders(self) -> None:
        """Lets the text encoders leave memory, where they can be loaded again."""
        if self._load_encoders is not None:
            for name in self.encoders:
                if self._turns is not None:
                    self._turns.forget(getattr(self.pipe, name, None))
                if hasattr(self.pipe, name):
                    self.pipe.register_modules(**{name: None})

    # --- latents and pictures

    @property
    def scale(self) -> int:
        """Pixels a latent covers, in height and width."""
        return int(self.pipe.vae_scale_factor)

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def longest(self) -> int:
        """The longest side that can be had, in pixels."""
        return 4096

    @property
    def most_frames(self) -> int:
        return 1000

    def latent_frames(self, frames: int) -> int:
        return frames

    def picture_frames(self, frames: int) -> int:
        return frames

    def shape(self, size: Size | None = None, frames: int | None = None) -> tuple[int, ...]:
        """The latents of pictures of (height, width) pixels. Raises ValueError, one sentence."""
        step = self.scale * self.patch
        sides = self.side() if size is None else tuple(size)
        whole = len(sides) == 2 and all(isinstance(s, int) and s > 0 for s in sides)
        if not whole or any(s % step for s in sides) or max(sides) > self.longest:
            raise ValueError(
                f"size: height and width must be multiples of {step}, up to {self.longest}, for "
                f"{self.name}, not {size!r:.60}."
            )
        latent = tuple(s // self.scale for s in sides)
        if not self.video:
            if frames not in (None, 1):
                raise ValueError(f"frames: {self.name} makes single pictures, not {frames!r:.60}.")
            return (self.channels, *latent)
        most = self.most_frames
        count = min(self.frames, most) if frames is None else frames
        if not isinstance(count, int) or not 1 <= count <= most:
            raise ValueError(
                f"frames must be a whole number from 1 to {most} for {self.name}, "
                f"not {frames!r:.60}."
            )
        return (self.channels, self.latent_frames(count), *latent)

    def picture_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        sides = tuple(s * self.scale for s in shape[-2:])
        return (3, *([self.picture_frames(shape[1])] if self.video else []), *sides)

    def tokens(self, shape: tuple[int, ...]) -> int:
        return (shape[-1] // self.patch) * (shape[-2] // self.patch)

    def span(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """The ends of the nodes for such latents."""
        return self.path.span(self.tokens(shape))

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures in [-1, 1], float32: one sample, or one frame, at a time; cut off beyond."""
        return self._decoded(x0).clamp(-1, 1)

    @torch.no_grad()
    def _decoded(self, x0: Tensor) -> Tensor:
        vae = self.pipe.vae
        if vae is None:
            raise ValueError(f"{self.name}: its vae is missing, so only latents can be had.")
        with self._decoding:
            if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
                vae.to(torch.float32)
            latents = self.scaled(x0.to(self.device)).to(vae.dtype)
            return torch.cat([self.decode_one(z) for z in latents.split(1)])

    def decode_one(self, latents: Tensor) -> Tensor:
        return self._by_frame(self.pipe.vae, latents)

    def _by_frame(self, decoder: Any, latents: Tensor) -> Tensor:
        """(n, c, h, w), or (n, c, frames, h, w) frame by frame."""
        if not self.video:
            return decoder.decode(latents, return_dict=False)[0].float()
        frames = latents.movedim(2, 1).flatten(0, 1).split(1)
        decoded = [decoder.decode(f, return_dict=False)[0].float() for f in frames]
        return torch.cat(decoded).unflatten(0, (len(latents), -1)).movedim(1, 2)

    @torch.no_grad()
    def preview(self, x0: Tensor) -> Tensor:
        """What `decode` will about show, cheaply: a tiny decoder, else a fitted linear map."""
        if self.tiny is not None:
            return self._by_frame(self.tiny, x0.to(self.tiny.dtype))
        if self._linear is None:
            self._linear = LinearPreview.fit(self._decoded, x0.shape[1:], self.device)
        return self._linear(x0)

    def row_bytes(self, shape: tuple[int, ...]) -> int:
        """An estimate from the configuration: forty tensors of the widest hidden state."""
        places = shape[-1] * shape[-2] * (shape[1] if self.video else 1) // self.patch**2
        return 40 * places * self.width * self.network.dtype.itemsize

    @property
    def width(self) -> int:
        """Channels of the network's widest hidden state."""
        config = self.network.config
        if "block_out_channels" in config:
            return int(config.block_out_channels[0])
        return int(config.num_attention_heads * config.attention_head_dim)
