"""Recorded trajectories: a page that has just started shows something, and computes nothing.

They lie beside the checkpoint that made them, as values of the player in JSON:
`python -m benchmarks.record_examples` writes them.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.ui.player.component import Player

__all__ = ["FOLDER", "build", "read_recordings"]

log = logging.getLogger("dpm_demo")

FOLDER = CHECKPOINTS / "emoji-image" / "recorded"


def read_recordings(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """`title`, `note` and `value` of each file, by file name; one that cannot be read is left."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            read = json.loads(path.read_text())
            found.append({name: read[name] for name in ("title", "note", "value")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: %s: %s", path.name, type(error).__name__, error)
    return found


def build(player: Player, note: gr.Markdown, downloads: list[gr.DownloadButton]) -> None:
    """One button a recording, which opens it in `player`; there is no file of it to download."""
    with gr.Row():
        for recording in read_recordings():
            gr.Button(f"Recorded: {recording['title']}", size="sm", min_width=140).click(
                partial(opened, recording, len(downloads)),
                None,
                [player, note, *downloads],
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )


def opened(recording: dict[str, Any], downloads: int) -> list[Any]:
    """What a click shows: the player's value, the line under it, and buttons that are off."""
    # a run of its own each time, so that the player starts it afresh
    value = {**recording["value"], "run": uuid4().hex}
    return [value, recording["note"], *[gr.DownloadButton(interactive=False)] * downloads]
