"""Options that several commands have, and those that are made of the fields of `Solver`.

Settings that the page, a link and a picture's text chunk know too stay text here and are read by
`request.codec`, so that a bad one gets the same sentence at every door; whatever the command line
alone knows is typed.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, Literal

from typer import Option

from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import CHOICES, SCHEDULES, Solver

Model = Annotated[str, Option(help="A name, a folder or hub:owner/name.")]
Label = Annotated[str, Option(help='Words such as "animals" or "fluent food".')]
Prompt = Annotated[str, Option(help="What to draw, for a model that takes words.")]
NegativePrompt = Annotated[str, Option(help="What guidance leads away from.")]
Guidance = Annotated[str, Option(help="0 to 20; 1 is off.", metavar="NUMBER")]
OwnGuidance = Annotated[
    str, Option(help="0 to 20; 1 is off. Not said: the model's own.", metavar="NUMBER")
]
Count = Annotated[str, Option(help="Number of samples.", metavar="INTEGER")]
Height = Annotated[str, Option(help="Pixels; 0: the model's own.", metavar="INTEGER")]
Width = Annotated[str, Option(help="Pixels; 0: the model's own.", metavar="INTEGER")]
Frames = Annotated[str, Option(help="Of a clip; 0: the model's own.", metavar="INTEGER")]
Seed = Annotated[str, Option(help="Sample k has seed + k.", metavar="INTEGER")]
Budgets = Annotated[str, Option(help="Budgets of network evaluations.", metavar="N,N,...")]
Device = Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")]
Runtime = Annotated[
    Literal["auto", "torch", "onnx"],
    Option(help="What computes networks on a processor; auto: whichever is quicker."),
]
Offload = Annotated[
    bool,
    Option("--offload", help="Spare memory: a pipeline's parts leave it after use; slower."),
]
Out = Annotated[str, Option(help="Folder for the files.", metavar="FOLDER")]


def with_options(
    function: Callable[..., Any],
    added: dict[str, Any],
    call: Callable[[dict[str, Any], dict[str, Any]], Any],
    without: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """`function` with the options `added` (name to (annotation, default)), for typer to see.

    It is run by `call(own, more)`: its own arguments, and the values of those added. The parameters
    named in `without` are no options.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name not in without]
    kind = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(name, kind, annotation=annotation, default=default)
        for name, (annotation, default) in added.items()
    ]

    @functools.wraps(function)
    def run(**values: Any) -> Any:
        return call(
            {k: v for k, v in values.items() if k not in added},
            {k: v for k, v in values.items() if k in added},
        )

    shown = [p.replace(kind=kind) for p in own] + more
    run.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in shown}
    return run


def machine_limits() -> Limits:
    """What a command may ask for: any time, but no more samples than this machine can hold."""
    import torch

    from dpm_demo.models.memory import weights_room

    room = weights_room(torch.device("cpu"))
    return Limits(pictures=10_000, cost=sys.maxsize, memory=room)


def solver_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command an option for each field of `Solver`; those given are its `solver`."""
    added: dict[str, Any] = {}
    for field in fields(Solver):
        allowed = {**CHOICES, "schedule": SCHEDULES}.get(field.name, ())
        choices = [str(c).lower() for c in allowed]
        shown = "|".join(choices) if len(choices) < 4 else "CHOICE"
        text = ", ".join(choices) if len(choices) >= 4 else "See docs/solvers.md."
        option = Option(
            f"--{field.name.replace('_', '-')}",
            help=text,
            metavar=f"[{shown}]" if choices else "VALUE",
            show_default=False,
        )
        added[field.name] = (Annotated[str | None, option], None)

    def call(own: dict[str, Any], more: dict[str, Any]) -> Any:
        return function(**own, solver={k: v for k, v in more.items() if v is not None})

    return with_options(function, added, call, without=("solver",))
