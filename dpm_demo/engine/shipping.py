"""Jobs and calls as bytes: what belongs to a model travels by the model's name."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dpm_demo.models.model import Model


class Part(NamedTuple):
    """What of which model stands in its place; `digest` are the weights it was sent for."""

    model: str
    attribute: str
    digest: str


def parts_of(model: Model) -> dict[str, Any]:
    """What of a model a job or a call may refer to."""
    parts = {
        "": model,
        "denoise": model.denoise,
        "denoise_float32": model.denoise_float32,
        "exact_solution": model.exact_solution,
        "latents": model.latents,
    }
    return {name: part for name, part in parts.items() if part is not None}


def pack(work: Any, models: Iterable[Model]) -> bytes:
    """A job or a callable of these models; one that is a closure cannot be sent."""
    names = {
        id(part): Part(model.name, attribute, model.digest)
        for model in models
        for attribute, part in parts_of(model).items()
    }
    file = io.BytesIO()
    _Pickler(file, names).dump(work)
    return file.getvalue()


def unpack(order: bytes, find: Callable[[Part], Any]) -> Any:
    """What this same program packed, with `find`'s answer in each part's place."""
    return _Unpickler(io.BytesIO(order), find).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, names: dict[int, Part]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, obj: Any) -> tuple[str, ...] | None:
        part = self._names.get(id(obj))
        return None if part is None else tuple(part)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Callable[[Part], Any]) -> None:
        super().__init__(file)
        self._find = find

    def persistent_load(self, pid: tuple[str, str, str]) -> Any:
        return self._find(Part(*pid))
