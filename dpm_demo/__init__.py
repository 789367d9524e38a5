"""Fast diffusion sampling, watched: DPM-Solver on small pretrained networks.

import dpm_demo as dpm

model = dpm.load("emoji-image")
solver = dpm.Solver(nfe=12, order=3)
images = dpm.generate(model, solver, seeds=[0, 1, 2, 3], label="animals")
"""

from dpm_demo.api import generate, load, stream
from dpm_demo.models.wrap import wrap
from dpm_demo.solver import add_noise, integrate
from dpm_demo.solver.settings import Solver

__all__ = ["Solver", "add_noise", "generate", "integrate", "load", "stream", "wrap"]
