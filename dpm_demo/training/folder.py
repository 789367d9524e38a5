"""One's own pictures: a folder read as training data, with a word on every file left out."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from dpm_demo.media.decode import SUFFIXES, decode
from dpm_demo.training.data import Pictures

NAMED = 5  # files that are named for each reason; the others are counted


@dataclass
class _Reading:
    """What was found in a folder, and what was left out and why."""

    ignored: dict[str, list[str]] = field(default_factory=dict)
    animated: int = 0

    def ignore(self, path: Path, reason: str) -> None:
        self.ignored.setdefault(reason, []).append(path.as_posix())

    def lines(self, labels: list[str], nested: bool, held: int) -> tuple[str, ...]:
        counts = Counter(labels)
        shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:20])
        rest = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
        classes = "1 class" if len(counts) == 1 else f"{len(counts)} classes"
        found = [f"{len(labels)} pictures in {classes} ({shown}{rest}), {held} of them held out"]
        if nested and len(counts) == 1:
            found.append(
                "its folders below the class folder are no classes: to have them as such, give "
                "the class folder itself"
            )
        if self.animated:
            found.append(f"of {self.animated} animated files the first frame was taken")
        for reason, paths in self.ignored.items():
            more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
            found.append(f"left out, {reason}: {', '.join(paths[:NAMED])}{more}")
        return tuple(found)


def read_folder(
    folder: Path,
    size: int = 32,
    held_share: float = 0.05,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Pictures:
    """One's own pictures: shorter side to `size`, centre crop; subfolders are the labels.

    Files that cannot be read, are hidden, or lie beside the class folders are left out, and
    `Pictures.report` says so. Which pictures are held out depends on their files' bytes alone, so
    it is the same wherever the folder lies and however its path was typed, and two copies of a
    picture are on the same side; each side has at least one. Raises ValueError if the folder is
    missing or has fewer than two different pictures that can be read.
    """
    if not folder.is_dir():
        raise ValueError(f"data: {folder} is not a folder of pictures or a prepared .npz file.")
    if not isinstance(size, int) or not 1 <= size <= 1024:
        raise ValueError(f"size must be a whole number from 1 to 1024, not {size!r:.60}")
    reading = _Reading()
    files = sorted(_files(folder, reading))
    inside = any(len(path.parts) > 1 for path in files)
    own = folder.resolve().name or "pictures"
    rows: list[np.ndarray] = []
    labels: list[str] = []
    sums: list[int] = []
    nested = False
    for path in progress(files):
        if inside and len(path.parts) == 1:
            reading.ignore(path, "beside the class folders")
            continue
        try:
            blob = (folder / path).read_bytes()
            decoded = decode(blob)
        except OSError as error:
            reading.ignore(path, f"not readable ({error.strerror or type(error).__name__})")
            continue
        except ValueError as error:
            reading.ignore(path, str(error))
            continue
        reading.animated += decoded.frames > 1
        nested |= len(path.parts) > 2
        rows.append(_cropped(decoded.image, size))
        labels.append(path.parts[0] if inside else own)
        sums.append(zlib.crc32(blob))
    if len(set(sums)) < 2:
        raise ValueError(
            f"data: {folder} has {len(rows)} pictures that can be read and needs two different "
            "ones, to learn from and to hold out"
            + "".join(f"; {line}" for line in reading.lines(labels, False, 0)[1:])
        )
    held = _held(sums, held_share)
    names = sorted(set(labels))
    n = len(rows)
    return Pictures(
        torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([names.index(label) for label in labels], dtype=torch.int16)[:, None],
        {"class": tuple(names)},
        torch.arange(n),
        torch.ones(n, dtype=torch.bool),
        torch.tensor(held),
        report=reading.lines(labels, nested, sum(held)),
    )


def _files(folder: Path, reading: _Reading) -> Iterator[Path]:
    """The picture files under a folder, by their path in it; each real folder once."""
    seen = {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, followlinks=True):
        below = Path(root).relative_to(folder)
        walked = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(root, name))
            if _hidden(name):
                reading.ignore(below / name, "hidden folders")
            elif real in seen:
                reading.ignore(below / name, "folders met twice")
            else:
                seen.add(real)
                walked.append(name)
        folders[:] = walked
        for name in files:
            if _hidden(name):
                reading.ignore(below / name, "hidden files")
            elif Path(name).suffix.lower() not in SUFFIXES:
                reading.ignore(below / name, "no pictures by their ending")
            else:
                yield below / name


def _hidden(name: str) -> bool:
    """What systems and editors leave behind: ".ipynb_checkpoints", "._cat.png", "__MACOSX"."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


def _cropped(image: Image.Image, size: int) -> np.ndarray:
    """uint8 `(size, size, 3)`: the shorter side to `size`, the middle of the longer one."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def _held(sums: list[int], share: float) -> list[bool]:
    """Which rows are held out: those whose sum falls into `share`, at least one and not all."""
    order = sorted(set(sums), key=lambda s: (s % 1000, s))
    wanted = [s for s in order if s % 1000 < share * 1000] or order[:1]
    out = set(wanted[: len(order) - 1])
    return [s in out for s in sums]


def open_data(source: Path, size: int = 32) -> Pictures:
    """A prepared `.npz` or a folder of pictures, whichever `source` is."""
    return Pictures.load(source) if source.suffix == ".npz" else read_folder(source, size)
