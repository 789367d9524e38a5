"""The command line as a whole: what it imports, what it says of bad input, and what machines read.

The commands' own results are tested beside what they run.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dpm_demo import api
from dpm_demo.cli import bench, output
from dpm_demo.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]


def python(code: str, *words: str, **environment: str | None) -> subprocess.CompletedProcess[bytes]:
    """A process of its own; what is None is not in its environment."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={k: v for k, v in {**os.environ, **environment}.items() if v is not None},
        capture_output=True,
        check=False,
    )


RUN = "import sys; from dpm_demo.__main__ import main; code = main(sys.argv[1:]); "
HEAVY = (
    "print('heavy:', sorted({'torch', 'gradio', 'diffusers'} & set(sys.modules)), 'code:', code)"
)


def test_help_and_the_refusal_of_a_setting_import_neither_torch_nor_gradio() -> None:
    asked = ["--help", *(f"{name} --help" for name in COMMANDS), "sample --nfe 0"]
    each = "import sys; from dpm_demo.__main__ import main; code = [main(w.split()) for w in %r]; "
    ended = python(each % asked + HEAVY)
    codes = [0] * (len(asked) - 1) + [1]
    assert f"heavy: [] code: {codes}" in ended.stdout.decode(), ended.stderr


def test_sample_imports_no_gradio_and_teams_of_threads_wait_asleep(tmp_path: Path) -> None:
    words = f"sample --model mixture --nfe 2 --count 1 --quiet --out {tmp_path}".split()
    # torch's OpenMP then says what it is
    ended = python(RUN + HEAVY, *words, OMP_WAIT_POLICY=None, OMP_DISPLAY_ENV="TRUE")
    assert b"heavy: ['torch'] code: 0" in ended.stdout, ended.stderr
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert b"OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr


def test_what_one_says_of_teams_of_threads_stays() -> None:
    code = "import dpm_demo.cli.main, torch"
    ended = python(code, OMP_WAIT_POLICY="ACTIVE", OMP_DISPLAY_ENV="TRUE")
    assert b"OMP_WAIT_POLICY = 'ACTIVE'" in ended.stderr


def test_the_runtime_that_is_asked_for_computes_or_is_refused(tmp_path: Path, monkeypatch) -> None:
    seen = []

    def load(name: str, device: str, *, runtime: str, offload: bool) -> object:
        seen.append(runtime)
        return real(name, device, runtime=runtime, offload=offload)

    real = api.load
    monkeypatch.setattr(api, "load", load)
    words = f"--nfe 2 --count 1 --quiet --out {tmp_path}".split()
    for name in ("torch", "onnx"):
        assert main(["sample", "--runtime", name, *words]) == 0
    assert main(["compare", "--runtime", "torch", "--model", "mixture", *words]) == 0
    assert seen == ["torch", "onnx", "torch"]
    assert main(["sample", "--runtime", "fast", *words]) == 2


