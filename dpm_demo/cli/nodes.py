"""`nodes`: where a solver evaluates, as lists for other programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from typer import Argument, Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Device, Model
from dpm_demo.request.codec import read, solver_of_text


def nodes(
    solver: Annotated[str, Argument(help='"dpmpp_2m karras" or "order=3 schedule=flow".')],
    model: Model = "emoji-image",
    nfe: Annotated[str, Option(help="Network evaluations.", metavar="INTEGER")] = "20",
    kind: Annotated[
        Literal["sigmas", "lambdas", "timesteps"], Option(help="Of the list.")
    ] = "sigmas",
    device: Device = "auto",
) -> dict[str, Any]:
    """Where a solver evaluates a model: the list that ComfyUI, diffusers or integrate takes.

    Of a singlestep solver it has the inner stages too, which other programs do not expect.
    """
    named = replace(solver_of_text(solver), nfe=read({"nfe": nfe}).solver.nfe)

    from dpm_demo import api

    opened = api.load(model, device)
    found = {
        "lambdas": named.lambdas(opened),
        "sigmas": named.sigmas(opened),
        "timesteps": named.timesteps(opened),
    }
    output.say(", ".join(f"{value:.6g}" for value in found[kind]))
    return found
