"""The mathematics of diffusion ODE and SDE solvers; knows no network, no queue and no page.

Names are imported when they are asked for, so that `settings` alone brings no torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpm_demo.solver.drive import integrate, one_row, trajectory
    from dpm_demo.solver.events import Decision, Evaluation, Measure, Trajectory
    from dpm_demo.solver.plan import Move, Plan, plan
    from dpm_demo.solver.schedule import (
        add_noise,
        alpha,
        cosine_lam,
        cosine_time,
        lambdas_of_betas,
        linear_time,
        nodes,
        sigma,
    )
    from dpm_demo.solver.state import initial_noise, threshold

__all__ = [
    "Decision",
    "Evaluation",
    "Measure",
    "Move",
    "Plan",
    "Trajectory",
    "add_noise",
    "alpha",
    "cosine_lam",
    "cosine_time",
    "initial_noise",
    "integrate",
    "lambdas_of_betas",
    "linear_time",
    "nodes",
    "one_row",
    "plan",
    "sigma",
    "threshold",
    "trajectory",
]


def __getattr__(name: str) -> Any:
    for home in ("schedule", "state", "events", "plan", "drive") if name in __all__ else ():
        module = import_module(f"{__name__}.{home}")
        if hasattr(module, name):
            found = globals()[name] = getattr(module, name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Face(ModuleType):
    """`plan` is the function, not the file it is in, also where the file was imported before."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in __all__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
