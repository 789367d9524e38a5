"""Pictures and clips in memory, ready to be drawn as training batches.

Two sources: the emoji packages that the embedded checkpoints were made from (here), and any
folder of one's own pictures (`folder.py`). Both end as one `Pictures`: uint8 arrays with labels,
small enough to be held in memory (10,963 emoji of 32x32 are 34 MB).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence

from dpm_demo.media.decode import to_rgb
from dpm_demo.media.files import replacing
from dpm_demo.media.pixels import from_levels
from dpm_demo.models.words import Vocabulary, words_of

STYLES = ("noto", "twemoji", "fluent")
CATEGORIES = {
    "Smileys & Emotion": "smileys",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
}
EMOJI_AXES = {"style": STYLES, "category": tuple(CATEGORIES.values())}
MIRRORABLE = tuple(c not in ("symbols", "flags") for c in CATEGORIES.values())
SLOTS = 8
HELD_COMBINATIONS = tuple(
    frozenset(pair.split())
    for pair in ("green heart", "purple circle", "orange square", "blue book", "black cat")
)
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}

IMAGE_PACKAGES = {
    "noto": ("emoji-datasource-google", "package/img/google/64/", ".png"),
    "twemoji": ("emoji-datasource-twitter", "package/img/twitter/64/", ".png"),
    "fluent": ("lobehub-fluent-emoji-3d", "package/assets/", ".webp"),
}
NPM_IMAGES = (
    "emoji-datasource-google@16.0.0",
    "emoji-datasource-twitter@16.0.0",
    "@lobehub/fluent-emoji-3d@1.1.0",
)
NPM_VIDEOS = tuple(f"@lobehub/fluent-emoji-anim-{k}@1.0.0" for k in (1, 2, 3, 4))


_PARTS = ("data", "labels", "group", "mirror", "held")  # a row a picture


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures `(n, 3, h, w)` or clips `(n, 3, frames, h, w)`, uint8.

    `labels` is `(n, axes)` with one choice per axis of `axes` (name -> names of the choices);
    `group` ties variants of one motif together: batches draw a group evenly, then a member.
    `mirror` says which rows may be flipped left-right; `held` marks the held-out rows.
    `words`, where a prompt is learned, are `(n, slots)` numbers of words of `vocabulary`. `report`
    is what its reader has to say: what was found, and what was left out and why.
    """

    data: torch.Tensor
    labels: torch.Tensor
    axes: dict[str, tuple[str, ...]]
    group: torch.Tensor
    mirror: torch.Tensor
    held: torch.Tensor
    words: torch.Tensor | None = None
    vocabulary: tuple[str, ...] = ()
    report: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def digest(self) -> str:
        """Tells these pictures, labels and parts from others."""
        found = hashlib.sha256(json.dumps([self.axes, self.data.shape, self.vocabulary]).encode())
        for tensor in (self.data, self.choices, self.group, self.mirror, self.held):
            found.update(tensor.contiguous().numpy().data)
        return found.hexdigest()[:16]

    def subset(self, held: bool) -> Pictures:
        """The held-out part, or the rest."""
        rows = self.held == held
        parts = {name: getattr(self, name) for name in (*_PARTS, "words")}
        some = {name: part[rows] for name, part in parts.items() if part is not None}
        return replace(self, **some, report=())

    @property
    def choices(self) -> torch.Tensor:
        """What a network is told of each row: its labels, then the numbers of its words."""
        labels = self.labels.long()
        return labels if self.words is None else torch.cat([labels, self.words.long()], dim=1)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {name: getattr(self, name).numpy() for name in _PARTS}
        arrays["axes"] = np.array(json.dumps(self.axes))
        if self.words is not None:
            arrays["words"] = self.words.numpy()
            arrays["vocabulary"] = np.array(json.dumps(self.vocabulary))
        with replacing(path) as part:
            np.savez_compressed(part, **arrays)

    @classmethod
    def load(cls, path: Path) -> Pictures:
        """Reads what `save` wrote. Raises ValueError where the file is something else."""
        try:
            with np.load(path, allow_pickle=False) as npz:
                axes = {k: tuple(v) for k, v in json.loads(str(npz["axes"])).items()}
                parts: dict[str, Any] = {k: torch.from_numpy(npz[k]) for k in _PARTS}
                words = torch.from_numpy(npz["words"]) if "words" in npz else None
                known = tuple(json.loads(str(npz["vocabulary"]))) if words is not None else ()
            pictures = cls(axes=axes, words=words, vocabulary=known, **parts)
            pictures._check()
        except Exception as error:  # whatever the readers of archives and arrays raise
            said = (str(error).splitlines() or [type(error).__name__])[0]
            if isinstance(error, (AttributeError, TypeError)):
                said = "its parts are of other kinds"
            if "pickle" in said:  # numpy's advice is to read it without the restriction
                said = "it holds no plain arrays"
            raise ValueError(
                f"data: {path} is not a prepared data set ({said[:120]}); "
                "make one with `python -m dpm_demo prepare`."
            ) from error
        return pictures

    def _check(self) -> None:
        """Raises ValueError where the parts do not belong together."""
        n, wanted = len(self.data), tuple(len(names) for names in self.axes.values())
        if self.data.dtype != torch.uint8 or self.data.ndim not in (4, 5) or 0 in self.data.shape:
            raise ValueError("its data are no pictures of 8 bits")
        if self.data.shape[1] != 3:
            raise ValueError(f"its pictures have {self.data.shape[1]} channels, not 3")
        for name in ("labels", "group", "mirror", "held", "words"):
            part = getattr(self, name)
            if part is None:
                continue
            table, yes = name in ("labels", "words"), name in ("mirror", "held")
            fits = part.ndim == 1 + table and len(part) == n
            fits &= (part.dtype == torch.bool) == yes and not part.is_floating_point()
            if not fits or (name == "labels" and part.shape[1] != len(wanted)):
                raise ValueError(f"its {name} do not fit its {n} pictures")
        if self.labels.numel() and (
            self.labels.min() < 0 or bool((self.labels > torch.tensor(wanted)).any())
        ):
            raise ValueError("its labels are not among its choices")


