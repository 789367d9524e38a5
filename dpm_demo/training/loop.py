"""The training loop: to a wall-clock budget, resumable, one atomic write every few minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_demo.media.files import folder_for
from dpm_demo.media.pixels import from_levels
from dpm_demo.models.checkpoint import save_checkpoint
from dpm_demo.models.denoiser import DTYPES, TARGETS, Target
from dpm_demo.models.device import processor_precision
from dpm_demo.models.unet import UNet, UNet3D, spectrum
from dpm_demo.models.words import Vocabulary
from dpm_demo.training.data import Draw, Pictures
from dpm_demo.training.guess import fit_guess
from dpm_demo.training.loss import Teacher, denoising_loss, draw_lam, drop_labels
from dpm_demo.training.state import check_folder, kind_of, read_state, write_state
from dpm_demo.training.words import words_as_labels


@dataclass(frozen=True)
class Recipe:
    """What a run is. Raises ValueError, one sentence, for what no run can mean."""

    minutes: float = 60.0
    batch: int = 16
    lr: float = 1e-3
    warmup: int = 300
    decay: float = 0.3  # the last share of the budget, over which the rate falls to nothing
    ema: float = 0.999
    drop: float = 0.1
    t_logit: float = 0.0  # where in t most is trained (dpm_demo.training.loss.draw_lam)
    target: Target = "velocity"
    dim: int = 48
    dim_mults: tuple[int, ...] = (1, 2, 4)
    fold: int = 2
    qk_norm: bool = True  # attention that stays soft (dpm_demo.models.layers.Attention)
    guess: int = 0  # width of what is told by words alone (dpm_demo.models.layers.Guess)
    seed: int = 0
    save_minutes: float = 3.0

    def __post_init__(self) -> None:
        for field in ("minutes", "batch", "lr", "warmup", "dim", "fold", "save_minutes"):
            value = getattr(self, field)
            if not value > 0 or not math.isfinite(value):
                raise ValueError(f"{field}: {value!r} is not a positive number.")
        for field in ("batch", "dim", "fold", "guess"):
            if getattr(self, field) % 1 or getattr(self, field) < 0:
                raise ValueError(f"{field}: {getattr(self, field)!r} is not a whole number.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay: {self.decay!r} is not a share above 0, up to 1.")
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop: {self.drop!r} is not a share from 0 to 1.")
        if not abs(self.t_logit) <= 10:  # beyond, float32 takes t for 0 or 1
            raise ValueError(f"t_logit: {self.t_logit!r} is not a number from -10 to 10.")
        if self.target not in TARGETS:
            raise ValueError(f"target: {self.target!r} is not one of {', '.join(TARGETS)}.")


@dataclass(frozen=True)
class Progress:
    """Where a run is: sent to the caller after every iteration."""

    iteration: int
    pictures: int
    loss: float  # exponential mean over about 100 iterations
    rate: float  # pictures per second of this run
    seconds: float  # trained so far, earlier runs included
    left: float
    saved: bool


def held_out_loss(
    network: nn.Module, pictures: Pictures, target: Target, limit: int = 512
) -> float:
    """The loss over held-out pictures with lam and noise that are the same at every call."""
    rows = torch.arange(min(limit, len(pictures)))
    return loss_of(network, pictures, rows, torch.Generator().manual_seed(0), target)


@torch.no_grad()
def loss_of(
    network: nn.Module,
    pictures: Pictures,
    rows: Tensor,
    generator: torch.Generator,
    target: Target = "velocity",
    lam: float | None = None,
    told: bool = True,
) -> float:
    """The mean loss of some pictures: at one lam, or as it is trained; with what is said of them.

    0 where there are no rows.
    """
    if not len(rows):  # torch folds no pictures into no channels
        return 0.0
    device = next(network.parameters()).device
    total = 0.0
    for some in rows.split(32):
        x0, n = from_levels(pictures.data[some]), len(some)
        at = draw_lam(n, generator) if lam is None else torch.full((n,), lam)
        noise = torch.randn(x0.shape, generator=generator)
        x0, at, noise, labels = (v.to(device) for v in (x0, at, noise, pictures.choices[some]))
        loss = denoising_loss(network, x0, at, noise, labels if told else None, target)
        total += loss.item() * n
    return total / len(rows)


def _learning_rate(recipe: Recipe, iteration: int, seconds: float) -> float:
    left = 1 - seconds / (60 * recipe.minutes)
    return recipe.lr * min(1.0, (iteration + 1) / recipe.warmup, max(left, 0) / recipe.decay)


def build_network(recipe: Recipe, pictures: Pictures) -> UNet:
    """A fresh network of the recipe for these pictures. Raises ValueError if there is none."""
    axes = tuple(len(names) for names in pictures.axes.values())
    kind: Callable[..., UNet] = UNet
    if recipe.guess and (pictures.words is None or pictures.data.ndim == 5):
        raise ValueError(
            "guess: it is of pictures, from their words, and these are clips or have none; leave "
            "it out."
        )
    if pictures.data.ndim == 5:
        kind = partial(UNet3D, motion=spectrum(pictures.data))
    if pictures.words is not None:
        kind = partial(kind, words=len(pictures.vocabulary))
    if recipe.guess:
        kind = partial(kind, guess=recipe.guess)
    try:
        network = kind(
            dim=recipe.dim,
            dim_mults=recipe.dim_mults,
            fold=recipe.fold,
            axes=axes,
            qk_norm=recipe.qk_norm,
        )
    except (ValueError, ZeroDivisionError) as error:  # groups that do not divide the channels
        raise ValueError(
            f"dim: no network is {recipe.dim} wide; take 8, 16, or a multiple of 16 such as 48."
        ) from error
    height, width = pictures.data.shape[-2:]
    if height % network.multiple or width % network.multiple:
        raise ValueError(
            f"size: pictures of {height} x {width} pixels do not suit this network, whose sides "
            f"are multiples of {network.multiple}."
        )
    return network


def weights_for(
    weights: Mapping[str, Tensor],
    labels: Mapping[str, Sequence[str]],
    wanted: Mapping[str, Sequence[str]],
) -> dict[str, Tensor]:
    """Weights of a network with label axes `labels`, for one with the axes `wanted`.

    An axis is known by its name and choices. The table of one that is no longer wanted goes, and
    its "any" is added to the bias of the time embedding, to which tables are added: the result is
    the same network with "any" on that axis. Raises ValueError for an axis that it cannot fill.
    """
    known = list(labels)
    for axis, names in wanted.items():
        if list(labels.get(axis, ())) != list(names):
            raise ValueError(f"start: its network has no label {axis!r} with these choices.")
    tables = [t for t in ("labels", "guess.labels") if f"{t}.0.weight" in weights]
    fitted = {k: v for k, v in weights.items() if not k.startswith(("labels.", "guess.labels."))}
    for table in tables:
        for place, axis in enumerate(wanted):
            fitted[f"{table}.{place}.weight"] = weights[f"{table}.{known.index(axis)}.weight"]
        for place, axis in enumerate(known):
            if axis not in wanted:
                any_of = weights[f"{table}.{place}.weight"][-1]
                if table == "labels":
                    fitted["time.2.bias"] = fitted["time.2.bias"] + any_of
                else:
                    into = fitted["guess.draw.0.weight"]
                    fitted["guess.draw.0.bias"] = fitted["guess.draw.0.bias"] + into @ any_of
    return fitted


def begin(network: UNet, weights: Mapping[str, Tensor]) -> None:
    """Fills a fresh network with weights to begin with, a UNet's for a UNet3D too.

    The parts that hear words begin anew where the weights have none, and change nothing at first
    (`words_as_labels` then has them say what labels say). What a network sees beside the picture
    or clip counts for nothing at first; the other way, words go as none said, and what was guessed
    is lost. Where another number of pixels is folded, the first and the last layer, which alone see
    pixels, begin anew. Raises ValueError for weights of another shape.
    """
    fitted, fresh = dict(weights), [".temporal.", "words.", "guess."]
    pixels = network.config["channels"] * network.fold**2
    if network.words is None and "words.table.weight" in fitted:
        first, last = (fitted[f"words.mix.{k}.bias"] for k in (0, 2))
        nothing = F.linear(F.silu(first), fitted["words.mix.2.weight"], last)
        fitted["time.2.bias"] = fitted["time.2.bias"] + nothing
        fitted = {k: v for k, v in fitted.items() if not k.startswith("words.")}
    if network.guess is None and "guess.table.weight" in fitted:
        fitted["stem.weight"] = fitted["stem.weight"][:, :pixels]
        fitted = {k: v for k, v in fitted.items() if not k.startswith("guess.")}
    stem, wanted = fitted["stem.weight"], network.stem.weight
    if stem.shape[1] == pixels < wanted.shape[1]:
        fitted["stem.weight"] = torch.zeros_like(wanted)
        fitted["stem.weight"][:, : stem.shape[1]] = stem
    elif stem.shape[1] != wanted.shape[1]:
        fresh += ["stem.", "head.2."]
        fitted = {k: v for k, v in fitted.items() if not k.startswith(("stem.", "head.2."))}
    try:
        left_out = network.load_state_dict(fitted, strict=False)
    except RuntimeError as error:  # of another width
        raise ValueError("start: these weights belong to a network of another shape.") from error
    missing = [k for k in left_out.missing_keys if not any(part in k for part in fresh)]
    if left_out.unexpected_keys or missing:
        raise ValueError("start: these weights belong to a network of another shape.")


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Takes the smallest floats for 0, which is faster; not for whatever runs afterwards."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_denormals_flushed()
def train(
    pictures: Pictures,
    out: Path,
    recipe: Recipe,
    *,
    start: dict[str, Tensor] | None = None,
    teacher: Teacher | None = None,
    device: str = "cpu",
    origin: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_save: Callable[[UNet, Path], None] = lambda network, out: None,
) -> UNet:
    """Trains on `pictures` (the held-out part left out) and returns the averaged network.

    Writes `out/config.json`, `out/model.safetensors` (16-bit, averaged weights) and
    `out/state.pt` (everything needed to go on) every `save_minutes`, and when it is interrupted
    (KeyboardInterrupt, which goes on to the caller); a run that finds a `state.pt` goes on from
    there. `on_save` is called after a write, as often as it takes at most a twentieth of the time,
    and after the last one. `start` are weights to begin with (a UNet's for a UNet3D). With a
    `teacher`, on the same device, the network learns what that says. `origin` tells where both
    came from, by name. `clock` is what minutes are told by.

    Raises ValueError, one sentence, for a folder with the run of another recipe, data or origin,
    or with a model that would be overwritten; and where the loss is no longer finite, in which
    case the last write stands.
    """
    folder_for(out)
    check_folder(out)
    torch.manual_seed(recipe.seed)
    seen = pictures.subset(held=False)
    if not len(seen):
        raise ValueError("data: all pictures are held out, none is left to learn from.")
    kind = kind_of(recipe, pictures, origin or {})
    state = read_state(out, kind, device)
    if state is not None and "qk_norm" not in state["recipe"]:  # begun before there was one
        recipe = replace(recipe, qk_norm=False)
        del kind["recipe"]["qk_norm"]
    draw = Draw(seen, recipe.seed, mirrored=not recipe.guess)
    network = build_network(recipe, seen).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        begin(network, start)
        if state is None and seen.words is not None and "words.table.weight" not in start:
            words_as_labels(network, seen, recipe.drop)
    guess_begins = network.guess is not None and "guess.table.weight" not in (start or ())
    if fitted := state is None and guess_begins:
        fit_guess(network, seen, recipe.drop)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    where = torch.device(device)
    precision = processor_precision(where)
    iteration, seconds, mean_loss = 0, 0.0, math.nan
    if state is not None:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        draw.generator.set_state(state["generator"].cpu())
        iteration, seconds, mean_loss = state["iteration"], state["seconds"], state["loss"]

    sheet_due = -math.inf

    def save(last: bool = False, sheet: bool = True) -> None:
        nonlocal sheet_due
        write_state(
            out,
            {
                **kind,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": draw.generator.get_state(),
                "iteration": iteration,
                "seconds": seconds,
                "loss": mean_loss,
            },
        )
        save_checkpoint(
            out,
            average,
            target=recipe.target,
            shape=tuple(seen.data.shape[1:]),
            labels=seen.axes,
            vocabulary=None
            if seen.words is None
            else Vocabulary(seen.vocabulary, seen.words.shape[1]),
            trained={"iterations": iteration, "batch": recipe.batch, "minutes": seconds / 60},
        )
        # a sheet of samples may cost minutes: drawn again after twenty times what it took
        if sheet and ((started := clock()) >= sheet_due or last):
            on_save(average, out)
            ended = clock()
            sheet_due = ended + 20 * (ended - started)

    if fitted:  # which took minutes
        save(sheet=False)
    axes = tuple(len(names) for names in seen.axes.values())
    began, began_at, last_save = clock(), iteration, clock()
    try:
        while seconds < 60 * recipe.minutes:
            tick = clock()
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(recipe, iteration, seconds)
            x0, labels = draw(recipe.batch)
            labels = drop_labels(labels, axes, recipe.drop, draw.generator, len(seen.vocabulary))
            lam = draw_lam(recipe.batch, draw.generator, recipe.t_logit)
            noise = torch.randn(x0.shape, generator=draw.generator)
            x0, labels, lam, noise = (v.to(device) for v in (x0, labels, lam, noise))
            with torch.autocast(where.type, DTYPES[precision], enabled=precision == "bfloat16"):
                loss = denoising_loss(network, x0, lam, noise, labels, recipe.target, teacher)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            keep = min(recipe.ema, (1 + iteration) / (10 + iteration))
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
            now = loss.item()
            if not math.isfinite(now):
                raise ValueError(
                    f"lr: the loss is {now} after {iteration} iterations; lower the learning rate "
                    f"and begin anew, {out} keeps what was written before."
                )
            iteration += 1
            mean_loss = now if math.isnan(mean_loss) else 0.99 * mean_loss + 0.01 * now
            seconds += clock() - tick
            due = clock() - last_save > 60 * recipe.save_minutes
            if due:
                save()
                last_save = clock()
            rate = (iteration - began_at) * recipe.batch / (clock() - began)
            on_progress(
                Progress(
                    iteration,
                    iteration * recipe.batch,
                    mean_loss,
                    rate,
                    seconds,
                    60 * recipe.minutes - seconds,
                    due,
                )
            )
    except KeyboardInterrupt:
        if iteration > began_at:
            save(sheet=False)
        raise
    save(last=True)
    return average
