"""NFE is spent exactly; where the evaluations lie is told before they run; edges of the span."""

import math

import pytest
import torch
from solver_cases import NOISE, SPAN, drive

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import integrate, plan, trajectory
from dpm_demo.solver.plan import MIDWAY_NFE
from dpm_demo.solver.settings import CHOICES, Solver

X = NOISE[:, :8]
BUDGETS = [*range(1, 17), 20, 31, 50]


@pytest.mark.parametrize("denoise_to_zero", [False, True])
@pytest.mark.parametrize("lower_order_final", [True, False])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("order", CHOICES["order"])
def test_the_budget_is_spent_exactly(order, method, lower_order_final, denoise_to_zero):
    for nfe in BUDGETS:
        for span in (SPAN, (-1.0, 3.0)):
            solver = Solver(
                nfe=nfe,
                order=order,
                method=method,
                lower_order_final=lower_order_final,
                denoise_to_zero=denoise_to_zero,
            )
            run = drive(MIXTURE.denoise, X, solver, lam_span=span)
            assert run.nfe == nfe == plan(solver, span).nfe
            assert torch.isfinite(run.result).all()


@pytest.mark.parametrize("schedule", CHOICES["schedule"])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_the_plan_tells_what_will_run(method, schedule):
    solver = Solver(nfe=10, order=3, method=method, schedule=schedule)
    told = plan(solver, SPAN)
    run = drive(MIXTURE.denoise, X, solver)
    assert told.evaluations == tuple((e.lam, e.stage) for e in run.evaluations)
    assert told.nodes[:-1] == tuple(run.points)
    assert (told.nodes[0], told.nodes[-1]) == SPAN
    assert len(told.orders) == len(told.nodes) - 1
    assert len({e.lam for e in run.evaluations}) == 10


def orders(nfe, span=SPAN, **fields):
    return list(plan(Solver(nfe=nfe, **fields), span).orders)


def test_multistep_warms_up_and_tapers_at_any_budget():
    assert orders(7, order=3) == [1, 2, 3, 3, 3, 2, 1]
    assert orders(7, order=3, lower_order_final=False) == [1, 2, 3, 3, 3, 3, 3]
    assert orders(4, order=2) == [1, 2, 2, 1]
    assert orders(2, order=3) == [1, 1]
    assert orders(1, order=3) == [1]
    assert orders(100, order=2)[-2:] == [2, 1]


def test_singlestep_allocates_as_published():
    single = {"method": "singlestep"}
    assert orders(6, order=3, **single) == [3, 2, 1]
    assert orders(7, order=3, **single) == [3, 3, 1]
    assert orders(8, order=3, **single) == [3, 3, 2]
    assert orders(3, order=3, **single) == [2, 1]
    assert orders(5, order=2, **single) == [2, 2, 1]
    assert orders(6, order=2, **single) == [2, 2, 2]
    untapered = {"lower_order_final": False, **single}
    assert orders(6, order=3, **untapered) == [3, 3]
    assert orders(7, order=3, **untapered) == [3, 3, 1]
    assert orders(5, order=2, **untapered) == [2, 2, 1]


def test_singlestep_stages_lie_at_the_half_and_the_thirds():
    told = plan(Solver(nfe=5, order=3, method="singlestep"), (0.0, 2.0)).evaluations
    lam, stages = zip(*told, strict=True)
    assert stages == (0, 1, 2, 0, 1)
    assert lam == pytest.approx((0, 1 / 3, 2 / 3, 1, 1.5))


def test_order_auto_is_settled_by_the_evaluations_spent():
    untapered = {"lower_order_final": False}
    assert orders(20, order="auto", **untapered) == [1] * 4 + [2] * 8 + [3] * 8
    assert orders(20, order="auto") == [1] * 4 + [2] * 8 + [3] * 6 + [2, 1]
    assert orders(20, order="auto", method="singlestep", **untapered) == [
        *[1] * 4,
        *[2] * 4,
        *[3, 3, 2],
    ]
    assert orders(20, order="auto", method="singlestep")[:8] == [1] * 4 + [2] * 4


def test_a_start_midway_takes_one_inner_evaluation_and_small_budgets_do_not():
    midway = plan(Solver(nfe=10, order=3), (-1.0, 3.0))
    assert midway.orders[:3] == (2, 3, 3) and len(midway.orders) == 9
    for solver in (
        Solver(nfe=MIDWAY_NFE - 1, order=3),
        Solver(nfe=10, order=2),
        Solver(nfe=10, order=3, weights="published"),
    ):
        assert len(plan(solver, (-1.0, 3.0)).orders) == solver.nfe


