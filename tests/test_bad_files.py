"""Damaged files are refused in one sentence by every door, and nothing worse comes of them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_demo.media.png import png_text
from dpm_demo.models.checkpoint import load_network, read_config, save_checkpoint
from dpm_demo.models.model import CheckpointError
from dpm_demo.models.unet import UNet
from dpm_demo.quality.results import Results
from dpm_demo.request.codec import read as read_settings
from dpm_demo.training.data import Pictures

ENDLESS = b"[" * 100_000


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(
        tmp_path,
        UNet(dim=16, axes=(2,)),
        target="velocity",
        shape=(3, 16, 16),
        labels={"class": ("a", "b")},
    )
    return tmp_path


def test_json_without_an_end_is_one_sentence(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_bytes(ENDLESS)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(checkpoint)
    with pytest.raises(ValueError, match="no sweep"):
        Results.from_json(ENDLESS.decode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": [1, 16, 16]},
        {"shape": [3, 16]},
        {"shape": [3, 15, 16]},
        {"shape": [3, 4, 16, 16]},
        {"shape": [3, 0, 16]},
        {"labels": {"class": ["a"]}},
        {"labels": {}},
    ],
)
def test_a_config_that_its_network_contradicts_is_refused_when_it_is_opened(
    wrong: dict[str, object], checkpoint: Path
) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    with pytest.raises(CheckpointError, match="do not fit each other"):
        load_network(checkpoint)


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model-00001-of-00002.safetensors"])
def test_weights_of_another_name_are_named(name: str, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / name)
    with pytest.raises(CheckpointError, match=f"there is {name}, which is not read"):
        load_network(checkpoint)


def test_a_bomb_of_a_png_has_no_texts(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="must be a PNG picture"):
        png_text((tmp_path / "bomb.png").read_bytes())
    with pytest.raises(ValueError, match="this is none"):
        png_text(b"GIF89a")


@pytest.mark.parametrize("values", [None, [], "nfe", 3])
def test_settings_that_are_no_names_with_values_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="settings must be names with values"):
        read_settings(values)  # type: ignore[arg-type]


def _data(path: Path, **other: np.ndarray) -> Path:
    n, no = 6, torch.zeros(6, dtype=torch.bool)
    pixels, labels = torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.zeros(n, 1)
    Pictures(pixels, labels.short(), {"class": ("a",)}, torch.arange(n), no, no).save(path)
    with np.load(path) as npz:
        arrays = {**npz, **other}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("data", np.zeros((6, 3, 8, 8), np.float32)),
        ("data", np.zeros((6, 1, 8, 8), np.uint8)),
        ("data", np.zeros((0, 3, 8, 8), np.uint8)),
        ("labels", np.zeros((5, 1), np.int16)),
        ("labels", np.full((6, 1), 7, np.int16)),
        ("labels", np.zeros((6, 2), np.int16)),
        ("group", np.zeros(6, np.float32)),
        ("held", np.zeros(6, np.int64)),
        ("axes", np.array("[1]")),
        ("axes", np.array(["a"], dtype=object)),
    ],
)
def test_a_data_set_whose_parts_do_not_belong_together_is_refused(
    part: str, value: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is not a prepared data set") as refused:
        Pictures.load(_data(tmp_path / "data.npz", **{part: value}))
    assert "\n" not in str(refused.value) and "pickle" not in str(refused.value)


def test_a_damaged_archive_is_no_data_set(tmp_path: Path) -> None:
    path = _data(tmp_path / "data.npz")
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK" + whole[40:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a prepared data set"):
            Pictures.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"no array")
    with pytest.raises(ValueError, match="is not a prepared data set"):
        Pictures.load(path)
