"""`evaluate`: solvers measured over many samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from filelock import FileLock
from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Budgets, Device, Guidance, Model, Runtime
from dpm_demo.media.files import folder_for
from dpm_demo.request.codec import budgets_of_text, parse_list, read, solver_text

if TYPE_CHECKING:
    from dpm_demo.models.model import Model as Opened
    from dpm_demo.quality.compute import Runner
    from dpm_demo.quality.extract import Extractor, RealFeatures
    from dpm_demo.quality.results import Line, Results
    from dpm_demo.quality.store import Store
    from dpm_demo.solver.settings import Solver
    from dpm_demo.training.data import Pictures

METRICS = ("rmse", "psnr", "fd", "kid", "is")
DISTANCES = {"fd", "kid", "is"}


def evaluate(
    model: Model = "emoji-image",
    solvers: Annotated[
        list[str] | None,
        Option(
            help='"order=3 method=singlestep", a name such as "dpmpp_2m karras", "all", '
            '"catalogue", "catalogue karras", or "best:6" of the errors known; repeat for more '
            "(default: orders 1, 2 and 3)."
        ),
    ] = None,
    nfe: Budgets = "5,8,10,15,20",
    n: Annotated[int | None, Option("-n", help="Samples of a setting (default: 2000).")] = None,
    seed: Annotated[int | None, Option(help="The first of their seeds (default: 0).")] = None,
    seed_range: Annotated[
        str | None, Option(help="Their seeds (default: 0:n).", metavar="FIRST:END")
    ] = None,
    metrics: Annotated[str, Option(help="What is measured.", metavar="NAME,...")] = ",".join(
        METRICS
    ),
    error_seeds: Annotated[int, Option(help="Seeds that errors are over.")] = 64,
    features: Annotated[str, Option(help="emoji or inception.")] = "emoji",
    inception_weights: Annotated[Path | None, Option(help="File of FID's own network.")] = None,
    data: Annotated[Path | None, Option(help="Real pictures: a prepared .npz or a folder.")] = None,
    label: Annotated[
        str,
        Option(
            help='Words such as "animals", or "drawn": for each seed that of a picture of --data.'
        ),
    ] = "any",
    guidance: Guidance = "1",
    precision: Annotated[
        Literal["float32", "fast"],
        Option(help="fast: the processor's bfloat16 where it has one; for fd, kid and is alone."),
    ] = "float32",
    per_class: Annotated[
        int,
        Option(
            help="Samples a label for the class accuracy: order 2, 20 evaluations, at --guidance."
        ),
    ] = 0,
    device: Device = "auto",
    runtime: Runtime = "auto",
    ray: Annotated[
        str | None,
        Option(
            help="Compute on all cores or GPUs of a Ray cluster: a new one of this machine, or "
            "that at the address.",
            metavar="local|ADDRESS",
        ),
    ] = None,
    out: Annotated[str, Option(help="Folder; an unfinished sweep goes on.")] = "out/evaluate",
) -> dict[str, Any]:
    """Measure solvers: error to the converged sample, FD or FID, KID, IS; goes on where it was."""
    wanted = set(parse_list("metrics", metrics, METRICS))
    seeds = _seeds(seed, seed_range, n)
    budgets = budgets_of_text(nfe)
    strength = read({"guidance": guidance}).guidance
    for name, value in (("error-seeds", error_seeds), ("per-class", per_class)):
        if value < 0:
            raise ValueError(f"{name} must be a whole number from 0, not {value}")
    n_error = error_seeds if {"rmse", "psnr"} & wanted else 0
    if per_class and not DISTANCES & wanted:
        raise ValueError("per-class is measured beside fd, kid or is: name one in --metrics")
    if inception_weights is not None and features != "inception":
        raise ValueError("inception-weights: nothing reads them without --features inception")
    if precision == "fast" and n_error:
        raise ValueError("precision fast is too coarse for errors; give --metrics fd,kid,is")

    from dpm_demo import api
    from dpm_demo.quality import sweep
    from dpm_demo.quality.results import ENOUGH, Results, real_warning, warning
    from dpm_demo.quality.store import Store

    run = _runner(ray, model, device)
    opened = api.load(model, device, runtime=runtime)
    if per_class:
        _check_classes(opened)
    where = folder_for(out)
    pictures = None if data is None else output.pictures(data, opened.picture_shape()[-1])
    if pictures is not None and opened.frames == 1 and DISTANCES & wanted:
        _check_alike(opened, pictures)
    file = where / "results.json"
    known = Results.read(file) if file.exists() else None
    plain = sweep.read_solvers(solvers or ["order=1", "order=2", "order=3"], opened, known)
    if opened.frames == 1 and not DISTANCES & wanted:  # clips have figures of motion besides
        _check_errors(plain, n_error)
    look, real, held = None, None, None
    if DISTANCES & wanted:
        look, real, held = _real(features, inception_weights, opened, pictures, len(seeds))
    elif n_error:
        seeds = seeds[:n_error]
    drawn = None if pictures is None else pictures.subset(held=False)
    store = Store(where, opened, label, strength, look, drawn, precision == "fast")
    if real is not None:
        store.compared_with(pictures)
    _compute(store, sweep.with_budgets(plain, budgets), seeds, n_error, run)
    train = None if real is None else real.train
    found = sweep.results(store, store.solvers(), seeds, n_error, train, held)
    mine = [line for line in found.lines if line.fd is not None]
    found = _written(found, where)
    if real is not None:
        found.notes["distinct real pictures"] = dict(
            zip(("training", "held out"), real.distinct, strict=True)
        )
    if per_class:
        found.notes["class_accuracy"] = _class_accuracy(opened, per_class, strength, pictures)
    if pictures is not None and look is not None and opened.frames == 1 and mine:
        best = min(mine, key=lambda x: (abs(x.nfe - 20), x.fd or 0))
        solver = sweep.solver_of(store, best, seeds)
        found.notes["neighbours"] = _neighbours(store, best, solver, pictures, where)
    found = _written(found, where)
    output.say(found.markdown())
    for name, note in found.notes.items():
        output.say(f"{name}: {note}")
    if look is not None and len(seeds) < ENOUGH:
        output.say(warning(len(seeds)))
    if real is not None and (said := real_warning(real.distinct[0])):
        output.say(said)
    kinds = ".csv, .md, .html and .png" if found.measured() else ".csv and .md"
    output.say(f"wrote results.json, {kinds} to {where}")
    return {
        "out": where,
        "model": opened.name,
        "lines": [vars(line) for line in found.lines],
        "notes": found.notes,
    }


def _seeds(seed: int | None, text: str | None, n: int | None) -> list[int]:
    """The seeds of "0:2000", or the first n from its start, or n from `seed`. Raises ValueError."""
    if n is not None and n < 1:
        raise ValueError(f"n must be a whole number from 1, not {n}")
    if text is None:
        first = 0 if seed is None else read({"seed": seed}).seed
        return list(range(first, first + (2000 if n is None else n)))
    if seed is not None:
        raise ValueError("seed and seed-range say the same, give one of them.")
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise ValueError(f"seed-range must be like 0:2000, not {text!r:.60}")
    seeds = list(range(int(start), int(stop)))
    if n is not None and n > len(seeds):
        raise ValueError(f"n must be at most the {len(seeds)} seeds of seed-range, not {n}")
    return seeds[:n]


def _check_classes(model: Opened) -> None:
    """Raises ValueError where the classes of samples cannot be told."""
    from dpm_demo.quality.classes import shows_categories

    if model.frames > 1:
        raise ValueError(f"per-class: it is of pictures, and {model.name} makes clips.")
    if not shows_categories(model.labels):
        raise ValueError(f"per-class: {model.name} has no categories of emoji to ask for.")


def _written(found: Results, folder: Path) -> Results:
    """`found` with what the folder has by now, which another program may have added, written."""
    with FileLock(folder / ".results.lock"):
        file = folder / "results.json"
        if file.exists():
            found = found.with_known(found.read(file))
        found.write(folder)
    return found


def _check_errors(solvers: list[Solver], n_error: int) -> None:
    """Raises ValueError where errors alone are asked for, and there are none to measure."""
    if not n_error:
        raise ValueError("error-seeds must be from 1 on where only errors are measured, not 0")
    if noisy := [solver_text(solver) for solver in solvers if solver.eta]:
        raise ValueError(
            f"solvers: {noisy[0]!r} draws noise of its own and has no error to measure; name fd, "
            "kid or is in --metrics, or leave it out"
        )


def _check_alike(model: Opened, pictures: Pictures) -> None:
    """Raises ValueError where the real pictures are of another kind than a model's samples."""
    made, real = (
        " x ".join(map(str, s[1:])) for s in (model.picture_shape(), pictures.data[0].shape)
    )
    if made != real:
        raise ValueError(
            f"data: its pictures are of {real} pixels, and {model.name} makes {made}; give "
            "pictures of that size."
        )


