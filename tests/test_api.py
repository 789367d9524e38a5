"""What the README shows in Python and on the command line does what it says."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

import dpm_demo as dpm
from dpm_demo.__main__ import main
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_to_end
from dpm_demo.engine.job import Job
from dpm_demo.media.png import png_text
from dpm_demo.models.checkpoint import save_checkpoint
from dpm_demo.models.unet import UNet
from dpm_demo.request.code import KINDS, code_for
from dpm_demo.request.codec import read

MIXTURE = dpm.load("mixture", device="cpu")


def test_generate_gives_one_sample_a_seed_that_no_neighbour_changes() -> None:
    solver = dpm.Solver(nfe=8, order=3)
    together = dpm.generate(MIXTURE, solver, seeds=[4, 5, 6])
    assert together.shape == (3, 3, 32, 32) and together.dtype == torch.float32
    for k, seed in enumerate((4, 5, 6)):
        alone = dpm.generate(MIXTURE, solver, seeds=[seed])
        assert torch.allclose(alone[0], together[k], atol=1e-5)


def test_stream_ends_with_what_generate_returns_after_every_evaluation() -> None:
    solver = dpm.Solver(nfe=7, order=2)
    frames = list(dpm.stream(MIXTURE, solver, seeds=[0]))
    assert [f.nfe for f in frames] == [1, 2, 3, 4, 5, 6, 7, 7] and frames[-1].final
    lams = [f.lam for f in frames]
    assert lams == sorted(lams) and lams[0] == -5.0 and lams[-1] == 4.6
    assert torch.equal(frames[-1].x, dpm.generate(MIXTURE, solver, seeds=[0]))


def test_the_readme_example_of_integrate_takes_any_denoiser() -> None:
    x_t = torch.randn(2, 5, dtype=torch.float64)
    x = dpm.integrate(
        lambda x, lam: torch.zeros_like(x), x_t, dpm.Solver(nfe=9, order=3), lam_span=(-5.0, 4.6)
    )
    # data that is always 0: the flow only rescales the noise
    sigma = [torch.sigmoid(torch.tensor(-2.0 * lam).double()).sqrt() for lam in (-5.0, 4.6)]
    assert torch.allclose(x, x_t * sigma[1] / sigma[0], atol=1e-12)


def test_a_trained_folder_is_loaded_by_its_path(tmp_path: Path) -> None:
    network = UNet(dim=16, dim_mults=(1, 2), axes=(2,))
    labels = {"class": ("cats", "dogs")}
    save_checkpoint(tmp_path / "mine", network, target="data", shape=(3, 16, 16), labels=labels)
    model = dpm.load(str(tmp_path / "mine"), device="cpu")
    assert dpm.generate(model, dpm.Solver(nfe=2), seeds=[0], label="cats").shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="unknown to mine"):
        dpm.generate(model, dpm.Solver(nfe=2), label="birds")
    with pytest.raises(ValueError, match="'cats' and 'dogs' are both a class"):
        dpm.generate(model, dpm.Solver(nfe=2), label="cats dogs")


@pytest.mark.parametrize("name", ["no-such-model", "../../etc", "", "x" * 5000])
def test_an_unknown_model_is_one_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="is no checkpoint") as caught:
        dpm.load(name, device="cpu")
    assert len(str(caught.value)) < 400


def test_the_sample_command_writes_a_picture_that_carries_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "sample --model mixture --nfe 5 --order 3 --count 3 --seed 9 --schedule cosine"
    assert main([*words.split(), "--out", str(tmp_path)]) == 0
    picture, film = (Path(p) for p in capsys.readouterr().out.splitlines()[:2])
    request = read(json.loads(png_text(picture.read_bytes())["dpm-demo"]))
    assert (request.count, request.seed, request.solver) == (
        3,
        9,
        dpm.Solver(nfe=5, order=3, schedule="cosine"),
    )
    assert Image.open(film).n_frames > 1


def test_samples_are_written_though_one_of_them_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(failing: int, job: Job, cost: int) -> Done:
        done = run_to_end(job)
        (track,) = done.tracks
        lost = [
            replace(row, sample=None, error="seed 0: not finite.") for row in track.rows[:failing]
        ]
        rows = (*lost, *track.rows[failing:])
        return replace(done, tracks=(replace(track, rows=rows),))

    words = ["sample", "--model", "mixture", "--nfe", "2", "--count", "4", "--out", str(tmp_path)]
    for failing, code in ((1, 0), (4, 1)):
        monkeypatch.setattr("dpm_demo.cli.sample.output.run", partial(run, failing))
        assert main(words) == code
        said = capsys.readouterr()
        assert "seed 0: not finite." in said.out + said.err
        assert ("The other 3 are written" in said.out) == (code == 0)
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_the_compare_command_writes_grid_plot_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "compare --model mixture --orders 1,2,3 --nfe 10,20,40 --no-taper"
    assert main([*words.split(), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for order, slope in ((1, 1.0), (2, 2.0), (3, 3.0)):
        line = next(x for x in out.splitlines() if x.startswith(f"order={order}: slope"))
        assert float(line.split()[-1]) == pytest.approx(slope, abs=0.5)
    assert len((tmp_path / "table.csv").read_text().strip().splitlines()) == 10
    assert Image.open(tmp_path / "grid.png").width > 3 * 128
    assert Image.open(tmp_path / "convergence.png").format == "PNG"
    page = (tmp_path / "convergence.html").read_text()
    assert "order=3" in page and "<script src=" not in page


@pytest.mark.parametrize(
    "words",
    [
        "sample --model mixture --nfe 0",
        "sample --model mixture --nfe abc",
        "sample --model mixture --order 4",
        "sample --model nowhere",
        "sample --model mixture --label dragons",
        "sample --model mixture --method adaptive --schedule cosine",
        "sample --model mixture --device tpu",
        "compare --model mixture --orders 1,9",
        "compare --model mixture --nfe 5,zero",
        "compare --model mixture --seed NaN",
        "train --data /nowhere --out /tmp/never-made --minutes 1",
        "train --data /nowhere --out /tmp/never-made --minutes -1",
        "train --data /nowhere --out /tmp/never-made --drop 2",
        "train --data {mine} --out {}/out --minutes 0.01 --weak checkpoints/emoji-image",
        "train --data {mine} --out {}/out --minutes 0.01 --start checkpoints/emoji-image "
        "--weak checkpoints/emoji-image",
        "bench no-such-figure",
        "prepare images --packages {} --out {}/x.npz",
    ],
)
def test_a_bad_command_ends_with_one_clear_line_and_a_failure(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "mine" / "one.png")
    words = words.replace("{mine}", "{}/mine").replace("{}", str(tmp_path))
    assert main(words.split()) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and error.startswith(words.split(maxsplit=1)[0] + ":")


@pytest.mark.parametrize("kind", KINDS)
def test_code_to_copy_is_valid_and_names_the_settings(kind: str) -> None:
    request = read({"nfe": 9, "order": 3, "schedule": "karras", "count": 2, "label": "fluent food"})
    code = code_for(kind, request)
    if kind != "Command line":
        compile(code, "copied", "exec")
    assert "9" in code and "karras" in code


@pytest.mark.parametrize("kind", ["diffusers", "diffusers pipeline"])
@pytest.mark.parametrize(
    ("solver", "known"),
    [
        ({"schedule": "calibrated"}, False),
        ({"table": "heun"}, False),
        ({"schedule": "flow", "shift": 3.0}, False),
        ({"schedule": "flow"}, True),
        ({"denoise_to_zero": True}, True),
        ({"order": 3, "threshold": "dynamic"}, True),
        ({"order": 3, "prediction": "noise", "lower_order_final": False}, True),
        ({"corrector": True, "lower_order_final": False}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [{}, {"height": 16, "width": 16}], ids=str)
def test_code_for_diffusers_makes_a_scheduler_or_says_that_none_is_known(
    kind: str, solver: dict[str, object], known: bool, size: dict[str, int]
) -> None:
    code = code_for(kind, read({"nfe": 5, **solver, **size}))
    if not known:
        assert code.startswith("# no code for diffusers is known for ") and code.count("\n") == 1
        return
    pipe = SimpleNamespace(scheduler=DDIMScheduler())
    made = [line for line in code.splitlines() if line.startswith(("import", "from", "pipe.s"))]
    exec("\n".join(made), {"pipe": pipe})
    pipe.scheduler.set_timesteps(5)
    x = torch.ones(1, 3, 4, 4)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(x, t, x).prev_sample
    assert x.isfinite().all()


def test_code_for_diffusers_says_every_setting_that_its_scheduler_has() -> None:
    def copied(**solver: object) -> str:
        return code_for("diffusers", read({"nfe": 6, **solver}))

    noise = copied(corrector=True, prediction="noise", lower_order_final=False, schedule="linear")
    assert "predict_x0=False" in noise and "lower_order_final=False" in noise
    ends = [copied(schedule="linear", denoise_to_zero=zero) for zero in (False, True)]
    assert "'sigma_min'" in ends[0] and "'zero'" in ends[1]
    # there these two are how a network was trained, and quantiles over sigma
    assert all("dpm.DPMScheduler" in copied(schedule=name) for name in ("cosine", "beta"))


def test_the_copied_python_draws_the_same_picture_as_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = read({"model": "mixture", "nfe": 6, "order": 3, "method": "singlestep", "seed": 3})
    scope: dict[str, object] = {}
    exec(code_for("Python", request), scope)
    expected = dpm.generate(MIXTURE, request.solver, seeds=request.seeds)
    assert torch.equal(scope["images"], expected)


def test_the_copied_command_is_what_the_parser_takes(tmp_path: Path) -> None:
    request = read(
        {"model": "mixture", "nfe": 4, "order": 2, "corrector": True, "lower_order_final": False}
    )
    import shlex

    words = shlex.split(code_for("Command line", request))[3:]
    words[words.index("--out") + 1] = str(tmp_path)
    assert main(words) == 0
    (picture,) = tmp_path.glob("*.png")
    assert read(json.loads(png_text(picture.read_bytes())["dpm-demo"])).solver == request.solver
