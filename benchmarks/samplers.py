"""Measures every sampler of the catalogue; --write updates docs/samplers.md and its figures.

python -m benchmarks.samplers [--write]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dpm_demo.compare.samplers import BUDGETS, FILE, Row, measure
from dpm_demo.solver.catalogue import MISSING, SAMPLERS
from dpm_demo.solver.spacings import SPACINGS

DOCUMENT = Path(__file__).parent.parent / "docs" / "samplers.md"

INTRODUCTION = """# Who is who

The samplers of ComfyUI, AUTOMATIC1111's page, k-diffusion, RES4LYF and diffusers by their names, as
solvers of this project: `find("dpmpp_2m karras")` of `dpm_demo.solver.catalogue` is a `Solver`.
Formulas are from papers and documents; equalities are tests to 1e-10
(`tests/solver/test_catalogue.py`, `tests/solver/test_solver_oracles.py`). Written by
`python -m benchmarks.samplers --write`, never by hand: float64, a one-dimensional mixture whose
probability flow is known, λ from −5.02 to 4.56, nodes even in λ.

**Order** of an ODE sampler is the slope of its error to the exact solution between 192 and 384
evaluations, without a taper of the order. Of an SDE sampler it is the *strong* order: each of 64
samples has one Brownian path that every budget sees, and the distance to the solution along that
path falls with this slope from 24 to 192 evaluations (4,096 numbers; er_sde against itself, as its
SDE is another one). **20 steps** is what those programs spend in network evaluations when asked
for 20, in k-diffusion's manner: the last step leads to σ = 0 and costs one. Here a budget is always
evaluations, spent exactly.
"""

TRAPS = """
## What this shows

- The order in a name is not the order of the method: `dpmpp_3m`, `res_3m` and `ipndm` (of order 3,
  3 and 4 by name) converge at order 2 on nodes even in λ. `weights="exact"` and `res_3m_squared`
  are of order 3. The weights of `ipndm` are those of nodes even in σ, where it is `lms`; yet below
  20 evaluations it is ahead of `lms` here.
- No sampler with noise here has more than strong order 1, to the accuracy of the measurement:
  between two nodes the path is known at its ends alone. A `3m_sde` follows its path no better
  than a `2m_sde`; two evaluations a step buy nothing along the path.
- Steps are no unit of cost: 20 of them are 20, 39 or 77 evaluations.
"""

SCHEDULES = """
## Schedules

Every schedule fills the model's span; other programs take the ends of their σ tables.

| name | here |
| --- | --- |
| karras | `schedule="karras"`, ρ = 7 |
| exponential, polyexponential (ρ = 1) | `"logsnr"`: even in log σ |
| normal, sgm_uniform, simple, ddim_uniform | even in the time of linear β, which is what these \
spacings of whole labels come to; their labels themselves are `spacings.labels(name, n)`, to be \
handed over as `timesteps=` (of ddim_uniform more than n where n does not divide the model's) |
| beta, beta57 | quantiles of Beta(.6, .6) and Beta(.5, .7) over the time of linear β |
| kl_optimal | σ = tan of a line in arctan σ |
| linear_quadratic | half the steps over the first 2.5 % of a flow's time, the rest quadratic |
| ays_sd15 ("Align Your Steps"), ays_sdxl, ays_svd | the published lists, stretched in λ over the \
span |
| flow | even in the time of a flow, `shift` the model's or one's own |
| anything | a function `(n, lam_span) -> λ`, or `lambdas=`, `sigmas=`, `timesteps=` of one's own |
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update the document and its figures")
    options = parser.parse_args(arguments)
    made = [measure(entry) for entry in SAMPLERS.values()]
    text = document(made)
    print(text)
    if options.write:
        figures = json.dumps([asdict(row) for row in made], ensure_ascii=False, indent=1)
        FILE.write_text(figures + "\n", encoding="utf-8")
        DOCUMENT.write_text(text, encoding="utf-8")


def document(made: Sequence[Row]) -> str:
    parts = [INTRODUCTION, "\n## Samplers of the ODE\n\n", _table(made, "ODE")]
    parts += ["\n## Samplers of the SDE\n\n", _table(made, "SDE"), TRAPS, "\n## Each of them\n\n"]
    for row in made:
        also = f" (also {', '.join(row.aliases)})" if row.aliases else ""
        said = [f"`{row.solver}`"]
        said += [f"equal to {row.equals}"] if row.equals else []
        said += [row.trap] if row.trap else []
        said += [row.source] if row.source else []
        parts.append(f"- **{row.name}**{also}: {'; '.join(said)}.\n")
    parts += [SCHEDULES, "\n## What is not here\n\n"]
    parts += [f"- {name}: {why}.\n" for name, why in MISSING.items()]
    assert all(name in SCHEDULES for name in SPACINGS)
    return "".join(parts)


def _table(made: Sequence[Row], equation: str) -> str:
    budgets = " | ".join(f"error at {nfe}" for nfe in BUDGETS)
    lines = [f"| name | order | 20 steps | {budgets} |", "| --- " * (3 + len(BUDGETS)) + "|"]
    for row in made:
        if row.equation == equation:
            slope = "its own" if row.order_measured is None else f"{row.order_measured:.2f}"
            spent = "varies" if row.evaluations is None else str(row.evaluations)
            found = " | ".join(f"{error:.1e}" for error in row.errors)
            lines.append(f"| {row.name} | {slope} | {spent} | {found} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
