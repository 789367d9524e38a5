"""Who is who: the samplers and schedules of other programs, by their names, as solvers of ours.

    find("dpmpp_2m karras")       # Solver(order=2, weights="published", schedule="karras", …)

The names are those of ComfyUI, AUTOMATIC1111's page, k-diffusion, RES4LYF and diffusers' classes;
formulas are from papers and documents. Nodes fill the model's span, where those programs end with
one more step to σ = 0; a list of `lambdas` that ends at infinity does the same here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dpm_demo.solver.settings import SCHEDULES, Solver

__all__ = ["ALIASES", "MISSING", "SAMPLERS", "Entry", "find", "name_of", "named"]


@dataclass(frozen=True)
class Entry:
    """One sampler of other programs.

    settings   of `Solver`
    aliases    its other names, diffusers' classes among them
    spent      evaluations that 20 steps cost in k-diffusion's manner, the last one to σ = 0 and of
               one evaluation; None where it depends on the sample
    equals     the name of an entry or setting that gives the same sample (each is a test)
    trap       what its users should know
    """

    name: str
    settings: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    spent: int | None = 20
    equals: str = ""
    trap: str = ""
    source: str = ""

    @property
    def noisy(self) -> bool:
        """Whether it solves the SDE."""
        return bool(self.settings.get("eta"))

    @property
    def comparable(self) -> bool:
        """Whether it solves the ODE, whose sample is known, at a cost that is known before."""
        return not self.noisy and self.spent is not None

    def solver(self, nfe: int | None = None, **more: Any) -> Solver:
        """The solver; `nfe` of None is the default of its method."""
        return Solver(**{**self.settings, **more}, nfe=nfe)  # type: ignore[arg-type]


_PLAIN = {"lower_order_final": False}
_PUBLISHED = {"lower_order_final": False, "weights": "published"}
_SINGLE = {"method": "singlestep", **_PUBLISHED}
_SDE = {"eta": 1.0}

_ENTRIES = (
    Entry(
        "euler",
        {"order": 1},
        ("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "DDIMScheduler"),
        equals="ddim",
        source="2006.11239, 2206.00364",
    ),
    Entry("ddim", {"order": 1}, equals="euler", source="2010.02502, equation 12, with η = 0"),
    Entry(
        "euler_ancestral",
        {"table": "ddim", **_SDE},
        ("euler_a", "EulerAncestralDiscreteScheduler", "DDPMScheduler", "ddpm"),
        equals="ddim_eta",
        trap="its η between 0 and 1 is not this project's `eta`: they agree at both ends only",
        source="2010.02502, equation 16",
    ),
    Entry(
        "ddim_eta",
        {"table": "ddim", **_SDE},
        equals="euler_ancestral",
        trap="its η between 0 and 1 is not this project's `eta`: they agree at both ends only",
        source="2010.02502, equation 16",
    ),
    Entry(
        "heun",
        {"table": "heun"},
        ("HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
        spent=39,
        trap="20 steps cost 39 evaluations",
        source="2206.00364, algorithm 1",
    ),
    Entry(
        "dpm_2",
        {"table": "dpm_2"},
        ("KDPM2DiscreteScheduler", "dpm2"),
        spent=39,
        trap="20 steps cost 39 evaluations",
        source="2206.00364, algorithm 2; midpoint in log σ",
    ),
    Entry(
        "dpm_2_ancestral",
        {"table": "dpm_2_ancestral", **_SDE},
        ("KDPM2AncestralDiscreteScheduler", "dpm2_a"),
        spent=39,
        trap="strong order 1 like every sampler here with noise, at twice the evaluations",
    ),
    Entry(
        "lms",
        {"table": "lms"},
        ("LMSDiscreteScheduler", "ipndm_v"),
        equals="ipndm on nodes even in σ",
        trap="Adams–Bashforth of order 4 in σ; swings where few steps span orders of magnitude; "
        "the ipndm_v of other programs misplaces a bracket in its third step",
        source="Adams–Bashforth with the weights of the spacing",
    ),
    Entry(
        "ipndm",
        {"table": "ipndm"},
        ("IPNDMScheduler", "PNDMScheduler"),
        equals="lms on nodes even in σ",
        trap="of order 2 on any other spacing: its weights are those of an even grid",
        source="2202.09778, equation 12; without PNDM's Runge–Kutta start",
    ),
    Entry(
        "deis",
        {"order": 3, "prediction": "noise", "variable": "time", **_PLAIN},
        ("deis_tab",),
        trap="in the time of linear β from 0.1 to 20, whatever the model was trained with",
        source="2204.13902, tAB",
    ),
    Entry(
        "deis_rho",
        {"order": 3, "prediction": "noise", "variable": "rho", **_PLAIN},
        equals="lms with three predictions",
        source="2204.13902, ρAB",
    ),
    Entry(
        "deis_logrho",
        {"order": 3, "prediction": "noise", **_PLAIN},
        ("DEISMultistepScheduler",),
        equals="the noise form of exact order 3",
        trap="DEISMultistepScheduler is of order 2 unless told, and `find` takes it so",
        source="2204.13902 in log ρ = −λ, as diffusers has it",
    ),
    Entry(
        "dpm_fast",
        {"order": 3, "method": "singlestep", "prediction": "noise", "weights": "published"},
        trap="spends exactly the steps asked for, in thirds; a step here is three evaluations",
        source="2206.00927, appendix D.3",
    ),
    Entry(
        "dpm_adaptive",
        {"order": 3, "method": "adaptive", "prediction": "noise", "weights": "published"},
        spent=None,
        trap="the number of steps asked for is ignored; here the step is chosen sample by sample",
        source="2206.00927, appendix C",
    ),
    Entry(
        "dpmpp_2s",
        {"order": 2, **_SINGLE},
        ("DPMSolverSinglestepScheduler",),
        spent=39,
        equals="dpmpp_2s_ancestral with η = 0",
        trap="20 steps cost 39 evaluations in k-diffusion's manner, and 20 in diffusers' class",
        source="2211.01095, algorithm 1",
    ),
    Entry(
        "dpmpp_2s_ancestral",
        {"table": "dpmpp_2s_ancestral", **_SDE},
        ("dpmpp_2s_a",),
        spent=39,
        trap="the middle evaluation is made beyond the step's own middle, at the next node",
    ),
    Entry(
        "dpmpp_sde",
        {"table": "dpmpp_sde", **_SDE},
        ("dpmpp_sde_gpu", "DPMSolverSDEScheduler"),
        spent=39,
        equals="the published singlestep order 2 of the SDE",
        trap="twice the evaluations of dpmpp_2m_sde, and no more exact for the same number; its η "
        "between 0 and 1 is that of euler_ancestral",
        source="2211.01095, section 5, singlestep",
    ),
    Entry(
        "dpmpp_2m",
        {"order": 2, **_PUBLISHED},
        ("DPMSolverMultistepScheduler",),
        trap="½ for the exact M₁: of order 2 like res_2m, with another constant",
        source="2211.01095, algorithm 2",
    ),
    Entry(
        "dpmpp_2m_sde",
        {"order": 2, **_PUBLISHED, **_SDE},
        ("dpmpp_2m_sde_gpu",),
        source="2211.01095, section 5",
    ),
    Entry(
        "dpmpp_2m_sde_heun",
        {"order": 2, **_PLAIN, **_SDE},
        ("dpmpp_2m_sde_heun_gpu",),
        equals="the exact order 2 of the SDE",
    ),
    Entry(
        "dpmpp_3m",
        {"order": 3, **_PUBLISHED},
        equals="dpmpp_3m_sde with η = 0 but for the second step, whose ½ is the exact M₁ there",
        trap='of order 2: the second difference lacks a factor 2 (weights="exact" has it)',
        source="2211.01095, order 3 of the authors' code",
    ),
    Entry(
        "dpmpp_3m_sde",
        {"table": "dpmpp_3m_sde", **_SDE},
        ("dpmpp_3m_sde_gpu",),
        trap="its ODE is of order 2, not 3; its paths are those of dpmpp_2m_sde's order",
    ),
    Entry(
        "uni_pc",
        {"table": "uni_pc_bh1"},
        ("uni_pc_bh1", "unipc"),
        trap="B₁(h) = h; differs from bh2 where order 2 is used: at the start, and at the end, "
        "where its orders fall whatever one asks for and cost it the order",
        source="2302.04867",
    ),
    Entry(
        "uni_pc_bh2",
        {"order": 3, "weights": "published", "corrector": True},
        ("UniPCMultistepScheduler",),
        trap="UniPCMultistepScheduler is of order 2 unless told, and `find` takes it so",
        source="2302.04867",
    ),
    Entry(
        "res_multistep",
        {"order": 2, **_PLAIN},
        equals="res_2m",
        source="2308.02157, multistep",
    ),
    Entry(
        "res_2m",
        {"order": 2, **_PLAIN},
        equals="the exact order 2 in data form",
        source="2308.02157",
    ),
    Entry(
        "res_2s",
        {"order": 2, "method": "singlestep", **_PLAIN},
        spent=39,
        equals="the exact singlestep order 2 in data form",
        trap="20 steps cost twice the evaluations",
        source="2308.02157, c₂ = ½",
    ),
    Entry(
        "res_3m",
        {"table": "res_3m"},
        trap="of order 2: γ has 3c³ where the third-order condition asks 3c² (res_3m_squared)",
        source="2308.02157, its printed γ on a multistep grid",
    ),
    Entry(
        "res_3m_squared",
        {"table": "res_3m_squared"},
        trap="not in any program: what res_3m would be with the condition met",
    ),
    Entry(
        "er_sde",
        {"table": "er_sde", **_SDE},
        trap="an SDE of its own noise scale; predictions interpolated, not the paper's differences",
        source="2309.06169, φ(σ) = σ (e^{σ^0.3} + 10)",
    ),
    Entry(
        "sa_solver",
        {"table": "sa_solver", **_SDE},
        ("SASolverScheduler",),
        trap="exact weights and τ constant, where programs switch τ off at the ends; "
        "SASolverScheduler has order 2 in both unless told",
        source="2309.05019, predictor 3, corrector 4",
    ),
    Entry(
        "sa_solver_pece",
        {"table": "sa_solver_pece", **_SDE},
        spent=39,
        trap="twice the evaluations of sa_solver",
        source="2309.05019, PECE",
    ),
    Entry(
        "gradient_estimation",
        {"table": "gradient_estimation"},
        trap="of order 1: 2ε − ε_last looks one step too far on purpose",
        source="2306.04848, γ = 2",
    ),
    Entry(
        "rk4_lambda",
        {"table": "lawson4"},
        spent=77,
        trap="four evaluations a step: 20 steps cost 77",
        source="classical Runge–Kutta in λ on e^λ x/α (Lawson 1967)",
    ),
)

SAMPLERS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
ALIASES: dict[str, str] = {
    alias.lower(): entry.name for entry in _ENTRIES for alias in (entry.name, *entry.aliases)
}
#: Names of those programs that nothing here stands for, and why.
MISSING: dict[str, str] = {
    "bong_tangent": "a schedule with no published formula; its program's code is not read here",
    "heunpp2": "its weights were not found in a paper",
    "lcm": "not a solver: it draws new noise after each data prediction of a distilled network",
    "seeds_2": "not done: its stages draw noise at two scales of one step",
    "restart": "not done: it adds noise and goes back, which a plan cannot say",
    "heun_2s_sde and the other stochastic families of RES4LYF": "no published formula",
}
#: What diffusers' classes are unless told, where it is not what the sampler is elsewhere.
_CLASSES = {"unipcmultistepscheduler": {"order": 2}, "deismultistepscheduler": {"order": 2}}
_SCHEDULE_ALIASES = {
    "align_your_steps": "ays_sd15",
    "ddim": "ddim_uniform",
    "sgm": "sgm_uniform",
    "uniform": "normal",
    "kl": "kl_optimal",
}


def named(name: str) -> Entry:
    """The entry of a sampler's name. `ValueError` with the nearest names for another one."""
    key = _words(name)[0] if _words(name) else ""
    if key in ALIASES:
        return SAMPLERS[ALIASES[key]]
    raise ValueError(_unknown("sampler", key, ALIASES))


