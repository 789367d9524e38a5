"""Other programs' defaults, the best known settings and what is fitted, on the same seeds.

python -m benchmarks.defaults [--models emoji-image,mixture] [--nfe 5,6,8,10] [--seeds 16]

Held-out seeds and conditions of `calibrate`; without guidance, and with 1.5 to 5 where the model
has labels. A finished case is kept in --out; the table at the end is of all that are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import dpm_demo as dpm
from dpm_demo.calibrate.race import Entrant, Race, entrants
from dpm_demo.calibrate.run import GUIDED, HELD_SEED, PLAIN, conditions_for
from dpm_demo.compare.paired import ratio
from dpm_demo.models.calibrated import load_fits, with_fits
from dpm_demo.models.model import Model
from dpm_demo.request.codec import solver_of_text, solver_text

OUT = Path("out/defaults")
DOCUMENT = Path(__file__).parent.parent / "docs" / "defaults.md"
SCHEDULES = ("logsnr", "linear", "quadratic", "karras", "beta", "beta57", "kl_optimal", "ays_sd15")

#: What one gets without choosing, in this project's terms; nodes fill the model's span.
DEFAULTS = {
    "this project, plain": "order=2",
    "this project, chosen": "order=2 schedule=linear corrector=true",
    "diffusers DPMSolverMultistepScheduler": "order=2 weights=published schedule=linear",
    "diffusers UniPCMultistepScheduler": (
        "order=2 weights=published corrector=true schedule=linear"
    ),
    "diffusers DEISMultistepScheduler": "order=2 prediction=noise schedule=linear",
    "diffusers DDIMScheduler, ComfyUI euler simple": "order=1 schedule=linear",
    "ComfyUI dpmpp_2m karras": "dpmpp_2m karras",
}

INTRODUCTION = """# What is taken where no solver is named

Written by `python -m benchmarks.defaults --write`, never by hand. Mean RMSE to the converged sample
(order 3, 200 evaluations) of the same noise, in float32, over 16 seeds that nothing was fitted to,
the same for every row; labels are drawn, and guidance from 1.5 to 5 where the column says so. The
last column is the 95 % interval of the ratio to the best rival's mean, by a bootstrap over seeds in
pairs. The rivals are the samplers of the catalogue under eight schedules, and the settings that
lead the landed sweep; the best one is chosen on these very seeds, after rounds on fewer of them.
Every program's default fills the model's span here, where theirs ends with a step to σ = 0.

"""
CHOICE = """
`dpm_demo.default_solver(nfe, guidance, model)` answers with the schedule "calibrated" where a table
fits the budget and guidance, otherwise up to 12 evaluations with order 2, UniPC's corrector and
nodes even in linear-β time ("chosen" above), and beyond, where nothing was measured here, with the
plain `Solver(nfe=…)`. `generate`, `stream` and the command `sample` take it where no solver is
named. `Solver(nfe=5)` itself is the plain one: a setting means the same whatever the model.
"""

FITTED = """
## What is fitted, beside the best rival

The aim is an RMSE of at most 1/1.5 of the best rival's (`python -m benchmarks.calibrated`). Cases
that are not in this table were not measured.

