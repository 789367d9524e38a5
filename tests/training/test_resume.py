"""A run goes on as what it was, and nothing of it is lost on the way out."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dpm_demo.models.checkpoint import load_checkpoint, read_config
from dpm_demo.training.data import Pictures
from dpm_demo.training.loop import Progress, Recipe, train
from dpm_demo.training.state import STATE, state_note

RECIPE = Recipe(minutes=0.01, dim=8, dim_mults=(1, 2), batch=2, save_minutes=1000.0)


def clock() -> Callable[[], float]:
    """Half a second later at every look: a run of 0.01 minutes is two iterations."""
    times = iter(range(10**6))
    return lambda: next(times) / 2


def pictures(n: int = 6, size: int = 8, classes: int = 2) -> Pictures:
    data = torch.arange(n * 3 * size * size).mul(37).remainder(256).to(torch.uint8)
    return Pictures(
        data.view(n, 3, size, size),
        (torch.arange(n) % classes).to(torch.int16)[:, None],
        {"class": tuple("abcd"[:classes])},
        torch.arange(n),
        torch.ones(n, dtype=torch.bool),
        torch.arange(n) == 0,
    )


def run(out: Path, recipe: Recipe = RECIPE, data: Pictures | None = None, **more: Any) -> None:
    train(pictures() if data is None else data, out, recipe, clock=clock(), **more)


def test_more_minutes_and_other_save_minutes_go_on(tmp_path: Path) -> None:
    run(tmp_path / "a")
    seen: list[int] = []
    longer = replace(RECIPE, minutes=0.02, save_minutes=1.0)
    run(tmp_path / "a", longer, on_progress=lambda p: seen.append(p.iteration))
    assert seen == [3]


def test_a_run_that_goes_on_removes_what_a_killed_one_was_writing(tmp_path: Path) -> None:
    (tmp_path / ".part-0.pt").touch()
    os.utime(tmp_path / ".part-0.pt", (0, 0))
    run(tmp_path)
    assert not list(tmp_path.glob(".part-*"))


def test_a_run_begun_before_attention_was_bounded_goes_on_without(tmp_path: Path) -> None:
    run(tmp_path / "a", replace(RECIPE, qk_norm=False))
    state = torch.load(tmp_path / "a" / STATE, weights_only=True)
    del state["recipe"]["qk_norm"]
    torch.save(state, tmp_path / "a" / STATE)
    for minutes in (0.02, 0.03):
        run(tmp_path / "a", replace(RECIPE, minutes=minutes))
        assert "qk_norm" not in read_config(tmp_path / "a")["arguments"]


def test_a_run_begun_before_noise_could_be_chosen_goes_on_as_it_was_trained(tmp_path: Path) -> None:
    run(tmp_path / "a")
    state = torch.load(tmp_path / "a" / STATE, weights_only=True)
    del state["recipe"]["t_logit"]
    torch.save(state, tmp_path / "a" / STATE)
    with pytest.raises(ValueError, match=r"t_logit was 0\.0, not 1\.0"):
        run(tmp_path / "a", replace(RECIPE, t_logit=1.0))
    run(tmp_path / "a", replace(RECIPE, minutes=0.02))
    assert read_config(tmp_path / "a")["trained"]["iterations"] == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("target", "noise"), ("lr", 5e-4), ("batch", 3), ("dim", 16), ("drop", 0.2), ("seed", 1)),
        *(("dim_mults", (1, 2, 2)), ("fold", 1), ("ema", 0.9), ("warmup", 5), ("decay", 0.1)),
        *(("qk_norm", False), ("t_logit", 1.0)),
    ],
)
def test_a_run_of_another_recipe_is_refused_and_what_differs_is_named(
    field: str, value: object, tmp_path: Path
) -> None:
    run(tmp_path / "a")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with pytest.raises(ValueError, match=f"another recipe: {field} was") as refusal:
        run(tmp_path / "a", replace(RECIPE, **{field: value}))
    assert len(str(refusal.value).splitlines()) == 1
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (pictures(size=16), "size was 8 x 8, not 16 x 16"),
        (pictures(classes=3), "labels was"),
        (pictures(n=7), "the pictures are others"),
    ],
)
def test_a_run_on_other_pictures_is_refused(data: Pictures, named: str, tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(ValueError, match=named):
        run(tmp_path / "a", data=data)


def test_a_run_goes_on_with_its_teacher_or_not_at_all(tmp_path: Path) -> None:
    run(tmp_path / "a", origin={"start": "x", "weak": "w", "sharpen": "1.5"})
    with pytest.raises(ValueError, match="weak was w, not none; sharpen was"):
        run(tmp_path / "a", origin={"start": "x"})


@pytest.mark.parametrize("origins", [({}, {"start": "x"}), ({"start": "x"}, {"start": "y"})])
def test_a_run_that_began_elsewhere_is_refused(
    origins: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    run(tmp_path / "a", origin=origins[0])
    with pytest.raises(ValueError, match="start was"):
        run(tmp_path / "a", origin=origins[1])


def test_an_interrupt_before_the_first_save_loses_nothing(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", on_progress=stop)
    assert load_checkpoint(tmp_path / "a").shape == (3, 8, 8)
    seen: list[int] = []
    run(tmp_path / "a", on_progress=lambda p: seen.append(p.iteration))
    assert seen == [2]


def test_what_was_guessed_is_kept_though_the_run_is_killed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = replace(pictures(), words=torch.arange(6)[:, None], vocabulary=tuple("abcdef"))
    recipe = replace(RECIPE, guess=8)

    def killed(*asked: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as at_once, pytest.raises(SystemExit):
        at_once.setattr("dpm_demo.training.loop.denoising_loss", killed)
        run(tmp_path / "a", recipe, words)
    monkeypatch.setattr("dpm_demo.training.loop.fit_guess", killed)
    run(tmp_path / "a", recipe, words)
    assert read_config(tmp_path / "a")["trained"]["iterations"] == 2


def test_a_finished_model_without_its_state_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path / "a")
    assert f"{STATE} (" in state_note(tmp_path / "a")
    (tmp_path / "a" / STATE).unlink()
    with pytest.raises(ValueError, match="holds a model and no state"):
        run(tmp_path / "a")


@pytest.mark.parametrize("kept", [0, 10, 5000])
def test_a_truncated_state_is_one_sentence(kept: int, tmp_path: Path) -> None:
    run(tmp_path / "a")
    path = tmp_path / "a" / STATE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged") as refusal:
        run(tmp_path / "a")
    assert len(str(refusal.value).splitlines()) == 1


def test_a_loss_that_is_no_longer_finite_ends_the_run_and_the_last_write_stands(
    tmp_path: Path,
) -> None:
    run(tmp_path / "a")
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="the loss is nan after 2 iterations"):
        run(
            tmp_path / "a",
            replace(RECIPE, minutes=0.02),
            teacher=lambda x, lam, labels: x * float("nan"),
        )
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == before


def test_a_folder_that_is_a_file_and_a_width_that_no_network_has_are_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file, not a folder"):
        run(tmp_path / "file")
    for dim in (1, 5, 12):
        with pytest.raises(ValueError, match=f"no network is {dim} wide"):
            run(tmp_path / f"{dim}", replace(RECIPE, dim=dim, dim_mults=(1, 2, 4)))
    with pytest.raises(ValueError, match="multiples of 4"):
        run(tmp_path / "size", data=pictures(size=6))
