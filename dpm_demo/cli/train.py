"""`train`: a network on pictures or clips."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Device
from dpm_demo.solver.settings import SEED_MAX

if TYPE_CHECKING:
    import torch

    from dpm_demo.models.unet import UNet
    from dpm_demo.training.data import Pictures
    from dpm_demo.training.loop import Progress, Recipe


def train(
    data: Annotated[Path, Option(help="A prepared .npz, or a folder of pictures.")],
    out: Annotated[Path, Option(help="Checkpoint folder; an unfinished run goes on.")],
    minutes: Annotated[float, Option(help="Wall-clock budget.")] = 60.0,
    target: Annotated[
        str, Option("--target", "--prediction", help="velocity, noise or data.")
    ] = "velocity",
    start: Annotated[Path | None, Option(help="Checkpoint folder to start from.")] = None,
    weak: Annotated[
        Path | None,
        Option(
            help="Checkpoint folder of a smaller, less trained network: learn from --start, "
            "guided away from this one, instead of from the pictures."
        ),
    ] = None,
    sharpen: Annotated[
        float | None, Option(help="How far, with --weak; 1 is not at all. [default: 1.5]")
    ] = None,
    size: Annotated[int, Option(min=1, help="Side of the pictures.")] = 32,
    batch: int = 16,
    lr: float = 1e-3,
    drop: Annotated[float, Option(help="Share of rows without their label.")] = 0.1,
    t_logit: Annotated[
        float, Option(help="Mean of logit t as drawn; 1 trains more where noise prevails.")
    ] = 0.0,
    dim: Annotated[int, Option(help="Width of the first level.")] = 48,
    patch_size: Annotated[
        int, Option("--patch-size", "--fold", help="Pixels folded into channels.")
    ] = 2,
    qk_norm: Annotated[
        bool | None,
        Option(help="Bound the logits of attention; if not said, as --start does, else bound."),
    ] = None,
    guess: Annotated[
        int | None,
        Option(
            min=0,
            help="Width of what is guessed of a picture from its words alone (768 is good), 0 for "
            "none; if not said, as --start does, else none.",
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, max=SEED_MAX, help="Of weights, noise and order.")] = 0,
    save_minutes: float = 3.0,
    device: Device = "auto",
) -> dict[str, Any]:
    """Train a network on a prepared data set or on a folder of pictures."""
    from dpm_demo.models.checkpoint import load_weights, read_config, weights_digest
    from dpm_demo.models.device import pick_device
    from dpm_demo.training.loop import Recipe, held_out_loss, weights_for
    from dpm_demo.training.loop import train as run
    from dpm_demo.training.loss import autoguided
    from dpm_demo.training.sheet import write_sheet
    from dpm_demo.training.state import figures, state_note

    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ValueError(
            f"out: {out} lies among the pictures, as one of which its sheet would count."
        )
    if sharpen is not None and weak is None:
        raise ValueError("sharpen: it is away from the network of --weak, give that too.")
    if sharpen is not None and not math.isfinite(sharpen):
        raise ValueError(f"sharpen: {sharpen} is no number.")
    config = None if start is None else read_config(start)
    if qk_norm is None:
        qk_norm = config is None or config["arguments"].get("qk_norm", False)
    recipe = Recipe(
        minutes=minutes,
        batch=batch,
        lr=lr,
        drop=drop,
        t_logit=t_logit,
        target=target,  # type: ignore[arg-type]
        dim=dim,
        fold=patch_size,
        qk_norm=qk_norm,
        guess=guess or 0,
        seed=seed,
        save_minutes=save_minutes,
    )
    pictures = output.pictures(data, size)
    begun, origin = None, {}
    if start is not None and config is not None:
        if guess is None and pictures.words is not None and pictures.data.ndim == 4:
            recipe = replace(recipe, guess=config["arguments"].get("guess", 0))
        _check_words("start", start, config, pictures)
        begun = weights_for(load_weights(start), config["labels"], pictures.axes)
        origin["start"] = weights_digest(start)
    where = pick_device(device)
    teacher = None
    if weak is not None:
        if start is None:
            raise ValueError("weak: it is held against the network of --start, give that too.")
        strong, weaker = (
            _teacher(name, folder, recipe, pictures, where)
            for name, folder in (("start", start), ("weak", weak))
        )
        far = 1.5 if sharpen is None else sharpen
        teacher = autoguided(strong, weaker, far)
        origin |= {"weak": weights_digest(weak), "sharpen": str(far)}
    with output.bar(total=round(60 * recipe.minutes), unit="s", desc="training") as bar:

        def show(p: Progress) -> None:
            bar.set_postfix_str(
                f"{p.iteration} iterations, loss {p.loss:.4f}, {p.rate:.0f} pictures/s", False
            )
            bar.update(min(round(p.seconds), bar.total) - bar.n)

        network = run(
            pictures,
            out,
            recipe,
            start=begun,
            teacher=teacher,
            device=str(where),
            origin=origin,
            on_progress=show,
            on_save=write_sheet,
        )
    output.say(f"{out}: config.json, model.safetensors and a sheet of samples")
    held = held_out_loss(network, pictures.subset(held=True), recipe.target)
    output.say(f"loss on pictures that were held out: {held:.4f}")
    output.say(state_note(out))
    return {"held_out_loss": held, "out": out, **figures(out)}


def _check_words(name: str, folder: Path, config: dict[str, Any], pictures: Pictures) -> None:
    """Raises ValueError for a network that means other words by its numbers than the pictures."""
    known = config["vocabulary"]
    if known is not None and pictures.words is not None and known.words != pictures.vocabulary:
        raise ValueError(f"{name}: {folder} knows other words than these pictures have.")


def _teacher(
    name: str, folder: Path, recipe: Recipe, pictures: Pictures, device: torch.device
) -> UNet:
    """The network of a checkpoint that can teach one of this recipe on these pictures."""
    from dpm_demo.models.checkpoint import load_network, read_config

    config = read_config(folder)
    _check_words(name, folder, config, pictures)
    labels = {axis: list(names) for axis, names in pictures.axes.items()}
    if config["labels"] != labels or config["target"] != recipe.target:
        raise ValueError(f"{name}: {folder} has other labels or another target than this run.")
    return load_network(folder, device)
