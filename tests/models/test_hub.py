"""Other people's models and the library, on tiny random pipelines that diffusers itself saved."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

import dpm_demo as dpm
from dpm_demo.models import library
from dpm_demo.models.built_in import BuiltIn
from dpm_demo.models.diffusers import hub
from dpm_demo.models.diffusers.hub import fetch_diffusers
from dpm_demo.models.diffusers.labels import LabelMap, schedule_lambdas
from dpm_demo.models.diffusers.offered import OFFERED, Offered
from dpm_demo.models.diffusers.unconditional import load_diffusers
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.memory import model_bytes
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.solver import integrate
from dpm_demo.solver.settings import Solver

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
HASH = "0123456789abcdef0123456789abcdef01234567"
#: β schedule, labels, prediction: every schedule, every kind of network, 100 labels and 1000
PIPELINES = [
    ("linear", 1000, "epsilon"),
    ("scaled_linear", 1000, "v_prediction"),
    ("squaredcos_cap_v2", 1000, "sample"),
    ("squaredcos_cap_v2", 1000, "epsilon"),
    ("linear", 100, "epsilon"),
    ("squaredcos_cap_v2", 100, "v_prediction"),
]


def tiny_unet(seed: int = 0, **changes) -> UNet2DModel:
    torch.manual_seed(seed)
    settings = {
        "sample_size": 32,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    unet = UNet2DModel(**(settings | changes))
    with torch.no_grad():  # so that a wrong label changes the picture by a per cent at least
        unet.time_embedding.linear_2.weight.mul_(4)
        unet.conv_out.weight.mul_(4)
    return unet


def saved(folder: Path, unet: UNet2DModel | None = None, **schedule) -> Path:
    DDPMPipeline(unet or tiny_unet(), DDPMScheduler(**schedule)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A linear ε-pipeline that no test changes."""
    return saved(tmp_path_factory.mktemp("plain") / "tiny")


@pytest.fixture
def folder(plain, tmp_path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "tiny"))


@pytest.fixture
def no_network(monkeypatch):
    """Any connection fails the test, even where the error is caught."""
    tried = []

    def connect(self, address, *rest):
        tried.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: connect(None, a))
    yield
    assert not tried


@pytest.fixture
def cache(plain, tmp_path, monkeypatch) -> Path:
    """Hugging Face's cache, holding `plain` as owner/tiny."""
    root = tmp_path / "hub"
    model = root / "models--owner--tiny"
    shutil.copytree(plain, model / "snapshots" / HASH)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(HASH)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(root))
    return root


def edit(path: Path, **changes) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def refusal(act, *args, **kwargs) -> str:
    with pytest.raises(CheckpointError) as error:
        act(*args, **kwargs)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400
    return text


def noise(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(1))


# --- the same picture as diffusers ----------------------------------------------------------------


