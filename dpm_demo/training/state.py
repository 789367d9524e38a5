"""`state.pt`: everything that a training run needs to go on, and what kind of run it is."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dpm_demo.media.files import forget_parts, replacing
from dpm_demo.training.data import Pictures

if TYPE_CHECKING:
    from dpm_demo.training.loop import Recipe


STATE = "state.pt"
FREE = ("minutes", "save_minutes")  # what a run that goes on may change
# how a run was trained whose state was written before one could choose
OLDER = {"t_logit": 0.0, "guess": 0}


def kind_of(recipe: Recipe, pictures: Pictures, origin: Mapping[str, str]) -> dict[str, Any]:
    """What makes a run this one and no other, as plain values: recipe, data, where it began."""
    values = {k: v for k, v in asdict(recipe).items() if k not in FREE}
    return {
        "recipe": {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
        "size": " x ".join(map(str, pictures.data.shape[2:])),
        "labels": {axis: list(names) for axis, names in pictures.axes.items()},
        "data": pictures.digest(),
        "origin": dict(origin),
    }


def check_folder(out: Path) -> None:
    """Raises ValueError for a folder whose model a new run would overwrite."""
    if (out / "model.safetensors").exists() and not (out / STATE).exists():
        raise ValueError(
            f"out: {out} holds a model and no {STATE} to go on from; choose another folder, and "
            "give this one as --start to begin with its weights."
        )


def read_state(out: Path, kind: Mapping[str, Any], device: str) -> dict[str, Any] | None:
    """The state of an unfinished run in `out`, None if there is none.

    Raises ValueError, one sentence, where it cannot be read, and where it is a run of another
    kind, which names all that differs. States of older versions say less and are compared in that.
    """
    path = out / STATE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        recipe = OLDER | state["recipe"]
        missing = {"network", "average", "optimizer", "generator", "iteration", "seconds", "loss"}
        if missing := missing - state.keys():
            raise KeyError(", ".join(sorted(missing)))
        differing = _differing(kind["recipe"], recipe)
        began = state.get("origin", kind["origin"])
        differing += _differing(dict.fromkeys(began, "") | kind["origin"], began)
    except (
        *(OSError, RuntimeError, EOFError, KeyError, TypeError, AttributeError, ValueError),
        pickle.UnpicklingError,
    ) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:80]
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to lift the restriction
            said = "no file of a training run"
        raise ValueError(
            f"out: {path} is damaged ({said}); choose another folder, and give this one as "
            "--start to begin with its weights."
        ) from error
    for name in ("size", "labels"):
        if name in state and state[name] != kind[name]:
            differing.append(f"{name} was {state[name]}, not {kind[name]}"[:160])
    if "data" in state and state["data"] != kind["data"] and not differing:
        differing.append("the pictures are others")
    if differing:
        raise ValueError(
            f"out: {out} holds a run of another recipe: {'; '.join(differing)}; give the same "
            "again (only minutes and save-minutes are free), or choose another folder."
        )
    return state


def _differing(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    pairs = [(k, stored[k], wanted[k]) for k in stored if k in wanted]
    pairs += [(k, "", wanted[k]) for k in wanted if k not in stored and wanted[k] == str(wanted[k])]
    return [f"{k} was {_shown(a)}, not {_shown(b)}" for k, a, b in pairs if _plain(a) != _plain(b)]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "none" if value == "" else f"{value}"[:60]


def state_note(out: Path) -> str:
    """What has to be said of the state that a finished run leaves beside its model."""
    size = (out / STATE).stat().st_size / 1e6
    return (
        f"{STATE} ({size:.0f} MB) is only for training on with more minutes: without it the folder "
        "is the model alone."
    )


def figures(out: Path) -> dict[str, Any]:
    """How far the run in `out` is: iterations, seconds, and the mean loss of the last ones."""
    state = torch.load(out / STATE, map_location="cpu", weights_only=True, mmap=True)
    return {"iterations": state["iteration"], "loss": state["loss"], "seconds": state["seconds"]}


def write_state(out: Path, state: Mapping[str, Any]) -> None:
    forget_parts(out)
    with replacing(out / STATE) as part:
        torch.save(dict(state), part)
