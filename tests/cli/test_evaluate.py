"""`python -m dpm_demo evaluate`, as it is called."""

import csv
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dpm_demo as dpm
from dpm_demo.__main__ import main
from dpm_demo.cli import evaluate as command
from dpm_demo.quality import classes, extract
from dpm_demo.quality.results import Results
from dpm_demo.training.data import EMOJI_AXES, Pictures

SMALL = "evaluate --model mixture --nfe 2,4 -n 24 --error-seeds 2 --solvers order=1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 40 pictures of noise, 10 of them held out."""
    n = 40
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=generator).to(torch.uint8)
    no, held = torch.zeros(n, dtype=torch.bool), torch.arange(n) >= 30
    labels = torch.zeros(n, 1, dtype=torch.int16)
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    Pictures(pixels, labels, {"class": ("noise",)}, torch.arange(n), no, held).save(path)
    return path


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 pictures; what is said of their number does not hang on how often each is drawn."""

    def draw(pictures: Pictures, look: extract.Extractor, train: int, **more: Any) -> Any:
        return real(pictures, look, train // 5, 200, **more)

    real = extract.draw_real
    monkeypatch.setattr(extract, "draw_real", draw)


@pytest.mark.usefixtures("fewer_draws")
def test_evaluate_writes_a_report_and_goes_on_where_it_was(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL.split(), "--data", str(data), "--out", str(tmp_path)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "**FD (emoji features)**, n = 24" in text
    assert "FID" not in text
    assert "n = 24, below 2,000" in text
    assert "30 distinct real pictures, below 2,000" in text
    found = Results.read(tmp_path / "results.json")
    lines = {(line.solver, line.nfe): line for line in found.lines}
    assert lines["order=1", 2].rmse > lines["order=1", 4].rmse > 0  # type: ignore[operator]
    assert all(lines["order=1", n].fd is not None for n in (2, 4))
    assert found.held_out is not None
    assert found.notes["distinct real pictures"] == {"training": 30, "held out": 10}
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert {row["nfe"] for row in rows} >= {"2", "4"}
    for name in ("results.md", "results.html", "results.png"):
        assert (tmp_path / name).stat().st_size > 500

    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "units").glob("*/*.npz")}
    assert main([*words, "--solvers", "order=2", "--metrics", "rmse"]) == 0
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "units").glob("*/*.npz")}
    assert {p: after[p] for p in written} == written, "a unit was computed again"
    merged = Results.read(tmp_path / "results.json")
    assert next(x for x in merged.lines if x.solver == "order=2").rmse is not None
    assert next(x for x in merged.lines if x.solver == "order=1").fd is not None


@pytest.mark.usefixtures("fewer_draws")
def test_distances_to_other_pictures_are_another_sweep_and_what_is_left_out_is_said(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL.split(), "--metrics", "fd", "--out", str(tmp_path / "out")]
    assert main([*words, "--data", str(data)]) == 0
    for k in range(3):
        noise = np.random.default_rng(k).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        (tmp_path / "mine").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "mine" / f"{k}.png")
    (tmp_path / "mine" / "cut.png").write_bytes(b"\x89PNG")
    capsys.readouterr()
    assert main([*words, "--data", str(tmp_path / "mine")]) == 1
    said = capsys.readouterr().err
    assert "3 pictures in 1 class" in said and "cut.png" in said
    assert "real.json" in said.splitlines()[-1] and "choose another folder" in said


@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("solver", ["dpm_adaptive", "order=2 window=2"])
def test_the_neighbours_are_of_a_setting_whatever_it_spent(
    solver: str, tmp_path: Path, data: Path
) -> None:
    words = ["evaluate", "--model", "mixture", "--nfe", "4", "-n", "3", "--metrics", "fd"]
    more = ["--solvers", solver, "--data", str(data), "--out", str(tmp_path)]
    assert main([*words, *more]) == 0
    found = Results.read(tmp_path / "results.json")
    assert found.notes["neighbours"]["n"] == 3
    assert found.notes["neighbours"]["nfe"] == found.lines[0].nfe != 4


@pytest.mark.usefixtures("fewer_draws")
def test_what_was_measured_is_written_before_the_notes_are_made(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*asked: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_neighbours", stopped)
    words = [*SMALL.split(), "--metrics", "fd", "--data", str(data), "--out", str(tmp_path)]
    main(words)
    assert [line.nfe for line in Results.read(tmp_path / "results.json").lines] == [2, 4]


@pytest.mark.usefixtures("fewer_draws")
def test_what_another_program_adds_to_the_folder_meanwhile_is_kept(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def added(*asked: Any) -> dict[str, Any]:
        now = Results.read(tmp_path / "results.json")
        other = replace(now, lines=(replace(now.lines[0], solver="order=3"),), notes={"theirs": 1})
        other.with_known(now).write(tmp_path)
        return {}

    monkeypatch.setattr(command, "_neighbours", added)
    words = [*SMALL.split(), "--metrics", "fd", "--data", str(data), "--out", str(tmp_path)]
    assert main(words) == 0
    found = Results.read(tmp_path / "results.json")
    assert {line.solver for line in found.lines} == {"order=1", "order=3"}
    assert found.notes.keys() >= {"theirs", "neighbours"}


def test_of_clips_without_errors_their_motion_is_measured(tmp_path: Path) -> None:
    words = ["evaluate", "--model", "mixture-video", "--nfe", "2", "-n", "3", "--metrics", "rmse"]
    more = ["--error-seeds", "0", "--solvers", "order=1", "--out", str(tmp_path)]
    assert main([*words, *more]) == 0
    (line,) = Results.read(tmp_path / "results.json").lines
    assert line.difference is not None and line.rmse is None


def test_class_accuracy_is_of_the_guidance_and_leaves_out_pictures_of_other_classes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "class_accuracy", lambda m, n, guidance, **more: {"all": guidance})
    model, other = dpm.load("emoji-image", "cpu"), Pictures.load(data)
    note = command._class_accuracy(model, 2, 2.0, other)
    assert note["guidance"] == note["all"] == 2 and "held-out pictures" not in note
    labels = torch.zeros(len(other), 2, dtype=torch.int16)
    same = replace(other, axes={**other.axes, "category": EMOJI_AXES["category"]}, labels=labels)
    assert 0 <= command._class_accuracy(model, 2, 2.0, same)["held-out pictures"] <= 1


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 4, 32, 32)])
def test_real_pictures_of_another_size_are_refused_before_any_work(
    shape: tuple[int, ...], tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Pictures.load(data)
    pixels = torch.zeros(len(known), *shape, dtype=torch.uint8)
    replace(known, data=pixels).save(tmp_path / "other.npz")
    words = ["--data", str(tmp_path / "other.npz"), "--out", str(tmp_path / "out")]
    assert main([*SMALL.split(), *words]) == 1
    said = capsys.readouterr().err.strip()
    size = " x ".join(map(str, shape[1:]))
    assert f"data: its pictures are of {size} pixels, and mixture makes 32 x 32" in said
    assert len(said.splitlines()) == 1 and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--metrics fid", "metrics"),
        ("--nfe 0", "budgets"),
        ("--seed-range 5:5", "seed-range must be like 0:2000"),
        ("--seed-range 0:5 -n 9", "n must be at most the 5 seeds"),
        ("-n 0", "n must be a whole number from 1"),
        ("--solvers quick", "'quick' is unknown"),
        ("--solvers best:6", "errors in --out first"),
        ("--features vgg", "features must be one of"),
        ("--features inception --inception-weights nowhere.pth", "torch-fidelity"),
        ("--guidance much", "guidance must be a number"),
        ("--model nowhere", "no checkpoint"),
        ("--model mixture-video", "--data"),
        ("--metrics fd", "give --data"),
        ("--error-seeds -1", "error-seeds"),
        ("--per-class -1", "per-class"),
        ("--per-class 2", "per-class: mixture has no categories"),
        ("--per-class 2 --model emoji-video", "per-class: it is of pictures, and emoji-video"),
        ("--per-class 2 --metrics rmse", "per-class is measured beside fd"),
        ("--metrics rmse --solvers 'order=2 eta=1'", "'order=2 eta=1.0' draws noise of its own"),
        ("--metrics psnr --error-seeds 0", "error-seeds must be from 1 on"),
        ("--precision fast", "too coarse for errors"),
        ("--label drawn --metrics fd", "give --data"),
    ],
)
def test_bad_input_gives_one_sentence_and_exit_code_1(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["evaluate", "--model", "mixture", "--out", str(tmp_path)]
    assert main([*base, *shlex.split(words)]) == 1
    error = capsys.readouterr().err.strip()
    assert sentence.lower() in error.lower()
    assert len(error.splitlines()) == 1 and not list(tmp_path.glob("*/*"))


def test_features_of_pictures_that_are_no_emoji_are_refused_before_anything_is_written(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features"
    for minutes in ("0", "1"):
        words = ["features", "--data", str(data), "--out", str(out), "--minutes", minutes]
        assert main(words) == 1
        error = capsys.readouterr().err.strip()
        assert "labels style, category" in error and "with class" in error
        assert len(error.splitlines()) == 1
    assert not out.exists()