@pytest.mark.parametrize("trained", PIPELINES, ids=str)
@pytest.mark.parametrize(
    "solved",
    [(1, True, "sigma_min"), (2, True, "sigma_min"), (2, False, "sigma_min"), (3, True, "zero")],
    ids=str,
)
def test_the_published_solver_makes_the_picture_that_diffusers_makes(tmp_path, trained, solved):
    """To 2e−5 of the largest pixel; a label off by one would move it by 1e−2 and more."""
    schedule, labels, kind = trained
    order, taper, end = solved
    folder = saved(
        tmp_path / "tiny",
        beta_schedule=schedule,
        num_train_timesteps=labels,
        prediction_type=kind,
    )
    pipeline = DDPMPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config,
        solver_order=order,
        lower_order_final=taper,
        final_sigmas_type=end,
        lambda_min_clipped=-5.1,
    )
    scheduler.set_timesteps(8)
    with np.errstate(divide="ignore"):
        lambdas = [float(lam) for lam in -np.log(scheduler.sigmas.double().numpy())]
    theirs = noise()
    with torch.no_grad():
        for label in scheduler.timesteps:
            output = pipeline.unet(theirs, label).sample
            theirs = scheduler.step(output, label, theirs).prev_sample

    model = load_diffusers(folder)
    solver = Solver(order=order, weights="published", lower_order_final=taper)
    ours = integrate(model.denoise_float32, noise(), solver, lambdas=lambdas)

    assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_order_one_is_the_ddim_of_diffusers(tmp_path):
    folder = tmp_path / "tiny"
    DDIMPipeline(tiny_unet(), DDIMScheduler()).save_pretrained(folder)
    pipeline = DDIMPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(10)  # labels 900, 800 … 0, then label 0 once more
    theirs = noise()
    with torch.no_grad():
        for label in scheduler.timesteps[:-1]:
            output = pipeline.unet(theirs, label).sample
            theirs = scheduler.step(output, label, theirs).prev_sample

    model = load_diffusers(folder)
    labels = LabelMap(schedule_lambdas(dict(pipeline.scheduler.config)))
    lambdas = labels.lam(scheduler.timesteps.double()).tolist()
    ours = integrate(model.denoise_float32, noise(), Solver(order=1), lambdas=lambdas)

    assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_the_network_is_told_the_float_label_of_each_row(folder):
    model = load_diffusers(folder)
    seen = []
    model.denoise_float32.network.unet.register_forward_pre_hook(
        lambda module, args: seen.append(args[1])
    )
    lam = torch.tensor([-5.0, 0.123, 4.6])
    model.denoise_float32(noise(3), lam)
    table = DDPMScheduler().alphas_cumprod.double()
    at = 0.5 * (table / (1 - table)).log()
    expected = np.interp(-lam.numpy(), -at.numpy(), np.arange(1000))
    assert torch.allclose(seen[0].double(), torch.tensor(expected), atol=1e-3)
    assert (seen[0] != seen[0].round()).all()


