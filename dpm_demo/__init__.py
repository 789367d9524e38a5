"""Fast diffusion sampling, watched: DPM-Solver on small pretrained networks.

import dpm_demo as dpm

model = dpm.load("emoji-image")
solver = dpm.Solver(nfe=12, order=3)
images = dpm.generate(model, solver, seeds=[0, 1, 2, 3], label="animals")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpm_demo.api import generate, load, serve, stream
    from dpm_demo.calibrate.defaults import default_solver
    from dpm_demo.models.diffusers.scheduler import DPMScheduler
    from dpm_demo.models.wrap import wrap
    from dpm_demo.solver import add_noise, integrate
    from dpm_demo.solver.settings import Solver

__all__ = [
    "DPMScheduler",
    "Solver",
    "add_noise",
    "default_solver",
    "generate",
    "integrate",
    "load",
    "serve",
    "stream",
    "wrap",
]

# imported when asked for: the solver needs torch and numpy alone, and a command's help neither
_HOME = {
    "DPMScheduler": "dpm_demo.models.diffusers.scheduler",
    "Solver": "dpm_demo.solver.settings",
    "add_noise": "dpm_demo.solver",
    "default_solver": "dpm_demo.calibrate.defaults",
    "generate": "dpm_demo.api",
    "integrate": "dpm_demo.solver",
    "load": "dpm_demo.api",
    "serve": "dpm_demo.api",
    "stream": "dpm_demo.api",
    "wrap": "dpm_demo.models.wrap",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
