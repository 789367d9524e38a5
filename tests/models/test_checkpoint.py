"""Checkpoint folders: what is saved comes back, and every fault is one clear sentence."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpm_demo.api import load
from dpm_demo.engine import cluster
from dpm_demo.models.checkpoint import (
    CHECKPOINTS,
    list_checkpoints,
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError
from dpm_demo.models.unet import UNet
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

LABELS = {"style": ("noto", "fluent"), "category": ("animals", "food")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = UNet(dim=16, dim_mults=(1, 2), axes=(2, 2))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    out = tmp_path / "tiny"
    save_checkpoint(out, network, target="velocity", shape=(3, 32, 32), labels=LABELS)
    return out


def test_a_saved_network_comes_back_to_16_bits(folder: Path) -> None:
    model = load_checkpoint(folder)
    assert (model.name, model.shape, dict(model.labels)) == ("tiny", (3, 32, 32), LABELS)
    x0 = model.denoise_float32(
        torch.randn(2, 3, 32, 32), torch.zeros(2), [model.condition("food")] * 2
    )
    assert x0.dtype == torch.float32 and x0.isfinite().all()
    assert all(w.dtype == torch.float16 for w in load_file(folder / "model.safetensors").values())


def test_what_was_fitted_to_other_weights_goes_with_them(folder: Path) -> None:
    def saved(network: UNet) -> None:
        save_checkpoint(folder, network, target="velocity", shape=(3, 32, 32), labels=LABELS)

    network, fits = load_network(folder), folder / "calibrated.json"
    fits.write_text(json.dumps({"digest": load_checkpoint(folder).digest, "fits": []}))
    saved(network)
    assert fits.exists()  # the weights are the same
    next(network.parameters()).data.add_(1)
    saved(network)
    assert load_checkpoint(folder).fits == ()


@pytest.mark.parametrize("path", [".", "../tiny", "../tiny/"])
def test_a_model_has_its_folders_name(folder: Path, path: str, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    model = load(path, device="cpu")
    assert model.name == cluster.unpack(cluster.pack(model, Path(path), "cpu")).name == "tiny"


@pytest.mark.parametrize("label", ["animals", "fluent", "fluent animals", "any", "any food"])
def test_labels_are_words_of_any_axis(folder: Path, label: str) -> None:
    words = label.split()
    expected = tuple(
        next((names.index(w) for w in words if w in names), len(names)) for names in LABELS.values()
    )
    assert load_checkpoint(folder).condition(label).labels == expected


@pytest.mark.parametrize("label", ["dragons", "'; DROP TABLE", "ANIMALS", "x" * 10_000])
def test_an_unknown_label_is_refused_in_a_short_sentence(folder: Path, label: str) -> None:
    with pytest.raises(ValueError, match="unknown to tiny") as caught:
        load_checkpoint(folder).condition(label)
    assert len(str(caught.value)) < 300


def _missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["stem.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors")


def _mismatched(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["dim"] = 32
    (folder / "config.json").write_text(json.dumps(config))


def _no_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _pickled(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.pt")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_missing_weights, "is missing"),
        (_truncated, "truncated or damaged"),
        (_not_finite, "stem.weight is not finite"),
        (_mismatched, "do not fit"),
        (_no_config, "config.json is missing or not readable"),
        (_pickled, "is missing"),
    ],
)
def test_a_harmed_folder_gives_one_sentence_and_the_other_models_go_on(
    folder: Path, harm, words: str
) -> None:
    good = UNet(dim=16, dim_mults=(1, 2))
    save_checkpoint(folder.parent / "good", good, target="data", shape=(3, 32, 32), labels={})
    harm(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(folder)
    assert "tiny" in str(caught.value) and "\n" not in str(caught.value)
    assert list_checkpoints(folder.parent) == ["good", "tiny"]
    library = ModelLibrary(root=folder.parent)
    with pytest.raises(CheckpointError, match=words):
        library.get("tiny")
    assert library.get("good").name == "good"


@pytest.mark.parametrize("name", list_checkpoints())
def test_every_landed_model_loads_samples_and_has_a_card_with_data_and_licence(name: str) -> None:
    folder = CHECKPOINTS / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Licences and attribution" in card
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", card):
        assert (folder / picture).is_file()
    assert (folder / "model.safetensors").stat().st_size <= 60e6
    model = load_checkpoint(folder)
    x = initial_noise([0], model.shape)
    sample = integrate(
        model.denoise_float32, x, Solver(nfe=6), lam_span=model.lam_span, cond=[model.condition()]
    )
    # a picture: inside the range, and mostly of even areas where noise has none
    assert sample.abs().max() < 2
    steps = sample.diff(dim=-1).abs().mean() / x.diff(dim=-1).abs().mean()
    assert steps < 0.5