def test_rows_at_different_levels_share_a_call(plain):
    model = load_diffusers(plain)
    x, lam = noise(3), torch.tensor([-4.0, 0.0, 4.0])
    together = model.denoise_float32(x, lam)
    alone = torch.cat([model.denoise_float32(x[i : i + 1], lam[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4 * float(alone.abs().max()))


def test_a_learned_variance_is_left_out(tmp_path):
    unet = tiny_unet(out_channels=6)
    model = load_diffusers(saved(tmp_path / "tiny", unet, variance_type="learned_range"))
    lam, x = torch.zeros(2), noise()
    label = model.denoise_float32.time_of(lam)
    with torch.no_grad():
        mean = unet.eval()(x, label).sample[:, :3]
    half = math.sqrt(0.5)  # α = σ at λ = 0
    assert torch.allclose(model.denoise_float32(x, lam), (x - half * mean) / half, atol=1e-4)


# --- labels ---------------------------------------------------------------------------------------

SCHEDULES = [
    {"beta_schedule": "linear"},
    {"beta_schedule": "linear", "num_train_timesteps": 100},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    {"beta_schedule": "sigmoid"},
    {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
    {"trained_betas": np.linspace(1e-4, 0.3, 50).tolist()},
]


@pytest.mark.parametrize("config", SCHEDULES, ids=str)
def test_labels_and_levels_go_round_within_the_span(config):
    labels = LabelMap(schedule_lambdas(config))
    lam = torch.linspace(*labels.span, 10_001, dtype=torch.float64)
    label = labels(lam)
    assert (labels.lam(label) - lam).abs().max() < 1e-6
    assert (label.diff() < 0).all()


@pytest.mark.parametrize("config", SCHEDULES[:6], ids=str)
def test_whole_labels_are_the_levels_that_diffusers_trains_at(config):
    table = DDPMScheduler(**config).alphas_cumprod.double()
    lam = 0.5 * (table / (1 - table)).log()
    labels = LabelMap(schedule_lambdas(config))
    assert torch.allclose(labels(lam), torch.arange(len(lam), dtype=torch.float64), atol=1e-6)


def test_the_label_follows_the_clip_of_a_cosine_schedule(tmp_path):
    model = load_diffusers(saved(tmp_path / "tiny", beta_schedule="squaredcos_cap_v2"))
    assert model.lam_span[0] == -5.1
    labels = model.denoise_float32.time_of
    start = labels(torch.tensor([model.lam_span[0]], dtype=torch.float64))
    assert abs(float(labels.lam(start)) + 5.1) < 1e-6
    assert start < 998  # the last label is that of λ = −9.9
    assert float(labels.lam(torch.tensor([999.0]))) < -9


def test_levels_beyond_the_schedule_get_its_ends():
    labels = LabelMap(schedule_lambdas({"beta_schedule": "linear"}))
    ends = labels(torch.tensor([-50.0, 50.0, -math.inf, math.inf]))
    assert ends.tolist() == [999, 0, 999, 0]


def test_labels_are_found_without_waiting_for_the_device():
    class NoWait(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            # what reads a value back, or makes a shape of one
            assert func.name().split("::")[1] not in {
                "_local_scalar_dense",
                "nonzero",
                "masked_select",
                "item",
                "equal",
                "is_nonzero",
            }
            return func(*args, **(kwargs or {}))

    labels = LabelMap([3.0, 1.0, -2.0])
    lam = torch.tensor([2.0, 0.0, -2.0, 9.0])
    with NoWait():
        label = labels(lam)
        back = labels.lam(label)
    assert torch.allclose(label, torch.tensor([0.5, 4 / 3, 2.0, 0.0]).double())
    assert torch.allclose(back, torch.tensor([2.0, 0.0, -2.0, 3.0]).double())


@pytest.mark.parametrize("table", [[1.0], [1.0, 1.0], [0.0, 1.0], [1.0, math.nan]])
def test_a_table_that_is_no_schedule_is_refused(table):
    with pytest.raises(ValueError, match="lambdas must"):
        LabelMap(table)


# --- what is refused ------------------------------------------------------------------------------


def test_pickled_weights_are_refused(folder, monkeypatch):
    weights = folder / WEIGHTS
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("a pickle was opened"))
    text = refusal(load_diffusers, folder)
    assert text.startswith("tiny: ") and "pickled" in text
    assert f"python -m dpm_demo convert {folder} --out checkpoints/tiny-safetensors" in text
    weights.with_suffix(".bin").unlink()
    assert "convert" not in refusal(load_diffusers, folder)


@pytest.mark.parametrize("kept", [0, 5, 2000, -1])
def test_truncated_weights_are_refused(folder, kept):
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "truncated" in refusal(load_diffusers, folder)


CONFIGURATIONS = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"]


@pytest.mark.parametrize(  # an index may be missing: the network's own configuration says it too
    ("file", "content"),
    [(f, c) for f in CONFIGURATIONS for c in (None, "{", "[]") if c or f != CONFIGURATIONS[0]],
)
def test_a_missing_or_broken_configuration_is_named(folder, file, content):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    assert Path(file).name in refusal(load_diffusers, folder)


def test_a_weight_too_few_is_not_made_up(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["conv_in.bias"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert "conv_in.bias" in refusal(load_diffusers, folder)


def test_weights_of_another_shape_are_refused(folder):
    edit(folder / "unet/config.json", block_out_channels=[16, 16])
    assert "do not fit" in refusal(load_diffusers, folder)


def test_weights_that_are_not_finite_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    weights["conv_in.bias"][0] = math.nan
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert "conv_in.bias is not finite" in refusal(load_diffusers, folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_class_embeds": 10}, "class-conditional"),
        ({"class_embed_type": "timestep"}, "class-conditional"),
        ({"in_channels": 4, "out_channels": 4}, "4 input channels"),
        ({"out_channels": 6}, "6 output channels"),
        ({"sample_size": 16}, "sample_size is 16"),
        ({"sample_size": 512}, "sample_size is 512"),
        ({"sample_size": 33}, "sample_size is 33"),
        ({"sample_size": None}, "sample_size is None"),
        ({"time_embedding_type": "fourier"}, "fourier"),
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
    ],
)
def test_a_network_of_another_kind_is_refused(folder, changes, says):
    edit(folder / "unet/config.json", **changes)
    assert says in refusal(load_diffusers, folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vqvae": ["diffusers", "VQModel"]}, "vqvae"),
        ({"text_encoder": ["transformers", "CLIPTextModel"]}, "text_encoder"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "UNet2DConditionModel"),
    ],
)
def test_a_latent_or_conditional_pipeline_is_refused(folder, changes, says):
    edit(folder / "model_index.json", **changes)
    assert says in refusal(load_diffusers, folder)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 2000}, "no β schedule"),
        ({"beta_schedule": "unheard-of"}, "unheard-of"),
        ({"beta_schedule": "linear", "num_train_timesteps": 1}, "num_train_timesteps is 1"),
        ({"beta_schedule": "linear", "beta_end": 2.0}, "between 0 and 1"),
        ({"trained_betas": []}, ""),
        ({"beta_schedule": "linear", "prediction_type": "flow"}, "'flow'"),
    ],
)
def test_a_schedule_of_another_kind_is_refused(folder, config, says):
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    assert says in refusal(load_diffusers, folder)


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../..", "hub:a/../b", "a b/c", "/etc"])
def test_what_is_neither_folder_nor_id_is_refused(name, no_network):
    refusal(load_diffusers, name, allow_network=not Path(name).is_dir())


