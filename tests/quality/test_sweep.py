from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dpm_demo as dpm
from dpm_demo.compare.references import reference_solver
from dpm_demo.media.pixels import to_levels
from dpm_demo.models.model import Condition, Model
from dpm_demo.models.wrap import Decoded
from dpm_demo.quality import motion
from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.results import Line, Results
from dpm_demo.quality.store import Store
from dpm_demo.quality.sweep import every_solver, line, read_solvers, results, with_budgets
from dpm_demo.solver.settings import Solver
from dpm_demo.training.data import Pictures

LOOK = Extractor("pixels", "1", lambda x: (x.flatten(1)[:, :8], x.flatten(1)[:, :4]))
REAL = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
SOLVER = Solver(nfe=3, order=2)


@pytest.fixture(scope="module")
def model() -> Model:
    return dpm.load("mixture", "cpu")


def run(store: Store, solver: Solver, seeds: range, n_error: int) -> int:
    """Computes what is missing; the samples that this took."""
    count = 0
    for unit in store.missing(solver, seeds, n_error):
        store.compute(unit, n_error)
        count += len(unit.seeds)
    return count


def test_any_split_gives_the_same_figures(model: Model, tmp_path: Path) -> None:
    once, parts = Store(tmp_path / "a", model, look=LOOK), Store(tmp_path / "b", model, look=LOOK)
    run(once, SOLVER, range(12), 4)
    for seeds in (range(6, 12), range(2), range(12)):
        run(parts, SOLVER, seeds, 4 if seeds.start == 0 else 0)
    expected = line(once, SOLVER, range(12), 4, REAL)
    got = line(parts, SOLVER, range(12), 4, REAL)
    assert expected is not None
    assert got is not None
    assert got.n == expected.n == 12
    assert got.n_error == expected.n_error == 4
    assert got.rmse == pytest.approx(expected.rmse, rel=1e-5)
    assert got.fd == pytest.approx(expected.fd, rel=1e-4)


def test_nothing_is_computed_twice(model: Model, tmp_path: Path) -> None:
    store = Store(tmp_path, model, look=LOOK)
    assert run(store, SOLVER, range(5), 2) == 5 + 2  # two references
    assert run(store, SOLVER, range(5), 2) == 0
    assert run(store, SOLVER, range(8), 2) == 3
    assert run(store, replace(SOLVER, order=1), range(8), 2) == 8  # the references are there
    again = Store(tmp_path, model, look=LOOK)
    assert run(again, SOLVER, range(8), 2) == 0


def test_the_reference_is_a_setting_like_others_and_has_no_error_of_its_own(
    model: Model, tmp_path: Path
) -> None:
    store = Store(tmp_path, model, look=LOOK)
    truth = reference_solver(SOLVER)
    run(store, SOLVER, range(4), 2)
    assert run(store, truth, range(4), 2) == 2  # the other two of the four
    got = line(store, truth, range(4), 2, REAL)
    assert got is not None
    assert got.rmse is None
    assert got.n == 4


def test_the_error_is_that_of_the_samples(model: Model, tmp_path: Path) -> None:
    store = Store(tmp_path, model)
    run(store, SOLVER, range(3), 3)
    seeds = [0, 1, 2]
    made = dpm.generate(model, SOLVER, seeds).numpy()
    truth = dpm.generate(model, reference_solver(SOLVER), seeds).numpy()
    got = line(store, SOLVER, seeds, 3, None)
    assert got is not None
    assert got.rmse == pytest.approx(np.sqrt(np.mean((made - truth) ** 2)), rel=1e-4)
    assert got.psnr == pytest.approx(20 * np.log10(2 / got.rmse))
    assert got.fd is None


def test_each_line_says_how_far_it_is_behind_the_nearest_at_its_budget(
    model: Model, tmp_path: Path
) -> None:
    store = Store(tmp_path, model)
    solvers = with_budgets([Solver(order=2), Solver(order=1)], [4, 8])
    for solver in solvers:
        run(store, solver, range(6), 6)
    later = Solver(nfe=8, order=3)
    run(store, later, range(3), 3)
    found = {(x.solver, x.nfe): x for x in results(store, [*solvers, later], range(6), 6).lines}
    for nfe in (4, 8):
        nearest, other = found["order=2", nfe], found["order=1", nfe]
        assert nearest.rmse is not None and other.rmse is not None
        assert (nearest.low, nearest.high, nearest.than) == (1, 1, "order=2")
        assert other.low is not None and other.high is not None
        assert 1 < other.low <= other.rmse / nearest.rmse <= other.high
        assert other.than == "order=2"
    assert found["order=3", 8].low is None  # of fewer seeds