def _real(
    features: str, weights: Path | None, model: Opened, pictures: Pictures | None, n: int
) -> tuple[Extractor, RealFeatures, Line]:
    """The extractor, the features of real pictures, and what held-out ones of them score."""
    from dpm_demo.quality.extract import RealFeatures, draw_real, draws_emoji, open_extractor
    from dpm_demo.quality.metrics import scores
    from dpm_demo.quality.results import Line

    look = open_extractor(features, weights, model.device)
    if pictures is not None:
        with output.bar(desc="real pictures", unit="picture") as bar:
            real = draw_real(pictures, look, max(5000, n), on_progress=bar.update)
    elif features == "inception" or not draws_emoji(model):
        raise ValueError(
            f"data: the real pictures that samples of {model.name} are to be compared with are "
            "needed, give --data (or --metrics rmse,psnr, which need none)."
        )
    else:
        real = RealFeatures.load()
        if real.digest != look.digest:
            raise ValueError("data: real.safetensors is of another extractor, give --data.")
    n = min(n * model.frames, len(real.held))
    held = Line("", 0, **vars(scores(real.held[:n], real.held_logits[:n], real.train, n)))
    return look, real, held


def _compute(
    store: Store,
    solvers: list[Solver],
    seeds: list[int],
    n_error: int,
    run: Runner,
) -> None:
    """Whatever the store does not have yet, under one progress bar."""
    from dpm_demo.quality.compute import compute

    todo = {
        (unit.solver, seed)
        for solver in solvers
        for unit in store.missing(solver, seeds, n_error)
        for seed in unit.seeds
    }
    total = sum(solver.nfe for solver, _ in todo)
    with output.bar(total=total, desc="sampling", unit="evaluation") as bar:
        compute(store, solvers, seeds, n_error, run, bar.update)


