"""Other programs' names: they mean what is said, and equal what they are said to equal."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from solver_cases import GRID, SPAN, mixture_error, slopes

from dpm_demo.models.exact import MIXTURE
from dpm_demo.request.codec import solver_of_text, solver_text
from dpm_demo.solver import integrate, nodes, plan
from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.catalogue import ALIASES, MISSING, SAMPLERS, find, named
from dpm_demo.solver.measure import Problem, strong_errors
from dpm_demo.solver.schedule import alpha
from dpm_demo.solver.settings import Solver

X = torch.randn(2, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
SEEDS = [7, 8]
NODES = nodes("karras", 9, SPAN)


def sample(solver: Solver, lambdas: list[float] = NODES) -> torch.Tensor:
    return integrate(MIXTURE.denoise, X, solver, lambdas=lambdas, seeds=SEEDS)


def of(name: str, **more) -> torch.Tensor:
    return sample(SAMPLERS[name].solver(**more))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


# --- equalities, each of them claimed in the catalogue


def test_euler_is_ddim() -> None:
    close(of("euler"), of("ddim"))


def test_euler_ancestral_is_ddim_with_its_eta_which_is_that_of_the_sde_at_both_ends() -> None:
    for eta in (0.0, 0.5, 1.0):
        close(of("euler_ancestral", eta=eta), of("ddim_eta", eta=eta))
    close(of("euler"), of("ddim_eta", eta=0.0))
    close(of("euler_ancestral"), sample(Solver(order=1, eta=1.0)))
    halfway = sample(Solver(order=1, eta=0.5))
    assert (of("ddim_eta", eta=0.5) - halfway).abs().max() > 1e-3  # the trap


def with_middles(points: list[float]) -> list[float]:
    """The steps' ends and middles: what a singlestep method of order 2 is told as its nodes."""
    halves = [one for a, b in pairwise(points) for one in (a, 0.5 * (a + b))]
    return [*halves, points[-1]]


def test_dpmpp_sde_is_the_published_singlestep_order_two_of_the_sde() -> None:
    setting = Solver(
        order=2, method="singlestep", weights="published", lower_order_final=False, eta=1.0
    )
    close(of("dpmpp_sde"), sample(setting, with_middles(NODES)))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_dpmpp_sde_is_two_ancestral_steps_from_one_state(eta: float) -> None:
    """Its formula with σ_up = η σ' √(1 − σ'²/σ²) and σ_down² = σ'² − σ_up², written out."""
    path = BrownianPath(SEEDS, X.shape[1:], eta)
    x = X / alpha(NODES[0])

    def stepped(lam: float, there: float, data: torch.Tensor) -> torch.Tensor:
        s, e = math.exp(-lam), math.exp(-there)
        up = eta * e * math.sqrt(1 - e * e / (s * s))
        down = math.sqrt(e * e - up * up)
        length = math.exp(2 * eta * there) - math.exp(2 * eta * lam)
        noise = path.increment(lam, there, x) / math.sqrt(length)
        return down / s * x + (1 - down / s) * data + up * noise

    for lam, target in pairwise(NODES):
        middle = 0.5 * (lam + target)
        half = stepped(lam, middle, MIXTURE.denoise(x * alpha(lam), lam))
        x = stepped(lam, target, MIXTURE.denoise(half * alpha(middle), middle))
    close(of("dpmpp_sde", eta=eta), x * alpha(NODES[-1]))


def test_res_multistep_is_res_2m_is_the_exact_order_two() -> None:
    close(of("res_multistep"), of("res_2m"))
    close(of("res_2m"), sample(Solver(order=2, lower_order_final=False)))
    assert (of("res_2m") - of("dpmpp_2m")).abs().max() > 1e-3


def test_dpmpp_2s_is_its_ancestral_form_without_noise() -> None:
    found = sample(SAMPLERS["dpmpp_2s"].solver(), with_middles(NODES))
    close(found, of("dpmpp_2s_ancestral", eta=0.0))


