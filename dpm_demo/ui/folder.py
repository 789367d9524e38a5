"""The folder of everything that the serving process writes: its own, and gone at exit."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["own_folder"]


@cache
def own_folder() -> Path:
    """A fresh folder inside GRADIO_TEMP_DIR, or the system's for temporary files.

    What an operator names may be shared with others or hold their files, so nothing is written
    beside them and nothing of theirs is ever removed. Gradio keeps uploads here too: it is told
    by the variable, which it reads when it is imported.
    """
    base = os.environ.get("GRADIO_TEMP_DIR") or None
    if base is not None:
        os.makedirs(base, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="dpm-demo-", dir=base))
    os.environ["GRADIO_TEMP_DIR"] = str(made)
    atexit.register(_remove, made, os.getpid())
    return made


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker ends before its parent
        shutil.rmtree(folder, ignore_errors=True)
