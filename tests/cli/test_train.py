"""Training on one's own pictures, from the command line to a model that draws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dpm_demo as dpm
from dpm_demo.cli.main import main
from dpm_demo.training.data import Pictures


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


def test_a_network_of_other_words_is_no_start(tmp_path: Path, capsys) -> None:
    def prepared(name: str, vocabulary: tuple[str, ...]) -> str:
        n = 4
        pixels = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8)
        no = torch.zeros(n, dtype=torch.bool)
        none = torch.zeros(n, 0, dtype=torch.int16)
        words = torch.arange(n)[:, None] % 2
        Pictures(pixels, none, {}, torch.arange(n), no, no, words, vocabulary).save(
            tmp_path / f"{name}.npz"
        )
        return str(tmp_path / f"{name}.npz")

    run = ["train", "--minutes", "0.001", "--dim", "16", "--size", "16", "--guess", "8"]
    first = str(tmp_path / "first")
    assert main([*run, "--data", prepared("a", ("cat", "dog")), "--out", first]) == 0
    again = [*run[:-2], "--start", first, "--out", str(tmp_path / "second"), "--data"]
    assert main([*again, prepared("b", ("dog", "cat"))]) == 1
    assert "start: " in (said := capsys.readouterr().err) and "knows other words" in said
    assert main([*again, prepared("c", ("cat", "dog"))]) == 0
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert config["arguments"]["guess"] == 8, "as the network that it begins as"
    labels = tmp_path / "plain" / "x"
    labels.mkdir(parents=True)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(labels / "0.png")
    Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(labels / "1.png")
    assert main([*run, "--data", str(labels), "--out", str(tmp_path / "third")]) == 1
    assert "guess: " in capsys.readouterr().err


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
