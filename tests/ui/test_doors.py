"""What is typed through two doors means the same: page, API, Python, command line, link, PNG."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import dpm_demo as dpm
from dpm_demo.cli import sample as sample_command
from dpm_demo.cli.main import main
from dpm_demo.media.png import png, png_text
from dpm_demo.models.exact import mixture_model
from dpm_demo.request.code import code_for
from dpm_demo.request.codec import (
    read,
    read_leniently,
    read_nested,
    settings,
    solver_of_text,
    to_query,
    to_text,
)
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.solver.settings import CHOICES, SCHEDULES, SEED_MAX, Solver
from dpm_demo.ui.widgets.controls import SolverControls
from dpm_demo.ui.widgets.solver_rows import EMPTY, SolverRows

SOLVER = set(Solver.__dataclass_fields__)


def _solver(**values: Any) -> Solver | None:
    try:
        return Solver(**values)
    except ValueError:
        return None


fixed = st.builds(
    _solver,
    nfe=st.integers(1, 1000),
    eta=st.sampled_from([0.0, 0.0, 0.25, 1.0]),
    window=st.sampled_from([0, 0, 2, 8]),
    **{
        name: st.sampled_from(allowed)
        for name, allowed in {**CHOICES, "schedule": SCHEDULES}.items()
        if name not in ("controller", "error", "stability", "method")
    },
    method=st.sampled_from(["multistep", "singlestep"]),
)
adaptive = st.builds(
    _solver,
    method=st.just("adaptive"),
    nfe=st.integers(5, 1000),
    tolerance=st.floats(1e-4, 1.0),
    order=st.sampled_from([2, 3]),
    **{name: st.sampled_from(CHOICES[name]) for name in ("controller", "error", "stability")},
)
tables = st.builds(_solver, nfe=st.integers(2, 50), table=st.sampled_from(["heun", "midpoint"]))
requests = st.builds(
    GenerateRequest,
    model=st.sampled_from(["mixture", "emoji-image", "hub:owner/name"]),
    label=st.sampled_from(["any", "animals", "fluent food", 'it\'s; a "test"']),
    guidance=st.floats(0, 20),
    seed=st.integers(0, SEED_MAX),
    count=st.integers(1, 9),
    solver=st.one_of(fixed, adaptive, tables).filter(lambda s: s is not None),
    prompt=st.sampled_from(["", "a cat, 'red' & <b>"]),
    height=st.sampled_from([0, 64]),
)


@pytest.fixture(scope="module")
def controls() -> SolverControls:
    with gr.Blocks():
        return SolverControls(Solver())


def page(controls: SolverControls, request: GenerateRequest) -> GenerateRequest:
    """What the widgets hold once they show the request."""
    shown = tuple(update["value"] for update in controls.show(request.solver))
    own = {k: v for k, v in settings(request).items() if k not in SOLVER}
    return read(own | controls.values(shown))


@pytest.mark.parametrize("chosen", [{"schedule": "calibrated"}, {"more": "table=heun"}], ids=str)
def test_what_decides_other_settings_takes_the_place_of_those_that_widgets_show(
    controls: SolverControls, chosen: dict[str, str]
) -> None:
    held = {name: widget.value for name, widget in controls.widgets.items()}  # type: ignore[attr-defined]
    held |= {"order": 3, "prediction": "noise", "corrector": True, **chosen}
    made = read(controls.values(tuple(held.values()))).solver
    assert (made.order, made.prediction, made.corrector) == (2, "data", False)


OFF = SolverRows.of(None)


def test_a_row_of_a_comparison_that_is_calibrated_is_nothing_else() -> None:
    assert SolverRows.read(["3", "singlestep", "noise", "calibrated", "", *OFF * 5]) == (
        Solver(schedule="calibrated"),
    )


def test_a_samplers_name_is_the_whole_row_whatever_its_menus_say() -> None:
    row = [EMPTY, "multistep", "data", "logsnr", "dpmpp_2m karras"]
    assert SolverRows.read([*row, *OFF * 5]) == (solver_of_text("dpmpp_2m karras"),)
    with pytest.raises(ValueError, match="row 1: .*dpmpp_9m"):
        SolverRows.read([*row[:4], "dpmpp_9m", *OFF * 5])
    assert SolverRows.read([*row[:4], "eta=1", *OFF * 5]) == ()


def api(request: GenerateRequest) -> GenerateRequest:
    flat = json.loads(json.dumps(settings(request)))
    solver = {name: flat.pop(name) for name in SOLVER}
    return read_nested({k: float(v) if k == "seed" else v for k, v in flat.items()}, solver)


def python(request: GenerateRequest) -> GenerateRequest:
    """What `generate` is called with by the copied code, as a request."""
    asked: dict[str, Any] = {}

    def generate(model: str, solver: Solver, seeds: Any, size: Any = (0, 0), **more: Any) -> None:
        one, *_ = seeds = tuple(seeds)
        assert seeds == request.seeds
        asked.update(more, model=model, solver=solver, seed=one, count=len(seeds), height=size[0])
        asked.update(width=size[1] and request.width)

    scope = {"dpm": SimpleNamespace(load=lambda name: name, Solver=Solver, generate=generate)}
    exec(code_for("Python", request).replace("import dpm_demo as dpm\n", ""), scope)
    return GenerateRequest(**asked)


def command(request: GenerateRequest, monkeypatch: pytest.MonkeyPatch) -> GenerateRequest:
    seen: list[GenerateRequest] = []

    def stop(values: dict[str, Any]) -> None:
        seen.append(read({**values, "model": request.model}))
        raise ValueError("enough")

    words = shlex.split(code_for("Command line", request))[3:]
    assert words[words.index("--model") + 1] == request.model
    with monkeypatch.context() as patch:
        patch.setattr(sample_command, "read", stop)
        assert main(words) == 1
    return seen[0]


@given(wanted=requests)
@example(wanted=GenerateRequest(seed=SEED_MAX, count=3))
@example(wanted=GenerateRequest(solver=Solver(method="adaptive", controller="i", error="doubling")))
@example(wanted=GenerateRequest(solver=Solver(table="heun", schedule="flow", shift=3.0)))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_request_means_the_same_through_every_door(
    controls: SolverControls, monkeypatch: pytest.MonkeyPatch, wanted: GenerateRequest
) -> None:
    pairs = dict(parse_qsl(to_query(wanted), keep_blank_values=True))
    chunk = png(np.zeros((2, 2, 3), np.uint8), {"dpm-demo": to_text(wanted)})
    doors = {
        "page": page(controls, wanted),
        "api": api(wanted),
        "python": python(wanted),
        "command": command(wanted, monkeypatch),
        "link": read_leniently(pairs)[0],
        "link, then page": page(controls, read_leniently(pairs)[0]),
        "png": read(json.loads(png_text(chunk)["dpm-demo"])),
    }
    assert {name: door for name, door in doors.items() if door != wanted} == {}


@pytest.mark.parametrize("seed", [-1, 1.5, SEED_MAX + 1, 2**32 + 5, True, "x", None])
def test_a_seed_that_is_none_is_refused_in_the_same_words_at_every_door(seed: Any) -> None:
    said = []
    for door in (
        lambda: read({"seed": seed}),
        lambda: dpm.generate(mixture_model(torch.device("cpu")), Solver(nfe=1), seeds=[seed]),
        lambda: GenerateRequest(seed=seed),
    ):
        with pytest.raises(ValueError, match=f"seed must be a whole number from 0 to {SEED_MAX}"):
            door()
        said.append(1)
    assert len(said) == 3


def test_seeds_of_numpy_are_seeds_and_a_float_is_none_in_python() -> None:
    model, solver = mixture_model(torch.device("cpu")), Solver(nfe=1)
    same = dpm.generate(model, solver, seeds=np.arange(2))
    assert torch.equal(same, dpm.generate(model, solver, seeds=[0, 1]))
    with pytest.raises(ValueError, match="seed must be a whole number"):
        dpm.generate(model, solver, seeds=[1.0])


@pytest.mark.parametrize("name", ["model", "seed", "label", "count", "prompt", "__class__"])
def test_what_stands_among_the_solvers_settings_is_no_other_field(name: str) -> None:
    with pytest.raises(ValueError, match=f"solver: '{name}' is no setting") as caught:
        read_nested({"model": "mixture"}, {"nfe": 5, name: "x\ny"})
    assert "\n" not in str(caught.value)


def test_adaptive_on_the_page_has_a_cap_of_its_own(controls: SolverControls) -> None:
    shown = [update["value"] for update in controls.show(Solver(nfe=15, order=2))]
    names = list(controls.widgets)
    shown[names.index("method")] = "adaptive"
    assert read(controls.values(tuple(shown))).solver == Solver(method="adaptive")
    shown[names.index("cap")] = 400
    assert read(controls.values(tuple(shown))).solver.nfe == 400


def test_a_table_of_the_line_more_decides_over_the_controls(controls: SolverControls) -> None:
    shown = [update["value"] for update in controls.show(Solver(order=3, corrector=True))]
    shown[list(controls.widgets).index("more")] = "table=heun"
    assert read(controls.values(tuple(shown))).solver == Solver(table="heun")
