"""Training on one's own pictures, from the command line to a model that draws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dpm_demo as dpm
from dpm_demo.cli.main import main


def test_a_folder_of_pictures_becomes_a_model_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(4):
            levels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "data" / name / f"{k}.png")
    out = tmp_path / "out"
    words = ["train", "--data", str(tmp_path / "data"), "--size", "16", "--dim", "16", "--json"]

    def trained(minutes: str) -> dict:
        assert main([*words, "--minutes", minutes, "--out", str(out)]) == 0
        return json.loads(capsys.readouterr().out)

    first = trained("0.001")
    assert first["iterations"] >= 1 and math.isfinite(first["held_out_loss"])
    assert trained("0.01")["iterations"] > first["iterations"]
    model = dpm.load(out, device="cpu")
    assert dpm.generate(model, dpm.Solver(nfe=2), label="dog").shape == (1, 3, 16, 16)
