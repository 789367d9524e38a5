"""`export`: a checkpoint's network for ONNX Runtime."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from dpm_demo.cli import output


def export(
    checkpoint: Annotated[str, Argument(help="A name in checkpoints/, or a folder.")],
) -> dict[str, Any]:
    """Write graph.onnx beside a checkpoint's weights, so that ONNX Runtime can run it."""
    from dpm_demo.models.checkpoint import folder_of
    from dpm_demo.models.export import export_graph

    made = export_graph(folder_of(checkpoint))
    output.say(f"{made}: {made.stat().st_size / 1e6:.1f} MB, the weights stay where they are")
    return {"out": made}
