import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.document import filled
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.quality.results import ENOUGH, Line, Results, geometric_mean, landed, warning

LINES = (
    Line("order=1", 5, n_error=4, rmse=0.4, psnr=14.0, n=30, fd=9.0, kid=0.2, kid_std=0.03),
    Line("order=1", 10, n_error=4, rmse=0.2, psnr=20.0),
    Line("order=2", 5, n_error=4, rmse=0.3, psnr=16.0, n=30, fd=10.0, kid=0.3, kid_std=0.03),
    Line("order=2", 10, n_error=4, rmse=0.05, psnr=32.0),
    Line("order=3", 200, n=30, fd=5.0),
)
RESULTS = Results("m", "d", "any", 1.0, "emoji features", 200, LINES, Line("", 0, n=30, fd=2.0))


def test_results_survive_their_file() -> None:
    assert Results.from_json(RESULTS.to_json()) == RESULTS


def test_what_is_infinite_is_not_measured() -> None:
    endless = Results("m", "d", "", 1.0, "", 200, (Line("order=1", 5, rmse=0.0, psnr=math.inf),))
    (line,) = Results.from_json(endless.to_json()).lines
    assert line.psnr is None
    assert line.rmse == 0.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lines": 3, "held_out": null}', "null"])
def test_a_file_of_something_else_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="no sweep") as refused:
        Results.read(tmp_path / "x.json")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="cannot be read"):
        Results.read(tmp_path / "none.json")


def test_best_and_ranking_know_which_way_is_better() -> None:
    assert RESULTS.best("rmse", 10) == LINES[3]
    assert RESULTS.best("psnr", 5) == LINES[2]
    assert RESULTS.best("fd", 5) == LINES[0]
    assert RESULTS.best("fd", 10) is None
    assert RESULTS.ranking("rmse") == RESULTS.ranking("psnr") == ["order=2", "order=1"]


def test_a_solver_without_the_shared_budgets_comes_last_and_undoes_no_ranking() -> None:
    converged = Line("order=3", 200, n=30, fd=1.0)
    more = [Line("order=2", 5, n=30, fd=8.0), Line("order=1", 50, n=30, fd=2.0)]
    results = replace(RESULTS, lines=(*LINES[:1], *more, converged))
    assert results.shared("fd") == [5]
    assert results.ranking("fd") == ["order=2", "order=1", "order=3"]
    assert replace(results, lines=()).ranking("fd") == []


def test_only_inceptions_distance_is_called_fid() -> None:
    assert RESULTS.title("fd") == "FD (emoji features)"
    inception = Results("m", "d", "any", 1.0, "Inception", 200)
    assert inception.title("fd") == "FID"
    assert inception.title("kid") == "KID"
    assert inception.title("inception_score") == "IS"


def test_the_table_says_n_marks_the_best_and_shows_the_deviation() -> None:
    text = RESULTS.markdown()
    assert "**FD (emoji features)**, n = 30" in text
    assert "| order=1 | **9** |" in text
    assert "0.2 ± 0.03" in text
    assert "Held-out real pictures: 2 (n = 30)." in text
    assert "RMSE to the converged sample**, n = 4" in text


def test_the_csv_has_every_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(RESULTS.to_csv())))
    assert len(rows) == len(LINES)
    assert rows[0]["fd"] == "9.0"
    assert rows[1]["fd"] == ""


def test_what_was_known_stays_and_what_is_new_wins() -> None:
    new = Results("m", "d", "any", 1.0, "emoji features", 200, (Line("order=1", 5, 8, 0.5),))
    merged = new.with_known(RESULTS)
    line = next(x for x in merged.lines if (x.solver, x.nfe) == ("order=1", 5))
    assert (line.rmse, line.n_error, line.fd, line.n) == (0.5, 8, 9.0, 30)
    assert len(merged.lines) == len(LINES)
    assert merged.held_out == RESULTS.held_out


def test_what_was_measured_together_stays_together() -> None:
    a, b, c = (f"order={k}" for k in (1, 2, 3))
    old = [Line(a, 5, 64, 0.4, 14.0, low=1.5, high=2.5, than=b), Line(b, 5, 64, 0.2, 20.0, than=b)]
    new = [Line(b, 5, 128, 0.0, None, low=1.0, high=1.0, than=b), Line(a, 5, n=9, difference=0.0)]
    first, second = replace(RESULTS, lines=tuple(old)), replace(RESULTS, lines=tuple(new))
    found = {line.solver: line for line in second.with_known(first).lines}
    assert (found[b].rmse, found[b].psnr, found[b].n_error) == (0.0, None, 128)
    assert (found[a].rmse, found[a].difference, found[a].low) == (0.4, 0.0, 1.5)
    lost = replace(first, lines=(Line(a, 5, 64, 0.4, 14.0),)).with_known(first)
    assert lost.lines[0] == Line(a, 5, 64, 0.4, 14.0)

    assert "| order=1 | 0.4 (1.50–2.50 ×) |" in first.markdown()
    third = replace(RESULTS, lines=(Line(c, 5, 128, 0.1, 26.0, low=1.0, high=1.0, than=c),))
    assert "| order=1 | 0.4 |" in third.with_known(first).markdown(), "behind another one now"


def test_plots_have_a_curve_a_solver_over_its_budgets() -> None:
    figure = RESULTS.figure("rmse")
    assert [trace.name for trace in figure.data] == ["order=1", "order=2"]
    assert list(figure.data[0].x) == [5, 10]
    assert list(figure.data[0].y) == [0.4, 0.2]
    assert figure.layout.yaxis.title.text == "RMSE to the converged sample"
    picture = Image.open(io.BytesIO(RESULTS.png(["rmse", "fd"], ["order=2"])))
    assert picture.width > 2 * picture.height


def test_few_samples_carry_a_warning() -> None:
    assert "n = 64" in warning(64)
    assert warning(ENOUGH) == ""


def test_the_geometric_mean_is_that() -> None:
    assert geometric_mean([1.0, 100.0]) == pytest.approx(10.0)
    assert geometric_mean([]) == math.inf


def test_every_landed_sweep_is_of_the_weights_beside_it() -> None:
    import hashlib

    for name, path in landed().items():
        weights = (CHECKPOINTS / name / "model.safetensors").read_bytes()
        found = Results.read(path)
        assert found.model == name
        assert found.digest == hashlib.sha256(weights).hexdigest()[:16], f"{name}: sweep it again"
        assert found.lines


def test_the_tables_of_the_document_are_of_the_landed_sweep() -> None:
    made = quality.tables(Results.read(landed()["emoji-image"]))
    text = quality.DOCUMENT.read_text(encoding="utf-8")
    assert filled(text, made) == text
