"""ONNX Runtime beside torch: the same numbers, and a graph that can name no other file."""

import shutil
from types import SimpleNamespace

import pytest
import torch

import dpm_demo as dpm
from dpm_demo.cli.main import main
from dpm_demo.models import runtime
from dpm_demo.models.checkpoint import CHECKPOINTS, load_checkpoint, save_checkpoint
from dpm_demo.models.export import export_graph
from dpm_demo.models.graph import GRAPH, WEIGHTS, WEIGHTS_HASH, file_hash, open_graph
from dpm_demo.models.model import CheckpointError
from dpm_demo.models.runtime import Quickest
from dpm_demo.models.unet import UNet, UNet3D

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small checkpoint of every weight random, with its graph."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("graphs") / "tiny"
    network = UNet(dim=16, dim_mults=(1, 2), blocks=1, axes=(2,))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_checkpoint(
        folder, network, target="velocity", shape=(3, 8, 8), labels={"kind": ("a", "b")}
    )
    assert main(["export", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "tiny")


def rewritten(folder, change):
    """The folder's graph after `change(model)`."""
    model = onnx.load(folder / GRAPH, load_external_data=False)
    change(model)
    (folder / GRAPH).write_bytes(model.SerializeToString())


def inputs(model, rows=5):
    x = torch.randn(rows, *model.shape, generator=torch.Generator().manual_seed(1))
    conds = [model.condition(None, 1.0), model.condition(None, 2.0)] * rows
    return x, torch.linspace(*model.lam_span, rows), conds[:rows] if model.labels else None


@pytest.mark.parametrize("name", ["emoji-image", "emoji-video", "emoji-words"])
def test_embedded_graphs_answer_what_torch_does(name):
    one, other = (load_checkpoint(CHECKPOINTS / name, runtime=r) for r in ("torch", "onnx"))
    assert isinstance(other.denoise_float32.network, Quickest)
    rows = 2 if name == "emoji-video" else 3
    x, lam, conds = inputs(one, rows)
    wanted = one.denoise_float32(x, lam, conds)
    assert (other.denoise_float32(x, lam, conds) - wanted).abs().max() < 1e-4
    assert (other.denoise_float32(x, lam, conds) - wanted).square().mean().sqrt() < 1e-5


def test_guided_rows_of_any_number_agree(folder):
    one, other = (load_checkpoint(folder, runtime=r) for r in ("torch", "onnx"))
    for rows in (1, 2, 7):
        x, lam, _ = inputs(one, rows)
        conds = [one.condition("b", 1.0 + k) for k in range(rows)]
        wanted = one.denoise_float32(x, lam, conds)
        assert torch.allclose(other.denoise_float32(x, lam, conds), wanted, atol=1e-5)


def test_where_onnx_computes_the_quick_precision_is_float32(folder):
    model = load_checkpoint(folder, runtime="onnx")
    assert model.denoise is model.denoise_float32
    assert "ONNX Runtime" in model.runtime and "float32" in model.runtime


def test_the_graph_holds_no_second_copy_of_the_weights(folder):
    model = onnx.load(folder / GRAPH, load_external_data=False)
    inside = sum(len(t.raw_data) for t in model.graph.initializer)
    outside = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert inside < 1000 and outside == {WEIGHTS}


def test_a_checkpoint_without_a_graph_is_torch(folder):
    (folder / GRAPH).unlink()
    model = load_checkpoint(folder)
    assert not isinstance(model.denoise_float32.network, Quickest)
    assert model.runtime.startswith("torch")
    with pytest.raises(CheckpointError, match=r"graph\.onnx"):
        load_checkpoint(folder, runtime="onnx")


def test_saving_other_weights_removes_their_graph(folder):
    save_checkpoint(
        folder, UNet(dim=16, dim_mults=(1,), blocks=1), target="noise", shape=(3, 8, 8), labels={}
    )
    assert not (folder / GRAPH).exists()


def test_a_graph_of_other_weights_is_not_run(folder):
    raw = bytearray((folder / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (folder / WEIGHTS).write_bytes(raw)
    with pytest.raises(CheckpointError, match="other weights"):
        load_checkpoint(folder, runtime="onnx")
    assert load_checkpoint(folder).runtime.startswith("torch")


def location(path):
    def change(model):
        for tensor in model.graph.initializer[:1]:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = path

    return change


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "config.json", "./model.safetensors", ""]
)
def test_a_graph_may_name_no_other_file(folder, path):
    (folder.parent / "secret").write_bytes((folder / WEIGHTS).read_bytes())
    rewritten(folder, location(path))
    with pytest.raises(CheckpointError, match="another file"):
        open_graph(folder, 1)


def test_nor_does_one_in_a_tensor_of_a_node_or_of_a_branch(folder):
    def tensor():
        return onnx.TensorProto(
            name="t",
            dims=[1],
            data_type=1,
            data_location=onnx.TensorProto.EXTERNAL,
            external_data=[onnx.StringStringEntryProto(key="location", value="/etc/passwd")],
        )

    def constant(model):
        node = onnx.helper.make_node("Constant", [], ["t"], value=tensor())
        model.graph.node.append(node)

    def branch(model):
        inner = onnx.helper.make_graph([], "inner", [], [], initializer=[tensor()])
        model.graph.node.append(onnx.helper.make_node("If", ["c"], ["t"], then_branch=inner))

    def function(model):
        node = onnx.helper.make_node("Constant", [], ["t"], value=tensor())
        made = onnx.helper.make_function("d", "f", [], ["t"], [node], [])
        model.functions.append(made)

    original = (folder / GRAPH).read_bytes()
    for change in (constant, branch, function):
        (folder / GRAPH).write_bytes(original)
        rewritten(folder, change)
        with pytest.raises(CheckpointError, match="another file"):
            open_graph(folder, 1)


def test_a_location_that_is_written_twice_counts_twice(folder):
    """Readers take the last of two; here it is the one that would leave the folder."""
    honest = b"\n\x08location\x12\x11model.safetensors"
    twice = honest + b"\x12\x0b/etc/passwd"
    tensor = b"\x6a" + bytes([len(twice)]) + twice
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    model = b"\x3a" + bytes([len(graph)]) + graph
    parsed = onnx.ModelProto.FromString(model)
    assert parsed.graph.initializer[0].external_data[0].value == "/etc/passwd"
    (folder / GRAPH).write_bytes(model)
    with pytest.raises(CheckpointError, match="another file"):
        open_graph(folder, 1)


def test_damaged_graphs_are_refused_in_one_sentence(folder):
    whole = (folder / GRAPH).read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\xff" * 64, b"not a graph at all"):
        (folder / GRAPH).write_bytes(damage)
        with pytest.raises(CheckpointError) as error:
            open_graph(folder, 1)
        assert "\n" not in str(error.value)
        assert load_checkpoint(folder).runtime.startswith("torch")


def test_gradients_and_autocast_are_torchs(folder):
    network = load_checkpoint(folder, runtime="onnx").denoise_float32.network
    x = torch.zeros(1, 3, 8, 8, requires_grad=True)
    network(x, torch.zeros(1), torch.zeros(1, 1, dtype=torch.long)).sum().backward()
    assert x.grad is not None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = network(x, torch.zeros(1), torch.zeros(1, 1, dtype=torch.long))
    assert out.dtype == torch.bfloat16


def test_a_batch_goes_by_the_largest_measured_one_that_it_reaches(folder):
    network = load_checkpoint(folder, runtime="onnx").denoise_float32.network
    both = Quickest(network.network, network.graph, (3, 8, 8), {1: True, 2: True, 4: False})
    assert [both.runs_onnx(n) for n in (1, 2, 3, 4, 100)] == [True, True, True, False, False]
    assert str(both) == "ONNX Runtime, torch from 4 rows on (float32)"


def test_what_was_measured_is_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime, "_measured", lambda *_: {1: False, 8: True})
    assert load_checkpoint(folder).denoise.network.onnx_from == {1: False, 8: True}

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(runtime, "_measured", never)
    assert load_checkpoint(folder).denoise.network.onnx_from == {1: False, 8: True}
    other = shutil.copytree(folder, tmp_path / "other")
    torch.manual_seed(1)
    save_checkpoint(
        other,
        UNet(dim=16, dim_mults=(1, 2), blocks=1, axes=(2,)),
        target="velocity",
        shape=(3, 8, 8),
        labels={"kind": ("a", "b")},
    )
    (other / GRAPH).write_bytes((folder / GRAPH).read_bytes())  # their places are the same

    def made_for_these(model):
        (entry,) = (e for e in model.metadata_props if e.key == WEIGHTS_HASH)
        entry.value = file_hash(other / WEIGHTS)

    rewritten(other, made_for_these)
    with pytest.raises(AssertionError, match="measured again"):
        load_checkpoint(other)


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match="runtime must be one of auto, torch, onnx"):
        runtime.check_runtime("tensorrt")
    with pytest.raises(ValueError, match="runtime must be one of auto, torch, onnx"):
        dpm.load("mixture", runtime="tensorrt")