class Draw:
    """Draws batches: a group evenly, one of its members, perhaps mirrored; floats in [-1, 1].

    Without `mirrored` none is: what a word alone tells of a picture would be both ways at once.

    `drawn` are the numbers of all pictures that it has drawn so far.
    """

    def __init__(self, pictures: Pictures, seed: int = 0, mirrored: bool = True) -> None:
        self.pictures, self.mirrored = pictures, mirrored
        self.drawn: set[int] = set()
        self.generator = torch.Generator().manual_seed(seed)
        order = torch.argsort(pictures.group, stable=True)
        _, counts = torch.unique(pictures.group, return_counts=True)
        self._order, self._counts, self._choices = order, counts, pictures.choices
        self._starts = counts.cumsum(0) - counts

    def __call__(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        g = torch.randint(len(self._counts), (n,), generator=self.generator)
        u = torch.rand(n, generator=self.generator)
        rows = self._order[self._starts[g] + (u * self._counts[g]).long()]
        self.drawn.update(rows.tolist())
        x = from_levels(self.pictures.data[rows])
        flip = (torch.rand(n, generator=self.generator) < 0.5) & self.pictures.mirror[rows]
        flip &= self.mirrored
        x[flip] = x[flip].flip(-1)
        return x, self._choices[rows]


# ---------------------------------------------------------------- the emoji packages


def _base_key(name: str) -> str:
    """The motif of a code-point name: skin tones and the variation selector stripped."""
    parts = [p.lstrip("0") for p in name.lower().split("-")]
    return "-".join(p for p in parts if p not in SKIN_TONES and p != "fe0f")


def _held_out(key: str) -> bool:
    """One motif in twenty, the same one in all styles and on every machine."""
    return zlib.crc32(key.encode()) % 20 == 0


def _tarball(packages: Path, stem: str) -> Path:
    found = sorted(packages.glob(f"{stem}-[0-9]*.tgz"))
    if not found:
        raise ValueError(
            f"packages: no {stem}-*.tgz in {packages}; "
            "fetch the packages first with `python -m dpm_demo prepare --fetch`."
        )
    return found[-1]


def _members(path: Path, prefix: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.startswith(prefix) and member.name.endswith(suffix):
                file = tar.extractfile(member)
                if file is not None:
                    yield member.name[len(prefix) : -len(suffix)], file.read()


def _entries(packages: Path) -> dict[str, dict[str, Any]]:
    """What the data set says of each motif: category, subcategory, name, short names."""
    path = _tarball(packages, IMAGE_PACKAGES["noto"][0])
    table = json.loads(dict(_members(path, "package/emoji", ".json"))[""])
    return {
        _base_key(code): entry
        for entry in table
        if entry["category"] in CATEGORIES
        for code in [entry["unified"], entry["non_qualified"] or entry["unified"]]
    }


def _categories(packages: Path) -> dict[str, str]:
    return {key: CATEGORIES[entry["category"]] for key, entry in _entries(packages).items()}


def with_words(pictures: Pictures, keys: Sequence[str], packages: Path) -> Pictures:
    """The same pictures with the words of each: name, short names, subcategory, `SLOTS` at most.

    `keys` are the motifs of the rows. The words of `HELD_COMBINATIONS` are each known, but no
    picture of both together is trained on. The vocabulary is that of the rest.
    """
    told = {key: _words_of_entry(entry) for key, entry in _entries(packages).items()}
    unseen = torch.tensor([any(pair <= set(told[k]) for pair in HELD_COMBINATIONS) for k in keys])
    held = pictures.held | unseen
    seen = {word for key, out in zip(keys, held, strict=True) if not out for word in told[key]}
    vocabulary = Vocabulary(tuple(sorted(seen)), SLOTS)
    words = torch.tensor([vocabulary.numbers(told[key]) for key in keys], dtype=torch.int16)
    return replace(pictures, held=held, words=words, vocabulary=vocabulary.words)


def _words_of_entry(entry: dict[str, Any]) -> list[str]:
    # the short name of a flag is a country's two letters, which are no words
    names = [] if entry["category"] == "Flags" else entry["short_names"]
    kind = words_of(entry["subcategory"])
    own = [w for w in words_of(" ".join([entry["name"] or "", *names])) if w not in kind]
    return [*own[: SLOTS - len(kind)], *kind]


def _on_white(image: Image.Image, size: int) -> np.ndarray:
    rgb = to_rgb(image)
    side = max(rgb.size)
    canvas = Image.new("RGB", (side, side), "white")
    canvas.paste(rgb, ((side - rgb.width) // 2, (side - rgb.height) // 2))
    return np.asarray(canvas.resize((size, size), Image.Resampling.LANCZOS))


def prepare_images(
    packages: Path,
    size: int = 32,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    words: bool = False,
) -> Pictures:
    """Emoji of three styles on white, `size` x `size`, with style and category labels.

    With `words` also with those of each emoji's name (`with_words`).

    Raises ValueError if a package's tarball is missing from the folder `packages`.
    """
    category_of = _categories(packages)
    names = list(CATEGORIES.values())
    pictures, labels, groups, held, keys = [], [], [], [], []
    for style, (stem, prefix, suffix) in IMAGE_PACKAGES.items():
        for name, blob in progress(_members(_tarball(packages, stem), prefix, suffix)):
            key = _base_key(name)
            if key not in category_of:
                continue
            pictures.append(_on_white(Image.open(io.BytesIO(blob)), size))
            labels.append((STYLES.index(style), names.index(category_of[key])))
            groups.append(f"{style}/{key}")
            held.append(_held_out(key))
            keys.append(key)
    data = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    axes = {"style": STYLES, "category": tuple(names)}
    plain = _pictures(data, labels, axes, groups, held)
    return with_words(plain, keys, packages) if words else plain


def prepare_videos(
    packages: Path,
    size: int = 32,
    frames: int = 16,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Pictures:
    """Animated emoji: `frames` frames evenly over each loop, with category labels.

    Files of fewer than 16 pictures are no animations and are left out.
    """
    category_of = _categories(packages)
    names = list(CATEGORIES.values())
    clips, labels, groups, held = [], [], [], []
    for k in (1, 2, 3, 4):
        path = _tarball(packages, f"lobehub-fluent-emoji-anim-{k}")
        for name, blob in progress(_members(path, "package/assets/", ".webp")):
            key = _base_key(name)
            image = Image.open(io.BytesIO(blob))
            count = getattr(image, "n_frames", 1)
            if key not in category_of or count < 16:
                continue
            wanted = {round(i * count / frames) for i in range(frames)}
            clip = [
                _on_white(frame, size)
                for i, frame in enumerate(ImageSequence.Iterator(image))
                if i in wanted
            ]
            if len(clip) != frames:
                continue
            clips.append(np.stack(clip))
            labels.append((names.index(category_of[key]),))
            groups.append(key)
            held.append(_held_out(key))
    if not clips:
        raise ValueError(f"frames: no animation has {frames} pictures; take fewer.")
    data = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).contiguous()
    return _pictures(data, labels, {"category": tuple(names)}, groups, held)


def _pictures(
    data: torch.Tensor,
    labels: Sequence[tuple[int, ...]],
    axes: dict[str, tuple[str, ...]],
    groups: list[str],
    held: list[bool],
) -> Pictures:
    label = torch.tensor(labels, dtype=torch.int16)
    mirror = torch.tensor(MIRRORABLE)[label[:, -1].long()]
    _, group = np.unique(np.array(groups), return_inverse=True)
    return Pictures(
        data, label, axes, torch.from_numpy(group.astype(np.int32)), mirror, torch.tensor(held)
    )