def _runner(address: str | None, model: str, device: str) -> Runner:
    """What computes: this process, or a cluster."""
    if address is None:
        from dpm_demo.quality.compute import here

        return here
    from dpm_demo.quality.distributed import on_ray

    return on_ray(address, model, device)


def _class_accuracy(
    model: Opened, per_class: int, guidance: float, pictures: Pictures | None
) -> dict[str, Any]:
    from dpm_demo.quality.classes import class_accuracy, held_out_accuracy, shows_categories

    with output.bar(total=len(model.labels["category"]), desc="classes") as bar:
        right = class_accuracy(model, per_class, guidance, on_progress=lambda: bar.update(1))
    note = {"n": per_class, "guidance": guidance, "nfe": 20, **right}
    if pictures is not None and shows_categories(pictures.axes):
        note["held-out pictures"] = held_out_accuracy(pictures)
    return note


def _neighbours(
    store: Store, best: Line, solver: Solver, pictures: Pictures, out: Path
) -> dict[str, Any]:
    """How near samples are to training pictures; draws a sheet of the first of them."""
    import numpy as np
    import torch

    from dpm_demo.media.png import png
    from dpm_demo.quality.neighbours import (
        nearest,
        neighbours_sheet,
        share_nearer,
        training_features,
    )

    train, held = pictures.subset(held=False), pictures.subset(held=True)
    look = store.look
    assert look is not None
    with output.bar(total=len(pictures), desc="neighbours", unit="picture") as bar:
        real = training_features(train, look, bar.update)
        unseen = nearest(training_features(held, look, bar.update), real)
    rows = [row for row in store.rows(solver).values() if "features" in row]
    made = nearest(torch.from_numpy(np.concatenate([row["features"] for row in rows])), real)
    samples = torch.from_numpy(store.sample(solver, range(32))[0])
    sheet = neighbours_sheet(samples, nearest(look(samples)[0], real), train)
    output.write(out / "neighbours.png", png(sheet))
    return {
        "solver": best.solver,
        "nfe": best.nfe,
        "n": len(rows),
        "share nearer": share_nearer(made.distance, unseen.distance),
        "median distance": float(np.median(made.distance)),
        "of held-out pictures": float(np.median(unseen.distance)),
    }