@pytest.mark.parametrize("model", ["mixture", "hub:owner/name", "pipeline", SimpleNamespace()])
def test_onnx_is_refused_for_a_model_that_is_no_checkpoint(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline" / "unet").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="^runtime: .* is no checkpoint"):
        dpm.load(model, runtime="onnx")


def test_a_checkpoint_without_a_graph_names_the_command_that_makes_one(folder):
    (folder / GRAPH).unlink()
    with pytest.raises(CheckpointError, match="no graph.onnx, which the command `export` makes"):
        dpm.load(folder, "cpu", runtime="onnx")


def test_clips_with_a_prior_along_time_export(tmp_path):
    torch.manual_seed(0)
    network = UNet3D(dim=16, dim_mults=(1,), blocks=1, motion=(0.8, 0.1, 0.05))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_checkpoint(tmp_path / "clip", network, target="velocity", shape=(3, 5, 8, 8), labels={})
    export_graph(tmp_path / "clip")
    one, other = (load_checkpoint(tmp_path / "clip", runtime=r) for r in ("torch", "onnx"))
    x, lam, _ = inputs(one, 3)
    wanted = one.denoise_float32(x, lam)
    assert torch.allclose(other.denoise_float32(x, lam), wanted, atol=1e-5)


def test_only_processors_ask_for_a_graph(folder, monkeypatch):
    def never(*_):
        raise AssertionError("a graph was asked for")

    monkeypatch.setattr("dpm_demo.models.checkpoint.quickest", never)
    assert load_checkpoint(folder, "meta").device.type == "meta"
    with pytest.raises(AssertionError, match="asked for"):
        load_checkpoint(folder, "cpu")
