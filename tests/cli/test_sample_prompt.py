"""`python -m dpm_demo sample` and `compare` with a text-to-image folder."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import tiny

from dpm_demo.__main__ import main
from dpm_demo.media.png import png_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("models") / "tiny-sd"
    tiny.stable_diffusion().save_pretrained(where)
    return where


def run(text: str, folder: Path, out: Path) -> None:
    main([*shlex.split(text), "--model", str(folder), "--out", str(out)])


def test_a_prompt_becomes_files_that_carry_it(folder: Path, tmp_path: Path) -> None:
    words = "--prompt 'a cat' --negative-prompt dog --guidance 3 --height 24"
    run(f"sample {words} --nfe 3 --count 1 --offload", folder, tmp_path)
    said = json.loads(png_text(next(tmp_path.glob("*.png")).read_bytes())["dpm-demo"])
    assert (said["prompt"], said["negative_prompt"], said["height"]) == ("a cat", "dog", 24)


def test_solvers_are_compared_on_a_prompt(folder: Path, tmp_path: Path) -> None:
    run("compare --prompt 'a cat' --nfe 4,8 --orders 1,2 --offload", folder, tmp_path)
    table = next(tmp_path.glob("*.csv")).read_text(encoding="utf-8")
    assert len(table.strip().splitlines()) == 5


def test_guidance_that_is_not_said_is_the_models_own(folder: Path, tmp_path: Path) -> None:
    run("sample --prompt 'a cat' --nfe 2 --count 1", folder, tmp_path)
    said = json.loads(png_text(next(tmp_path.glob("*.png")).read_bytes())["dpm-demo"])
    assert said["guidance"] == 7.5


def test_an_adaptive_run_says_what_it_spent_and_not_its_cap(tmp_path: Path, capsys) -> None:
    words = "sample --model mixture --method adaptive --tolerance 0.2 --count 2 --json --out"
    assert main([*words.split(), str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["nfe"] < said["settings"]["nfe"] == 200
