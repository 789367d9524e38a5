"""What a person may ask for: frozen, validated, free of torch."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal, cast

__all__ = [
    "ADAPTIVE_FIELDS",
    "CHOICES",
    "FIXED_FIELDS",
    "NFE_MAX",
    "SCHEDULES",
    "SEED_MAX",
    "WINDOW_MAX",
    "Solver",
    "check_seed",
]

NFE_MAX = 1000
NFE_DEFAULT = 20
WINDOW_MAX = 64
SEED_MAX = 2**31 - 1  # a browser's number field keeps integers of this size exactly

#: The values that each field of `Solver` with a finite choice may take, the default first.
CHOICES: dict[str, tuple[Any, ...]] = {
    "order": (2, 1, 3, "auto"),
    "method": ("multistep", "singlestep", "adaptive"),
    "prediction": ("data", "noise"),
    "schedule": ("logsnr", "cosine", "linear", "quadratic", "karras"),
    "weights": ("exact", "published"),
    "lower_order_final": (True, False),
    "denoise_to_zero": (False, True),
    "corrector": (False, True),
    "threshold": (None, "static", "dynamic"),
    "controller": ("pi", "i"),
    "error": ("embedded", "doubling"),
    "stability": (False, True),
    "variable": ("lambda", "rho", "time"),
}

#: Every schedule that has a name; `CHOICES` has those that the page offers.
SCHEDULES = (
    *CHOICES["schedule"],
    "flow",
    "exponential",
    "polyexponential",
    "normal",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "beta",
    "beta57",
    "kl_optimal",
    "linear_quadratic",
    "ays_sd15",
    "ays_sdxl",
    "ays_svd",
    "calibrated",
)

#: Fields that mean something with method "adaptive" only, and with the fixed-step methods only.
ADAPTIVE_FIELDS = ("tolerance", "controller", "error", "stability")
FIXED_FIELDS = (
    "schedule",
    "lower_order_final",
    "eta",
    "corrector",
    "window",
    "shift",
    "variable",
    "table",
)

#: Fields that a table decides, and schedule "calibrated", which is one.
REPLACED_BY_TABLE = (
    "order",
    "method",
    "prediction",
    "weights",
    "lower_order_final",
    "corrector",
    "variable",
)


@dataclass(frozen=True)
class Solver:
    """One way to solve the diffusion ODE or SDE; docs/solvers.md says when to use which.

    Every field is checked, and a combination that means nothing is refused: `ValueError`, one
    sentence that names the field, its value and what is allowed.

    nfe                 network evaluations, 1 to 1000, spent exactly; 20, or 200 for "adaptive",
                        where it is a cap; with `window` it is the number of steps of the
                        sequential solver, which caps the sequential ticks
    order               1, 2 or 3; "auto" is 1 for the first fifth of the evaluations, 2 until
                        three fifths, then 3. Adaptive: 2 is DPM-Solver-12, 3 is DPM-Solver-23
    method              "multistep", "singlestep" or "adaptive"
    prediction          "data" is DPM-Solver++, "noise" is DPM-Solver
    schedule            where the nodes lie: even in λ ("logsnr"), in cosine time, in linear-β
                        time, in its square root ("quadratic"), Karras' with ρ = 7, or even in
                        the time of a flow ("flow"); one of other programs' (`spacings`);
                        "calibrated": nodes and weights fitted to the model that is sampled; or
                        a function (n, lam_span) -> n + 1 λ
    variable            what predictions are polynomials of between nodes: λ, ρ = σ/α, or the
                        linear-β time, as DEIS has it
    table               the name of a table or function that takes the place of order, method,
                        prediction and weights (`dpm_demo.solver.table`), such as "heun"
    shift               of schedule "flow": λ' = λ − log shift; None: the span's own (`nodes`)
    weights             "exact", or "published" to reproduce other people's numbers
    lower_order_final   taper the order towards the end
    denoise_to_zero     the last evaluation returns the data prediction at the last node
    eta                 the noise of the reverse SDE: 0 is the ODE, 1 the full SDE
    corrector           UniPC's corrector, without any further evaluation
    threshold           of the data prediction: "static" (clip) or "dynamic" (percentile)
    tolerance           adaptive: rtol = tolerance and atol = 0.156 tolerance
    controller, error   adaptive: the step-size controller and the estimator of the local error
    stability           adaptive: lower the order and halve the step while errors keep growing
    window              steps that are solved together, parallel in time (Picard); 0: none
    """

    nfe: int = cast(int, None)  # None: 20, or 200 for "adaptive"
    order: int | Literal["auto"] = 2
    method: Literal["multistep", "singlestep", "adaptive"] = "multistep"
    prediction: Literal["data", "noise"] = "data"
    schedule: Any = "logsnr"
    weights: Literal["exact", "published"] = "exact"
    lower_order_final: bool = True
    denoise_to_zero: bool = False
    eta: float = 0.0
    corrector: bool = False
    threshold: Literal["static", "dynamic"] | None = None
    tolerance: float = 0.05
    controller: Literal["pi", "i"] = "pi"
    error: Literal["embedded", "doubling"] = "embedded"
    stability: bool = False
    window: int = 0
    shift: float | None = None
    variable: Literal["lambda", "rho", "time"] = "lambda"
    table: str = ""

    def __post_init__(self) -> None:
        if self.nfe is None:
            object.__setattr__(self, "nfe", 200 if self.method == "adaptive" else NFE_DEFAULT)
        for name, allowed in {**CHOICES, "schedule": SCHEDULES}.items():
            if not (name == "schedule" and callable(self.schedule)):
                _check_choice(name, getattr(self, name), allowed)
        self._check_shift()
        for name, low, high in (("nfe", 1, NFE_MAX), ("window", 0, WINDOW_MAX)):
            value = _whole(name, getattr(self, name), low, high)
            object.__setattr__(self, name, value)
        if self.window == 1:
            raise ValueError(f"window must be 0 or a whole number from 2 to {WINDOW_MAX}, not 1")
        object.__setattr__(self, "eta", _real("eta", self.eta))
        object.__setattr__(self, "tolerance", _real("tolerance", self.tolerance))
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie between 0 and 1, not {self.eta}")
        if not 1e-300 <= self.tolerance < math.inf:  # below, errors overflow when divided by it
            raise ValueError(f"tolerance must be finite and at least 1e-300, not {self.tolerance}")
        self._check_combination()
        if self.schedule == "calibrated":
            self._refuse(
                (*REPLACED_BY_TABLE, "eta", "window", "table", "denoise_to_zero"),
                'schedule "calibrated", whose weights are fitted',
            )
        if self.table or not isinstance(self.table, str):
            self._check_table()

    def lambdas(self, model: Any, **where: Any) -> list[float]:
        """λ of the evaluations and of the end on `model` (or on a span): `lists.lambdas_on`."""
        from dpm_demo.solver import lists

        return lists.lambdas_on(self, model, **where)

    def sigmas(self, model: Any, **where: Any) -> list[float]:
        """The same as the σ that other programs take: σ/α, or the time of a flow model."""
        from dpm_demo.solver import lists

        return lists.sigmas_on(self, model, **where)

    def timesteps(self, model: Any, **where: Any) -> list[float]:
        """What the network of `model` is told at each evaluation: its float labels, or its time."""
        from dpm_demo.solver import lists

        return lists.timesteps_on(self, model, **where)

    def _check_shift(self) -> None:
        if self.shift is None:
            return
        if self.schedule != "flow":
            raise ValueError(
                f'shift {self.shift!r} belongs to schedule "flow": leave it None with '
                f"{self.schedule!r}"
            )
        object.__setattr__(self, "shift", _real("shift", self.shift))
        if not 1e-3 <= self.shift <= 1e3:
            raise ValueError(f"shift must lie between 0.001 and 1000, not {self.shift}")

    def _check_table(self) -> None:
        from dpm_demo.solver.table import named

        made = named(self.table)
        self._refuse(REPLACED_BY_TABLE, f'table "{made.name}", which decides it')
        if self.eta and not made.noisy:
            raise ValueError(f'eta must be 0 with table "{made.name}", not {self.eta}')
        if self.threshold is not None and made.prediction == "noise":
            raise ValueError(
                f"threshold {self.threshold!r} acts on the data prediction, and table "
                f'"{made.name}" is of the noise'
            )
        if made.sampler is not None:
            self._refuse(("threshold", "denoise_to_zero"), f'table "{made.name}", a function')
            if self.nfe % made.calls:
                raise ValueError(
                    f'nfe must be a multiple of {made.calls} with table "{made.name}", whose steps '
                    f"take as many evaluations, not {self.nfe}"
                )
        if self.window:
            raise ValueError(f'window must be 0 with table "{made.name}", not {self.window}')

    def _check_combination(self) -> None:
        if self.method == "adaptive":
            self._refuse(FIXED_FIELDS, 'method "adaptive", which places its own steps')
            if self.order not in (2, 3):
                raise ValueError(
                    f"order must be 2 (DPM-Solver-12) or 3 (DPM-Solver-23) with method "
                    f'"adaptive", not {self.order!r}'
                )
        else:
            self._refuse(ADAPTIVE_FIELDS, f'method "{self.method}", only with "adaptive"')
        if self.threshold is not None and self.prediction == "noise":
            raise ValueError(
                f"threshold {self.threshold!r} acts on the data prediction, so prediction must "
                f'be "data", not "noise"'
            )
        if self.variable != "lambda" and self.weights == "published":
            raise ValueError(f'variable {self.variable!r} needs weights "exact", not "published"')
        if self.corrector and self.method != "multistep":
            raise ValueError(f'corrector needs method "multistep", not {self.method!r}')
        if self.corrector and self.window:
            raise ValueError(f"corrector must be off with window {self.window}, allowed is 0")
        if self.eta > 0:
            if self.prediction == "noise":
                raise ValueError(f'eta {self.eta} needs prediction "data", not "noise"')
            if self.order not in (1, 2):
                raise ValueError(f"eta {self.eta} needs order 1 or 2, not {self.order!r}")
            if self.corrector:
                raise ValueError(f"corrector must be off with eta {self.eta}, allowed is 0")

    def _refuse(self, names: tuple[str, ...], where: str) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if (value := getattr(self, name)) != defaults[name]:
                raise ValueError(
                    f"{name} {value!r} means nothing with {where}: leave it {defaults[name]!r}"
                )


def check_seed(seed: Any) -> int:
    """The seed as an int. Raises ValueError unless it is a whole number from 0 to `SEED_MAX`.

    Above, two seeds would name one noise: the generator keeps 32 bits of them.
    """
    return _whole("seed", seed, 0, SEED_MAX)


def most_evaluations(steps: int, window: int) -> int:
    """Evaluations that a sample of so many in sequence spends at most, `window` of them together.

    Every sweep evaluates the window, and settles one step of it at least.
    """
    wide = min(window, steps)
    return wide * steps - wide * (wide - 1) // 2 if wide else steps


def _check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    # the type too: True is not the order 1, and 1.0 is not True
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise ValueError(
            f"{name} must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}, "
            f"not {value!r:.60}"
        )


def _whole(name: str, value: Any, low: int, high: int) -> int:
    try:
        whole = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = None
    if whole is None or not low <= whole <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r:.60}")
    return whole


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, not {value!r:.60}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number of ordinary size, not beyond 1e308") from None