def test_psnr_is_torchmetrics(model: Model, tmp_path: Path) -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    store = Store(tmp_path, model)
    run(store, SOLVER, range(2), 2)
    got = line(store, SOLVER, [0, 1], 2, None)
    made = dpm.generate(model, SOLVER, [0, 1])
    truth = dpm.generate(model, reference_solver(SOLVER), [0, 1])
    expected = peak_signal_noise_ratio(made, truth, data_range=2.0)
    assert got is not None
    assert got.psnr == pytest.approx(float(expected), rel=1e-4)


def test_scores_of_a_part_of_the_seeds_are_left_out(model: Model, tmp_path: Path) -> None:
    store = Store(tmp_path, model, look=LOOK)
    run(store, SOLVER, range(4), 0)
    part = line(store, SOLVER, range(8), 0, REAL)
    assert part is None or part.fd is None


def test_a_folder_of_another_sweep_is_refused(model: Model, tmp_path: Path) -> None:
    Store(tmp_path, model, look=LOOK)
    with pytest.raises(ValueError, match="choose another folder"):
        Store(tmp_path, replace(model, digest="other"))
    with pytest.raises(ValueError, match="choose another folder"):
        Store(tmp_path, model, look=replace(LOOK, digest="2"))


def _labelled(model: Model) -> tuple[Model, Pictures]:
    """The same model with labels, and pictures with these labels, one of each in four."""
    axes = {"category": ("a", "b", "c")}
    n = 40
    labels = (torch.arange(n) % 4 == 0).to(torch.int16)[:, None] * 2
    data, yes = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n, dtype=torch.bool)
    pictures = Pictures(data, labels, axes, torch.arange(n), yes, yes)
    return replace(model, labels=axes), pictures


def test_drawn_labels_come_as_often_as_in_training_and_belong_to_the_seed(
    model: Model, tmp_path: Path
) -> None:
    labelled, pictures = _labelled(model)
    store = Store(tmp_path, labelled, "drawn", 2.0, pictures=pictures)
    conditions = store.conditions(range(400))
    assert conditions is not None
    assert store.conditions([7, 3]) == [conditions[7], conditions[3]]
    assert {c.guidance for c in conditions} == {2.0}
    counts = [sum(c.labels == (k,) for c in conditions) for k in range(3)]
    assert counts[1] == 0
    assert counts[2] / 400 == pytest.approx(0.25, abs=0.08)
    assert counts[0] + counts[2] == 400


def test_drawn_labels_need_pictures_to_draw_from(model: Model, tmp_path: Path) -> None:
    labelled, pictures = _labelled(model)
    with pytest.raises(ValueError, match="give --data"):
        Store(tmp_path, labelled, "drawn")
    with pytest.raises(ValueError, match="give --data"):
        Store(tmp_path, model, "drawn", pictures=pictures)


def test_every_solver_names_each_method_once(model: Model) -> None:
    solvers = every_solver(model)
    assert len(solvers) == len(set(solvers))
    assert sum(s.order == 1 and not s.corrector for s in solvers) == 5  # one a schedule
    for field in ("order", "method", "prediction", "schedule", "weights"):
        assert len({getattr(s, field) for s in solvers}) >= 2
    assert not any(s.method == "adaptive" for s in solvers)


def test_solvers_are_read_as_words_all_and_best(model: Model) -> None:
    known = Results(
        *("m", "", "any", 1.0, "", 200),
        lines=tuple(Line(f"order={k}", 5, 4, 0.1 * k) for k in (1, 2, 3)),
    )
    best = read_solvers(["best:1"], model, replace(known, lines=known.lines[1:]))
    assert [s.order for s in best] == [2, 1]  # the best, and DDIM
    assert read_solvers(["order=3", "order=3"], model, None) == [Solver(nfe=20, order=3)]
    assert len(read_solvers(["all"], model, None)) > 50
    own = read_solvers(["catalogue"], model, None)
    assert Solver(nfe=20, order=1) in own and not any(s.eta for s in own)  # no SDE has a truth
    assert all(s.schedule == "karras" for s in read_solvers(["catalogue karras"], model, None))
    for text in ("best:x", "best:0"):
        with pytest.raises(ValueError, match="best:N"):
            read_solvers([text], model, known)
    with pytest.raises(ValueError, match="errors in --out first"):
        read_solvers(["best:6"], model, None)
    with pytest.raises(ValueError, match="'fast' is unknown"):
        read_solvers(["fast"], model, None)


