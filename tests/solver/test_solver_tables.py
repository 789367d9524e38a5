"""Solvers that are tables or functions, and predictions interpolated in other variables."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from solver_cases import GRID, SPAN, drive, last_slope, mixture_error, paired, slopes

from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import Evaluation, integrate, nodes, plan, sigma
from dpm_demo.solver.coefficients import linear_update
from dpm_demo.solver.others import TABLES
from dpm_demo.solver.schedule import linear_time
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.table import named, of_values, read, register

X = torch.randn(1, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
KARRAS = nodes("karras", 10, SPAN)


def close(a: torch.Tensor, b: torch.Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def ours(lambdas: list[float], **fields) -> torch.Tensor:
    return integrate(MIXTURE.denoise, X, Solver(**fields), lambdas=lambdas)


def slope(solver: Solver) -> float:
    return slopes([mixture_error(replace(solver, nfe=n)) for n in GRID[-2:]])[0]


# --- the interpolation variable


@pytest.mark.parametrize("variable", ["rho", "time"])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_variable_converges_at_the_order(variable, method, prediction, order) -> None:
    found = last_slope(variable=variable, method=method, prediction=prediction, order=order)
    assert abs(found - order) < 0.15


@pytest.mark.parametrize("variable", ["rho", "time"])
@pytest.mark.parametrize("noise_form", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_one_step_is_exact_on_polynomials_of_the_variable(variable, noise_form, degree) -> None:
    u = {"rho": lambda lam: math.exp(-lam), "time": linear_time}[variable]
    known = [0.4, -0.3, -0.7]
    update = linear_update(0.4, 1.1, known, noise_form=noise_form, variable=variable)
    # by many steps of order 1 of the same form, the prediction taken in the middle
    state, n = 0.0, 4_000
    for i in range(n):
        a, b = 0.4 + 0.7 * i / n, 0.4 + 0.7 * (i + 1) / n
        small = linear_update(a, b, [a], noise_form=noise_form)
        state = small.scale * state + small.weights[0] * u(0.5 * (a + b)) ** degree
    found = sum(w * u(lam) ** degree for w, lam in zip(update.weights, known, strict=True))
    assert found == pytest.approx(state, rel=1e-7)


def test_in_lambda_nothing_changes() -> None:
    assert Solver() == Solver(variable="lambda")
    assert plan(Solver(order=3), SPAN) == plan(Solver(order=3, variable="lambda"), SPAN)


def test_variable_needs_exact_weights() -> None:
    with pytest.raises(ValueError, match='variable "?\'?rho\'? needs weights "exact"'):
        Solver(variable="rho", weights="published")


def test_adams_bashforth_of_two_predictions_in_rho_is_the_textbook_one() -> None:
    lam = [0.0, 0.5, 1.1]
    rho = [math.exp(-one) for one in lam]
    update = linear_update(lam[1], lam[2], [lam[1], lam[0]], noise_form=True, variable="rho")
    ratio = (rho[2] - rho[1]) / (rho[1] - rho[0])
    order_1 = linear_update(lam[1], lam[2], [lam[1]], noise_form=True).weights[0]
    assert update.weights == pytest.approx([order_1 * (1 + ratio / 2), -order_1 * ratio / 2])


# --- equal to other people's


def sigma_space(step, lambdas) -> torch.Tensor:
    """k-diffusion's loop: x̂ = x/α, σ̂, d = (x̂ − m)/σ̂; `step(x, slope, s, s_next)`."""
    first, last = lambdas[0], lambdas[-1]
    x = X / math.sqrt(1 / (1 + math.exp(-2 * first)))

    def slope_at(x: torch.Tensor, s: float) -> torch.Tensor:
        lam = -math.log(s)
        a = math.sqrt(1 / (1 + s * s))
        return (x - MIXTURE.denoise(x * a, lam)) / s

    for lam, target in pairwise(lambdas):
        x = step(x, slope_at, math.exp(-lam), math.exp(-target))
    return x * math.sqrt(1 / (1 + math.exp(-2 * last)))


def test_heun_is_the_trapezoid_in_sigma() -> None:
    def heun(x, slope_at, s, e):
        d = slope_at(x, s)
        d2 = slope_at(x + (e - s) * d, e)
        return x + (e - s) * (d + d2) / 2

    close(ours(KARRAS, table="heun"), sigma_space(heun, KARRAS))


