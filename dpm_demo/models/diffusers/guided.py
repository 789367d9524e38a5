"""A family's network as `denoise(x, lam, cond) -> x0`, rows of all kinds in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpm_demo.models.diffusers.family import Family, Given
from dpm_demo.models.model import Condition


class GuidedDenoiser:
    """x: (n, *shape) variance-preserving states, lam: (n,), a condition a row; float32 data.

    Guidance acts on the network's output: any + guidance (prompt − any), so that rows with
    guidance 0 or 1 are computed once and others twice. Rows whose embeddings have other shapes
    (prompts of other lengths) go through the network in a call of their own.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.network = family.network
        self.device = family.device

    def __call__(
        self, x: Tensor, lam: Tensor, cond: Sequence[Condition | None] | None = None
    ) -> Tensor:
        family = self.family
        conds = [c or Condition() for c in cond or [None] * len(x)]
        asked = [(row, *part) for row, c in enumerate(conds) for part in self._parts(c)]
        with torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            x = x.float()
            state, time = family.path.state(x, lam), family.time_of(lam)
            kept: list[Tensor | None] = [None] * len(asked)
            for places in self._alike([given for _, _, given in asked]):
                rows = [asked[place][0] for place in places]
                together = {
                    key: torch.cat([asked[place][2][key] for place in places])
                    for key in asked[places[0]][2]
                }
                pick = torch.tensor(rows, device=x.device)
                with family.predicting:
                    output = family.predict(
                        state[pick].to(self.network.dtype), time[pick], together
                    ).float()
                for k, place in enumerate(places):
                    kept[place] = output[k]
            return family.path.x0(self._blend(asked, kept, len(x)), x, lam)

    def _parts(self, cond: Condition) -> list[tuple[float, Given]]:
        """What is computed for a row: (guidance, prompt), and (0, what it leads away from)."""
        given = self.family.given
        if self.family.guided != "rows" or cond.guidance == 1:
            return [(1.0, given(cond, False))]
        if cond.guidance == 0:
            return [(1.0, given(cond, True))]
        return [(0.0, given(cond, True)), (cond.guidance, given(cond, False))]

    @staticmethod
    def _alike(given: Sequence[Given]) -> list[list[int]]:
        """Places of rows that can share a call, in order."""
        groups: dict[object, list[int]] = {}
        for place, one in enumerate(given):
            key = tuple(sorted((k, tuple(v.shape[1:]), v.dtype) for k, v in one.items()))
            groups.setdefault(str(key), []).append(place)
        return list(groups.values())

    @staticmethod
    def _blend(
        asked: Sequence[tuple[int, float, Given]], kept: Sequence[Tensor | None], count: int
    ) -> Tensor:
        rows: list[Tensor | None] = [None] * count
        for (row, guidance, _), output in zip(asked, kept, strict=True):
            before = rows[row]
            assert output is not None
            rows[row] = output if before is None else before + guidance * (output - before)
        return torch.stack([row for row in rows if row is not None])

    def network_rows(self, cond: Sequence[Condition | None]) -> int:
        """How many rows the network computes for these conditions."""
        guided = self.family.guided == "rows"
        return sum(2 if guided and c is not None and c.guidance not in (0, 1) else 1 for c in cond)
