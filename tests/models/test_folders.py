"""Folders as people have them: variants, shards, missing parts, marks before JSON."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import tiny
import torch
from diffusers import UNet2DModel

import dpm_demo as dpm
from dpm_demo.engine.errors import JobFailed
from dpm_demo.models.checkpoint import folder_of
from dpm_demo.models.diffusers.family import Embeddings
from dpm_demo.models.diffusers.fetch import fetch_pipeline, patterns
from dpm_demo.models.diffusers.preview import LinearPreview
from dpm_demo.models.diffusers.registry import FAMILIES, family_of
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.memory import model_bytes
from dpm_demo.models.model import CheckpointError

SOLVER = dpm.Solver(nfe=3)
WORDS = (("a cat", False), ("", True))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sd") / "tiny-sd"
    tiny.stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny-sd"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """An unconditional pipeline."""
    folder = tmp_path_factory.mktemp("ddpm") / "tiny-ddpm"
    tiny.unconditional().save_pretrained(folder)
    return folder


def sample(where: Any, **asked: Any) -> torch.Tensor:
    model = dpm.load(where)
    words = {"prompt": "a cat"} if model.prompted else {}
    return dpm.generate(model, SOLVER, output="latent", **{**words, **asked})


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Of weights loaded twice: where they lie in memory decides how some processors add."""
    return bool((a - b).norm() <= 1e-5 * b.norm())


def test_a_pipeline_in_checkpoints_is_known_by_its_name(plain, monkeypatch) -> None:
    monkeypatch.setattr("dpm_demo.api.folder_of", partial(folder_of, root=plain.parent))
    assert dpm.load("tiny-ddpm").shape == (3, 32, 32)
    assert ModelLibrary(root=plain.parent).get("tiny-ddpm").shape == (3, 32, 32)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        dpm.load("tiny-other")