def test_dpm_2_is_the_midpoint_in_log_sigma() -> None:
    def dpm_2(x, slope_at, s, e):
        mid = math.sqrt(s * e)
        return x + (e - s) * slope_at(x + (mid - s) * slope_at(x, s), mid)

    close(ours(KARRAS, table="dpm_2"), sigma_space(dpm_2, KARRAS))


def test_ipndm_takes_adams_bashforth_weights_whatever_the_spacing() -> None:
    past: list[torch.Tensor] = []
    rows = [[1], [1.5, -0.5], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]

    def ipndm(x, slope_at, s, e):
        past.insert(0, slope_at(x, s))
        row = rows[min(len(past), 4) - 1]
        return x + (e - s) * sum(w * d for w, d in zip(row, past, strict=False))

    close(ours(KARRAS, table="ipndm"), sigma_space(ipndm, KARRAS))


def test_lms_is_ipndm_where_the_nodes_are_even_in_sigma() -> None:
    first, last = math.exp(1.0), math.exp(-1.0)
    even = [-math.log(first + (last - first) * i / 12) for i in range(13)]
    close(ours(even, table="lms"), ours(even, table="ipndm"))
    assert (ours(KARRAS, table="lms") - ours(KARRAS, table="ipndm")).abs().max() > 1e-3


def test_lms_with_three_predictions_is_the_variable_rho_at_order_three() -> None:
    short = KARRAS[:4]  # its first three steps have at most three predictions
    found = ours(short, prediction="noise", order=3, variable="rho", lower_order_final=False)
    close(ours(short, table="lms"), found)


def diffusers_steps(cls, lambdas, **config) -> torch.Tensor:
    scheduler = cls(prediction_type="sample", final_sigmas_type="sigma_min", **config)
    scheduler.set_timesteps(len(lambdas) - 1)
    scheduler.sigmas = torch.tensor([math.exp(-lam) for lam in lambdas], dtype=torch.float64)
    scheduler.set_begin_index(0)
    x = X
    for lam, t in zip(lambdas, scheduler.timesteps, strict=False):
        x = scheduler.step(MIXTURE.denoise(x, lam), t, x).prev_sample
    return x


@pytest.mark.parametrize("count", [3, 4, 7, 10])
def test_uni_pc_bh1_is_diffusers(count: int) -> None:
    lambdas = nodes("logsnr", count, SPAN)
    theirs = diffusers_steps(
        UniPCMultistepScheduler, lambdas, solver_order=3, solver_type="bh1", predict_x0=True
    )
    close(ours(lambdas, table="uni_pc_bh1"), theirs)


def test_res_2m_is_the_exact_order_two_and_dpmpp_2m_its_published_twin() -> None:
    """RES of two steps: b₂ = φ₂/c₂, b₁ = φ₁ − b₂ with φ of −h and c₂ = −h_last/h (2308.02157)."""
    past: list[tuple[float, torch.Tensor]] = []
    x = X / math.sqrt(1 / (1 + math.exp(-2 * KARRAS[0])))
    for lam, target in pairwise(KARRAS):
        h = target - lam
        m = MIXTURE.denoise(x * math.sqrt(1 / (1 + math.exp(-2 * lam))), lam)
        phi1 = -math.expm1(-h) / h
        phi2 = (math.exp(-h) - 1 + h) / h**2
        if past:
            b2 = phi2 / ((past[-1][0] - lam) / h)
            x = math.exp(-h) * x + h * ((phi1 - b2) * m + b2 * past[-1][1])
        else:
            x = math.exp(-h) * x + h * phi1 * m
        past.append((lam, m))
    res = x * math.sqrt(1 / (1 + math.exp(-2 * KARRAS[-1])))
    close(ours(KARRAS, order=2, lower_order_final=False), res)
    twin = ours(KARRAS, order=2, lower_order_final=False, weights="published")
    assert (twin - res).abs().max() > 1e-3


# --- orders


@pytest.mark.parametrize(
    ("table", "order"),
    [
        ("heun", 2),
        ("dpm_2", 2),
        ("lms", 4),
        ("ipndm", 2),  # weights of an even grid in ρ on one that is not
        ("res_3m", 2),
        ("res_3m_squared", 3),
        ("lawson4", 4),
        ("ddim", 1),
        ("dpmpp_2s_ancestral", 2),
        ("dpm_2_ancestral", 2),
        ("dpmpp_3m_sde", 2),
    ],
)
def test_a_table_converges_at_the_order_that_the_catalogue_says(table, order) -> None:
    assert abs(slope(Solver(table=table)) - order) < 0.15


