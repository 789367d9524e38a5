"""Files that are whole or not there, in UTF-8, and readable by who may read the folder."""

from __future__ import annotations

import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4

UNTOUCHED = 3600.0  # seconds after which nobody writes a part any more
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same archive, byte for byte


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` once the block ends well.

    Its name has the same suffix, as many writers choose their format by that. Where the block
    raises, nothing is left of it, and what stood at `path` stands. Its mode is that of any new
    file here: some writers make files that only their owner may read.
    """
    path = Path(path)
    part = path.with_name(f".part-{uuid4().hex}{path.suffix}")
    try:
        part.touch(exist_ok=False)
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def forget_parts(folder: Path) -> None:
    """Removes what writers that were killed left of `replacing`, none that is still written to."""
    for part in folder.glob(".part-*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > UNTOUCHED:
                part.unlink()


def plain_modes(folder: Path) -> None:
    """Gives each file below `folder` the mode that a new file has there."""
    with tempfile.TemporaryDirectory(dir=folder) as room:
        new = Path(room, "new")
        new.touch()
        mode = stat.S_IMODE(new.stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def folder_for(path: str | os.PathLike[str], field: str = "out") -> Path:
    """The folder at `path`, made if need be. Raises ValueError, one sentence, where it cannot be.

    `field` names the setting that it comes from.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("it may not be written to")
    except FileExistsError:
        raise ValueError(f"{field}: {folder} is a file, not a folder.") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{field}: {folder} cannot be a folder to write to ({reason}).") from error
    return folder


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes all of `data` or nothing."""
    with replacing(path) as part:
        part.write_bytes(data)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """The same of text, in UTF-8 and with the newlines that it has, on every system."""
    return write_bytes(path, text.encode("utf-8"))


def zip_files(files: Mapping[str, bytes], path: str | os.PathLike[str]) -> Path:
    """A ZIP of named bytes; the same files give the same archive.

    Raises:
        ValueError: there is no file, or a name is absolute, empty, or leaves the archive.
    """
    if not files:
        raise ValueError("files must name at least one file for the archive, got none.")
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise ValueError(f"files must have plain relative names, got {name!r}.")
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return Path(path)
