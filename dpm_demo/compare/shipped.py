"""Converged samples that lie beside a checkpoint: those that the page's first click needs.

`references.safetensors` holds one float32 sample a target; its header says of each what it depends
on, which is checked by being the key (`Target`, the digest of the weights first): samples of other
weights are never found. `python -m benchmarks.record_references` writes it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dpm_demo.compare.references import Converged, References, Target
from dpm_demo.media.files import write_bytes
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.model import Condition

FILE = "references.safetensors"
log = logging.getLogger(__name__)


def write_shipped(folder: Path, found: Mapping[Target, Converged]) -> Path:
    """Writes the samples beside a checkpoint, whole or not at all."""
    about, samples = {}, {}
    for number, (target, one) in enumerate(found.items()):
        samples[str(number)] = np.ascontiguousarray(one.sample, np.float32)
        told = {"target": asdict(target), "nfe": one.nfe, "apart": one.apart}
        about[str(number)] = json.dumps(told)
    return write_bytes(folder / FILE, save(samples, about))


def read_shipped(folder: Path) -> dict[Target, Converged]:
    """The samples beside a checkpoint; none where there is no file, or a bad one (a warning)."""
    found = {}
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            for name, text in file.metadata().items():
                told = json.loads(text)
                target = _target(told["target"])
                sample = file.get_tensor(name)
                if sample.shape != target.shape or not np.isfinite(sample).all():
                    raise ValueError(f"sample {name} is not of its shape, or not finite")
                found[target] = Converged(sample, int(told["nfe"]), float(told["apart"]))
    except FileNotFoundError:
        return {}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: %s is not read (%s)", folder.name, FILE, error)
        return {}
    return found


def _target(told: dict[str, object]) -> Target:
    condition = dict(told["condition"])  # type: ignore[call-overload]
    if condition.pop("payload", None) is not None:
        raise ValueError("a target with words is not shipped")
    labels, guidance = tuple(condition["labels"]), float(condition["guidance"])
    return Target(
        **{
            **told,
            "condition": Condition(labels, guidance),
            "shape": tuple(told["shape"]),  # type: ignore[arg-type]
            "span": tuple(told["span"]),  # type: ignore[arg-type]
        }
    )


def with_shipped(root: Path = CHECKPOINTS) -> References:
    """A store that begins with the samples beside all checkpoints of a folder."""
    found: dict[Target, Converged] = {}
    for file in sorted(root.glob(f"*/{FILE}")):
        found.update(read_shipped(file.parent))
    return References(shipped=found)
