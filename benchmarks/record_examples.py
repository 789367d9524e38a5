"""Records the trajectories that the page opens without computing anything.

    python -m benchmarks.record_examples

To be run whenever the checkpoint is replaced: each file names the weights that made it, and a test
compares. It takes some seconds on an idle core; the same weights give the same pictures.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

import dpm_demo as dpm
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.worker import Engine
from dpm_demo.media.png import data_uri
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.device import pick_device
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.request.codec import settings
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver import nodes
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.player.wall import Wall
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.tabs import adaptive, adaptive_runs, adaptive_start


def _one(label: str, seed: int, order: int) -> GenerateRequest:
    return GenerateRequest(label=label, seed=seed, count=1, solver=Solver(nfe=10, order=order))


#: By file name: what the button says, and the request. Ten evaluations each: eleven pictures of x0
#: and of x_t take about 80 kB, as noise does not compress.
EXAMPLES: dict[str, tuple[str, GenerateRequest]] = {
    "1-smiley-order-2": ("a smiley, order 2", _one("fluent smileys", 7, 2)),
    "2-smiley-order-1": ("the same noise, order 1", _one("fluent smileys", 7, 1)),
    "3-flag-order-3": ("a flag, order 3", _one("fluent flags", 7, 3)),
    "1-words": (
        "from words",
        replace(_one("any", 7, 2), model="emoji-words", prompt="orange square"),
    ),
}
CLIPS: dict[str, tuple[str, GenerateRequest]] = {
    "1-smiley": (
        "a smiley that moves",
        GenerateRequest("emoji-video", "smileys", 2.0, 0, 1, solver=Solver(nfe=20)),
    ),
}


def _ended(done: Done) -> Done:
    """The same with the end of each sample alone: all states of a clip would take megabytes."""
    tracks = [
        replace(
            track,
            rows=tuple(
                replace(
                    row, x0=row.x0[-1:], x=row.x0[-1:], points=(replace(row.points[-1], picture=0),)
                )
                for row in track.rows
            ),
        )
        for track in done.tracks
    ]
    return replace(done, tracks=tuple(tracks))


def record(title: str, request: GenerateRequest, model: Model) -> dict[str, Any]:
    """Runs a request and returns what its file holds. Raises ValueError if it has no sample."""
    job = Checked.of(request, model).job()
    *_, done = run_inline(job, preview_hz=0.0)
    if not isinstance(done, Done) or done.error:
        raise ValueError(f"{title}: {getattr(done, 'error', None) or 'it has no sample'}")
    wall = Wall(job, [f"seed {seed}" for seed in request.seeds], run=title)
    value = wall.final(_ended(done) if model.frames > 1 else done)
    value["status"]["text"] = "recorded"
    solver, wanted = request.solver, request.prompt or request.label
    return {
        "title": title,
        "note": (
            f"Recorded: {wanted}, seed {request.seed}, {solver.method} of order "
            f"{solver.order}, {solver.nfe} evaluations, guidance {request.guidance:g}. "
            "Nothing was computed to open it."
        ),
        "digest": model.digest,
        "settings": settings(request),
        "value": value,
    }


def _last_picture(value: dict[str, Any]) -> dict[str, Any]:
    """A player's value with the last picture of each tile alone."""
    height = value["tile"]["h"]
    tiles = []
    for tile in value["tiles"]:
        record, kept = tile["record"], {}
        for view in ("x0", "x"):
            data = base64.b64decode(record[view].partition(",")[2])
            with Image.open(io.BytesIO(data)) as sheet:
                out = io.BytesIO()
                below = (0, sheet.height - height, sheet.width, sheet.height)
                sheet.crop(below).save(out, "PNG")
            kept[view] = data_uri(out.getvalue())
        points = [{**record["points"][-1], "picture": 0}]
        tiles.append({**tile, "record": {**kept, "points": points}})
    status = {**value["status"], "text": "recorded"}
    return {**value, "tiles": tiles, "status": status}


def record_errors(name: str, device: str) -> Mapping[str, Any]:
    """Runs what the tab "Error control" starts with, and returns what its file holds."""
    serving = Serving(Engine(), ModelLibrary(pick_device(device)))
    model = serving.load(name).result()
    start = {"model": name, "label": "smileys", "guidance": 1.0, "seed": 0, "count": 2}
    own = settings(GenerateRequest(solver=adaptive.DEFAULT), defaults=False)
    wanted = adaptive_runs.read_request({**own, **start}, model, Limits())

    async def run() -> adaptive_runs.News:
        known = adaptive_runs.News()
        async for news in adaptive_runs.watch(serving, wanted):
            known = news.after(known)
        return known

    known = asyncio.run(run())
    *_, done = run_inline(wanted.job(float32=True), preview_hz=0.0)
    serving.close()
    decisions = [c for track in done.tracks for row in track.rows for c in row.decisions]
    fixed = known.fixed["tiles"][0]["nfe"]
    kept = replace(known, adaptive=_last_picture(known.adaptive), fixed=_last_picture(known.fixed))
    return adaptive_start.recording(
        model.digest,
        [f"seed {seed}" for seed in wanted.request.seeds],
        decisions,
        nodes("logsnr", fixed, model.lam_span),
        kept,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.record_examples",
        description="Records the trajectories that the page opens without computing anything.",
    )
    parser.add_argument(
        "--out", type=Path, default=CHECKPOINTS, help="folder of folders (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    for name, (title, request) in [*EXAMPLES.items(), *CLIPS.items()]:
        made = record(title, request, dpm.load(request.model, options.device))
        path = options.out / request.model / "recorded" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    path = options.out / "emoji-image" / "recorded" / adaptive_start.NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    made = record_errors("emoji-image", options.device)
    path.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
