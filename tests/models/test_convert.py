"""Pickled weights become safetensors without running anything that is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import dpm_demo as dpm
from dpm_demo.__main__ import main
from dpm_demo.models.diffusers import convert as module
from dpm_demo.models.diffusers.convert import convert
from dpm_demo.models.diffusers.offered import OFFERED, Offered
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError

PICKLE = "unet/diffusion_pytorch_model.bin"


def network() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose weights diffusers itself pickled; no test changes it."""
    folder = tmp_path_factory.mktemp("plain") / "tiny"
    pipeline = DDPMPipeline(network(), DDPMScheduler(num_train_timesteps=100))
    pipeline.save_pretrained(folder, safe_serialization=False)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "tiny"))


def refusal(source: Path | str, out: Path, *words: str, capsys: pytest.CaptureFixture) -> str:
    """The one line that the command ends with; nothing is written."""
    before = sorted(out.parent.rglob("*"))
    assert main(["convert", str(source), "--out", str(out), *words]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.endswith(".\n")
    assert said.err.startswith("convert: ")
    assert sorted(out.parent.rglob("*")) == before
    return said.err


def test_a_pickled_pipeline_is_refused_converted_and_then_denoises_as_its_network(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="dpm_demo convert"):
        dpm.load(str(folder), "cpu")
    root = tmp_path / "checkpoints"
    assert main(["convert", str(folder), "--out", str(root / "made")]) == 0

    model = dpm.load(str(root / "made"), "cpu")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    lam = torch.tensor([-1.0, 2.0])
    alpha, sigma = lam.mul(2).sigmoid().sqrt(), lam.mul(-2).sigmoid().sqrt()
    with torch.no_grad():
        noise = network()(x, model.denoise_float32.time_of(lam)).sample
    wanted = (x - sigma.view(-1, 1, 1, 1) * noise) / alpha.view(-1, 1, 1, 1)
    assert torch.allclose(model.denoise_float32(x, lam), wanted, atol=1e-5, rtol=1e-5)

    library = ModelLibrary("cpu", root=root, built_in=(), offered=())
    assert library.choices() == [("made", "made")]
    assert library.get("made").digest == model.digest
    assert not list((root / "made").rglob("*.bin"))
    assert [path.name for path in root.iterdir()] == ["made"]


def test_what_is_written_is_a_pipeline_of_diffusers_with_the_same_schedule(
    plain: Path, tmp_path: Path
) -> None:
    made = convert(plain, tmp_path / "made")
    theirs = DDPMPipeline.from_pretrained(made, low_cpu_mem_usage=False)
    assert theirs.scheduler.config.num_train_timesteps == 100
    for key, value in network().state_dict().items():
        assert torch.equal(theirs.unet.state_dict()[key], value)
    config = json.loads((made / "unet/config.json").read_text())
    assert str(tmp_path) not in json.dumps(config)
    digest = hashlib.sha256((plain / PICKLE).read_bytes()).hexdigest()
    assert digest in (made / "README.md").read_text()


def test_what_is_written_can_be_read_by_whoever_may_read_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    before = os.umask(0o022)
    try:
        convert(str(folder), tmp_path / "made")
    finally:
        os.umask(before)
    for path in (tmp_path / "made").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path.name


def test_the_oldest_uploads_with_one_folder_and_old_names_convert(
    plain: Path, tmp_path: Path
) -> None:
    """As the DDPM uploads of 2022 are: "query" for "to_q", and torch's format before zip."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in plain.rglob("*.*"):
        shutil.copy(file, flat / file.name)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, value in network().state_dict().items():
        for now, then in old.items():
            key = key.replace(f".{now}.", f".{then}.")  # noqa: PLW2901
        renamed[key] = value
    assert any(".query." in key for key in renamed)
    pickled = flat / "diffusion_pytorch_model.bin"
    torch.save(renamed, pickled, _use_new_zipfile_serialization=False)
    made = dpm.load(str(convert(flat, tmp_path / "made")), "cpu")
    now = dpm.load(str(convert(plain, tmp_path / "now")), "cpu")
    assert made.digest == now.digest


class Malicious:
    """Unpickled without restriction, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_does_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, zipped: bool
) -> None:
    mark = tmp_path / "mark"
    weights = dict(network().state_dict()) | {"conv_in.bias": Malicious(mark)}
    torch.save(weights, folder / PICKLE, _use_new_zipfile_serialization=zipped)
    text = refusal(folder, tmp_path / "made", capsys=capsys)
    assert "would run" in text and "system" in text
    assert not mark.exists()
    torch.load(folder / PICKLE, weights_only=False)
    assert mark.exists()  # the pickle is as bad as it is meant to be


