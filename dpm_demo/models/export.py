"""`graph.onnx`: a checkpoint's network for ONNX Runtime, with no second copy of the weights.

What the graph knows of a weight is where it lies in `model.safetensors`: its offset and length
there, and a cast from 16 bits. Needs the packages `onnx` and `onnxscript`; to read a graph
(`dpm_demo.models.graph`) needs neither.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from dpm_demo.media.files import write_bytes
from dpm_demo.models.checkpoint import load_network, read_config
from dpm_demo.models.graph import GRAPH, WEIGHTS, WEIGHTS_HASH, file_hash
from dpm_demo.models.model import CheckpointError

_FORMATS = {"F16": "FLOAT16", "F32": "FLOAT", "BF16": "BFLOAT16"}


def export_graph(folder: Path) -> Path:
    """Writes `graph.onnx` beside a checkpoint's weights, by an atomic rename; returns its path.

    The graph takes x `(n, *shape)` and lam `(n,)` in float32, labels `(n, axes)` in int64 where
    the network has label axes, for any n, and answers what the network does. Raises
    CheckpointError, one sentence, for a folder that is no checkpoint or packages that are missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CheckpointError(
            f"graph: {error.name} is needed to write one; `pip install onnx onnxscript`."
        ) from error
    folder = Path(folder)
    graph = onnx.load_model_from_string(_exported(folder))
    _point_into(graph.graph, folder / WEIGHTS)
    entry = graph.metadata_props.add()
    entry.key, entry.value = WEIGHTS_HASH, file_hash(folder / WEIGHTS)
    return write_bytes(folder / GRAPH, graph.SerializeToString(deterministic=True))


def _exported(folder: Path) -> bytes:
    """The network as torch exports it, weights inside."""
    config, network = read_config(folder), load_network(folder)
    words = config["vocabulary"]
    axes, rows = len(config["labels"]) + (words.slots if words else 0), 2
    inputs: dict[str, torch.Tensor] = {
        "x": torch.zeros(rows, *config["shape"]),
        "lam": torch.zeros(rows),
    }
    if axes:
        inputs["labels"] = torch.zeros(rows, axes, dtype=torch.long)
    batch = torch.export.Dim("batch", min=1, max=2**16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            input_names=list(inputs),
            output_names=["output"],
            optimize=False,  # it would fold transposed copies of the weights into the graph
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _point_into(graph: Any, weights: Path) -> None:
    """Replaces the weights in an ONNX graph by their places in a safetensors file."""
    from onnx import TensorProto, helper

    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        places = json.loads(file.read(length))
    places.pop("__metadata__", None)
    kept, casts = [], []
    for tensor in graph.initializer:
        place = places.get(tensor.name)
        if place is None:
            kept.append(tensor)
            continue
        start, stop = place["data_offsets"]
        stored = TensorProto(
            name=f"{tensor.name}.stored",
            dims=place["shape"],
            data_type=TensorProto.DataType.Value(_FORMATS[place["dtype"]]),
            data_location=TensorProto.EXTERNAL,
        )
        where = {"location": weights.name, "offset": 8 + length + start, "length": stop - start}
        for key, value in where.items():
            stored.external_data.add(key=key, value=str(value))
        kept.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    for values, new in ((graph.initializer, kept), (graph.node, nodes)):
        del values[:]
        values.extend(new)
    del graph.value_info[:]  # shapes of every step, which ONNX Runtime finds by itself
    for node in graph.node:  # where in the source each came from, nine tenths of the file
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
