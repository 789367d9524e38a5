"""Parts of a pipeline take turns on a device: all but the one at work wait in main memory.

accelerate moves them. Its chain of hooks is for pipelines that call one part after another; here
requests share the parts, so a part that is called sends away whichever was at work before.
"""

from __future__ import annotations

import torch
from accelerate.hooks import CpuOffload, UserCpuOffloadHook, add_hook_to_module
from torch import nn


class Turns:
    """The parts of one pipeline that take turns on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.at_work: UserCpuOffloadHook | None = None

    def add(self, part: nn.Module) -> None:
        """Moves a part to main memory, until it is called."""
        hook = _Turn(self, part)
        add_hook_to_module(part, hook, append=True)

    def forget(self, part: nn.Module | None) -> None:
        """Lets go of a part that will not be called again."""
        if self.at_work is not None and self.at_work.model is part:
            self.at_work = None


class _Turn(CpuOffload):
    def __init__(self, turns: Turns, part: nn.Module) -> None:
        super().__init__(execution_device=turns.device)
        self._turns, self._own = turns, UserCpuOffloadHook(part, self)

    def pre_forward(self, module, *args, **kwargs):  # type: ignore[no-untyped-def]
        before, self._turns.at_work = self._turns.at_work, self._own
        self.prev_module_hook = before if before is not self._own else None
        return super().pre_forward(module, *args, **kwargs)