def test_dpmpp_3m_is_the_ode_of_dpmpp_3m_sde_but_for_the_second_step() -> None:
    ours = plan(SAMPLERS["dpmpp_3m"].solver(), lambdas=NODES).moves
    theirs = plan(SAMPLERS["dpmpp_3m_sde"].solver(eta=0.0), lambdas=NODES).moves
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert (one.update.weights == pytest.approx(other.update.weights)) == (step != 1)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_second_step_of_dpmpp_3m_sde_has_the_exact_weight(eta: float) -> None:
    """x' = e^{−z} x + (1 − e^{−z}) m + φ₂ (m − m_last)/r with φ₂ = (e^{−z} − 1)/z + 1."""
    before, lam, target = NODES[:3]
    z, r = (1 + eta) * (target - lam), (lam - before) / (target - lam)
    first, second = plan(SAMPLERS["dpmpp_3m_sde"].solver(eta=eta), lambdas=NODES).moves[:2]
    assert len(first.update.weights) == 1
    phi = math.expm1(-z) / z + 1
    wanted = [-math.expm1(-z) + phi / r, -phi / r]
    assert [w / alpha(target) for w in second.update.weights] == pytest.approx(wanted)


def test_dpmpp_2m_sde_heun_is_the_exact_order_two_of_the_sde() -> None:
    close(of("dpmpp_2m_sde_heun"), sample(Solver(order=2, eta=1.0, lower_order_final=False)))


def test_deis_in_log_rho_is_the_exact_noise_form() -> None:
    exact = Solver(order=3, prediction="noise", lower_order_final=False)
    close(of("deis_logrho"), sample(exact))
    assert (of("deis") - of("deis_logrho")).abs().max() > 1e-4


def test_lms_and_ipndm_agree_on_nodes_even_in_sigma_alone() -> None:
    even = [-math.log(3.0 - 2.7 * i / 10) for i in range(11)]
    close(sample(SAMPLERS["lms"].solver(), even), sample(SAMPLERS["ipndm"].solver(), even))
    assert (of("lms") - of("ipndm")).abs().max() > 1e-3


def test_deis_in_rho_is_lms_with_three_predictions() -> None:
    short = NODES[:4]
    close(sample(SAMPLERS["deis_rho"].solver(), short), sample(SAMPLERS["lms"].solver(), short))


def test_sa_solver_without_noise_is_unipc_with_exact_weights() -> None:
    unipc = Solver(order=3, corrector=True, lower_order_final=False)
    close(of("sa_solver", eta=0.0), sample(unipc))


def test_res_2s_is_the_exact_singlestep_order_two() -> None:
    """b₂ = φ₂/c₂, b₁ = φ₁ − b₂ at c₂ = ½ (2308.02157), written out."""
    x = X / torch.sigmoid(torch.tensor(2 * NODES[0], dtype=torch.float64)).sqrt()

    def data(x: torch.Tensor, lam: float) -> torch.Tensor:
        a = torch.sigmoid(torch.tensor(2 * lam, dtype=torch.float64)).sqrt()
        return MIXTURE.denoise(x * a, lam)

    for lam, target in pairwise(NODES):
        h = target - lam
        m = data(x, lam)
        half = math.exp(-h / 2) * x - math.expm1(-h / 2) * m
        m2 = data(half, lam + h / 2)
        b2 = 2 * (math.exp(-h) - 1 + h) / h
        x = math.exp(-h) * x + (-math.expm1(-h) - b2) * m + b2 * m2
    found = sample(SAMPLERS["res_2s"].solver(), with_middles(NODES))
    a_end = torch.sigmoid(torch.tensor(2 * NODES[-1], dtype=torch.float64)).sqrt()
    close(found, x * a_end)


# --- orders


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("euler", 1),
        ("dpmpp_2m", 2),
        ("res_2m", 2),
        ("res_2s", 2),
        ("dpmpp_2s", 2),
        ("deis", 3),
        ("deis_rho", 3),
        ("deis_logrho", 3),
        ("dpmpp_3m", 2),  # the trap
        ("res_3m", 2),  # the trap
        ("res_3m_squared", 3),
        ("ipndm", 2),  # the trap
        ("gradient_estimation", 1),
        ("rk4_lambda", 4),
    ],
)
def test_the_order_on_the_exact_mixture(name: str, order: int) -> None:
    solver = SAMPLERS[name].solver()
    found = slopes([mixture_error(replace(solver, nfe=n)) for n in GRID[-2:]])[0]
    assert abs(found - order) < 0.15


