"""A `Solver` is frozen, and refuses what is out of range or means nothing, in one sentence."""

import dataclasses
import math

import pytest

from dpm_demo.solver.settings import CHOICES, Solver


def test_defaults_are_the_documented_ones():
    assert Solver() == Solver(
        nfe=20,
        order=2,
        method="multistep",
        prediction="data",
        schedule="logsnr",
        weights="exact",
        lower_order_final=True,
    )
    assert Solver(method="adaptive").nfe == 200
    for name, allowed in CHOICES.items():
        assert getattr(Solver(), name) == allowed[0]


def test_a_solver_is_frozen_and_can_be_a_key():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Solver().nfe = 3
    assert len({Solver(nfe=20), Solver(), Solver(nfe=21)}) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nfe", 0),
        ("nfe", -1),
        ("nfe", 1001),
        ("nfe", 10**9),
        ("nfe", math.nan),
        ("nfe", 20.0),
        ("nfe", "abc"),
        ("nfe", True),
        ("order", 4),
        ("order", 0),
        ("order", True),
        ("order", "2"),
        ("order", None),
        ("order", [2]),
        ("method", "euler"),
        ("prediction", "velocity"),
        ("schedule", "<script>"),
        ("weights", ""),
        ("lower_order_final", 1),
        ("denoise_to_zero", "yes"),
        ("corrector", None),
        ("threshold", "soft"),
        ("eta", -0.1),
        ("eta", 1.1),
        ("eta", math.nan),
        ("eta", "1"),
        ("eta", 10**400),
        ("tolerance", True),
        ("tolerance", 0.0),
        ("tolerance", -1.0),
        ("tolerance", math.inf),
        ("tolerance", math.nan),
        ("controller", "pid"),
        ("error", "none"),
        ("stability", 0),
        ("window", 1),
        ("window", 65),
        ("window", -1),
        ("window", 2.5),
    ],
)
def test_a_bad_value_is_named_with_its_field(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must .* not "):
        Solver(**{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "adaptive", "order": 1},
        {"method": "adaptive", "order": "auto"},
        {"method": "adaptive", "corrector": True},
        {"method": "adaptive", "eta": 0.5},
        {"method": "adaptive", "window": 4},
        {"method": "adaptive", "schedule": "karras"},
        {"method": "adaptive", "lower_order_final": False},
        {"threshold": "static", "prediction": "noise"},
        {"threshold": "dynamic", "prediction": "noise"},
        {"corrector": True, "method": "singlestep"},
        {"corrector": True, "window": 4},
        {"corrector": True, "eta": 1.0},
        {"eta": 1.0, "prediction": "noise"},
        {"eta": 1.0, "order": 3},
        {"eta": 1.0, "order": "auto"},
        {"tolerance": 0.01},
        {"controller": "i"},
        {"error": "doubling"},
        {"stability": True},
        *(
            {"schedule": "calibrated", name: value}
            for name, value in (
                ("order", 3),
                ("method", "singlestep"),
                ("prediction", "noise"),
                ("weights", "published"),
                ("lower_order_final", False),
                ("denoise_to_zero", True),
                ("corrector", True),
                ("eta", 1.0),
                ("window", 8),
                ("variable", "rho"),
                ("table", "heun"),
            )
        ),
    ],
)
def test_a_combination_that_means_nothing_is_refused(fields):
    with pytest.raises(ValueError) as refused:
        Solver(**fields)
    sentence = str(refused.value)
    assert sentence.split(maxsplit=1)[0] in fields and "\n" not in sentence


def test_whole_numbers_of_other_kinds_become_ints():
    numpy = pytest.importorskip("numpy")
    solver = Solver(nfe=numpy.int64(7), eta=1)
    assert type(solver.nfe) is int and solver.nfe == 7 and type(solver.eta) is float
