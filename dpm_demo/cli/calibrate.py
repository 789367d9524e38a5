"""`calibrate`: solvers fitted to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Budgets, Device, Model
from dpm_demo.request.codec import budgets_of_text


def calibrate(
    model: Model = "emoji-image",
    nfe: Budgets = "5,6,8,10",
    out: Annotated[
        Path | None,
        Option(
            help="File; an unfinished one goes on (default: beside the weights, else below out/)."
        ),
    ] = None,
    iterations: Annotated[int, Option(help="Of each table.")] = 300,
    batch: Annotated[int, Option(help="Samples of an iteration.")] = 16,
    samples: Annotated[int, Option(help="Converged samples that are fitted to.")] = 256,
    held: Annotated[int, Option(help="Others that its error is measured on.")] = 48,
    nodes_only: Annotated[
        bool, Option("--nodes-only", help="Fit nodes alone: sigmas that other programs take.")
    ] = False,
    guided: Annotated[
        bool | None,
        Option("--guided/--plain", help="Guidance of 1.5 to 5 alone, or none at all (both)."),
    ] = None,
    like: Annotated[
        str | None, Option(help="A model whose tables a fit may begin as, of the same family.")
    ] = None,
    prompts: Annotated[
        Path | None, Option(help="A prompt a line, for a model that takes words.")
    ] = None,
    device: Device = "auto",
) -> dict[str, Any]:
    """Fit a solver to a model for each budget: minutes to an hour; goes on where it was."""
    budgets = budgets_of_text(nfe)

    from dpm_demo import api
    from dpm_demo.calibrate import run
    from dpm_demo.calibrate.fit import Recipe

    recipe = Recipe(iterations=iterations, batch=batch, nodes_only=nodes_only)
    plan = run.Plan(
        budgets=tuple(budgets),
        samples=samples,
        held=held,
        recipe=recipe,
        ranges={None: (run.PLAIN, run.GUIDED), False: (run.PLAIN,), True: (run.GUIDED,)}[guided],
        like=() if like is None else api.load(like, device).fits,
        prompts=() if prompts is None else run.read_prompts(prompts),
    )
    if like is not None and not plan.like:
        raise ValueError(f"like: nothing is fitted to {like}")
    opened = api.load(model, device)
    where = run.beside(model, nodes_only) if out is None else out
    with output.bar(unit="table", bar_format=_BAR) as bar:

        def show(progress: run.Progress) -> None:
            bar.total = progress.total
            bar.set_description_str(progress.what, refresh=False)
            bar.update(progress.done - bar.n)

        fits = run.calibrate(opened, where, plan, show)
    found = [run.described(fit) for fit in fits]
    for one in found:
        output.say(
            f"{one['nfe']} evaluations, guidance {one['guidance'][0]:g} to {one['guidance'][1]:g}: "
            f"RMSE {one['rmse']:.4f} on held-out seeds, {one['plain_rmse']:.4f} before "
            f"({one['start']})"
        )
        if nodes_only:
            output.say("sigmas: " + ", ".join(f"{sigma:.6g}" for sigma in one["sigmas"]))
    own = run.read_from(model)
    if own is not None and own.resolve() == where.resolve():
        output.say(f"wrote {where}, which is read with the model")
    else:
        output.say(f"wrote {where}, which is not read by itself (docs/solvers.md says how)")
    return {"out": where, "fits": found}


_BAR = "{desc} {bar} {n:.2f} of {total} tables, {elapsed}"
