"""Verdicts: what is said is what the figures are."""

from __future__ import annotations

import math

import pytest

from dpm_demo.compare.adaptive import Spent, headline, table_headline
from dpm_demo.compare.questions import QUESTIONS, verdict
from dpm_demo.compare.references import References
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.compare.verdict import fitted, general, named, pays, printed, schedules, sides
from dpm_demo.engine.inline import run_inline
from dpm_demo.models.library import ModelLibrary
from dpm_demo.request.limits import Limits

ONE = {5: 0.4, 10: 0.2, 20: 0.1}
TWO = {5: 0.3, 10: 0.1, 20: 0.02}
NAMES = ("order 1", "order 2")


def test_order_pays_where_fewer_evaluations_come_as_near_for_good() -> None:
    assert pays(NAMES, {0: ONE, 1: TWO}) == (
        "Yes: to come as near as order 1 does with 20 evaluations (0.1), order 2 needs 10."
    )
    assert pays(NAMES, {0: TWO, 1: ONE}).startswith("No, not on this noise")


@pytest.mark.parametrize("orders", [(3.0, 2.0), (3.2, 2.6)])  # by noise: one in a hundred is 2.5
def test_the_printed_order_is_the_slope_of_its_errors(orders: tuple[float, float]) -> None:
    exact, print_ = ({n: n**-k for n in (24, 48, 96)} for k in orders)
    said = printed(("a", "b", "c", "d"), {2: exact, 3: print_})
    k, p = orders
    assert f"No: as printed, order 3 converges at order {p}; with exact weights at {k}" in said
    assert printed(("a", "b"), {0: exact, 1: exact}).startswith("These budgets do not tell")


def test_nearest_and_farthest_are_named_with_their_ratio() -> None:
    errors = {0: ONE, 1: TWO}
    assert general(NAMES, errors) == (
        "At 5 evaluations order 2 ends nearest (0.3), 1.3 times nearer than order 1; "
        "at 20 order 2 ends nearest (0.02), 5.0 times nearer than order 1."
    )
    assert schedules(NAMES, errors).startswith("Little: at 5 evaluations order 2")
    assert named(NAMES, errors) == (
        "Nearest of the 2 is order 2 at 5 (0.3), at 10 (0.1) and at 20 (0.02) evaluations; "
        "order 1 is farthest at 5, 1.3 times as far."
    )
    won = math.prod((0.4 / 0.3, 2, 5)) ** (1 / 3)
    assert sides("back", "ahead")(NAMES, errors) == (
        f"Ahead is nearer than back in 3 of 3 cells, {won:.1f} times in the geometric mean."
    )


def test_a_fitted_solver_is_held_against_the_best_of_the_others() -> None:
    errors = {0: {5: 0.1, 8: 0.1}, 1: {5: 0.2, 8: 0.05}, 2: {5: 0.3, 8: 0.2}}
    assert fitted(("calibrated", "a", "b"), errors) == (
        "Sometimes: it ends nearer than the best of the others with 5 evaluations (2.0 times; a) "
        "and farther than the best of the others with 8 evaluations (2.0 times; a)."
    )


def test_errors_that_differ_by_less_than_a_twentieth_are_called_equal() -> None:
    near, far, names = {5: 0.3, 8: 0.1}, {5: 0.301, 8: 0.2}, ("fit", "a", "b")
    assert fitted(names, {0: near, 1: far}) == (
        "Sometimes: it ends nearer than the best of the others with 8 evaluations (2.0 times; a) "
        "and as near as the best of the others with 5 evaluations (a)."
    )
    assert fitted(names, {0: near, 1: near}).startswith("No, not here: it ends as near as")
    assert named(names, {0: near, 1: far}) == (
        "Nearest of the 2 is fit or a at 5 (0.3) and fit at 8 (0.1) evaluations."
    )
    three = {0: near, 1: far, 2: {5: 0.6}}
    assert "fit or a ends nearest (0.3), 2.0 times nearer than b" in general(names, three)
    assert named(names, {0: near, 1: near}) == general(names, {0: near, 1: near})
    spent = Spent((10,), (5,), (0,), (True,))
    for other in (0.03, 0.0301):
        assert headline(spent, 0.03, other, "truth").startswith("### Neither wins: ")
    assert headline(spent, 0.03, 0.06, "truth").startswith("### Adaptive steps win: 2.0 times")
    said = table_headline([spent] * 3, [0.03, 0.03, 0.06], [0.06, 0.0301, 0.03])
    assert said.startswith("### Adaptive steps come nearer at 1 of 3 tolerances, as near at 1\n")


@pytest.mark.parametrize("say", [general, pays, printed, schedules, named, fitted, sides("a", "b")])
def test_figures_that_are_missing_or_nought_make_no_error(say) -> None:
    for errors in ({}, {0: {}}, {0: ONE}, {1: ONE}, {0: {5: 0.0}, 1: ONE}, {0: ONE, 1: {40: 0.1}}):
        assert isinstance(say(NAMES, errors), str)


def test_every_question_is_a_comparison_that_the_page_computes_within_its_limits() -> None:
    library = ModelLibrary("cpu")
    for question in QUESTIONS.values():
        asked = question.comparison
        ComparisonRun.checked(asked, library.get(asked.model), References(), Limits())


def test_on_the_exact_mixture_the_printed_order_3_is_of_order_2() -> None:
    question = QUESTIONS["Is the printed order 3 really 3?"]
    model = ModelLibrary("cpu").get("mixture")
    run = ComparisonRun(question.comparison, model, References(), record=False)
    run.keep(run.exact())
    for event in run_inline(run.job):
        run.take(event)
    assert verdict(run.comparison, run.cells, run.values).startswith("No: as printed, order 3")
