"""`advise`: which solver to take for a model and a budget."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Device, Guidance, Label, Model, NegativePrompt, Prompt, Seed
from dpm_demo.media.files import folder_for
from dpm_demo.request.codec import read


def advise(
    model: Model = "emoji-image",
    nfe: Annotated[str, Option(help="Network evaluations.", metavar="INTEGER")] = "8",
    label: Label = "any",
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    guidance: Guidance = "1",
    seed: Seed = "0",
    count: Annotated[str, Option(help="Seeds, 8 to 256.", metavar="INTEGER")] = "24",
    device: Device = "auto",
    out: Annotated[str, Option(help="Folder for plot and ranking; none: do not write.")] = "",
) -> dict[str, Any]:
    """Rank all solvers on a model at a budget: seeds, intervals, nodes, and code to copy."""
    request = read(
        {
            "model": model,
            "nfe": nfe,
            "label": label,
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "guidance": guidance,
            "seed": seed,
            "count": count,
        }
    )

    from dpm_demo import api
    from dpm_demo.calibrate import advise as answers

    opened = api.load(model, device)
    race = answers.race_of(request, opened)
    where = folder_for(out) if out else None
    with output.bar(total=race.total, desc=f"{len(race.solvers)} solvers", unit="evaluation") as b:
        for step in race.run():
            b.update(step.done - b.n)
    made = answers.advice(request, opened, race)
    output.say(answers.listing(made))
    for program, code in answers.codes(made).items():
        output.say(f"\n# {program}\n{code.rstrip()}")
    found = answers.to_dict(made)
    if where is not None:
        page = answers.figure(made).to_html(include_plotlyjs=True)
        output.write(where / "advice.html", page)
        output.write(where / "advice.json", output.to_json(found) + "\n")
        output.say(f"\nwrote advice.html and advice.json to {where}")
    return found
