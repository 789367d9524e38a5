"""What stands under examples/ runs as it stands, and shows what it says."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from dpm_demo.quality.results import landed

FOLDER = Path(__file__).parents[1] / "examples"


def test_own_model_shows_each_order_by_what_a_doubling_divides() -> None:
    errors = runpy.run_path(str(FOLDER / "own_model.py"))["main"]()
    for order, least in ((1, 1.8), (2, 3.5), (3, 6.0)):
        assert errors[order, 48] / errors[order, 96] > least
    assert errors[3, 96] < errors[2, 96] < errors[1, 96]


def test_read_sweep_names_the_best_of_every_budget(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = runpy.run_path(str(FOLDER / "read_sweep.py"))["main"](landed()["emoji-image"])
    text = capsys.readouterr().out
    for metric in sweep.measured():
        for nfe in sweep.shared(metric):
            best = sweep.best(metric, nfe)
            assert best is not None and best.solver in text
            known = [getattr(x, metric) for x in sweep.lines if x.nfe == nfe]
            ends = [v for v in known if v is not None]
            assert getattr(best, metric) in (min(ends), max(ends))


def test_an_example_is_a_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "examples.read_sweep"],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "evaluations:" in ended.stdout