@cache
def noisy() -> Problem:
    x = torch.randn(48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Problem(MIXTURE.denoise, x, MIXTURE.flow(x, *SPAN), SPAN)


@cache
def converged(solver: Solver) -> torch.Tensor:
    return noisy().solve(solver, 1000)


@pytest.mark.parametrize("name", [e.name for e in SAMPLERS.values() if e.noisy])
def test_every_noisy_one_converges_along_its_path_at_strong_order_one(name: str) -> None:
    solver = SAMPLERS[name].solver()
    # all but one solve the same SDE, so that one converged path is the truth of all of them
    own = solver if name == "er_sde" else Solver(order=2, eta=1.0, lower_order_final=False)
    few, many = strong_errors(solver, noisy(), (24, 192), converged(own))
    assert 0.8 < math.log(few / many) / math.log(8) < 1.25


@pytest.mark.parametrize("name", ["dpm_2_ancestral", "dpmpp_2s_ancestral", "sa_solver_pece"])
def test_what_whole_steps_leave_of_a_budget_is_spent_on_a_step_with_noise(name: str) -> None:
    *_, last = plan(SAMPLERS[name].solver(7), SPAN).moves
    step = plan(SAMPLERS["euler_ancestral"].solver(), lambdas=[last.lam, last.target]).moves[0]
    assert last.update.diffusion == pytest.approx(step.update.diffusion)


# --- names


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_entry_is_a_solver_that_spends_its_budget_and_reads_back_from_text(name) -> None:
    solver = SAMPLERS[name].solver(12)
    text = solver_text(solver)
    assert replace(solver_of_text(text), nfe=12) == solver
    if solver.method != "adaptive":
        assert plan(solver, SPAN).nfe == 12


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "dpmpp_2m karras",
            Solver(order=2, weights="published", lower_order_final=False, schedule="karras"),
        ),
        (
            "DPM++ 2M Karras",
            Solver(order=2, weights="published", lower_order_final=False, schedule="karras"),
        ),
        ("Euler a", Solver(table="ddim", eta=1.0)),
        ("DPM++ 2M SGM Uniform", replace(named("dpmpp_2m").solver(), schedule="sgm_uniform")),
        ("DPM++ SDE KL Optimal eta=0.5", Solver(table="dpmpp_sde", eta=0.5, schedule="kl_optimal")),
        ("Euler Linear Quadratic", Solver(order=1, schedule="linear_quadratic")),
        ("Heun Align Your Steps", Solver(table="heun", schedule="ays_sd15")),
        ("UniPC Karras", Solver(table="uni_pc_bh1", schedule="karras")),
        ("dpmpp_2m_sde_heun_gpu", named("dpmpp_2m_sde_heun").solver()),
        ("UniPCMultistepScheduler", Solver(order=2, weights="published", corrector=True)),
        ("DEISMultistepScheduler", replace(named("deis_logrho").solver(), order=2)),
        ("uni_pc beta57 nfe=8", Solver(nfe=8, table="uni_pc_bh1", schedule="beta57")),
        ("DDIMScheduler", Solver(order=1)),
        ("heun flow shift=3", Solver(table="heun", schedule="flow", shift=3.0)),
        ("DPM++ 3M SDE exponential", Solver(table="dpmpp_3m_sde", eta=1, schedule="exponential")),
    ],
)
def test_a_text_is_found(text: str, wanted: Solver) -> None:
    assert find(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dpmp_2m", "sampler: 'dpmp_2m' is unknown; the nearest are .*dpmpp_2m"),
        ("euler karas", "schedule: 'karas' is unknown; the nearest are karras"),
        ("euler bong_tangent", "bong_tangent is not here: a schedule with no published formula"),
        ("lcm", "lcm is not here: not a solver"),
        ("", "none is named"),
        ("euler karras beta", "two are named"),
        ("euler order=2", "'order' is no setting beside a sampler's name"),
        ("euler eta=x", "eta must be a number"),
        ("euler nfe=0", "nfe must be a whole number"),
    ],
)
def test_a_bad_text_gets_one_sentence_with_the_nearest_names(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        find(text)
    assert "\n" not in str(caught.value)


def test_no_name_means_two_things() -> None:
    given = [a.lower() for e in SAMPLERS.values() for a in (e.name, *e.aliases)]
    assert len(given) == len(set(given)) == len(ALIASES)
    assert not set(MISSING) & set(ALIASES)
    known = {f.name for f in fields(Solver)}
    assert all(set(entry.settings) <= known for entry in SAMPLERS.values())
    assert named("DPMSolverMultistepScheduler").name == "dpmpp_2m"