def test_ipndm_is_of_its_order_on_nodes_even_in_rho() -> None:
    def error(n: int) -> float:
        s, e = math.exp(1.0), math.exp(-1.0)
        even = [-math.log(s + (e - s) * i / n) for i in range(n + 1)]
        truth = MIXTURE.flow(X, even[0], even[-1])
        start = MIXTURE.flow(X, even[0], even[0])
        sample = integrate(MIXTURE.denoise, start, Solver(table="ipndm"), lambdas=even)
        return (sample - truth).abs().mean().item()

    # its own start is of order 1, 2, 3, which makes the whole of order 2 (one step of order 1)
    assert math.log2(error(96) / error(192)) > 1.85


# --- budgets and edges


@pytest.mark.parametrize(
    ("table", "nfe", "to_zero"),
    paired([t for t in TABLES if t != "er_sde"], [1, 2, 3, 7, 20], [False, True]),
)
def test_a_table_spends_the_budget(table: str, nfe: int, to_zero: bool) -> None:
    solver = Solver(nfe=nfe, table=table, denoise_to_zero=to_zero)
    run = drive(MIXTURE.denoise, X, solver)
    assert run.nfe == nfe == plan(solver, SPAN).nfe
    assert torch.isfinite(run.result).all()


@pytest.mark.parametrize("table", [t for t in TABLES if t != "er_sde"])
def test_a_table_starts_at_pure_noise_and_ends_at_the_data(table: str) -> None:
    lambdas = [-math.inf, -3.0, -1.0, 0.5, 1.5, 2.5, math.inf]
    sample = ours(lambdas, table=table)
    assert torch.isfinite(sample).all() and sample.abs().max() < 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"table": "huen"}, "table: 'huen' is unknown; there are heun"),
        ({"table": "heun", "order": 3}, 'order 3 means nothing with table "heun"'),
        ({"table": "heun", "prediction": "noise"}, "prediction 'noise' means nothing"),
        ({"table": "heun", "eta": 1.0}, 'eta must be 0 with table "heun"'),
        ({"table": "heun", "threshold": "static"}, "threshold 'static' acts on the data"),
        ({"table": "lms", "window": 4}, 'window must be 0 with table "lms"'),
        ({"table": "lms", "method": "adaptive"}, "means nothing"),
        ({"table": 3}, "table: 3 is unknown"),
    ],
)
def test_a_table_refuses_what_it_decides_itself(fields, words) -> None:
    with pytest.raises(ValueError, match=words):
        Solver(**fields)


# --- of one's own


def test_a_file_with_numbers_is_a_solver(tmp_path) -> None:
    path = tmp_path / "my-midpoint.json"
    rule = {"prediction": "noise", "stages": [0, 0.5], "weights": [[1], [0, 1]]}
    path.write_text(json.dumps(rule))
    read(path)
    assert named("my-midpoint").calls == 2
    close(ours(KARRAS, table="my-midpoint"), ours(KARRAS, table="dpm_2"))
    assert abs(slope(Solver(table="my-midpoint")) - 2) < 0.15