def test_adaptive_solvers_count_what_they_spent(model: Model, tmp_path: Path) -> None:
    adaptive, named = read_solvers(["order=2 method=adaptive", "dpm_adaptive"], model, None)
    assert adaptive == Solver(method="adaptive", order=2)
    assert named.nfe == adaptive.nfe == 200
    assert with_budgets([SOLVER, adaptive], [5, 8]) == [
        replace(SOLVER, nfe=5),
        replace(SOLVER, nfe=8),
        adaptive,
    ]
    store = Store(tmp_path, model)
    run(store, adaptive, range(2), 2)
    got = line(store, adaptive, [0, 1], 2, None)
    assert got is not None
    assert 10 < got.nfe < 100  # its cap is 200


def test_clips_have_motion_figures_and_features_of_their_frames(tmp_path: Path) -> None:
    video = dpm.load("mixture-video", "cpu")
    store = Store(tmp_path, video, look=LOOK)
    run(store, SOLVER, range(2), 0)
    found = results(store, store.solvers(), range(2), 0, REAL)
    (got,) = found.lines
    assert (got.solver, got.nfe, got.n) == ("order=2", 3, 2)
    assert got.difference is not None
    assert got.neighbour_psnr is not None
    assert got.fd is not None
    row = store.rows(SOLVER)[0]
    assert row["features"].shape == (video.frames, 8)


def prompted_latents() -> Model:
    """Clips of twice the side of their latents; guidance is followed, and from λ = 0 on another
    network answers."""

    def denoise(x: torch.Tensor, lam: torch.Tensor, cond: list[Condition]) -> torch.Tensor:
        strength = torch.tensor([c.guidance for c in cond]) * torch.where(lam < 0, 0.1, 0.2)
        return torch.tanh(x * strength.view(-1, 1, 1, 1, 1))

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return (latents[:, :3] + latents[:, 1:]).repeat(1, 1, 1, 2, 2)

    shape, span, where = (4, 3, 2, 2), (-4.0, 4.0), torch.device("cpu")
    latents = Decoded(decode, shape, span, where)
    options = {"prompted": True, "latents": latents, "restart": 0.0}
    return Model("words", shape, span, denoise, denoise, where, digest="words", **options)


def test_a_sweep_measures_what_generate_makes(tmp_path: Path) -> None:
    """Of a prompted model with two networks whose samples are latents of clips."""
    made, seeds, solver = prompted_latents(), [0, 1], Solver(nfe=6, order=3)
    store = Store(tmp_path, made, guidance=3.0, look=LOOK)
    run(store, solver, range(2), 2)
    latents = dpm.generate(made, solver, seeds, guidance=3.0, output="latent")
    plain = [
        dpm.generate(other, solver, seeds, guidance=g, output="latent")
        for other, g in ((made, 1.0), (replace(made, restart=None), 3.0))
    ]
    assert all((latents - other).abs().max() > 1e-3 for other in plain)
    clips = dpm.generate(made, solver, seeds, guidance=3.0)
    assert np.allclose(store.sample(solver, seeds)[0], clips, atol=1e-6)
    rows = [store.rows(solver)[seed] for seed in seeds]
    truth = [store.rows(reference_solver(solver))[seed]["sample"] for seed in seeds]
    squares = ((latents - torch.tensor(np.stack(truth))) ** 2).flatten(1).mean(1)
    assert [row["square"] for row in rows] == pytest.approx(squares.tolist(), rel=1e-4)
    features = LOOK(clips)[0].view(2, 3, -1)
    assert np.allclose(np.stack([row["features"] for row in rows]), features, atol=1e-6)
    levels = to_levels(clips).numpy()
    expected = motion.differences(levels), motion.neighbour_psnr(levels)
    for kind, values in zip(("difference", "neighbour_psnr"), expected, strict=True):
        assert [row[kind] for row in rows] == pytest.approx(values.tolist())


def test_a_label_or_guidance_that_a_model_does_not_take_is_refused_and_not_noted(
    model: Model, tmp_path: Path
) -> None:
    for asked, sentence in (
        ({"label": "animals"}, "label: 'animals' is unknown to mixture"),
        ({"guidance": 7.5}, "guidance: mixture follows nothing"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Store(tmp_path, model, **asked)
    with pytest.raises(ValueError, match="label: 'animals' is unknown to words"):
        Store(tmp_path, prompted_latents(), "animals")
    assert not list(tmp_path.iterdir())
