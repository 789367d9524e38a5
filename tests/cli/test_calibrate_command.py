"""Calibrate and advise from the command line."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import tiny

import dpm_demo as dpm
from dpm_demo import api
from dpm_demo.calibrate.run import beside, read_prompts
from dpm_demo.cli.main import main
from dpm_demo.models.calibrated import load_fits, with_fits
from dpm_demo.models.checkpoint import CHECKPOINTS

FEW = ["--samples", "4", "--held", "4", "--iterations", "2"]
SHORT = [*FEW, "--nfe", "3"]


@pytest.fixture
def fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, dict]:
    out = tmp_path / "calibrated.json"
    assert main(["calibrate", "--model", "mixture", *SHORT, "--out", str(out), "--json"]) == 0
    return out, json.loads(capsys.readouterr().out)


def test_calibrate_writes_a_file_that_the_schedule_calibrated_reads(fitted: tuple[Path, dict]):
    out, told = fitted
    model = dpm.load("mixture", device="cpu")
    model = with_fits(model, load_fits(out, model.digest))
    assert dpm.generate(model, dpm.Solver(nfe=3, schedule="calibrated")).isfinite().all()
    assert told["fits"][0]["rmse"] == model.fits[0].rmse


def test_an_unfinished_file_goes_on(fitted: tuple[Path, dict], capsys):
    out, _ = fitted
    first = load_fits(out, dpm.load("mixture", device="cpu").digest)[0]
    words = [*FEW, "--nfe", "2,3", "--out", str(out), "--json"]
    assert main(["calibrate", "--model", "mixture", *words]) == 0
    fits = load_fits(out, dpm.load("mixture", device="cpu").digest)
    assert [fit.nfe for fit in fits] == [2, 3] and fits[1] == first


@pytest.mark.parametrize(
    "other",
    [
        ["--iterations", "3"],
        ["--samples", "5"],
        ["--nodes-only"],
        ["--batch", "3"],
        ["--held", "5"],
    ],
)
def test_a_file_of_fits_made_in_another_way_is_refused(
    fitted: tuple[Path, dict], other: list[str], capsys
):
    out, _ = fitted
    before = out.read_bytes()
    assert main(["calibrate", "--model", "mixture", *SHORT, *other, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "3 evaluations fitted in another way (nodes and weights, 2 iterations on 4" in said
    assert out.read_bytes() == before


def test_a_fit_begins_as_that_of_a_model_that_it_is_like(tmp_path: Path, capsys):
    words = ["--model", "mixture", "--nfe", "5", *FEW, "--plain", "--like", "mixture", "--json"]
    assert main(["calibrate", *words, "--out", str(tmp_path / "fits.json")]) == 0
    assert json.loads(capsys.readouterr().out)["fits"][0]["start"] == "another model's table"


def test_nodes_alone_are_printed_as_sigmas_and_leave_the_weights_exact(tmp_path: Path, capsys):
    out = tmp_path / "nodes.json"
    words = ["calibrate", "--model", "mixture", *SHORT, "--nodes-only", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    model = dpm.load("mixture", device="cpu")
    (fit,) = load_fits(out, model.digest)
    printed = shown.split("sigmas: ")[1].splitlines()[0]
    assert [float(v) for v in printed.split(",")] == pytest.approx(
        [math.exp(-lam) for lam in fit.lambdas], rel=1e-4
    )
    assert fit.told == pytest.approx(fit.lambdas[:-1])


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A folder with an unconditional pipeline."""
    tiny.unconditional().save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_what_was_fitted_to_a_pipeline_is_read_with_it(pipeline: Path, capsys):
    assert main(["calibrate", "--model", str(pipeline), *SHORT]) == 0
    wrote = capsys.readouterr().out.splitlines()[-1]
    assert wrote == f"wrote {pipeline / 'calibrated.json'}, which is read with the model"
    assert [fit.nfe for fit in dpm.load(pipeline).fits] == [3]


def test_a_pipeline_without_an_index_has_its_fits_beside_it_too(pipeline: Path):
    (pipeline / "model_index.json").unlink()
    assert beside(str(pipeline)) == pipeline / "calibrated.json"


def test_a_file_that_no_model_reads_is_said_to_be_none(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", "--model", "mixture", *SHORT]) == 0
    where = Path("out/mixture/calibrated.json")
    assert where.exists()
    assert f"wrote {where}, which is not read by itself" in capsys.readouterr().out


def test_fits_lie_beside_the_weights_that_they_were_fitted_to():
    assert beside("emoji-image") == CHECKPOINTS / "emoji-image" / "calibrated.json"
    assert beside("mixture", nodes_only=True) == Path("out/mixture/calibrated-nodes.json")


def test_prompts_are_read_a_line_each(tmp_path: Path):
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\n\n a dog \n", encoding="utf-8")
    assert read_prompts(file) == ("a cat", "a dog")
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no line with words"):
        read_prompts(file)


def test_advise_refuses_a_folder_that_cannot_be_before_the_race(
    tmp_path: Path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setattr("dpm_demo.calibrate.race.Race.run", lambda race: pytest.fail("it ran"))
    assert main(["advise", "--model", "mixture", "--out", str(tmp_path / "file")]) == 1
    assert "out: " in capsys.readouterr().err


def test_advise_ranks_solvers_and_gives_code(tmp_path: Path, monkeypatch, capsys):
    mixture = dpm.load("mixture", device="cpu")
    monkeypatch.setattr(api, "load", lambda name, device: {"my/mixture": mixture}[name])
    words = ["advise", "--model", "my/mixture", "--nfe", "2", "--count", "8", "--json", "--out"]
    assert main([*words, str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    errors = [line["rmse"] for line in found["lines"]]
    assert errors == sorted(errors) and len(errors) >= 8
    assert set(found["code"]) == {"Python", "Command line", "diffusers", "ComfyUI"}
    assert "dpm.load('my/mixture')" in found["code"]["Python"], "as it was named here"
    assert json.loads((tmp_path / "advice.json").read_text()) == found
    assert "<html>" in (tmp_path / "advice.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["advise", "--nfe", "1"], "advise: nfe must be a whole number from 2 to 100, not 1"),
        (["advise", "--count", "3"], "advise: count must be a whole number from 8 to 256, not 3"),
        (["calibrate", "--nfe", "1"], "calibrate: nfe must be whole numbers from 2 to 50, not 1"),
        (
            ["calibrate", "--nfe", "5,5"],
            "calibrate: nfe must be numbers that differ from each other",
        ),
        (
            ["calibrate", "--guided"],
            "calibrate: guided: mixture has no labels or words to be guided by",
        ),
        (
            ["calibrate", "--prompts", "README.md"],
            "calibrate: prompts: mixture takes no words; leave them out",
        ),
        (
            ["calibrate", "--like", "mixture-video"],
            "calibrate: like: nothing is fitted to mixture-video",
        ),
        (["advise", "--label", "food"], "advise: label: 'food' is unknown to mixture (no labels)."),
        (["advise", "--prompt", "a cat"], "advise: prompt: mixture takes no words."),
    ],
)
def test_bad_input_gets_one_line(words: list[str], said: str, capsys):
    assert main([*words, "--model", "mixture"]) == 1
    assert capsys.readouterr().err.strip() == said
