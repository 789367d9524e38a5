"""Training on one's own pictures, from the command line to a model that draws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dpm_demo as dpm
from dpm_demo.cli.main import main


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command that trains on a folder of eight pictures, with its size."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(4):
            levels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "data" / name / f"{k}.png")
    return ["train", "--data", str(tmp_path / "data"), "--size", "16", "--dim", "16", "--json"]


def test_a_folder_of_pictures_becomes_a_model_and_goes_on(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"

    def trained(minutes: float) -> dict:
        assert main([*words, "--minutes", str(minutes), "--out", str(out)]) == 0
        return json.loads(capsys.readouterr().out)

    first = trained(0.001)
    assert first["iterations"] >= 1 and math.isfinite(first["held_out_loss"])
    more = trained(first["seconds"] / 60 + 0.01)
    assert more["iterations"] > first["iterations"]
    assert trained(0.001) == more, "a finished run says what it was"
    model = dpm.load(out, device="cpu")
    assert dpm.generate(model, dpm.Solver(nfe=2), label="dog").shape == (1, 3, 16, 16)


def test_attention_is_bounded_unless_it_begins_as_a_network_whose_attention_is_not(
    words: list[str], tmp_path: Path
) -> None:
    def bounded(name: str, *more: str) -> bool:
        out = tmp_path / name
        assert main([*words, "--minutes", "0.001", "--out", str(out), *more]) == 0
        config = json.loads((out / "config.json").read_text())
        return config["arguments"].get("qk_norm", False)

    assert bounded("new") and not bounded("old", "--no-qk-norm")
    old = ("--start", str(tmp_path / "old"))
    assert not bounded("from-old", *old) and bounded("made-soft", "--qk-norm", *old)