def find(text: str, nfe: int | None = None) -> Solver:
    """The solver of a text such as "dpmpp_2m karras", "DPM++ 2M Karras" or "uni_pc beta nfe=8".

    A sampler, perhaps a schedule, perhaps further settings as field=value of `nfe`, `eta`, `shift`
    or `denoise_to_zero`. `ValueError`, one sentence with the nearest names, for anything else.
    """
    words = _words(text)
    if not words:
        raise ValueError('sampler: none is named; an example is "dpmpp_2m karras"')
    entry = named(words[0])
    more: dict[str, Any] = {**_CLASSES.get(words[0], {})}
    for word in _joined(words[1:]):
        key, equals, value = word.partition("=")
        if equals:
            more[key] = _value(key, value)
            continue
        schedule = _SCHEDULE_ALIASES.get(word, word)
        if schedule not in SCHEDULES:
            raise ValueError(_unknown("schedule", word, SCHEDULES))
        if "schedule" in more:
            raise ValueError(f"schedule: two are named, {more['schedule']} and {schedule}")
        more["schedule"] = schedule
    wanted = more.pop("nfe", nfe)
    return entry.solver(wanted, **more)


@lru_cache(maxsize=256)  # a table asks for every line
def name_of(solver: Solver) -> str:
    """What other programs call a solver, as `find` reads it ("dpmpp_2m karras"); "" if nothing."""
    if solver.schedule == "calibrated":
        return ""
    for entry in SAMPLERS.values():
        fixed = entry.settings.get("method") != "adaptive"
        own = {"schedule": solver.schedule} if fixed else {}
        if entry.solver(solver.nfe, **own) == solver:
            plain = solver.schedule == "logsnr"
            return entry.name if plain else f"{entry.name} {solver.schedule}"
    return ""