# --- what is read ---------------------------------------------------------------------------------


def test_the_oldest_uploads_keep_all_files_in_one_folder(plain, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in plain.rglob("*.*"):
        shutil.copy(file, flat / file.name)
    old = json.loads((flat / "scheduler_config.json").read_text())
    del old["prediction_type"]
    (flat / "scheduler_config.json").write_text(json.dumps(old | {"predict_epsilon": False}))
    model, now = load_diffusers(flat), load_diffusers(plain)
    assert model.denoise_float32.target == "data" and now.denoise_float32.target == "noise"
    assert model.digest == now.digest and model.shape == (3, 32, 32)


def test_a_wide_picture_keeps_its_sides(tmp_path):
    model = load_diffusers(saved(tmp_path / "tiny", tiny_unet(sample_size=(32, 64))))
    assert model.shape == (3, 32, 64)
    assert model.denoise_float32(torch.zeros(1, *model.shape), torch.zeros(1)).shape == (
        1,
        3,
        32,
        64,
    )


def test_half_precision_weights_compute_in_float32(folder):
    weights = {key: value.half() for key, value in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model = load_diffusers(folder)
    assert {p.dtype for p in model.denoise_float32.network.parameters()} == {torch.float32}


def test_a_model_in_the_cache_is_read_without_network(cache, no_network):
    model = load_diffusers("hub:owner/tiny")
    assert model.name == "hub:owner/tiny" and model.shape == (3, 32, 32)
    assert load_diffusers("owner/tiny", revision=HASH).digest == model.digest
    offered = Offered("owner/tiny", "Tiny", 32, 1, "apache-2.0", "main")
    assert hub.on_disk(offered)
    assert not hub.on_disk(Offered("owner/other", "Other", 32, 1, "apache-2.0", "main"))


def test_a_model_that_is_not_in_the_cache_needs_leave(cache, no_network):
    assert "--allow-hub" in refusal(load_diffusers, "hub:owner/other")


def hub_of(monkeypatch, folder: Path, size: int | None) -> list[list[str]]:
    """Stands in for the hub with a folder; returns what is asked of it, as it is asked."""
    asked: list[list[str]] = []

    def snapshot(name, *, allow_patterns, tqdm_class, local_files_only, **rest):
        asked.append(list(allow_patterns))
        with tqdm_class(total=0, unit="B", name="bytes") as bar:
            bar.total += 100
            bar.update(50)
            bar.update(50)
        return str(folder)

    found = [] if size is None else [SimpleNamespace(path=WEIGHTS, size=size, lfs=None)]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub.HfApi, "get_paths_info", lambda *a, **k: found)
    return asked


def test_a_download_reports_its_progress_and_asks_for_safetensors_alone(plain, monkeypatch):
    asked, told = hub_of(monkeypatch, plain, 10_000), []
    assert fetch_diffusers("hub:owner/tiny", True, progress=told.append) == plain
    assert told == [0.5, 1.0]
    assert WEIGHTS in asked[-1]
    assert all(name.endswith((".json", ".safetensors")) for names in asked for name in names)


def test_a_pipeline_that_cannot_be_used_is_refused_before_its_weights_are_fetched(
    folder, monkeypatch
):
    edit(folder / "model_index.json", vqvae=["diffusers", "VQModel"])
    asked = hub_of(monkeypatch, folder, 10_000)
    assert "vqvae" in refusal(fetch_diffusers, "owner/tiny", True)
    assert not any("safetensors" in name for names in asked for name in names)


def test_weights_above_the_limit_are_not_fetched(plain, monkeypatch):
    asked = hub_of(monkeypatch, plain, 10_000_000)
    assert "10 MB" in refusal(fetch_diffusers, "owner/tiny", True, max_bytes=9_000_000)
    assert not any("safetensors" in name for names in asked for name in names)


def test_a_hub_model_that_is_only_pickled_is_refused_with_the_command(plain, monkeypatch):
    asked = hub_of(monkeypatch, plain, None)
    pickled = [SimpleNamespace(path=WEIGHTS.replace(".safetensors", ".bin"), size=9, lfs=None)]
    monkeypatch.setattr(huggingface_hub.HfApi, "get_paths_info", lambda *a, **k: pickled)
    text = refusal(fetch_diffusers, "hub:owner/tiny", True)
    assert "`python -m dpm_demo convert owner/tiny --out checkpoints/tiny`" in text
    assert f"--out checkpoints/tiny --revision {HASH}`" in refusal(
        fetch_diffusers, "hub:owner/tiny", True, HASH
    )
    offered = OFFERED[1]
    assert "--revision" not in refusal(fetch_diffusers, offered.id, True, offered.revision)
    assert all(name.endswith(".json") for names in asked for name in names)


def test_a_network_that_fails_is_one_sentence(monkeypatch):
    def fails(*args, **kwargs):
        raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    assert "no route" in refusal(load_diffusers, "owner/tiny", allow_network=True)


def test_what_is_offered_names_its_licence_and_the_commit_that_is_loaded():
    assert len({model.id for model in OFFERED}) == len(OFFERED) > 0
    for model in OFFERED:
        assert model.licence == "apache-2.0" and 32 <= model.pixels <= 256
        assert re.fullmatch("[0-9a-f]{40}", model.revision)
        assert re.fullmatch("([0-9a-f]{64})?", model.pickle_sha256)


# --- the library ---------------------------------------------------------------------------------


@pytest.fixture
def root(plain, tmp_path) -> Path:
    """Three good pipelines "a", "b", "c" of one size, and "bad", whose weights are cut short."""
    folder = tmp_path / "checkpoints"
    for name in ("a", "b", "c", "bad"):
        shutil.copytree(plain, folder / name)
    weights = folder / "bad" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-8])
    return folder


