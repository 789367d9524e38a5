"""What computes a network on this machine: torch, or ONNX Runtime where it is quicker.

On a processor a checkpoint with a `graph.onnx` runs in float32, in whichever of the two took less
processor time for that many rows when both were measured (what else the machine did then would
falsify the time of a clock); the difference between them is rounding (1e-5). A GPU always runs
torch.

Who owns the cores: a network call has as many threads as torch was given, of torch or of ONNX
Runtime, never of both, and those that wait sleep (`OMP_WAIT_POLICY=PASSIVE`; no spinning). The
solver's own tensors are below the size at which torch takes a second thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dpm_demo.media.files import write_text
from dpm_demo.models.graph import WEIGHTS, Graph, file_hash, open_graph
from dpm_demo.models.model import CheckpointError

log = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "onnx"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_ROWS = (1, 2, 4, 8, 16)  # batches that are measured
_REPEATS = 3
_SECONDS = 0.3  # of processor time: a batch that takes longer is the last that is measured


class Quickest(nn.Module):
    """A network that ONNX Runtime or torch computes, by the number of rows.

    `onnx_from` are the row counts measured, in order, each with whether ONNX Runtime was quicker;
    a batch goes by the largest of them that it reaches. Other shapes than the graph's, gradients
    and autocast are torch's.
    """

    def __init__(
        self, network: nn.Module, graph: Graph, shape: Sequence[int], onnx_from: dict[int, bool]
    ) -> None:
        super().__init__()
        self.network = network
        self.graph, self.shape, self.onnx_from = graph, tuple(shape), dict(onnx_from)

    def runs_onnx(self, rows: int) -> bool:
        """Whether a batch of so many rows is ONNX Runtime's."""
        measured = [n for n in self.onnx_from if n <= rows]
        return self.onnx_from[max(measured, default=min(self.onnx_from))]

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None = None) -> Tensor:
        if (
            self.runs_onnx(len(x))
            and x.shape[1:] == self.shape
            and not (
                torch.is_grad_enabled()
                and any(one.requires_grad for one in (x, lam, *self.network.parameters()))
            )
            and not torch.is_autocast_enabled("cpu")
        ):
            return self.graph(x, lam, labels)
        return self.network(x, lam, labels)

    def __str__(self) -> str:
        """A few words for a page: what computes it, and from how many rows on."""
        parts: list[str] = []
        for rows, onnx in sorted(self.onnx_from.items()):
            name = "ONNX Runtime" if onnx else "torch"
            if not parts or not parts[-1].startswith(name):
                parts.append(name + (f" from {rows} rows on" if parts else ""))
        return ", ".join(parts) + " (float32)"


def check_runtime(name: str) -> Runtime:
    """The runtime of that name. Raises ValueError, one sentence."""
    if name not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, not {name!r:.60}.")
    return name  # type: ignore[return-value]


def quickest(
    folder: Path, network: nn.Module, shape: Sequence[int], axes: Sequence[int], runtime: Runtime
) -> Quickest | None:
    """The network of a checkpoint folder with its graph; None where torch is to compute it.

    "auto" measures both, once for these weights on this machine (`remembered`), and does without
    a graph that cannot be used, with a warning. Raises CheckpointError, one sentence, where "onnx"
    is asked for and cannot be had.
    """
    if runtime == "torch":
        return None
    try:
        graph = open_graph(folder, torch.get_num_threads())
    except (CheckpointError, ImportError) as error:
        if runtime == "onnx":
            raise CheckpointError(str(error)) from error
        log.warning("%s", error)
        return None
    if graph is None:
        if runtime == "onnx":
            raise CheckpointError(
                f"{folder.name}: it has no graph.onnx, which the command `export` makes."
            )
        return None
    if runtime == "onnx":
        return Quickest(network, graph, shape, {1: True})

    def measure() -> dict[int, bool]:
        return _measured(network, graph, shape, axes)

    return Quickest(network, graph, shape, _remembered(folder, measure))


def _measured(
    network: nn.Module, graph: Graph, shape: Sequence[int], axes: Sequence[int]
) -> dict[int, bool]:
    """For each number of rows whether the graph was cheaper: the least of calls in turns."""
    won = {}
    for rows in _ROWS:
        x, lam = torch.zeros(rows, *shape), torch.zeros(rows)
        labels = torch.tensor([list(axes)] * rows) if axes else None
        seconds: dict[Any, list[float]] = {network: [], graph: []}
        with torch.no_grad():
            for each in (network, graph) * (_REPEATS + 1):
                began = time.process_time()
                each(x, lam, labels)
                seconds[each].append(time.process_time() - began)
        torch_s, onnx_s = (min(seconds[each][1:]) for each in (network, graph))
        won[rows] = onnx_s <= torch_s
        if min(torch_s, onnx_s) > _SECONDS:
            break
    return won


def _remembered(folder: Path, measure: Callable[[], dict[int, bool]]) -> dict[int, bool]:
    """What `measure` finds, kept in the user's cache for these weights, processor and versions."""
    import onnxruntime

    about = (
        file_hash(folder / WEIGHTS),
        processor(),
        str(torch.get_num_threads()),
        torch.__version__,
        onnxruntime.__version__,
        os.environ.get("OMP_WAIT_POLICY", ""),
    )
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpm-demo"
    path = cache / f"runtime-{digest}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = {
            int(rows): bool(won)
            for rows, won in json.loads(path.read_text(encoding="utf-8")).items()
        }
        if known:
            return known
    found = measure()
    with contextlib.suppress(OSError):  # a read-only home: measured again next time
        cache.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found))
    return found


def processor() -> str:
    """What this machine says of its processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line
    return platform.processor()