def mark(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        if path.name not in ("vocab.json", "tokenizer.json"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def as_variant(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


def resave_in_shards(folder: Path) -> None:
    network = UNet2DModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    network.save_pretrained(folder / "unet", max_shard_size="20KB")


@pytest.mark.parametrize("change", [mark, as_variant])
def test_a_latent_pipeline_is_read_however_its_files_are_written(folder, saved, change):
    change(folder)
    assert same(sample(folder), sample(saved))


@pytest.mark.parametrize("change", [mark, as_variant, resave_in_shards])
def test_an_unconditional_pipeline_is_read_however_its_files_are_written(plain, tmp_path, change):
    folder = Path(shutil.copytree(plain, tmp_path / "again"))
    change(folder)
    assert same(sample(folder), sample(plain))


def test_a_sharded_network_of_a_latent_pipeline_is_read(folder, saved):
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    network.save_pretrained(folder / "unet", max_shard_size="50KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert same(sample(folder), sample(saved))


def test_of_two_variants_the_plain_one_is_taken_and_another_when_asked_for(folder, saved):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert same(sample(folder), sample(saved))
    with pytest.raises(CheckpointError, match=r'variant="…"'):
        dpm.load(folder, variant="bf16")


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_a_prompt_without_its_encoder_is_refused_and_embeddings_are_not(folder, saved, part):
    shutil.rmtree(folder / part)
    with pytest.raises(JobFailed, match=f"{part}/ is missing"):
        sample(folder)
    family = dpm.load(saved).latents
    family.ensure_encoders()
    own = Embeddings(family.encode("a cat", False), family.encode("", True))
    found = sample(folder, prompt=own, guidance=7.5)
    assert same(found, sample(saved, guidance=7.5))
    with pytest.raises(ValueError, match="negative_prompt: Embeddings bring their own"):
        sample(folder, prompt=own, negative_prompt="a dog")


@pytest.mark.parametrize("name", ["stable_diffusion", "pixart", "flux"])
def test_embeddings_are_told_to_a_network_of_16_bits_as_it_computes(name):
    exact = dpm.load(tiny.FAMILIES[name]())
    own = Embeddings(*(exact.latents.encode(text, negative) for text, negative in WORDS))
    assert any(v.dtype == torch.float32 for v in own.positive.values())
    pipe = tiny.FAMILIES[name]()
    getattr(pipe, exact.latents.network_name).to(torch.bfloat16)
    found = sample(pipe, prompt=own, guidance=3.0, size=(16, 16))
    assert found.isfinite().all()


def test_encoders_are_loaded_by_the_first_prompt_and_leave_when_asked(saved):
    model = dpm.load(saved)
    assert model.latents.pipe.text_encoder is None
    dpm.generate(model, SOLVER, prompt="a cat")
    assert model.latents.pipe.text_encoder is not None
    thrifty = dpm.load(saved, offload=True)
    first = dpm.generate(thrifty, SOLVER, prompt="a cat")
    assert thrifty.latents.pipe.text_encoder is None
    assert torch.equal(first, dpm.generate(thrifty, SOLVER, prompt="a cat"))
    assert first.shape == dpm.generate(thrifty, SOLVER, prompt="another").shape


def test_without_its_decoder_only_latents_can_be_had(folder, saved):
    shutil.rmtree(folder / "vae")
    assert same(sample(folder), sample(saved))
    with pytest.raises(ValueError, match="its vae is missing"):
        dpm.generate(dpm.load(folder), SOLVER, prompt="a cat")


@pytest.mark.parametrize("part", ["unet", "scheduler"])
def test_a_missing_network_or_schedule_is_one_sentence(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(CheckpointError, match=part):
        dpm.load(folder)


def test_a_schedule_that_says_nothing_has_the_defaults_of_its_class(plain, tmp_path):
    folder = Path(shutil.copytree(plain, tmp_path / "again"))
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": "DDPMScheduler"}), encoding="utf-8"
    )
    assert same(sample(folder), sample(plain))


def test_a_bare_network_is_named_with_the_line_that_makes_it_a_model(folder, plain):
    with pytest.raises(CheckpointError, match=r"a bare UNet2DConditionModel .*dpm\.wrap"):
        dpm.load(folder / "unet")


def test_an_index_is_not_needed_beside_a_network_and_its_schedule(plain, tmp_path):
    folder = Path(shutil.copytree(plain, tmp_path / "again"))
    (folder / "model_index.json").unlink()
    assert same(sample(folder), sample(plain))


def test_an_unknown_family_is_named_beside_those_that_are_known(folder):
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["_class_name"] = "KolorsPipeline"
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"KolorsPipeline .*StableDiffusionPipeline.*FluxPi"):
        dpm.load(folder)


def test_code_of_a_folder_is_not_run(folder):
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["unet"] = ["own_module", "OwnNetwork"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="own_module, whose code is not run"):
        dpm.load(folder)


def test_pickled_weights_of_a_part_are_refused(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match=r"vae/ has no safetensors, only pickled"):
        dpm.load(folder)


def test_every_class_belongs_to_one_family():
    names = [name for family in FAMILIES for name in family.pipelines]
    assert len(names) == len(set(names))
    assert all(family_of(name, "x").title for name in names)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [(3.5, "float is no name"), (torch.nn.Linear(1, 1), "Linear is no name, no folder and no pip")],
)
def test_what_is_no_model_is_refused_with_the_way_to_make_it_one(what, sentence):
    with pytest.raises(CheckpointError, match=rf"{sentence}.*dpm\.wrap"):
        dpm.load(what)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"size": (17, 16)}, "size: height and width must be multiples of 2"),
        ({"size": (0, 16)}, "size: height and width"),
        ({"frames": 4}, "frames: .* makes single pictures"),
        ({"prompt": 3}, "prompt must be text"),
        ({"prompt": ["a", "b", "c"]}, "prompt must be one for each of the 1 seeds, not 3"),
        ({"label": "cat"}, "label: 'cat' is unknown"),
        ({"output": "png"}, "output must be 'pixels' or 'latent'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_sentence(saved, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        dpm.generate(dpm.load(saved), SOLVER, **asked)


def test_a_model_that_takes_no_words_refuses_a_prompt():
    with pytest.raises(ValueError, match="prompt: mixture takes no words"):
        dpm.generate(dpm.load("mixture"), SOLVER, prompt="a cat")


def test_a_callback_sees_every_point_and_changes_nothing(saved):
    model, seen = dpm.load(saved), []
    asked = {"seeds": [0, 1], "prompt": ["a cat", "b"], "output": "latent"}
    watched = dpm.generate(model, SOLVER, callback=lambda f: seen.append(f.nfe), **asked)
    assert seen == [1, 2, 3, 3]
    assert torch.equal(watched, dpm.generate(model, SOLVER, **asked))


def test_previews_leave_the_sample_alone_bit_for_bit(saved):
    model = dpm.load(saved)
    asked = {"prompt": "a cat", "output": "latent"}
    bare = dpm.generate(model, SOLVER, **asked)
    shown = []
    looked = dpm.generate(
        model, SOLVER, callback=lambda f: shown.append(model.latents.preview(f.x0)), **asked
    )
    assert torch.equal(bare, looked)


@pytest.mark.parametrize("video", [False, True])
def test_a_preview_is_fitted_exactly_where_the_decoder_is_linear(video):
    colours = torch.randn(3, 4)

    def decode(x: torch.Tensor) -> torch.Tensor:
        scale = (1, 2, 2) if video else (2, 2)
        large = torch.nn.functional.interpolate(x, scale_factor=scale)
        return torch.einsum("kc,nc...->nk...", colours, large) + 0.3

    shape = (4, 2, 8, 8) if video else (4, 8, 8)
    preview = LinearPreview.fit(decode, shape, torch.device("cpu"))
    x0 = torch.randn(2, *shape)
    assert torch.allclose(preview(x0), decode(x0)[..., ::2, ::2], atol=1e-4)


def tiny_decoder(folder: Path) -> Any:
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    small = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    small.save_pretrained(folder / "taesd")
    return small.eval()


def test_a_tiny_decoder_on_disk_makes_the_previews(folder):
    small = tiny_decoder(folder)
    model, x0 = dpm.load(folder), torch.randn(1, 4, 8, 8)
    expected = small.decode(x0, return_dict=False)[0]
    assert torch.allclose(model.latents.preview(x0), expected, atol=1e-5)


def test_a_tiny_decoder_makes_the_previews_of_a_video_frame_by_frame(tmp_path):
    tiny.text_to_video().save_pretrained(tmp_path)
    small = tiny_decoder(tmp_path)
    model, x0 = dpm.load(tmp_path), torch.randn(2, 4, 3, 8, 8)
    found = model.latents.preview(x0)
    for k in range(3):
        expected = small.decode(x0[:, :, k], return_dict=False)[0]
        assert torch.allclose(found[:, :, k], expected, atol=1e-5)


def test_a_tiny_decoder_is_none_of_latents_that_are_compressed_in_time(tmp_path):
    tiny.wan().save_pretrained(tmp_path)
    tiny_decoder(tmp_path)
    found = dpm.load(tmp_path).latents.preview(torch.randn(1, 16, 2, 4, 4))
    assert found.shape == (1, 3, 2, 4, 4)


def stand_in_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, size: int) -> list[tuple[str, ...]]:
    """The hub, played by a folder; returns the patterns that are asked of it."""
    asked: list[tuple[str, ...]] = []

    def snapshot(name: str, *, allow_patterns: list[str], **rest: Any) -> str:
        asked.append(tuple(allow_patterns))
        return str(folder)

    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    siblings = [SimpleNamespace(rfilename=n, size=size) for n in [*names, "whole.safetensors"]]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *a, **k: SimpleNamespace(siblings=siblings)
    )
    return asked