def test_every_command_has_help_and_the_options_that_all_have(capsys) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert {"--quiet", "--json", "--debug"} <= set(shown.split()), name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("smaple", "No such command"),
        ("sample --bugdet 3", "No such option"),
        ("train --out x", "--data"),
        ("prepare music --out x", "images"),
        ("evaluate --error-seeds many", "error-seeds"),
        ("serve --port 70000", "--port"),
    ],
)
def test_words_that_are_no_command_are_one_line_and_code_2(words, says, capsys) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "serve --max-memory nan",
        "serve --device tpu",
        "evaluate --seed 3 --seed-range 0:4",
        "evaluate --seed -1",
        "sample --model mixture --nfe 2 --out {}/file",
        "sample --model mixture --nfe 2 --out {}/file/below",
        "compare --model mixture --nfe 2 --out {}/file",
        "features --data {}/file",
        "train --data {}/file --out {}/out",
        "train --data {} --out {}",
        "train --data {} --out {}/model",
        "train --data {} --out {}-model --sharpen 3",
        "train --data {} --out {}-model --sharpen nan --weak {} --start {}",
        "prepare images --out {}/emoji.npz --packages {}/none",
        "sample --model mixture --count 100000000 --out {}",
        "sample --model mixture --count 9000 --height 4096 --out {}",
        "compare --model mixture --count 100000000 --out {}",
    ],
)
def test_bad_input_is_one_line_and_code_1(words: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    assert main(words.replace("{}", str(tmp_path)).split()) == 1
    error = capsys.readouterr().err
    assert error.startswith(words.split(maxsplit=1)[0] + ":") and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing is made


def test_no_workers_become_no_more_without_a_cluster(monkeypatch, capsys) -> None:
    monkeypatch.setattr("dpm_demo.ui.page.run", lambda *made, **options: None)
    assert main(["serve", "--workers", "0:5"]) == 1
    assert capsys.readouterr().err.startswith("serve: workers must be from 1 on")
    assert main(["serve", "--workers", "0:5", "--ray", "10.0.0.1:6379"]) == 0


@pytest.mark.parametrize(
    "raised", [RuntimeError("two\nlines"), KeyError("category"), OSError(28, "No space left")]
)
def test_whatever_is_raised_is_one_line_and_debug_shows_where(raised, monkeypatch, capsys) -> None:
    def fails(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(bench.subprocess, "run", fails)
    assert main(["bench", "engine"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert main(["bench", "--debug", "engine"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "in fails" in error


def test_a_command_that_is_told_to_end_ends_as_from_the_keyboard(monkeypatch, capsys) -> None:
    def told(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(bench.subprocess, "run", told)
    try:
        assert main(["bench", "engine"]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err.startswith("bench: stopped after")


def test_json_is_all_that_standard_output_has(tmp_path: Path, capsys) -> None:
    assert main(f"sample --model mixture --nfe 3 --count 1 --json --out {tmp_path}".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(Path(file).stat().st_size for file in found["files"]) and len(found["files"]) == 2
    assert found["settings"]["nfe"] == 3
    words = f"compare --model mixture --nfe 4,8 --orders 1 --json --out {tmp_path}"
    assert main(words.split()) == 0
    found = json.loads(capsys.readouterr().out)
    small, large = found["cells"]
    assert (small["nfe"], large["nfe"]) == (4, 8) and small["rmse"] > large["rmse"] > 0
    assert set(found["slopes"]) == {"order=1"}


def test_a_comparison_keeps_its_figures_where_its_grid_would_be_too_large(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("dpm_demo.media.grid.MAX_SIDE", 40)
    assert main(f"compare --model mixture --nfe 4 --orders 1 --out {tmp_path}".split()) == 1
    assert "the grid would be" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "convergence.png"}


def test_json_has_no_number_that_json_does_not_have() -> None:
    assert json.loads(output.to_json({"a": [float("inf"), 1.5], "b": (Path("x"), None)})) == {
        "a": ["inf", 1.5],
        "b": ["x", None],
    }


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("prepare images --packages {}/file --out {}/x.npz", "packages"),
        ("prepare images --packages {} --out {}/emoji", "out"),
        ("prepare videos --packages {} --out {}/file/x.npz", "out"),
        ("prepare videos --packages {} --out {}/x.npz --words", "words"),
        ("prepare images --packages {} --out {}/x.npz --frames 8", "frames"),
        ("evaluate --inception-weights {}/file --out {}", "inception-weights"),
        (
            "train --data {}/mine --out {}/out --start checkpoints/emoji-image "
            "--weak checkpoints/emoji-image",
            "start",
        ),
    ],
)
def test_a_refusal_names_the_option_that_it_is_about(words, option, tmp_path, capsys) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    (tmp_path / "mine").mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (32, 32), colour).save(tmp_path / "mine" / f"{colour}.png")
    assert main(words.replace("{}", str(tmp_path)).split()) == 1
    assert f": {option}: " in capsys.readouterr().err


def test_a_cell_that_fails_leaves_the_others_and_is_said(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    model = api.load("mixture", "cpu")
    middle = sum(model.lam_span) / 2  # the one inner node of two evaluations

    def fails_there(x: torch.Tensor, lam: torch.Tensor, **cond: object) -> torch.Tensor:
        found = model.denoise_float32(x, lam, **cond)
        found[(lam - middle).abs() < 0.1] = torch.nan
        return found

    broken = replace(model, denoise_float32=fails_there)
    monkeypatch.setattr(api, "load", lambda *_, **__: broken)
    assert main(f"compare --nfe 2,3 --orders 1 --json --out {tmp_path}".split()) == 0
    said = capsys.readouterr()
    first, second = json.loads(said.out)["cells"]
    assert first["rmse"] is None and second["rmse"] > 0
    assert "finite" in said.err
    assert main(f"compare --nfe 2 --orders 1 --out {tmp_path}".split()) == 1
    said = capsys.readouterr().err
    assert "finite" in said and "--debug" not in said, "a refusal, and no error of this program"


def test_quiet_says_nothing(tmp_path: Path, capsys) -> None:
    assert main(f"sample --model mixture --nfe 2 --quiet --out {tmp_path}".split()) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["sample", "--nfe", "0", "--quiet"]) == 1
    assert "nfe" in capsys.readouterr().err, "a refusal is no text to be quiet about"


def test_without_a_terminal_progress_is_a_line_every_ten_seconds() -> None:
    said, now = io.StringIO(), [0.0]
    bar = output._Lines(
        total=40, mininterval=output.SILENCE, delay=output.SILENCE, ascii=True, file=said
    )
    bar._time = lambda: now[0]
    bar.start_t = bar.last_print_t = 0.0
    bar.miniters, bar.dynamic_miniters = 1, False
    for second in range(1, 36):
        now[0] = float(second)
        bar.update()
    lines = said.getvalue().splitlines()
    assert [line.split("|")[2].split()[0] for line in lines] == ["10/40", "20/40", "30/40"]
    assert "\r" not in said.getvalue()


def test_output_that_a_terminal_cannot_show_is_replaced_and_files_are_utf_8(tmp_path) -> None:
    ended = python(RUN + "print('code:', code)", "λ", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert b"code: 2" in ended.stdout and b"No such command" in ended.stderr  # and it can be said
    output.write(tmp_path / "a.csv", "λ,σ\n")
    assert (tmp_path / "a.csv").read_bytes() == "λ,σ\n".encode()


def test_a_command_that_fails_late_leaves_no_half_file(tmp_path: Path, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    (tmp_path / "table.csv").write_text("older", encoding="utf-8")
    assert main(f"compare --model mixture --nfe 2 --orders 1 --out {tmp_path}".split()) == 1
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("table.csv", b"older")]


def test_the_old_spellings_of_train_are_read(tmp_path: Path, capsys) -> None:
    words = f"train --data {tmp_path}/pictures --out {tmp_path}/out --prediction music --fold 2"
    assert main(words.split()) == 1
    assert "target: 'music'" in capsys.readouterr().err


def test_a_long_run_says_beforehand_how_long_it_takes(tmp_path: Path, monkeypatch, capsys) -> None:
    words = f"--model mixture --out {tmp_path}".split()
    for command in (["sample", "--nfe", "12"], ["compare", "--nfe", "5,7", "--orders", "1"]):
        assert main([*command, *words]) == 0
        assert "about" not in capsys.readouterr().err, "a short one says nothing"
    monkeypatch.setattr(output, "LONG", 0.0)
    for command, said in ((["sample", "--nfe", "12"], 48), (["compare", "--nfe", "5,7"], 36)):
        assert main([*command, *words]) == 0
        error = capsys.readouterr().err
        assert re.search(rf"^about [\d.]+ s on this machine: {said} evaluations$", error, re.M)
    assert main(["sample", "--quiet", *words]) == 0
    assert capsys.readouterr().err == ""
