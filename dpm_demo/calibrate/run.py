"""Calibrates a model: draws samples, fits a solver for each budget, keeps what is finished.

Deterministic for the same model, budgets and recipe. A file that holds some of the tables already
is extended; a table that was interrupted is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dpm_demo.calibrate.fit import Recipe, Samples, best_start, errors, fit
from dpm_demo.media.files import write_text
from dpm_demo.models.calibrated import FILE, Fit, read_fits
from dpm_demo.models.checkpoint import folder_of
from dpm_demo.models.model import CheckpointError, Condition, Model
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

#: Where a fit starts from: the best of these on a part of its samples.
STARTS = tuple(
    Solver(order=order, schedule=schedule)
    for order in (2, 3)
    for schedule in ("logsnr", "linear", "quadratic")
)
PLAIN, GUIDED = (1.0, 1.0), (1.5, 5.0)
FIRST_SEED, HELD_SEED = 1_000_000, 2_000_000
TRIED = 32  # samples that choose the start


@dataclass(frozen=True)
class Plan:
    """What is fitted: budgets, guidance ranges, and to how many samples.

    `truth_nfe` evaluations of order 3 count as converged for fitting, `held_nfe` for measuring.
    A fit may begin as one of `like`, which are another model's, of as many evaluations at a
    guidance in common.
    """

    budgets: tuple[int, ...] = (5, 6, 8, 10)
    ranges: tuple[tuple[float, float], ...] = (PLAIN, GUIDED)
    samples: int = 256
    held: int = 48
    truth_nfe: int = 64
    held_nfe: int = 200
    recipe: Recipe = field(default_factory=Recipe)
    prompts: tuple[str, ...] = ()
    like: tuple[Fit, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.budgets)) != len(self.budgets):
            raise ValueError("nfe must be numbers that differ from each other")
        for nfe in self.budgets:
            if not 2 <= nfe <= 50:
                raise ValueError(f"nfe must be whole numbers from 2 to 50, not {nfe}")
        for name in ("samples", "held"):
            if not 1 <= getattr(self, name) <= 100_000:
                raise ValueError(f"{name} must be from 1 to 100000, not {getattr(self, name)}")

    def like_of(self, nfe: int, ends: tuple[float, float]) -> list[Fit]:
        """Those that a fit of a budget and a range of guidance may begin as."""
        return [
            one
            for one in self.like
            if one.nfe == nfe and one.guidance[0] <= ends[1] and ends[0] <= one.guidance[1]
        ]

    def text(self, nfe: int, ends: tuple[float, float]) -> str:
        """What makes a fit of this plan this one, beside its budget and range."""
        what = "nodes" if self.recipe.nodes_only else "nodes and weights"
        words = f", {len(self.prompts)} prompts ({_sum(self.prompts)})" if self.prompts else ""
        tables = [
            (f.guidance, f.lambdas, f.told, f.scales, f.weights) for f in self.like_of(nfe, ends)
        ]
        like = f", like {_sum(tables)}" if tables else ""
        held = "" if self.held == Plan.held else f", {self.held} held out"
        size = "" if self.recipe.batch == Recipe.batch else f" of {self.recipe.batch}"
        steps = f"{self.recipe.iterations} iterations{size}"
        return f"{what}, {steps} on {self.samples} samples{words}{like}{held}"


def _sum(values: Sequence[Any]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:8]


def conditions_for(
    model: Model, seeds: Sequence[int], ends: tuple[float, float], prompts: Sequence[str] = ()
) -> tuple[Condition, ...] | None:
    """A condition for each seed: labels or a prompt drawn, "any" in half of the unguided ones."""
    if not model.conditional:
        return None
    made = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        share = float(torch.rand(1, generator=generator))
        guidance = ends[0] + (ends[1] - ends[0]) * float(torch.rand(1, generator=generator))
        if prompts:
            k = int(torch.randint(len(prompts), (1,), generator=generator))
            made.append(model.condition(guidance=guidance, prompt=prompts[k]))
            continue
        label = {
            axis: names[int(torch.randint(len(names), (1,), generator=generator))]
            for axis, names in model.labels.items()
        }
        unguided = ends[1] == 1.0
        made.append(model.condition(None if unguided and share < 0.5 else label, guidance))
    return tuple(made)


def draw(
    model: Model, first: int, count: int, ends: tuple[float, float], nfe: int, plan: Plan
) -> Samples:
    """Samples of seeds `first` on, and what they converge to."""
    seeds = range(first, first + count)
    noise = initial_noise(seeds, model.shape).to(model.device)
    conditions = conditions_for(model, seeds, ends, plan.prompts)
    if model.exact_solution is not None:
        truth = model.exact_solution(noise, *model.lam_span).float()
    else:
        solver = Solver(nfe=nfe, order=3)
        truth = torch.cat(
            [
                integrate(
                    model.denoise_float32,
                    noise[k : k + 32],
                    solver,
                    lam_span=model.lam_span,
                    cond=None if conditions is None else conditions[k : k + 32],
                )
                for k in range(0, count, 32)
            ]
        )
    return Samples(noise, truth, conditions, model.denoise_float32)


@dataclass(frozen=True)
class Progress:
    """What is being done, and how many tables are of how many: a part of one while it is fitted."""

    what: str
    done: float
    total: int


def calibrate(
    model: Model,
    out: Path,
    plan: Plan = Plan(),
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Fit, ...]:
    """Fits what `plan` says and is not in `out` yet; writes `out` after every table.

    Raises ValueError for a model that this cannot fit (latents, or a span without finite ends), for
    guidance or prompts that it does not take, and where `out` holds what is asked for, fitted in
    another way.
    """
    if model.latents is not None or not all(abs(lam) < 100 for lam in model.lam_span):
        raise ValueError(f"{model.name}: only models of pixels with a finite span are calibrated")
    if model.prompted and not plan.prompts:
        raise ValueError(f"prompts: {model.name} takes words; give some to be fitted to")
    if plan.prompts and not model.prompted:
        raise ValueError(f"prompts: {model.name} takes no words; leave them out")
    if PLAIN not in plan.ranges and not model.conditional:
        raise ValueError(f"guided: {model.name} has no labels or words to be guided by")
    known = list(_known(out, model.digest))
    ranges = plan.ranges if model.conditional else (PLAIN,)
    for one in known:
        asked = one.guidance in ranges and one.nfe in plan.budgets
        text = plan.text(one.nfe, one.guidance)
        if asked and one.recipe not in ("", text):
            raise ValueError(
                f"out: {out} has {one.nfe} evaluations fitted in another way ({one.recipe}, not "
                f"{text}); give the same again, or another file."
            )
    wanted = {
        ends: [n for n in plan.budgets if (n, ends) not in {(f.nfe, f.guidance) for f in known}]
        for ends in ranges
    }
    done, total = 0, sum(map(len, wanted.values()))
    for ends, missing in wanted.items():
        if not missing:
            continue
        on_progress(Progress("converged samples", done, total))
        samples = draw(model, FIRST_SEED, plan.samples, ends, plan.truth_nfe, plan)
        held = draw(model, HELD_SEED, plan.held, ends, plan.held_nfe, plan)
        for nfe in missing:

            def part(what: str, share: float, before: int = done) -> None:
                on_progress(Progress(what, before + share, total))

            known.append(_one(model, nfe, ends, samples, held, plan, part))
            known[-1] = replace(known[-1], recipe=plan.text(nfe, ends))
            write(out, model.digest, known)
            done += 1
    on_progress(Progress("done", done, total))
    return tuple(known)


def read_from(name: str) -> Path | None:
    """The file of fits that is read with a model; None for exact models and those of the hub."""
    folder = folder_of(name)
    signs = ("config.json", "model_index.json", "unet")
    return folder / FILE if any((folder / sign).exists() for sign in signs) else None


def beside(name: str, nodes_only: bool = False) -> Path:
    """Where the fits of a model are written: to its folder, or below `out` where it has none.

    Nodes alone have a file of their own.
    """
    own = read_from(name) or Path("out", name.replace(":", "-").replace("/", "-"), FILE)
    return own.with_name("calibrated-nodes.json") if nodes_only else own


def read_prompts(path: Path) -> tuple[str, ...]:
    """A prompt a line, empty ones left out. Raises ValueError for a file without any."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompts: {path} cannot be read as text ({error})") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise ValueError(f"prompts: {path} has no line with words")
    return found


