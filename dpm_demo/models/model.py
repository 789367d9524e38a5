"""What every family of models answers to: `Model`, and `Condition`, what one row is asked to be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dpm_demo.models.words import Vocabulary, singular
from dpm_demo.solver.settings import Solver

GUIDANCE_MAX = 20.0
Size = tuple[int, int]
Guided = Literal["rows", "input", "no"]


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one sentence that says which, why, what to do."""


@dataclass(frozen=True)
class Words:
    """A prompt, and what the guidance leads away from; "" is the empty prompt."""

    prompt: str = ""
    negative: str = ""


@dataclass(frozen=True)
class Condition:
    """What one row is asked to be: a choice per label axis (the axis's size: "any"), guidance.

    guidance 1 is the plain conditional network, 0 the unconditional one; anything else costs a
    second network row: x0 = x0_any + guidance (x0_label - x0_any)   (arXiv 2207.12598).
    `payload` is whatever else a family needs for a row, `Words` for instance: hashable, so that a
    family may keep what it computes from it.
    """

    labels: tuple[int, ...] = ()
    guidance: float = 1.0
    payload: Hashable = None


class Latents(Protocol):
    """What lies between a model's samples and pictures in [-1, 1], where they are not the same.

    Tensors are (n, c, h, w) or (n, c, frames, h, w). `decode` gives the pictures; `preview` says
    cheaply what they will about look like, at any resolution. `row_bytes` is what one network row
    about takes beside the weights; `span` are the ends of the nodes, which may depend on the size.
    """

    def shape(self, size: Size | None = None, frames: int | None = None) -> tuple[int, ...]: ...

    def picture_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]: ...

    def decode(self, x0: Tensor) -> Tensor: ...

    def preview(self, x0: Tensor) -> Tensor: ...

    def row_bytes(self, shape: tuple[int, ...]) -> int: ...

    def span(self, shape: tuple[int, ...]) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Model:
    """A pretrained network with what is needed to sample it.

    Called through `denoise(x, lam, cond)`; `denoise_float32` is the same network in float32
    (comparisons and their reference; a network that is held in 16 bits runs as it is held).
    `lam_span` is where a schedule places its nodes. `labels` maps an axis to its choices;
    `prompted` models take words, those of `vocabulary` alone where there is one; `guidance` is used
    where none is asked for, and `guided` says what it is: a second row, an input of the network,
    or nothing. `latents` stands between samples and pictures. `restart` is the λ from
    which on another network of the model answers. `digest` names the weights.
    """

    name: str
    shape: tuple[int, ...]
    lam_span: tuple[float, float]
    denoise: Callable[..., Tensor]
    denoise_float32: Callable[..., Tensor]
    device: torch.device
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    title: str = ""
    exact_solution: Callable[[Tensor, float, float], Tensor] | None = None  # if known
    latents: Latents | None = None
    prompted: bool = False
    vocabulary: Vocabulary | None = None
    guidance: float = 3.5
    guided: Guided = "rows"
    family: str = ""
    restart: float | None = None
    fits: tuple[Any, ...] = ()  # solvers fitted to it: `models.calibrated.Fit`
    runtime: str = ""  # a few words: what computes it here

    @property
    def frames(self) -> int:
        """Pictures a sample: 1 for an image model."""
        shape = self.picture_shape()
        return shape[1] if len(shape) == 4 else 1

    @property
    def conditional(self) -> bool:
        """Whether `denoise` is to be told a condition for each row."""
        return bool(self.labels) or self.prompted

    def resolved(self, solver: Solver, condition: Condition | None = None) -> Solver:
        """`solver`, or what its schedule "calibrated" is on this model. Raises ValueError."""
        from dpm_demo.models.calibrated import resolved

        return resolved(solver, self, condition)

    def rows(self, condition: Condition) -> int:
        """Network rows that one evaluation of such a row costs: 2 where it is guided."""
        count = getattr(self.denoise_float32, "network_rows", None)
        return 1 if count is None else int(count([condition]))

    def shape_for(self, size: Size | None = None, frames: int | None = None) -> tuple[int, ...]:
        """The shape of a sample of `size` (height, width) pixels. Raises ValueError."""
        if self.latents is not None:
            return self.latents.shape(size, frames)
        if size is not None and tuple(size) != self.shape[-2:]:
            own = " x ".join(map(str, self.shape[-2:]))
            raise ValueError(f"size: {self.name} makes pictures of {own} pixels only, not {size}.")
        if frames is not None and frames != self.frames:
            raise ValueError(f"frames: {self.name} makes {self.frames} only, not {frames}.")
        return self.shape

    def picture_shape(self, shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """(c, h, w) or (c, frames, h, w) of the pictures that samples of `shape` become."""
        shape = self.shape if shape is None else shape
        return shape if self.latents is None else self.latents.picture_shape(shape)

    def check_threshold(self, threshold: str | None) -> None:
        """Raises ValueError for a threshold of samples that are no pictures in [-1, 1]."""
        if threshold is not None and self.latents is not None:
            raise ValueError(
                f"threshold {threshold!r} clips pictures, and {self.name} samples latents: "
                "leave it None."
            )

    def span_for(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """The ends of the nodes of samples of that shape."""
        if self.latents is None or shape == self.shape:
            return self.lam_span
        return self.latents.span(shape)

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures in about [-1, 1] of samples; the samples themselves where they are pictures."""
        return x0 if self.latents is None else self.latents.decode(x0)

    def condition(
        self,
        label: str | Mapping[str, str] | None = None,
        guidance: float = 1.0,
        *,
        prompt: str | None = None,
        negative_prompt: str = "",
    ) -> Condition:
        """The condition for a label: words such as "animals" or "fluent animals", or an axis map.

        Raises ValueError for a word that is no choice of this model, for guidance that is
        not a number from 0 to 20, for a prompt to a model that takes none, and for a negative
        prompt to one whose guidance leads away from nothing.
        """
        if not isinstance(guidance, (int, float)) or not 0 <= guidance <= GUIDANCE_MAX:
            raise ValueError(f"guidance: {guidance!r} is not a number from 0 to 20.")
        words = self._words(prompt, negative_prompt)
        if self.vocabulary is None:
            return Condition(self._chosen(label), float(guidance), words)
        own = self._told(self._chosen(label), prompt or "", "prompt")
        away = None
        if negative_prompt:
            away = self._told(self._chosen(None), negative_prompt, "negative_prompt")
        return Condition(own, float(guidance), away)

    def _told(self, chosen: tuple[int, ...], prompt: str, field: str) -> tuple[int, ...]:
        """Choices and the numbers of a prompt's words; a word that is a choice makes it, too."""
        assert self.vocabulary is not None
        choices = list(chosen)
        axes = [[singular(name) for name in names] for names in self.labels.values()]
        words = self.vocabulary.read(prompt, {"any"}.union(*axes), field)
        for k, plain in enumerate(axes):
            if choices[k] == len(plain):
                choices[k] = next((plain.index(w) for w in words if w in plain), len(plain))
        return (*choices, *self.vocabulary.numbers(words))

    def _words(self, prompt: str | None, negative: str) -> Words | None:
        for name, text in (("prompt", prompt), ("negative_prompt", negative)):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{name} must be text, not {text!r:.60}.")
        if negative and self.prompted and self.guided != "rows":
            raise ValueError(f"negative_prompt: {self.name} takes none; leave it empty.")
        if self.prompted:
            return Words(prompt or "", negative)
        if prompt or negative:
            raise ValueError(
                f"{'prompt' if prompt else 'negative_prompt'}: {self.name} takes no words."
            )
        return None

    def _chosen(self, label: str | Mapping[str, str] | None) -> tuple[int, ...]:
        chosen = {axis: len(names) for axis, names in self.labels.items()}
        pairs: list[tuple[str | None, str]]
        if isinstance(label, Mapping):
            pairs = [(axis, str(word)) for axis, word in label.items()]
        elif any(label in names for names in self.labels.values()):
            pairs = [(None, str(label))]  # a choice of several words
        else:
            pairs = [(None, word) for word in str(label or "any").split()]
        for axis, word in pairs:
            if word == "any" and (axis is None or axis in chosen):
                continue
            homes = [a for a in chosen if (axis is None or a == axis) and word in self.labels[a]]
            if not homes:
                known = "; ".join(f"{a}: {', '.join(n)}" for a, n in self.labels.items())
                raise ValueError(
                    f"label: {word[:40]!r} is unknown to {self.name} "
                    f"({_shortened(known) or 'no labels'})."
                )
            home, choice = homes[0], self.labels[homes[0]].index(word)
            if chosen[home] not in (choice, len(self.labels[home])):
                other = self.labels[home][chosen[home]]
                raise ValueError(f"label: {other!r} and {word!r} are both a {home}; give one.")
            chosen[home] = choice
        return tuple(chosen.values())


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most].rsplit(',', 1)[0]}, …"
