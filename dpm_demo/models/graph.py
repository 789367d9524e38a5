"""A checkpoint's `graph.onnx`, read with care and run by ONNX Runtime.

A graph may name files that hold its tensors, anywhere on the disk. Here the only one that it may
name is `model.safetensors` beside it, which must be the very file that it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_demo.models.model import CheckpointError

GRAPH, WEIGHTS = "graph.onnx", "model.safetensors"
WEIGHTS_HASH = "weights_sha256"  # the graph's own note of the file that it belongs to


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


class Graph:
    """A network's graph: `(x, lam, labels) -> output` in float32, tensors of the processor."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [one.name for one in session.get_inputs()]

    def __call__(self, x: Tensor, lam: Tensor, labels: Tensor | None = None) -> Tensor:
        given = {"x": x, "lam": lam.float(), "labels": labels}
        feed = {name: given[name].contiguous().numpy() for name in self._names}  # type: ignore[union-attr]
        return torch.from_numpy(self._session.run(None, feed)[0])


def open_graph(folder: Path, threads: int) -> Graph | None:
    """The graph in a checkpoint folder; None where there is none.

    Its threads sleep between calls, so that they take no core from torch's. Raises
    CheckpointError, one sentence, for a graph that is damaged, of other weights, or that names
    another file than `model.safetensors` beside it.
    """
    path = folder / GRAPH
    if not path.is_file():
        return None
    raw, weights = path.read_bytes(), folder / WEIGHTS
    again = "make it again with the command `export`"
    try:
        named, notes = _named_files(raw), _notes(raw)
    except (ValueError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{folder.name}: {GRAPH} is damaged; {again}.") from error
    if strange := sorted(named - {WEIGHTS}):
        raise CheckpointError(
            f"{folder.name}: {GRAPH} names another file than {WEIGHTS} ({strange[0][:60]!r}) and "
            f"is not read; {again}."
        )
    if notes.get(WEIGHTS_HASH) != file_hash(weights):
        raise CheckpointError(f"{folder.name}: {GRAPH} belongs to other weights; {again}.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # the bytes that were looked at are those that are run
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    try:
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        reason = str(error).strip().splitlines()[0][:160]
        raise CheckpointError(f"{folder.name}: {GRAPH} cannot be run ({reason}).") from error
    return Graph(session)


# ---------------------------------------------------------------- what a graph names, by its bytes

# Fields that hold messages, by kind of message: number -> kind (onnx.proto3).
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def _varint(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of the length-delimited fields of a message; the others are stepped over."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(raw, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(raw, at)
            if at + length > len(raw):
                raise ValueError("a field is cut off")
            yield tag >> 3, raw[at : at + length]
            at += length
        else:
            raise ValueError("groups are not used in ONNX")


def _named_files(raw: bytes) -> set[str]:
    """Every file that a tensor of an ONNX model says it lies in, however deep in the model.

    Of an entry that is written twice every value counts, whichever a reader would take.
    """
    found: set[str] = set()
    todo = [("model", memoryview(raw))]
    while todo:
        kind, message = todo.pop()
        if kind == "entry":
            keys, values = _pair(message)
            if "location" in keys:
                found.update(values or [""])
            continue
        inside = _INSIDE[kind]
        todo += [(inside[n], part) for n, part in _fields(message) if n in inside]
    return found


def _pair(message: memoryview) -> tuple[list[str], list[str]]:
    parts = [(number, str(part, "utf-8")) for number, part in _fields(message)]
    return [text for n, text in parts if n == 1], [text for n, text in parts if n == 2]


def _notes(raw: bytes) -> dict[str, str]:
    """`metadata_props` of an ONNX model."""
    pairs = [_pair(part) for number, part in _fields(memoryview(raw)) if number == 14]
    return {key: value for keys, values in pairs for key, value in zip(keys, values, strict=True)}