def described(made: Fit) -> dict[str, Any]:
    """A fit in plain values for people and machines, with its nodes as σ/α."""
    return {
        "nfe": made.nfe,
        "guidance": list(made.guidance),
        "rmse": made.rmse,
        "plain_rmse": made.plain_rmse,
        "start": made.start,
        "sigmas": [math.exp(-lam) for lam in made.lambdas],
    }


def _one(
    model: Model,
    nfe: int,
    ends: tuple[float, float],
    samples: Samples,
    held: Samples,
    plan: Plan,
    on_progress: Callable[[str, float], None],
) -> Fit:
    what = f"{nfe} evaluations, guidance {ends[0]:g} to {ends[1]:g}"
    some = samples.pick(torch.arange(min(TRIED, len(samples))))
    like, recipe = plan.like_of(nfe, ends), plan.recipe
    fitted, start = best_start(nfe, model.lam_span, some, STARTS, like, recipe.nodes_only)
    before = errors(fitted, held).mean().item()
    fit(fitted, samples, recipe, lambda k, loss: on_progress(what, k / recipe.iterations))
    after = errors(fitted, held).mean().item()
    made = fitted.frozen(ends)
    return replace(made, rmse=after, plain_rmse=before, start=start)


def _known(out: Path, digest: str) -> tuple[Fit, ...]:
    if not out.exists():
        return ()
    found, fits = read_fits(out)
    if found != digest:
        raise CheckpointError(f"{out} was fitted to other weights; remove it, or write elsewhere.")
    return fits


def write(out: Path, digest: str, fits: Sequence[Fit]) -> None:
    """The file that `models.calibrated.read_fits` reads, whole or not at all."""
    ordered = sorted(fits, key=lambda one: (one.guidance, one.nfe))
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"digest": digest, "fits": [asdict(one) for one in ordered]}, indent=1)
    write_text(out, text + "\n")
