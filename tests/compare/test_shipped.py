"""Converged samples beside the checkpoints: of these weights, for the page's first comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.record_references import SHARE, converged
from dpm_demo.compare.figures import rmse
from dpm_demo.compare.questions import START
from dpm_demo.compare.references import Converged, References, Target
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.compare.shipped import FILE, read_shipped, with_shipped, write_shipped
from dpm_demo.engine.inline import run_to_end
from dpm_demo.models.checkpoint import CHECKPOINTS, load_checkpoint
from dpm_demo.models.model import Condition

MODEL = load_checkpoint(CHECKPOINTS / "emoji-image")
DEFAULT = START
TARGET = Target("abc", Condition((1, 2), 1.0), 0, (3, 2, 2), (-5.0, 4.6), None, False)


def test_the_pages_first_comparison_computes_no_reference_and_says_what_it_has() -> None:
    run = ComparisonRun(DEFAULT, MODEL, with_shipped())
    assert len(run.job.tracks) == len(run.solvers)
    assert "lies beside the checkpoint" in run.reference
    run.take(run_to_end(run.job))
    errors = [value.rmse for value in run.values.values()]
    assert len(errors) == 18 and None not in errors
    (one,) = (run._references.shipped[run.target(0, seed)] for seed in run.seeds)
    assert one.apart <= SHARE * min(e for e in errors if e is not None)


def test_the_shipped_sample_is_what_these_weights_make() -> None:
    seed = DEFAULT.seed
    shipped = ComparisonRun(DEFAULT, MODEL, with_shipped()).truth(0, seed)
    run = ComparisonRun(replace(DEFAULT, budgets=(2,)), MODEL, References())
    run.take(run_to_end(run.job))
    computed = run.truth(0, seed)
    assert shipped is not None and computed is not None
    assert rmse(shipped, computed) < 2e-3  # of 200 evaluations, computed here


def test_samples_of_other_weights_are_not_found() -> None:
    other = replace(MODEL, digest="of other weights")
    run = ComparisonRun(DEFAULT, other, with_shipped())
    assert len(run.job.tracks) == len(run.solvers) + 1
    assert "200 evaluations" in run.reference


def test_where_some_references_are_shipped_both_sentences_name_both_kinds() -> None:
    asked = replace(DEFAULT, count=2)
    target = ComparisonRun(DEFAULT, MODEL, with_shipped()).target(0, DEFAULT.seed)
    assert target is not None
    sample = np.zeros(MODEL.shape, np.float32)
    run = ComparisonRun(asked, MODEL, References(shipped={target: Converged(sample, 400, 1e-4)}))
    assert run.goal == "order 3, 200 or 400 evaluations"
    assert "order 3 at 200 or 400 evaluations" in run.reference
    assert "1 of 2 samples lies beside the checkpoint" in run.reference


def test_what_is_written_is_read_again_under_the_same_key(tmp_path) -> None:
    sample = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    static = replace(TARGET, threshold="static", finish=True)
    write_shipped(tmp_path, {TARGET: Converged(sample, 400, 1e-4), static: Converged(sample, 8, 1)})
    found = read_shipped(tmp_path)
    assert set(found) == {TARGET, static}
    assert (found[TARGET].nfe, found[TARGET].apart) == (400, 1e-4)
    assert np.array_equal(found[TARGET].sample, sample)


def test_a_bad_file_is_no_reference_and_no_error(tmp_path) -> None:
    assert read_shipped(tmp_path) == {}
    (tmp_path / FILE).write_bytes(b"not a safetensors file")
    assert read_shipped(tmp_path) == {}
    bad = np.full((3, 2, 2), np.nan, np.float32)
    write_shipped(tmp_path, {TARGET: Converged(bad, 400, 1e-4)})
    assert read_shipped(tmp_path) == {}


def test_evaluations_are_doubled_until_the_sample_rests() -> None:
    def sample(nfe: int) -> np.ndarray:
        return np.full((3, 2, 2), 1 / nfe)

    found = converged(sample, smallest=0.03)
    assert (found.nfe, round(found.apart, 4)) == (400, 0.0025)
    with pytest.raises(ValueError, match="do not resolve"):
        converged(sample, smallest=1e-4)
