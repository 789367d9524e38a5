"""Which solver shall I take? The answer of a race: ranking, nodes, and code to copy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from dpm_demo.calibrate.race import Race, Ranked, entrants
from dpm_demo.compare.plots import COLOURS, tidy
from dpm_demo.models.model import Condition, Model
from dpm_demo.request.code import code_for
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import condition_of

SEEDS = (8, 256)  # of a race, at least and at most
NFE = (2, 100)
SHOWN = 12

#: Samplers and schedules that ComfyUI has under the catalogue's names, and its names of ours.
COMFYUI = (
    frozenset({"euler", "heun", "dpm_2", "lms", "ipndm", "deis", "dpmpp_2m", "uni_pc", "ddim"})
    | {"uni_pc_bh2", "res_multistep", "gradient_estimation"},
    {"logsnr": "exponential", "linear": "normal"}
    | {name: name for name in ("karras", "beta", "kl_optimal", "linear_quadratic")},
)


@dataclass(frozen=True)
class Advice:
    """What a race says. `lines` are ranked; those `tied` with the first cannot be told from it."""

    request: GenerateRequest
    lines: tuple[Ranked, ...]
    tried: int
    sigmas: tuple[float, ...]  # of the best one's nodes, σ/α
    known: Ranked | None  # the first that ComfyUI has, and its nodes
    known_sigmas: tuple[float, ...] = ()

    @property
    def best(self) -> Ranked:
        return self.lines[0]

    @property
    def tied(self) -> tuple[Ranked, ...]:
        """What is as good as the best one, as far as these seeds can tell."""
        return tuple(line for line in self.lines[1:] if line.tied)


def race_of(request: GenerateRequest, model: Model) -> Race:
    """The race of all solvers for the label, guidance, prompt, seeds and budget of `request`.

    Raises ValueError for a budget or a number of seeds that is out of bounds.
    """
    nfe = request.solver.nfe
    for name, value, (low, high) in (("nfe", nfe, NFE), ("count", request.count, SEEDS)):
        if not low <= value <= high:
            raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value}")
    if request.height or request.width or request.frames:
        raise ValueError(
            "height, width and frames must be 0 here: solvers are ranked at the model's own size"
        )
    condition = _condition(request, model)
    conditions = None if condition is None else [condition] * request.count
    return Race(model, entrants(model, nfe, condition), request.seeds, conditions)


def _condition(request: GenerateRequest, model: Model) -> Condition | None:
    """What is asked for, which a model without labels and words refuses, too."""
    condition = condition_of(request, model)
    return condition if model.conditional else None


def advice(request: GenerateRequest, model: Model, race: Race) -> Advice:
    """What a race that has ended says."""
    lines = tuple(line for line in race.ranking() if line.seeds == len(race.seeds))
    best = replace(request, solver=lines[0].solver)
    nodes = tuple(model.resolved(best.solver, _condition(request, model)).sigmas(model))
    known = next((line for line in lines if line.name.split()[0] in COMFYUI[0]), None)
    theirs = () if known is None else tuple(known.solver.sigmas(model))
    return Advice(best, lines, len(race.solvers), nodes, known, theirs)


# ---------------------------------------------------------------- as text

HEADERS = ("", "solver", "RMSE", "to the best (95 %)", "")


def table(made: Advice, most: int = SHOWN) -> list[list[str]]:
    """A row a solver, as in `HEADERS`."""
    rows = []
    for place, line in enumerate(made.lines[:most], 1):
        interval = f"{line.low:.2f} to {line.high:.2f}" if place > 1 else "1"
        said = "best" if place == 1 else ("tied" if line.tied else "")
        rows.append([str(place), line.name, f"{line.rmse:.4f}", interval, said])
    return rows


def summary(made: Advice) -> str:
    """The answer in a sentence or two."""
    best, tied, whole = made.best, len(made.tied), len(made.lines)
    cut = "" if whole == made.tried else f", {whole} of them on all {best.seeds} seeds"
    text = (
        f"{best.name} is the nearest to the converged sample at {best.solver.nfe} evaluations, of "
        f"{made.tried} solvers tried{cut} (RMSE {best.rmse:.4f} over {best.seeds} seeds)"
    )
    these = f"of {'all' if whole == made.tried else f'these {whole}'}"
    if not tied:
        return f"{text}; no other {these} is as good on these seeds."
    return f"{text}; {tied} other{'s' * (tied > 1)} {these} cannot be told from it on these seeds."


def listing(made: Advice) -> str:
    """The ranking for a terminal."""
    rows = [HEADERS, *table(made)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADERS))]
    lines = ["  ".join(f"{v:{w}}" for v, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), "", summary(made)])


def sigma_text(sigmas: Sequence[float]) -> str:
    """Nodes as other programs take them: "14.61, 7.02, …"."""
    return ", ".join(f"{value:.6g}" for value in sigmas)


def codes(made: Advice) -> Mapping[str, str]:
    """Code to copy, by program: Python, the command line, diffusers, ComfyUI."""
    return {
        "Python": code_for("Python", made.request),
        "Command line": code_for("Command line", made.request),
        "diffusers": _diffusers(made),
        "ComfyUI": _comfyui(made),
    }


def _diffusers(made: Advice) -> str:
    solver, request = made.best.solver, made.request
    if solver.table or solver.schedule == "calibrated":
        nodes = sigma_text(made.sigmas)
        return (
            f"# {made.best.name} is a table of its own, which a pipeline of diffusers cannot "
            f"run;\n# its nodes, for a scheduler that takes sigmas=:\nsigmas = [{nodes}]\n"
        )
    return code_for("diffusers pipeline", request)


def _comfyui(made: Advice) -> str:
    line = made.known
    if line is None:
        return "# none of the solvers in front has a name in ComfyUI\n"
    sampler, schedule = line.name.split()
    note = "" if line is made.best else f"# the first with a name there; RMSE {line.rmse:.4f}\n"
    scheduler = COMFYUI[1].get(schedule)
    if scheduler is None:
        choice = f"# {schedule} is no scheduler there: give the sigmas by hand\n"
    else:
        choice = (
            f"scheduler: {scheduler}, over the sigmas of the model there; these ones exactly:\n"
        )
    return f"{note}sampler_name: {sampler}\n{choice}sigmas: {sigma_text(made.known_sigmas)}\n"


def to_dict(made: Advice) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "best": made.best.name,
        "summary": summary(made),
        "tried": made.tried,
        "lines": [
            {
                "name": line.name,
                "rmse": line.rmse,
                "seeds": line.seeds,
                "ratio_low": line.low,
                "ratio_high": line.high,
                "tied": line.tied,
            }
            for line in made.lines
        ],
        "sigmas": list(made.sigmas),
        "code": dict(codes(made)),
    }


def figure(made: Advice, most: int = SHOWN) -> go.Figure:
    """Each solver's error over the best one's, with its interval; a line at 1."""
    lines = [line for line in made.lines[:most] if math.isfinite(line.low)][::-1]
    ratios = [line.rmse / made.best.rmse for line in lines]
    plot = go.Figure()
    plot.add_scatter(
        x=ratios,
        y=[line.name for line in lines],
        mode="markers",
        marker={"size": 9, "color": [COLOURS[0] if line.tied else COLOURS[1] for line in lines]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [line.high - r for line, r in zip(lines, ratios, strict=True)],
            "arrayminus": [r - line.low for line, r in zip(lines, ratios, strict=True)],
        },
        hovertemplate="%{y}: %{x:.2f} times the best<extra></extra>",
        showlegend=False,
    )
    plot.add_vline(x=1, line_dash="dot", line_color="#808080")
    plot = tidy(plot, 90 + 28 * len(lines))
    plot.update_layout(margin={"l": 10, "r": 20, "t": 30, "b": 45})
    plot.update_xaxes(title="RMSE over the best one's (95 %, paired)")
    plot.update_yaxes(automargin=True)
    return plot
