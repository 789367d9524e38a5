"""The models that a running app offers: loaded on first use, let go when memory runs short."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from dpm_demo.models.built_in import EXACT, BuiltIn
from dpm_demo.models.checkpoint import CHECKPOINTS, list_folders, load_checkpoint, read_config
from dpm_demo.models.diffusers.components import UNUSED
from dpm_demo.models.diffusers.fetch import fetch_pipeline
from dpm_demo.models.diffusers.files import read_json, reason
from dpm_demo.models.diffusers.hub import answering, on_disk
from dpm_demo.models.diffusers.offered import OFFERED, Offered
from dpm_demo.models.diffusers.registry import (
    family_of,
    known_family,
    load_folder,
    load_from_hub,
)
from dpm_demo.models.diffusers.unconditional_folder import is_diffusers
from dpm_demo.models.memory import MEMORY_BYTES, bytes_of_folder, model_bytes
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.models.runtime import Runtime

_ASK_AGAIN = 60.0  # seconds for which the hub's answer holds
_FAILURES = 64  # sentences that are remembered, as visitors may choose the names


@dataclass(frozen=True)
class Offer:
    """One model that the page may list. `size`: bytes on disk or to fetch, 0 for a built-in.

    `frames` is above 1 for a model of videos.
    """

    name: str
    title: str
    kind: Literal["checkpoint", "built-in", "hub"]
    size: int = 0
    licence: str = ""
    fetched: bool = True
    frames: int = 1


@dataclass(frozen=True)
class State:
    """Where a model stands; `fraction` is of its download, `sentence` says why it failed."""

    kind: Literal["unloaded", "loading", "ready", "failed"]
    fraction: float | None = None
    sentence: str = ""


class ModelLibrary:
    """Models by name, for many threads: each loaded once, on first use, and the rest of them wait.

    Names are those of the folders in `root` (our checkpoints, or pipelines in diffusers' format),
    of `built_in`, and "hub:owner/name" of `offered`. What is in Hugging
    Face's cache is read from there; the network is asked only if `allow_hub`, and only then may a
    hub model be named that is not `offered`. The least recently used are let go so that at most
    `memory_bytes` of weights are kept (a job that still runs holds on to its own). A load that
    fails raises CheckpointError, one sentence, leaves the others, and is tried again when asked.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        *,
        built_in: Sequence[BuiltIn] = EXACT,
        root: Path = CHECKPOINTS,
        offered: Sequence[Offered] = OFFERED,
        allow_hub: bool = False,
        memory_bytes: int = MEMORY_BYTES,
        runtime: Runtime = "auto",
        offload: bool = False,
    ) -> None:
        if memory_bytes < 1:
            raise ValueError(f"memory_bytes: {memory_bytes} is not a positive number of bytes.")
        self.device = torch.device(device)
        self.root, self.allow_hub, self.memory_bytes = root, allow_hub, memory_bytes
        self.runtime, self.offload = runtime, offload
        self._built_in = {model.name: model for model in built_in}
        self._offered = {f"hub:{model.id}": model for model in offered}
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Model] = OrderedDict()  # least recently used first
        self._loading: dict[str, Future[Model]] = {}
        self._fractions: dict[str, float] = {}
        self._failed: OrderedDict[str, str] = OrderedDict()
        self._asking = threading.Lock()
        self._answered: tuple[float, frozenset[str]] | None = None

    # --- what there is

    def offered(self) -> tuple[Offer, ...]:
        """What can be had now, embedded models first. With `allow_hub` it may ask the hub (3 s)."""
        found = []
        for name in list_folders(self.root):
            if name in self._built_in:
                continue
            title, frames = self._about(name)
            size = self._size(name)
            found.append(Offer(name, title, "checkpoint", size, frames=frames))
        found += [
            Offer(name, model.title, "built-in", frames=model.frames)
            for name, model in self._built_in.items()
        ]
        others = {n: model for n, model in self._offered.items() if n not in self._built_in}
        cached = {name for name, model in others.items() if on_disk(model)}
        answers = self._reachable(frozenset(others) - cached)
        for name, model in others.items():
            if name in cached or name in answers:
                found.append(
                    Offer(name, model.title, "hub", model.size, model.licence, name in cached)
                )
        return tuple(found)

    def choices(self, video: bool | None = None) -> list[tuple[str, str]]:
        """`(title, name)` of all offers, or of those (not) of videos, as a drop-down has them."""
        return [
            (offer.title, offer.name)
            for offer in self.offered()
            if video is None or (offer.frames > 1) == video
        ]

    def title(self, name: str) -> str:
        """A few words for a sentence about a model, known or not; a stranger may have typed it."""
        if name in self._offered:
            return self._offered[name].title.split(",")[0]
        if name in self._built_in:
            return self._built_in[name].title
        return name.removeprefix("hub:")[:80]

    def state(self, name: str) -> State:
        """Where a model stands. A name that is not known is merely "unloaded"."""
        with self._lock:
            if name in self._loading or name in self._fractions:
                return State("loading", self._fractions.get(name))
            if name in self._kept:
                return State("ready")
            if name in self._failed:
                return State("failed", sentence=self._failed[name])
            return State("unloaded")

    def kept(self) -> tuple[str, ...]:
        """Names of the models in memory, the least recently used first."""
        with self._lock:
            return tuple(self._kept)

    # --- to have one

    def fetch(self, name: str) -> None:
        """Brings a hub model's files to disk, if they may be fetched; nothing for other models.

        It computes nothing, so that it may run beside a working engine; `get` then reads the disk.
        `state` tells the fraction meanwhile. Raises CheckpointError, one sentence.
        """
        if not name.startswith("hub:") or not self.allow_hub or name in self.kept():
            return
        with self._lock:
            self._fractions[name] = 0.0
        try:
            fetch_pipeline(
                name,
                True,
                self._revision(name),
                progress=lambda fraction: self._progress(name, fraction),
                max_bytes=self.memory_bytes,
            )
        except CheckpointError as error:
            self._remember(name, str(error))
            raise
        finally:
            with self._lock:
                self._fractions.pop(name, None)

    def load(
        self, name: str, call: Callable[[Callable[[], Model]], Future[Model]]
    ) -> Future[Model]:
        """`get` by way of an engine's `call`, or at once if it is in memory: no tick to wait."""
        with self._lock:
            model = self._use(name) if name in self._kept else None
        if model is None:
            return call(partial(self.get, name))
        future: Future[Model] = Future()
        future.set_result(model)
        return future

    def get(self, name: str) -> Model:
        """The model of that name, loaded if it is not in memory: seconds, or a download's minutes.

        Calls for the same name wait for one load; other names are not held up. Raises
        CheckpointError, one sentence, for an unknown name and for a load that fails.
        """
        with self._lock:
            if name in self._kept:
                return self._use(name)
            waiting = self._loading.get(name)
            if waiting is None:
                mine = self._loading[name] = Future()
        if waiting is not None:
            return waiting.result()
        try:
            model = self._load(name)
            self._keep(name, model)
        except BaseException as error:
            # whoever waits is told in any case, also when this thread is being ended
            sentence = str(error) if isinstance(error, CheckpointError) else _sentence(name, error)
            self._remember(name, sentence)
            with self._lock:
                del self._loading[name]
                self._fractions.pop(name, None)
            mine.set_exception(CheckpointError(sentence))
            if not isinstance(error, Exception):
                raise
            raise CheckpointError(sentence) from error
        with self._lock:
            del self._loading[name]
            self._fractions.pop(name, None)
            self._failed.pop(name, None)
        mine.set_result(model)
        return model

    # --- inside

    def _use(self, name: str) -> Model:
        self._kept.move_to_end(name)
        return self._kept[name]

    def _about(self, name: str) -> tuple[str, int]:
        """Title and frames of a folder."""
        with contextlib.suppress(CheckpointError):
            config = read_config(self.root / name)
            frames = config["shape"][1] if len(config["shape"]) == 4 else 1
            return str(config.get("title", name)), frames
        with contextlib.suppress(CheckpointError):
            if known_family(self.root / name):
                index = read_json(self.root / name / "model_index.json", name)
                family = family_of(str(index.get("_class_name")), name)
                return name, family.frames
        return name, 1

    def _size(self, name: str) -> int:
        return sum(f.stat().st_size for f in (self.root / name).rglob("*.safetensors"))

    def _load(self, name: str) -> Model:
        if name in self._built_in:
            return self._built_in[name].make(self.device)
        if name.startswith("hub:"):
            revision = self._revision(name)
            expected = self._offered[name].size if name in self._offered else 0
            self._make_room(expected)
            return load_from_hub(
                name,
                self.device,
                allow_network=self.allow_hub,
                revision=revision,
                progress=lambda fraction: self._progress(name, fraction),
                max_bytes=self.memory_bytes,
                offload=self.offload,
            )
        if name not in list_folders(self.root):  # never a path of a visitor's
            raise CheckpointError(f"model: {name[:80]!r} is not offered here; choose another.")
        folder = self.root / name
        self._make_room(bytes_of_folder(folder, unused=UNUSED))
        if is_diffusers(folder):
            return load_folder(folder, self.device, offload=self.offload)
        return load_checkpoint(folder, self.device, self.runtime)

    def _revision(self, name: str) -> str | None:
        if name in self._offered:
            return self._offered[name].revision
        if not self.allow_hub:
            raise CheckpointError(
                f"model: {name[:80]!r} is not offered here, and other hub models need the "
                "operator's --allow-hub; choose another."
            )
        return None

    def _keep(self, name: str, model: Model) -> None:
        size = model_bytes(model)
        if size > self.memory_bytes:
            raise CheckpointError(
                f"{name}: it needs {size / 1e6:.0f} MB of memory, above the limit of "
                f"{self.memory_bytes / 1e6:.0f} MB; choose a smaller model."
            )
        with self._lock:
            self._evict(size)
            self._kept[name] = model

    def _make_room(self, size: int) -> None:
        """Lets models go before a load, so that the old and the new need not fit together."""
        with self._lock:
            self._evict(min(size, self.memory_bytes))

    def _evict(self, size: int) -> None:
        total = sum(map(model_bytes, self._kept.values()))
        for name in list(self._kept):
            if total + size <= self.memory_bytes:
                return
            # what holds no memory frees none
            if held := model_bytes(self._kept[name]):
                del self._kept[name]
                total -= held

    def _progress(self, name: str, fraction: float) -> None:
        with self._lock:
            self._fractions[name] = max(fraction, self._fractions.get(name, 0.0))

    def _remember(self, name: str, sentence: str) -> None:
        with self._lock:
            self._failed.pop(name, None)
            self._failed[name] = sentence
            while len(self._failed) > _FAILURES:
                self._failed.popitem(last=False)

    def _reachable(self, names: frozenset[str]) -> frozenset[str]:
        if not self.allow_hub or not names:
            return frozenset()
        with self._asking:
            if self._answered is None or time.monotonic() - self._answered[0] > _ASK_AGAIN:
                found = answering([self._offered[name] for name in sorted(names)])
                self._answered = time.monotonic(), frozenset(f"hub:{ident}" for ident in found)
            return self._answered[1] & names


def _sentence(name: str, error: BaseException) -> str:
    return f"{name[:80]}: it could not be loaded ({reason(error)}); choose another model."