def test_the_weights_of_a_plan_are_a_table() -> None:
    made = plan(Solver(nfe=6, order=3), SPAN)
    plain = plan(Solver(nfe=6, order=1), lambdas=made.nodes)
    rows = [
        [w / low.update.weights[0] for w in move.update.weights]
        for move, low in zip(made.moves, plain.moves, strict=True)
    ]
    values = {"name": "mine-3", "lambdas": list(made.nodes), "weights": rows}
    register("mine-3", of_values(values))
    found = integrate(MIXTURE.denoise, X, Solver(nfe=6, table="mine-3"), lam_span=SPAN)
    close(found, integrate(MIXTURE.denoise, X, Solver(nfe=6, order=3), lam_span=SPAN))
    with pytest.raises(ValueError, match='table "mine-3" is for 6 evaluations, not 7'):
        plan(Solver(nfe=7, table="mine-3"), SPAN)
    with pytest.raises(ValueError, match="leads from"):
        plan(Solver(nfe=6, table="mine-3"), (-4.0, 4.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[1]", "must hold an object"),
        ("{}", "one of multistep, stages and lambdas"),
        ('{"multistep": [[1], [2, 1]]}', "row 2 of multistep must add up to 1, not 3"),
        ('{"multistep": [[1], ["1"]]}', "must hold numbers only"),
        ('{"multistep": [[NaN]]}', "at most a million"),
        ('{"multistep": [[1]], "code": "x"}', "'code' is no part of a table"),
        ('{"stages": [0.5], "weights": [[1]]}', "the first one 0"),
        ('{"stages": [0, 0], "weights": [[1], [0.5, 0.5]]}', "stages must differ from 0"),
        ('{"stages": [0, 0.5], "weights": [[1]]}', "weights must have 2 rows, not 1"),
        ('{"lambdas": [1, 0], "weights": [[1]]}', "rising numbers"),
        ('{"name": "heun", "multistep": [[1]]}', 'the name "heun" is taken'),
        ('{"name": "a b", "multistep": [[1]]}', "a table's name"),
    ],
)
def test_a_bad_file_gets_one_sentence_with_its_name(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="bad.json: .*" + words) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_function_that_yields_evaluations_is_a_solver() -> None:
    def euler(x, lambdas):
        for lam, target in pairwise(lambdas):
            x0 = yield Evaluation(x, lam)
            ratio = sigma(target) / sigma(lam)
            scale = math.sqrt(1 - sigma(target) ** 2)
            x = ratio * x + (scale - ratio * math.sqrt(1 - sigma(lam) ** 2)) * x0
        return x

    register("my-euler", euler)
    solver = Solver(nfe=8, table="my-euler", schedule="karras")
    run = drive(MIXTURE.denoise, X, solver)
    assert run.nfe == 8 == plan(solver, SPAN).nfe
    wanted = integrate(MIXTURE.denoise, X, Solver(nfe=8, order=1, schedule="karras"), lam_span=SPAN)
    close(run.result, wanted)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"threshold": "static"}, "^threshold 'static' means nothing with table \"pairs\""),
        ({"denoise_to_zero": True}, "^denoise_to_zero True means nothing"),
        ({"nfe": 7}, "^nfe must be a multiple of 2 with table"),
    ],
)
def test_a_function_is_refused_what_it_would_not_do(fields, sentence) -> None:
    def pairs(x, lambdas):
        for lam, target in pairwise(lambdas):
            yield Evaluation(x, lam)
            x = yield Evaluation(x, target, stage=1)
        return x

    register("pairs", pairs, calls=2)
    assert drive(MIXTURE.denoise, X, Solver(nfe=8, table="pairs")).nfe == 8
    with pytest.raises(ValueError, match=sentence):
        Solver(**{"nfe": 8, "table": "pairs", **fields})


@pytest.mark.parametrize("table", [t for t in TABLES if t != "er_sde"])
def test_without_noise_a_table_leads_from_data_to_noise_too(table: str) -> None:
    assert ours(KARRAS[::-1], table=table).isfinite().all()


@pytest.mark.parametrize("table", ["heun", "dpm_2", "lawson4", "ddim"])
def test_the_nodes_of_a_table_are_the_ends_of_its_steps(table: str) -> None:
    solver = Solver(nfe=8, table=table, schedule="karras")
    found = solver.lambdas(SPAN)
    close(ours(found, table=table), integrate(MIXTURE.denoise, X, solver, lam_span=SPAN))


def test_a_function_that_asks_too_often_is_refused() -> None:
    def greedy(x, lambdas):
        while True:
            x = yield Evaluation(x, lambdas[0])

    register("greedy", greedy)
    with pytest.raises(ValueError, match="asks for more than 1 evaluations a step"):
        plan(Solver(nfe=4, table="greedy"), SPAN)


def test_a_file_dropped_into_the_folder_is_a_table_by_its_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="table: 'dropped-in' is unknown"):
        Solver(table="dropped-in")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "dropped-in.json").write_text('{"multistep": [[1], [1.5, -0.5]]}')
    assert plan(Solver(nfe=5, table="dropped-in"), SPAN).nfe == 5
    for bad in ("../dropped-in", "tables/dropped-in", ""):
        with pytest.raises(ValueError, match="unknown"):
            named(bad)
