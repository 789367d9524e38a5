"""What a trajectory asks for and says: evaluations, measures and decisions.

A sampler yields `Evaluation` and is sent the data prediction for those rows, `Measure` and is sent
a float, `Decision` and is sent nothing. Its return value is the sample. All states are in
variance-preserving coordinates x = α x0 + σ ε. Tensors it has yielded or was sent are never changed
in place: whoever drives it may keep them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Decision", "Evaluation", "Measure", "Trajectory"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Asks for the data prediction at `x`: (n, *shape), at `lam`.

    lam is a float for all rows, or a float64 CPU tensor (n,), one for each row (Picard).
    stage 0 is a trajectory point; above 0, an inner evaluation that previews leave out.
    """

    x: Tensor
    lam: float | Tensor
    stage: int = 0


@dataclass(frozen=True, eq=False)
class Measure:
    """Asks for the value of a 0-d tensor as a float: the only wait for the device."""

    value: Tensor


@dataclass(frozen=True)
class Decision:
    """Says what was decided at `lam`, for the record.

    "step"       an adaptive step was tried: h, error, order, accepted
    "stability"  the order or the step was changed: h, error, order, accepted, action
    "sweep"      Picard: ticks, nfe, done (steps settled so far), steps
    "end"        an adaptive or Picard trajectory ends: nfe, accepted, rejected, converged; ticks
    """

    kind: str
    lam: float
    data: dict[str, Any] = field(default_factory=dict)


Trajectory = Generator[Evaluation | Measure | Decision, Any, Tensor]
