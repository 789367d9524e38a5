"""Fast diffusion sampling, watched: DPM-Solver on small pretrained networks.

import dpm_demo as dpm

model = dpm.load("emoji-image")
solver = dpm.Solver(nfe=12, order=3)
images = dpm.generate(model, solver, seeds=[0, 1, 2, 3], label="animals")
"""

from .api import generate, load, stream
from .settings import Solver
from .solver import add_noise, integrate

__all__ = ["Solver", "add_noise", "generate", "integrate", "load", "stream"]
