"""Fast diffusion sampling, watched: DPM-Solver on small pretrained networks.

import dpm_demo as dpm

model = dpm.load("emoji-image")
solver = dpm.Solver(nfe=12, order=3)
images = dpm.generate(model, solver, seeds=[0, 1, 2, 3], label="animals")
"""

from typing import TYPE_CHECKING, Any

from dpm_demo.api import generate, load, serve, stream
from dpm_demo.models.wrap import wrap
from dpm_demo.solver import add_noise, integrate
from dpm_demo.solver.settings import Solver

if TYPE_CHECKING:
    from dpm_demo.models.diffusers.scheduler import DPMScheduler

__all__ = [
    "DPMScheduler",
    "Solver",
    "add_noise",
    "generate",
    "integrate",
    "load",
    "serve",
    "stream",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """What needs diffusers is imported when it is asked for."""
    if name == "DPMScheduler":
        from dpm_demo.models.diffusers.scheduler import DPMScheduler

        return DPMScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
