"""`export`: a checkpoint's network for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from dpm_demo.cli import output


def export(
    checkpoint: Annotated[str, Argument(help="A name in checkpoints/, or a folder.")],
) -> dict[str, Any]:
    """Write graph.onnx beside a checkpoint's weights, so that ONNX Runtime can run it."""
    from dpm_demo.models.checkpoint import CHECKPOINTS, list_checkpoints
    from dpm_demo.models.export import export_graph

    named = CHECKPOINTS / checkpoint if checkpoint in list_checkpoints() else Path(checkpoint)
    made = export_graph(named)
    output.say(f"{made}: {made.stat().st_size / 1e6:.1f} MB, the weights stay where they are")
    return {"out": made}
