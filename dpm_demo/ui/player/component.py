"""The player: one Gradio component that paints denoising as it happens and scrubs through it.

It is a `gr.HTML` whose script (`MODULES`) keeps everything in the page: canvases, scrubber, views,
zoom and keyboard need no round trip. Python only ever sends it a JSON value:

    {"run": str,                      a new one starts afresh; the same one keeps the scrub position
     "seq": int,                      values of a run that arrive out of order are dropped
     "final": bool,
     "tile": {"w": 32, "h": 32, "frames": 1},
     "columns": 4,
     "row_titles": [str], "column_titles": [str],      both: a grid (a cell is row-major); else null
     "fps": 12, "diff_scale": 4,                       optional
     "tiles": [{"title": str, "caption": str, "state": "waiting|running|done|failed|stopped|absent",
                "error": str, "nfe": 7, "budget": 20, "lam": -0.3, "t": 0.5, "best": bool,
                "record": {"x0": uri, "x": uri, "diff": uri,
                           "points": [{"nfe", "lam", "t", "stage", "picture"}]}}],
     "truth": uri,                    the converged picture or clip, which a click on a cell meets
     "live": {"index": [tile numbers], "x0": uri, "x": uri},
     "status": {"text": str, "seconds", "ms", "left", "device": str, "others": int}}

A `uri` is a PNG or WebP sheet as a data URI (`media.grid.sprite_sheet`): a row of height h for
each listed tile (live) or each picture (record), and `frames` columns of width w. `points[k]` is
scrub position k and names its picture; the last point is the sample. Everything is optional, and
anything that is not what it should be is replaced by a default in the page, never thrown on.

Events: `player.select(fn)` when a tile is opened; `gr.SelectData.index` is its number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpm_demo.ui.player.script import Scripted, script

_HERE = Path(__file__).parent
_GIVEN = "element, props, trigger, watch"  # to the script of a component, by Gradio
MODULES = ("dom.js", "read.js", "share.js", "over.js", "layout.js", "paint.js", "input.js")


class Player(Scripted):
    """A wall of pictures or looping videos with a timeline over network evaluations.

    Args:
        value: see the module; None shows `placeholder`.
        placeholder: what an empty player says.
        label: the name assistive technology reads out.
        follow: `tab` of a landing whose runs it shows, instead of a value of its own.
        **options: passed on to `gr.HTML` (`elem_id`, `visible`, `scale`, ...).

    A page that has players has `page_script()` in its head, so that seven of them load one script.

    Events that paint into it want `show_progress="hidden"`: Gradio dims a pending component.
    """

    TEMPLATE = '<section class="dpm-player" data-testid="player"></section>'

    @staticmethod
    def source() -> str:
        """Its script."""
        return script(_HERE, MODULES, "player.css")

    @classmethod
    def page_script(cls) -> str:
        """The script for the head of a page."""
        return f"<script>window.dpmPlayer = ({_GIVEN}) => {{\n{cls.source()}\n}};</script>"

    def __init__(
        self,
        value: dict[str, Any] | None = None,
        *,
        placeholder: str = "Nothing here yet.",
        label: str = "Player",
        follow: str = "",
        **options: Any,
    ) -> None:
        super().__init__(
            self.TEMPLATE,
            f"window.dpmPlayer({_GIVEN})",
            value=value,
            label=label,
            placeholder=placeholder,
            follow=follow,
            **options,
        )

    def preprocess(self, payload: Any) -> Any:
        """What the page holds, or None if that is no player value."""
        return payload if isinstance(payload, dict) else None
