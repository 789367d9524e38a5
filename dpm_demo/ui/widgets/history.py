"""The last runs of a tab as a strip of thumbnails, which the page itself keeps.

Python sends `{"run": str, "thumb": data URI, "title": str}` at the end of a run. `select` tells the
run that a person clicks, or the two that are to stand side by side, apart by a space.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

from dpm_demo.engine.events import Done
from dpm_demo.media.pixels import uint8
from dpm_demo.media.png import data_uri, png
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.ui.player.script import Scripted, script
from dpm_demo.ui.player.wall import Wall

_HERE = Path(__file__).parent


class History(Scripted):
    """The strip; see the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            '<section class="dpm-history" hidden></section>',
            script(_HERE, ("../player/dom.js", "history.js"), "history.css"),
            **options,
        )


def brief(request: GenerateRequest) -> list[str]:
    """A run in a few words, what it draws and how: ["red apple", "order 2, 15 NFE"]."""
    solver = request.solver
    drawn = request.prompt.strip() or (request.label if request.label != "any" else request.model)
    what = "adaptive" if solver.method == "adaptive" else f"order {solver.order}"
    return [shorten(drawn, 40, placeholder=" …"), f"{what}, {solver.nfe} NFE"]


def entry(run: str, request: GenerateRequest, done: Done) -> dict[str, Any]:
    """What the strip is sent of a finished run."""
    sample = uint8(done.tracks[0].samples[0])
    title = "\n".join([*brief(request), f"seed {request.seed}"])
    return {"run": run, "thumb": data_uri(png(sample)), "title": title}


def again(wanted: Checked, done: Done, first: str = "") -> dict[str, Any]:
    """The player's value of a run that ended before; `first` goes before each tile's title."""
    titles = [f"{first}seed {seed}" for seed in wanted.request.seeds]
    return Wall(wanted.job(), titles=titles).final(done)


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Both runs' tiles in one value; None where their pictures differ in size."""
    if one["tile"] != other["tile"]:
        return None
    tiles = [*one["tiles"], *other["tiles"]]
    columns = max(2, len(one["tiles"])) if len(one["tiles"]) == len(other["tiles"]) else 4
    return {**one, "tiles": tiles, "columns": min(columns, 4), "status": {"text": "two runs"}}
