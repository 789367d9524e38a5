"""A Ray cluster: how it is reached, what runs there, and how a model gets there.

Ray is imported when a cluster is asked for, not before: one process needs none of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dpm_demo.models.device import pick_device
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.models.runtime import Quickest

LOCAL = "local"  # the address of a cluster of this machine alone, started for this program
STORE_BYTES = 200 * 2**20  # of its object store, unless RAY_OBJECT_STORE_BYTES says so
_KINDS = (".bin", ".ckpt", ".pt", ".pth", ".png", ".md")  # of files that no model is read from


class Refused(ValueError):
    """A worker runs another version of this program, or has another model of that name."""


def connect(address: str, cores: int | None = None) -> Any:
    """The module `ray`, connected: to a new cluster of this machine ("local"), or an address.

    The new one listens on the loopback address only, and has `cores` (all of them, if None).
    Raises ValueError, one sentence, where Ray is missing or does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells nobody that it was started
    if address == LOCAL:  # then Ray takes the loopback address, and listens on no other
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            'ray: it is not installed; `pip install "ray>=2.40" prometheus_client` brings it.'
        ) from error
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == LOCAL:
        options |= {
            "num_cpus": cores or os.cpu_count(),
            "include_dashboard": False,
            "object_store_memory": int(os.environ.get("RAY_OBJECT_STORE_BYTES", STORE_BYTES)),
            "_node_ip_address": "127.0.0.1",
        }
    try:
        _knock(address)
        ray.init(address, **options)
    except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"ray: {address[:80]!r} does not answer ({lines[0][:160]}).") from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@cache
def code_digest() -> str:
    """Sixteen digits that stand for the source text of this package."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def check_code(theirs: str) -> None:
    """Raises `Refused` where the caller's program is not the one that runs here."""
    if theirs != code_digest():
        raise Refused(
            f"ray: a worker runs another version of dpm_demo ({code_digest()}) than this program "
            f"({theirs}); install the same on every node."
        )


@dataclass(frozen=True)
class Packed:
    """A model on its way: the files of its folder, or itself where it has none.

    `onnx_from` is which batches ONNX Runtime computes where it was packed
    (`models.runtime.Quickest`); it shall be the same everywhere, or the last bits would differ.
    """

    name: str
    digest: str
    device: str
    files: Mapping[str, np.ndarray] | None
    model: Model | None
    onnx_from: Mapping[int, bool] | None


def pack(model: Model, folder: Path | None, device: str = "auto") -> Packed:
    """A model for another machine, read from `folder` there, on the device of that name."""
    network = getattr(model.denoise_float32, "network", None)
    onnx_from = network.onnx_from if isinstance(network, Quickest) else None
    if folder is None:
        return Packed(model.name, model.digest, device, None, model, onnx_from)
    files = {
        path.relative_to(folder).as_posix(): np.fromfile(path, np.uint8)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in _KINDS and not path.name.startswith(".")
    }
    name = os.path.basename(os.path.abspath(folder))  # also of "."
    return Packed(name, model.digest, device, files, None, onnx_from)


def unpack(packed: Packed) -> Model:
    """The model, loaded on this machine. Raises `Refused` where its weights are not the same."""
    if packed.files is None:
        assert packed.model is not None
        return packed.model
    with tempfile.TemporaryDirectory(prefix="dpm-demo-model-") as root:
        for name, data in packed.files.items():
            path = Path(root) / packed.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data.tofile(path)
        library = ModelLibrary(
            pick_device(packed.device),
            built_in=(),
            root=Path(root),
            memory_bytes=sys.maxsize,
            runtime="torch" if packed.onnx_from is None else "onnx",
        )
        model = library.get(packed.name)
    network = getattr(model.denoise_float32, "network", None)
    if isinstance(network, Quickest) and packed.onnx_from is not None:
        network.onnx_from = dict(packed.onnx_from)
    check_model(model, packed.digest)
    return model


def check_model(model: Model, digest: str) -> None:
    """Raises `Refused` where the weights are not those of the digest."""
    if model.digest != digest:
        raise Refused(
            f"ray: a worker's model {model.name} has other weights ({model.digest or 'none'}) than "
            f"this program's ({digest or 'none'}); give every node the same."
        )