def test_denoise_to_zero_returns_the_data_prediction_at_the_last_node():
    solver = Solver(nfe=9, denoise_to_zero=True)
    before = integrate(MIXTURE.denoise, X, Solver(nfe=8), lam_span=SPAN)
    expected = MIXTURE.denoise(before, SPAN[1])
    torch.testing.assert_close(integrate(MIXTURE.denoise, X, solver, lam_span=SPAN), expected)
    run = drive(MIXTURE.denoise, X, solver)
    assert run.evaluations[-1].lam == SPAN[1]
    one = integrate(MIXTURE.denoise, X, Solver(nfe=1, denoise_to_zero=True), lam_span=SPAN)
    torch.testing.assert_close(one, MIXTURE.denoise(X, SPAN[0]))


def test_with_lambdas_the_list_rules():
    lambdas = [-5.0, -2.0, 0.0, 1.0, 4.0]
    for fields, calls in (({}, 4), ({"denoise_to_zero": True}, 5), ({"method": "singlestep"}, 4)):
        run = drive(MIXTURE.denoise, X, Solver(nfe=33, **fields), lambdas=lambdas)
        assert run.nfe == calls
        assert [e.lam for e in run.evaluations] == lambdas[:calls]


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_a_last_node_at_infinity_returns_the_data_prediction(method, order, prediction):
    for count in range(2, 10):
        lambdas = [*torch.linspace(-5, 4, count).tolist(), math.inf]
        answers = []

        def denoise(x, lam, answers=answers):
            answers.append(MIXTURE.denoise(x, lam))
            return answers[-1]

        solver = Solver(order=order, method=method, prediction=prediction)
        run = drive(denoise, X, solver, lambdas=lambdas)
        assert run.nfe == count
        assert torch.equal(run.result, answers[-1])
        told = plan(solver, lambdas=lambdas)
        assert told.orders[-1] == 1 and sum(told.orders) >= len(told.orders)


@pytest.mark.parametrize(
    ("fields", "where", "names"),
    [
        ({}, {}, "lam_span or lambdas"),
        ({}, {"lam_span": SPAN, "lambdas": [0, 1]}, "lam_span or lambdas"),
        ({}, {"lam_span": (1.0, 1.0)}, "lam_span"),
        ({}, {"lam_span": (-5.0, math.inf)}, "lam_span"),
        ({}, {"lambdas": [0.0]}, "two nodes"),
        ({}, {"lambdas": []}, "two nodes"),
        ({"denoise_to_zero": True}, {"lambdas": []}, "two nodes"),
        ({}, {"lambdas": [0.0, 1.0, 1.0]}, "coincide"),
        ({}, {"lambdas": [0.0, 2.0, 1.0]}, "lambdas"),
        ({}, {"lambdas": [0.0, math.inf, 1.0]}, "lambdas"),
        ({}, {"lambdas": [0.0, math.nan]}, "lambdas"),
        ({}, {"lambdas": [0.0, -math.inf]}, "lambdas"),
        ({"denoise_to_zero": True}, {"lambdas": [0.0, math.inf]}, "denoise_to_zero"),
        ({"denoise_to_zero": True}, {"lam_span": (2.0, -2.0)}, "denoise_to_zero"),
        ({"eta": 1.0}, {"lam_span": (2.0, -2.0), "seeds": [0]}, "eta"),
        ({"eta": 1.0}, {"lam_span": SPAN}, "seeds"),
        ({"eta": 1.0}, {"lam_span": SPAN, "seeds": [0, 1]}, "seeds"),
        ({"method": "adaptive"}, {"lambdas": [0.0, 1.0, 2.0]}, "two ends"),
        ({"method": "adaptive"}, {}, "lam_span or lambdas"),
        ({"method": "adaptive", "denoise_to_zero": True}, {"lam_span": (2.0, 0.0)}, "denoise"),
    ],
)
def test_bad_nodes_get_one_sentence_before_any_evaluation(fields, where, names):
    with pytest.raises(ValueError, match=names):
        trajectory(X, Solver(**fields), **where)


def test_bad_states_get_one_sentence():
    with pytest.raises(ValueError, match="floating"):
        trajectory(torch.ones(1, 3, dtype=torch.int64), Solver(), lam_span=SPAN)
    for fields in ({"method": "adaptive"}, {"window": 4}):
        with pytest.raises(ValueError, match="one row"):
            trajectory(torch.ones(2, 3), Solver(**fields), lam_span=SPAN)
    with pytest.raises(ValueError, match="adaptive"):
        plan(Solver(method="adaptive"), SPAN)


def test_one_node_and_denoise_to_zero_is_one_evaluation():
    run = drive(MIXTURE.denoise, X, Solver(denoise_to_zero=True), lambdas=[0.5])
    assert run.nfe == 1 and torch.equal(run.result, MIXTURE.denoise(X, 0.5))


def test_plans_are_made_once():
    solver = Solver(nfe=12, order=3)
    assert plan(solver, SPAN) is plan(Solver(nfe=12, order=3), SPAN)
