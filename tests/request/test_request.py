"""Requests: whatever arrives, it is a checked request or one sentence; links bring it back."""

import json
from urllib.parse import parse_qsl

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.models.exact import mixture_model
from dpm_demo.request.codec import (
    comparison_of_query,
    comparison_query,
    read,
    read_leniently,
    settings,
    solver_of_text,
    solver_text,
    to_query,
    to_text,
)
from dpm_demo.request.comparison import Comparison
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.limits import Limits, memory_needed
from dpm_demo.solver.settings import ADAPTIVE_FIELDS, CHOICES, FIXED_FIELDS, Solver


def _solver(**values: object) -> Solver | None:
    try:
        return Solver(**values)  # type: ignore[arg-type]
    except ValueError:
        return None


def _solvers(methods: list[str], unused: tuple[str, ...]) -> st.SearchStrategy[Solver]:
    """Any solver of `methods`, at which `unused` settings mean nothing: most others are refused."""
    each = {
        "nfe": st.integers(1, 1000),
        "eta": st.sampled_from([0.0, 0.25, 1.0]),
        "window": st.sampled_from([0, 0, 2, 8]),
        "tolerance": st.sampled_from([0.05, 0.001]),
        **{name: st.sampled_from(allowed) for name, allowed in CHOICES.items()},
        "method": st.sampled_from(methods),
    }
    used = {name: values for name, values in each.items() if name not in unused}
    return st.builds(_solver, **used).filter(lambda s: s is not None)


solvers = _solvers(["multistep", "singlestep"], ADAPTIVE_FIELDS) | _solvers(
    ["adaptive"], FIXED_FIELDS
)

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
requests = st.builds(
    GenerateRequest,
    model=words,
    label=words,
    guidance=st.floats(0, 20),
    seed=st.integers(0, 2**31 - 1),
    count=st.integers(1, 100),
    solver=solvers,
)
comparisons = st.builds(
    Comparison,
    model=words,
    label=words,
    guidance=st.floats(0, 20),
    seed=st.integers(0, 2**31 - 1),
    count=st.integers(1, 8),
    rows=st.lists(solvers, min_size=1, max_size=6).map(tuple),
    budgets=st.lists(st.integers(1, 1000), min_size=1, max_size=6, unique=True).map(tuple),
    no_taper=st.booleans(),
)


@given(requests)
def test_a_request_survives_its_text_and_its_link(request: GenerateRequest) -> None:
    assert read(json.loads(to_text(request))) == request
    pairs = parse_qsl(to_query(request), keep_blank_values=True)
    assert read(dict(pairs)) == request
    again, complaints = read_leniently(dict(pairs))
    assert again == request and not complaints


@given(comparisons)
def test_a_comparison_survives_its_link(comparison: Comparison) -> None:
    pairs = parse_qsl(comparison_query(comparison), keep_blank_values=True)
    assert comparison_of_query(pairs) == (comparison, [])


@given(solvers)
def test_a_solver_survives_its_text(solver: Solver) -> None:
    again = solver_of_text(solver_text(solver))
    assert settings(GenerateRequest(solver=again)) | {"nfe": 1} == (
        settings(GenerateRequest(solver=solver)) | {"nfe": 1}
    )


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=40), max_size=5))
def test_no_link_crashes_and_every_bad_value_is_named(pairs: dict[str, str]) -> None:
    request, complaints = read_leniently(pairs)
    assert isinstance(request, GenerateRequest)
    assert len(complaints) <= len(pairs) and all(len(c) < 300 for c in complaints)
    comparison, complaints = comparison_of_query(pairs.items())
    assert isinstance(comparison, Comparison) and len(complaints) <= len(pairs)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("nfe", 0, "nfe must be a whole number from 1 to 1000"),
        ("nfe", -1, "nfe"),
        ("nfe", 10**9, "nfe"),
        ("nfe", float("nan"), "nfe"),
        ("nfe", "abc", "nfe"),
        ("nfe", 2.5, "nfe"),
        ("order", 4, "order must be"),
        ("schedule", "<script>", "schedule must be"),
        ("count", 0, "count"),
        ("seed", -1, "seed"),
        ("seed", "1e400", "seed"),
        ("guidance", float("inf"), "guidance"),
        ("guidance", "much", "guidance"),
        ("label", 7, "label must be text"),
        ("model", None, "model must be text"),
        ("__class__", 1, "no setting"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_it(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read({name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_hundred_million_pictures_are_refused_and_the_limit_is_said() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        read({"count": 100_000_000}).check(Limits())
    with pytest.raises(ValueError, match="40,000"):
        read({"count": 64, "nfe": 1000}).check(Limits())


def test_what_is_too_large_for_memory_is_refused_and_the_limit_is_said() -> None:
    clip, limits = 3 * 16 * 32 * 32, Limits(memory=300_000_000)
    GenerateRequest(count=4, solver=Solver(nfe=20)).check(limits, numbers=clip)
    with pytest.raises(ValueError, match=r"1 samples of 3,145,728 numbers.*may need 0\.3 GB"):
        GenerateRequest(count=1, solver=Solver(nfe=20)).check(limits, numbers=64 * clip)
    comparison, model = Comparison(model="mixture"), mixture_model(torch.device("cpu"))
    ComparisonRun.checked(comparison, model, References(), limits)
    needed = memory_needed(comparison.budgets * 3, 3 * 32 * 32)
    with pytest.raises(ValueError, match="15 samples of 3,072 numbers, 174 evaluations"):
        ComparisonRun.checked(comparison, model, References(), Limits(memory=needed - 1))


def test_a_longer_record_and_more_samples_need_more_memory() -> None:
    needed = [memory_needed(b, 1000) for b in ([5], [50], [50, 50], [50] * 20)]
    assert needed == sorted(needed) and len(set(needed)) == 4
    assert memory_needed([200], 1000) == memory_needed([900], 1000)  # the record is thinned


def test_what_is_evaluated_in_parallel_counts_for_cost_and_memory() -> None:
    swept = Solver(nfe=200, window=64)  # 64 of them together, the last ones fewer
    most = 64 * 200 - 64 * 63 // 2
    GenerateRequest(count=1, solver=swept).check(Limits(cost=most))
    with pytest.raises(ValueError, match=f"would cost {most:,} network rows.*each up to `window`"):
        GenerateRequest(count=1, solver=swept).check(Limits(cost=most - 1))
    model = mixture_model(torch.device("cpu"))
    cells = Comparison(model="mixture", rows=(swept,), budgets=(200,))
    ComparisonRun.checked(cells, model, References(), Limits(cost=most))
    with pytest.raises(ValueError, match=f"would cost {most:,}"):
        ComparisonRun.checked(cells, model, References(), Limits(cost=most - 1))
    kept = Limits(memory=memory_needed([200], 3 * 32 * 32) + 2 * 200 * 4 * 3 * 32 * 32)
    with pytest.raises(ValueError, match="of memory"):
        GenerateRequest(count=1, solver=swept).check(kept, numbers=3 * 32 * 32)


def test_sample_k_has_seed_plus_k() -> None:
    assert GenerateRequest(seed=7, count=3).seeds == (7, 8, 9)


def test_text_values_are_read_as_their_field_takes_them() -> None:
    request = read({"nfe": "12", "order": "auto", "corrector": "true", "threshold": "none"})
    assert request.solver == Solver(nfe=12, order="auto", corrector=True)
