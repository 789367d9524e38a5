"""What the page says of settings as they are typed: nothing, until a run is asked for."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.page import build
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.widgets.controls import as_followed
from dpm_demo.ui.widgets.estimate import spent

VISITOR = SimpleNamespace(session_hash="me", client=None)
HALF = {
    "More": ("contr", "solver: 'contr' is not of the form field=value"),
    "Seed": (1.5, "seed must be a whole number from 0 to 2147483647, not 1.5"),
    "Seeds": (2.5, "count must be a whole number from 1, not 2.5"),
}


@pytest.fixture(scope="module")
def page(serving: Serving) -> gr.Blocks:
    return build(serving, serving.load("mixture").result())


def answers(fn: Any, changes: dict[str, Any], *more: Any) -> list[Any]:
    """What an event answers to the page as it is first shown, with these changes by label."""
    values = [changes.get(getattr(w, "label", ""), getattr(w, "value", None)) for w in fn.inputs]

    async def collect() -> list[Any]:
        found = fn.fn(*more, *values)
        if inspect.isasyncgen(found):
            return [answer async for answer in found]
        return [await found if inspect.isawaitable(found) else found]

    return asyncio.run(collect())


@pytest.mark.parametrize("label", HALF)
def test_what_is_half_typed_is_refused_by_the_button_alone(page: gr.Blocks, label: str) -> None:
    value, sentence = HALF[label]
    having = [fn for fn in page.fns.values() if any(w.label == label for w in fn.inputs if w.label)]
    silent = [fn for fn in having if fn.name in ("follow", "written", "estimate")]
    runs = [fn for fn in having if fn.concurrency_id == "engine"]
    assert silent and runs
    for fn in silent:
        answers(fn, {label: value})
    for fn in runs:
        with pytest.raises(gr.Error) as refused:
            answers(fn, {label: value}, VISITOR)
        assert refused.value.message.startswith(sentence)


def test_guidance_that_a_smaller_model_does_not_bear_is_set_back_with_its_slider(
    page: gr.Blocks, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = serving.load("mixture").result()
    latent = replace(
        mixture, latents=SimpleNamespace(picture_shape=lambda shape: shape), guidance=7.5
    )  # type: ignore[arg-type]
    relabel = next(fn for fn in page.fns.values() if fn.name == "relabel")
    at = next(k for k, w in enumerate(relabel.outputs) if w.label == "Guidance")

    def chosen(model: Any, before: float) -> Any:
        async def loaded(name: str) -> Any:
            return model

        monkeypatch.setattr(serving, "model", loaded)
        return asyncio.run(relabel.fn("any", "any", "any", before, VISITOR))[at]

    assert (chosen(latent, 1.0)["value"], chosen(latent, 1.0)["maximum"]) == (7.5, 20)
    assert (chosen(mixture, 7.5)["value"], chosen(mixture, 7.5)["maximum"]) == (1.0, 6)
    assert "value" not in chosen(mixture, 2.5)


def test_what_a_prompted_model_has_no_use_for_is_hidden_and_emptied(
    page: gr.Blocks, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompted = replace(serving.load("mixture").result(), prompted=True)
    relabel = next(fn for fn in page.fns.values() if fn.name == "relabel")

    def chosen(model: Any, label: str) -> Any:
        async def loaded(name: str) -> Any:
            return model

        monkeypatch.setattr(serving, "model", loaded)
        at = next(k for k, w in enumerate(relabel.outputs) if w.label == label)
        return asyncio.run(relabel.fn("any", "any", "any", 1.0, VISITOR))[at]

    for guided in ("rows", "input", "no"):
        model = replace(prompted, guided=guided)
        assert chosen(model, "Guidance")["visible"] == (guided != "no")
        assert ("two network rows" in chosen(model, "Guidance")["info"]) == (guided == "rows")
        negative = chosen(model, "Negative prompt")
        assert negative["visible"] == ("value" not in negative) == (guided == "rows")
        asked = GenerateRequest(model="mixture", prompt="a cat", negative_prompt="a dog")
        kept = asyncio.run(as_followed(serving, asked))
        assert (kept.prompt, bool(kept.negative_prompt)) == ("a cat", guided == "rows")


@pytest.mark.parametrize(
    ("more", "said"),
    [({}, "12 evaluations"), ({"window": 4}, "up to 42"), ({"method": "adaptive"}, "up to 12")],
)
def test_what_is_not_known_before_a_run_is_said_as_a_bound(
    serving: Serving, more: dict[str, Any], said: str
) -> None:
    asked = GenerateRequest(model="mixture", label="any", count=1, solver=Solver(nfe=12, **more))
    wanted = Checked.of(asked, serving.load("mixture").result())
    assert spent(wanted.job()).startswith(said)