def test_a_family_comes_from_the_hub_without_pickles_whole_files_or_variants(saved, monkeypatch):
    asked = stand_in_hub(monkeypatch, saved, 10)
    model = dpm.load("hub:owner/tiny-sd")
    assert (model.name, model.family) == ("hub:owner/tiny-sd", "Stable Diffusion 1.x, 2.x")

    def fetched(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in asked[-1])

    for name in ("unet/diffusion_pytorch_model", "text_encoder/model-00001-of-00002"):
        assert fetched(f"{name}.safetensors")
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "sd-v1.safetensors"):
        assert not fetched(name)
    assert not any(fetched(f"unet/{n}") for n in ("diffusion_pytorch_model.bin", "code.py"))
    assert any(fnmatch("unet/model.fp16.safetensors", p) for p in patterns("fp16"))


def test_a_family_in_the_cache_is_read_from_there_where_the_hub_does_not_answer(
    saved, tmp_path, monkeypatch
):
    model = tmp_path / "models--owner--tiny-sd"
    shutil.copytree(saved, model / "snapshots" / ("0" * 40))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = fetch_pipeline("hub:owner/tiny-sd", True, max_bytes=1)
    assert folder.samefile(model / "snapshots" / ("0" * 40))
    with pytest.raises(CheckpointError, match="could not be fetched"):
        fetch_pipeline("hub:owner/other", True)


def test_a_family_above_the_limit_or_unknown_is_refused_before_its_weights(folder, monkeypatch):
    asked = stand_in_hub(monkeypatch, folder, 10**6)
    with pytest.raises(CheckpointError, match="above the limit of 5 MB"):
        fetch_pipeline("hub:owner/tiny-sd", True, max_bytes=5 * 10**6)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["_class_name"] = "KolorsPipeline"
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="hub:owner/tiny-sd: KolorsPipeline"):
        fetch_pipeline("hub:owner/tiny-sd", True)
    assert asked == [("model_index.json",)] * 2


def test_the_library_lists_and_loads_a_family_in_its_folder(saved):
    library = ModelLibrary(root=saved.parent, built_in=(), offload=True)
    (offer,) = library.offered()
    assert (offer.name, offer.frames) == ("tiny-sd", 1)
    model = library.get("tiny-sd")
    assert model.prompted and model.latents.offload


def test_the_library_counts_the_encoders_that_a_first_prompt_will_load(folder):
    as_variant(folder / "text_encoder")
    weights = folder / "text_encoder" / "model.fp16.safetensors"
    shutil.copy(weights, weights.with_name("model.safetensors"))  # one of the two is loaded
    model = dpm.load(folder)
    size = model_bytes(model)
    dpm.generate(model, SOLVER, prompt="a cat")
    assert size == pytest.approx(model_bytes(model), rel=1e-2)  # buffers are in no file
    small = {"root": folder.parent, "built_in": (), "memory_bytes": int(0.99 * size)}
    with pytest.raises(CheckpointError, match="above the limit"):
        ModelLibrary(**small).get("tiny-sd")
    assert ModelLibrary(**small, offload=True).get("tiny-sd").prompted
