"""What an import brings with it: who only wants the solver needs torch and numpy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dpm_demo
import dpm_demo.solver

BLOCKED = """
import sys
ALLOWED = {"dpm_demo", "torch", "numpy"}
PLAIN = set(sys.stdlib_module_names) | ALLOWED

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {BLOCKED}:
            raise ImportError(f"{name} is not to be needed")

sys.meta_path.insert(0, Blocked())
import dpm_demo as dpm, dpm_demo.solver, torch
x = dpm.integrate(lambda x, lam: 0 * x, torch.ones(1, 2), dpm.Solver(nfe=3), lam_span=(-3.0, 3.0))
assert x.isfinite().all()
dpm_demo.solver.plan(dpm.Solver(nfe=3), (-3.0, 3.0))
print("solved")
"""

OTHERS = {
    *("diffusers", "gradio", "imageio", "matplotlib", "onnxruntime", "PIL", "plotly"),
    *("safetensors", "torchmetrics", "torchvision", "tqdm", "transformers", "typer"),
}


def test_the_solver_needs_torch_and_numpy_alone() -> None:
    code = BLOCKED.replace("{BLOCKED}", repr(OTHERS))
    root = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "solved\n", ended.stderr


def test_every_name_of_the_face_is_there_and_an_unknown_one_is_not() -> None:
    for module in (dpm_demo, dpm_demo.solver):
        for name in module.__all__:
            assert callable(getattr(module, name)) or name == "Trajectory", name
        assert not hasattr(module, "no_such_name")


WAYS = """
import os, torch
for first in ("dpm_demo.solver.plan", "dpm_demo.solver.drive", "dpm_demo.solver"):
    if os.fork() == 0:
        __import__(first)
        from dpm_demo.solver import plan
        os._exit(0 if callable(plan) else 1)
    assert os.wait()[1] == 0, first
"""


def test_plan_is_the_function_whichever_way_it_was_imported() -> None:
    subprocess.run([sys.executable, "-c", WAYS], check=True)