@pytest.fixture
def size(plain) -> int:
    return model_bytes(load_diffusers(plain))


def make_library(root: Path, **changes) -> ModelLibrary:
    return ModelLibrary("cpu", root=root, **({"built_in": (), "offered": ()} | changes))


def test_a_model_is_loaded_once_and_kept(root):
    models = make_library(root)
    assert models.state("a").kind == "unloaded"
    first = models.get("a")
    assert models.get("a") is first and first.name == "a"
    assert models.state("a").kind == "ready"


def test_the_least_recently_used_model_goes_when_memory_is_full(root, size):
    models = make_library(root, memory_bytes=2 * size)
    models.get("a")
    models.get("b")
    models.get("a")
    models.get("c")
    assert models.kept() == ("a", "c")
    models.get("b")
    assert models.kept() == ("c", "b")


def test_a_model_that_does_not_fit_is_refused_and_the_shelf_goes_on(root, size):
    small = BuiltIn("small", "Small", lambda device: small_model())
    models = make_library(root, memory_bytes=size - 1, built_in=(small,))
    assert "above the limit" in refusal(models.get, "a")
    assert models.get("small").name == "small" and models.kept() == ("small",)


def test_a_load_that_fails_leaves_a_sentence_and_the_other_models(root):
    models = make_library(root)
    sentence = refusal(models.get, "bad")
    state = models.state("bad")
    assert state.kind == "failed" and state.sentence == sentence
    assert models.get("a").name == "a"
    shutil.copy(root / "a" / WEIGHTS, root / "bad" / WEIGHTS)  # mended
    assert models.get("bad").name == "bad" and models.state("bad").kind == "ready"