@pytest.mark.parametrize("kept", [0, 5, 2000, -1000])
def test_a_truncated_pickle_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kept: int
) -> None:
    pickled = folder / PICKLE
    pickled.write_bytes(pickled.read_bytes()[:kept])
    assert "truncated" in refusal(folder, tmp_path / "made", capsys=capsys)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(2)], "not one flat table"),
        ({"state_dict": {"a": torch.zeros(2)}}, "not one flat table"),
        ({"conv_in.bias": 3}, "not one flat table"),
        ({"conv_in.bias": torch.zeros(8).to_sparse()}, "not one flat table"),
        ({"conv_in.bias": torch.zeros(1).expand(10**9)}, "claims more weights"),
        ({"conv_in.bias": torch.zeros(8)}, "do not fit"),
        ({}, "do not fit"),
    ],
)
def test_weights_that_are_no_table_or_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, content: object, says: str
) -> None:
    torch.save(content, folder / PICKLE)
    assert says in refusal(folder, tmp_path / "made", capsys=capsys)


def test_bad_places_are_refused(
    plain: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    assert "exists already" in refusal(plain, taken, capsys=capsys)
    assert "exists already" in refusal(plain, taken / "mine", capsys=capsys)
    assert "revision" in refusal(plain, tmp_path / "a", "--revision", "main", capsys=capsys)
    assert "neither a folder" in refusal("nothing", tmp_path / "a", capsys=capsys)
    assert "out: " in refusal(plain, taken / "mine" / "made", capsys=capsys)
    (folder / PICKLE).unlink()
    assert "no weights" in refusal(folder, tmp_path / "a", capsys=capsys)
    made = convert(plain, tmp_path / "made")
    assert "safetensors and nothing to convert" in refusal(made, tmp_path / "a", capsys=capsys)
    (tmp_path / "empty").mkdir()
    assert main(["convert", str(plain), "--out", str(tmp_path / "empty")]) == 0


# --- from the hub ---------------------------------------------------------------------------------


class Hub:
    """Stands in for the hub with a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.revisions = folder, []
        self.files = [self.entry(PICKLE)]
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot)
        monkeypatch.setattr(
            huggingface_hub.HfApi, "get_paths_info", lambda *a, **k: list(self.files)
        )

    def entry(self, path: str, size: int | None = None, sha256: str = "") -> SimpleNamespace:
        there = self.folder / path
        content = there.read_bytes() if there.exists() else b""
        lfs = SimpleNamespace(sha256=sha256 or hashlib.sha256(content).hexdigest())
        return SimpleNamespace(path=path, size=size or len(content), lfs=lfs)

    def snapshot(self, name, *, revision, tqdm_class, **rest) -> str:
        self.revisions.append(revision)
        with tqdm_class(total=100, unit="B") as bar:
            bar.update(50)
            bar.update(50)
        return str(self.folder)


def test_an_offered_model_is_fetched_at_its_pin_and_any_other_at_the_newest(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, told = Hub(monkeypatch, plain), []
    cifar = next(o for o in OFFERED if o.id == "google/ddpm-cifar10-32")
    made = convert(cifar.id, tmp_path / "a", progress=told.append)
    assert set(hub.revisions) == {cifar.revision} and told == [0.5, 1.0]
    assert cifar.revision in (made / "README.md").read_text()
    for words, revision in (((), None), (("--revision", "v1"), "v1")):
        hub.revisions.clear()
        out = tmp_path / f"b{len(words)}"
        assert main(["convert", "hub:owner/tiny", "--out", str(out), *words]) == 0
        assert set(hub.revisions) == {revision}


def test_what_the_hub_sends_must_be_what_is_expected(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    hub = Hub(monkeypatch, plain)
    for files, says in (
        ([hub.entry(PICKLE, sha256="0" * 64)], "another SHA-256"),
        ([hub.entry(PICKLE, size=10**10)], "above the limit"),
        ([hub.entry(PICKLE.replace(".bin", ".safetensors"))], "nothing to convert"),
        ([], "no weights"),
    ):
        hub.files = files
        assert says in refusal("owner/tiny", tmp_path / "a", capsys=capsys)
    hub.files = [hub.entry(PICKLE)]
    pin = Offered("owner/tiny", "Tiny", 32, 1, "mit", "v1", pickle_sha256="0" * 64)
    monkeypatch.setattr(module, "OFFERED", (pin,))
    assert "another SHA-256" in refusal(
        "owner/tiny", tmp_path / "a", "--revision", "v1", capsys=capsys
    )


def test_no_network_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fails(*args, **kwargs):
        raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    assert "no route" in refusal("owner/tiny", tmp_path / "a", capsys=capsys)
