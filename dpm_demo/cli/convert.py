"""`convert`: pickled weights of diffusers into safetensors."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from dpm_demo.cli import output


def convert(
    source: Annotated[str, Argument(help="owner/name of the hub, or a folder of diffusers.")],
    out: Annotated[str, Option(help="Folder to write, such as checkpoints/NAME.")],
    revision: Annotated[
        str | None, Option(help="Of the hub (default: the pinned one, or the newest).")
    ] = None,
) -> dict[str, Any]:
    """Make another's pickled diffusers weights into a checkpoint of safetensors."""
    from dpm_demo.models.diffusers.convert import convert as run

    with output.bar(total=100, unit="%", desc="fetching") as bar:
        made = run(
            source,
            out,
            revision,
            progress=lambda fraction: bar.update(round(100 * fraction) - bar.n),
        )
    output.say(f"{made}: model_index.json, the configurations and safetensors")
    return {"out": made}