def _value(key: str, value: str) -> Any:
    try:
        if key == "nfe":
            return int(value)
        if key in ("eta", "shift"):
            return float(value)
    except ValueError:
        raise ValueError(f"{key} must be a number, not {value!r:.60}") from None
    if key == "denoise_to_zero" and value in ("true", "false"):
        return value == "true"
    raise ValueError(
        f"{key!r:.60} is no setting beside a sampler's name, as nfe, eta, shift and "
        "denoise_to_zero are"
    )


def _words(text: str) -> list[str]:
    """Lower-case words; "DPM++ 2M SDE Karras" is "dpmpp_2m_sde karras", "Euler a" "euler_a"."""
    words = str(text)[:200].lower().replace("++", "pp").replace("-", "_").split()
    for count in range(min(len(words), 4), 1, -1):
        joined = "_".join(words[:count])
        if joined in ALIASES or joined in MISSING:
            return [joined, *words[count:]]
    return words


def _joined(words: list[str]) -> list[str]:
    """The words "sgm uniform eta=1" as "sgm_uniform eta=1", where that is a schedule."""
    plain = [word for word in words if "=" not in word]
    name = "_".join(plain)
    if name not in SCHEDULES and name not in _SCHEDULE_ALIASES:
        return words
    return [name, *(word for word in words if "=" in word)]


def _unknown(what: str, word: str, known: Any) -> str:
    if word in MISSING:
        return f"{what}: {word} is not here: {MISSING[word]}"
    near = difflib.get_close_matches(word, list(known), 3, 0.5)
    return f"{what}: {word!r:.60} is unknown; the nearest are {', '.join(near or list(known)[:6])}"