"""


def field(model: Model, nfe: int, condition: Any) -> list[Entrant]:
    """Who takes part: the defaults to the end, what is fitted, and a field of rivals.

    The rivals are the catalogue with `SCHEDULES` and the settings that lead the landed sweep.
    """
    found = [
        Entrant(name, replace(solver_of_text(text), nfe=nfe), True)
        for name, text in DEFAULTS.items()
    ]
    known = {one.solver for one in found}
    leaders = set(_leaders(model))
    for one in entrants(model, nfe, condition):
        named = "=" not in one.name and one.name.split()[-1] in SCHEDULES
        if (named or one.kept or solver_text(one.solver) in leaders) and one.solver not in known:
            found.append(one)
    return found


def _leaders(model: Model, most: int = 16) -> Iterator[str]:
    from dpm_demo.quality.results import Results, landed

    path = landed().get(model.name)
    if path is None:
        return
    results = Results.read(path)
    for nfe in (5, 8, 10):
        lines = [x for x in results.lines if x.nfe == nfe and x.rmse is not None]
        yield from (x.solver for x in sorted(lines, key=lambda x: x.rmse or 0)[:most])


def case(model: Model, nfe: int, ends: tuple[float, float], seeds: int, out: Path) -> Path:
    """The file of one case, measured as far as it is not there."""
    path = out / f"{model.name}-{nfe}-{ends[0]:g}-{ends[1]:g}.json"
    numbers = range(HELD_SEED, HELD_SEED + seeds)
    conditions = conditions_for(model, numbers, ends)
    taking = field(model, nfe, conditions and conditions[0])
    lines: list[dict[str, Any]] = []
    if path.exists():
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        seeds = len(lines[0]["errors"])  # those that it was begun with
        known = {line["name"] for line in lines}
        taking = [one for one in taking if one.kept and one.name not in known]
        if not taking:
            return path
        taking.append(Entrant("again", replace(solver_of_text(lines[0]["solver"]), nfe=nfe), True))
    race = Race(model, taking, numbers[:seeds], conditions and conditions[:seeds])
    kept = out / f"truth-{model.name}-{ends[0]:g}-{ends[1]:g}.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            race.truth.update(enumerate(arrays["truth"][:seeds]))
    for step in race.run():
        print(f"\r{path.stem}: {step.done} of {step.total}", end="", flush=True)
    print()
    if not kept.exists():
        np.savez(kept, truth=np.stack([race.truth[k] for k in range(seeds)]))
    lines += [
        {"name": one.name, "solver": solver_text(one.solver), "errors": errors.tolist()}
        for one, errors in zip(race.solvers, race.errors, strict=True)
        if np.isfinite(errors).all() and one.name != "again"
    ]
    part = path.with_suffix(".part")
    part.write_text(
        json.dumps({"model": model.name, "nfe": nfe, "guidance": ends, "lines": lines}),
        encoding="utf-8",
    )
    part.replace(path)
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]:
    """A case: what it is, the errors of each name by seed, and the settings of each name."""
    values = json.loads(path.read_text(encoding="utf-8"))
    lines = values.pop("lines")
    errors = {line["name"]: np.array(line["errors"]) for line in lines}
    return values, errors, {line["name"]: line["solver"] for line in lines}


def table(paths: Sequence[Path]) -> str:
    """Mean RMSE of every default, of the best rival, of what is fitted; ratios to the best."""
    lines = ["| model | NFE | guidance | solver | RMSE | over the best rival's (95 %) |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for path in paths:
        what, errors, settings = read(path)
        rival = min((n for n in errors if n != "calibrated"), key=lambda n: errors[n].mean())
        shown = [*DEFAULTS, *(["calibrated"] if "calibrated" in errors else []), rival]
        for name in dict.fromkeys(shown):
            low, high = ratio(errors[name], errors[rival])
            title = f"best rival: {name}" if name == rival and name not in DEFAULTS else name
            interval = "1" if name == rival else f"{low:.2f} to {high:.2f}"
            ends = "-".join(f"{g:g}" for g in dict.fromkeys(what["guidance"]))
            lines.append(
                f"| {what['model']} | {what['nfe']} | {ends} | {title} "
                f"(`{settings[name]}`) | {errors[name].mean():.4f} | {interval} |"
            )
    return "\n".join(lines) + "\n"


def document(paths: Sequence[Path]) -> str:
    """docs/defaults.md."""
    from benchmarks.calibrated import HEAD, verdict

    aim = "\n".join([FITTED + HEAD, *map(verdict, paths)]) + "\n"
    return INTRODUCTION + table(paths) + CHOICE + aim


def arguments(text: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--models", default="emoji-image,mixture")
    parser.add_argument("--nfe", default="5,6,8,10")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--fits", type=Path, help="a calibrated.json that is not beside the model")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser


def cases(options: argparse.Namespace) -> list[Path]:
    """The files of all cases that are asked for."""
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name in options.models.split(","):
        model = dpm.load(name)
        if options.fits is not None and options.fits.exists():
            model = with_fits(model, load_fits(options.fits, model.digest))
        for ends in (PLAIN, GUIDED) if model.conditional else (PLAIN,):
            for nfe in map(int, options.nfe.split(",")):
                found.append(case(model, nfe, ends, options.seeds, options.out))
    return found


def main(words: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {DOCUMENT.name}")
    options = parser.parse_args(words)
    found = cases(options)
    print(table(found))
    if options.write:
        DOCUMENT.write_text(document(found), encoding="utf-8")


if __name__ == "__main__":
    main()