def test_an_error_of_any_kind_becomes_a_sentence(root):
    def fails(device):
        raise RuntimeError("out of memory.\nmuch more text")

    models = make_library(root, built_in=(BuiltIn("broken", "Broken", fails),))
    assert "out of memory" in refusal(models.get, "broken")


def small_model() -> Model:
    return Model("small", (3, 32, 32), (-5.0, 4.0), torch.zeros, torch.zeros, torch.device("cpu"))


class Slow:
    """A built-in model whose construction waits until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count, self.error = 0, error
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, device: torch.device) -> Model:
        self.count += 1
        self.begun.set()
        assert self.go.wait(120)
        if self.error:
            raise self.error
        return small_model()


def in_threads(count: int, work) -> tuple[list[threading.Thread], list]:
    results: list = []

    def run() -> None:
        try:
            results.append(work())
        except CheckpointError as error:
            results.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


@pytest.mark.parametrize("error", [None, ValueError("no luck")])
def test_threads_that_ask_for_one_model_share_one_load(root, error):
    slow = Slow(error)
    models = make_library(root, built_in=(BuiltIn("slow", "Slow", slow),))
    threads, results = in_threads(6, lambda: models.get("slow"))
    assert slow.begun.wait(120)
    assert models.state("slow").kind == "loading"
    assert models.get("a").name == "a"  # another name is not held up
    slow.go.set()
    for thread in threads:
        thread.join(10)
    assert len(results) == 6
    if error is None:
        assert slow.count == 1 and len(set(map(id, results))) == 1
    else:  # whoever came before the failure shares it; a later call may try again
        assert all("no luck" in text for text in results)
        assert models.state("slow").kind == "failed"


def test_the_shelf_lists_folders_built_ins_and_what_is_in_the_cache(root, cache, no_network):
    offered = (
        Offered("owner/tiny", "Tiny one", 32, 1234, "apache-2.0", "main"),
        Offered("owner/absent", "Absent", 32, 1234, "apache-2.0", "main"),
    )
    built_in = (BuiltIn("slow", "Slow one", Slow()),)
    models = make_library(root, offered=offered, built_in=built_in)
    assert models.choices() == [
        ("a", "a"),
        ("b", "b"),
        ("bad", "bad"),
        ("c", "c"),
        ("Slow one", "slow"),
        ("Tiny one", "hub:owner/tiny"),
    ]
    assert models.get("hub:owner/tiny").shape == (3, 32, 32)
    refusal(models.get, "hub:owner/absent")


def test_a_built_in_model_takes_the_place_of_another_of_its_name(root, cache, no_network):
    offered = (Offered("owner/tiny", "Tiny one", 32, 1234, "apache-2.0", "main"),)
    built_in = tuple(BuiltIn(name, "mine", Slow()) for name in ("a", "hub:owner/tiny"))
    names = [
        offer.name for offer in make_library(root, offered=offered, built_in=built_in).offered()
    ]
    assert sorted(names) == ["a", "b", "bad", "c", "hub:owner/tiny"]


@pytest.mark.parametrize(
    "name", ["hub:owner/tiny", "hub:owner/absent", "owner/tiny", "../checkpoints/a", "/etc", ""]
)
def test_a_name_that_a_visitor_typed_is_never_loaded(root, cache, no_network, name):
    """Neither from the network, nor from the cache or a path, unless it is offered."""
    refusal(make_library(root).get, name)


def test_with_leave_the_shelf_lists_what_the_hub_has_and_loads_it(root, plain, monkeypatch):
    hub_of(monkeypatch, plain, 10_000)
    asked = []

    def answers(models):
        asked.append([model.id for model in models])
        return frozenset({"owner/there"})

    monkeypatch.setattr(library, "answering", answers)
    monkeypatch.setattr(library, "on_disk", lambda model: False)
    offered = tuple(
        Offered(f"owner/{name}", name, 32, 1234, "apache-2.0", "main") for name in ("there", "gone")
    )
    models = make_library(root, offered=offered, allow_hub=True)
    assert [o.name for o in models.offered() if o.kind == "hub"] == ["hub:owner/there"]
    models.offered()
    assert len(asked) == 1  # the answer holds for a while
    models.fetch("hub:owner/there")
    assert models.get("hub:owner/there").shape == (3, 32, 32)
    assert models.get("hub:owner/typed").shape == (3, 32, 32)


def test_the_hub_is_asked_for_safetensors(monkeypatch):
    files = {"a/safe": "unet/diffusion_pytorch_model.safetensors", "a/pickle": "unet/model.bin"}

    def info(self, name, revision, timeout):
        if name not in files:
            raise ConnectionError("no route")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=files[name])])

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    offered = [Offered(n, n, 32, 1, "mit", "main") for n in ("a/safe", "a/pickle", "a/none")]
    assert hub.answering(offered) == {"a/safe"}


def test_a_download_is_seen_while_it_runs(root, plain, monkeypatch):
    models = make_library(root, allow_hub=True)
    seen = []

    def fetch(name, allow_network, revision, *, progress, max_bytes):
        progress(0.25)
        seen.append(models.state(name))
        return plain

    monkeypatch.setattr(library, "fetch_pipeline", fetch)
    models.fetch("hub:owner/tiny")
    assert seen[0].kind == "loading" and seen[0].fraction == 0.25
    assert models.state("hub:owner/tiny").kind == "unloaded"


def test_the_mixture_is_on_every_shelf(root):
    models = ModelLibrary("cpu", root=root, offered=())
    assert ("mixture (exact)", "mixture") in models.choices()
    assert models.get("mixture").shape == (3, 32, 32)


@pytest.mark.parametrize("made", [DDPMPipeline, DDIMPipeline])
def test_an_unconditional_pipeline_object_answers_as_its_folder_does(made, tmp_path):
    pipe = made(tiny_unet(), DDPMScheduler(prediction_type="v_prediction"))
    pipe.save_pretrained(tmp_path)
    x, lam = torch.randn(2, 3, 32, 32), torch.tensor([-2.0, 1.0])
    found = [dpm.load(one).denoise_float32(x, lam) for one in (pipe, tmp_path)]
    assert torch.allclose(*found, atol=1e-4)
    assert dpm.load(pipe.to(torch.float16)).denoise_float32.network.unet.dtype == torch.float32
    assert pipe.unet.dtype == torch.float16
