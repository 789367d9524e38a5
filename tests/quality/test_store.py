"""What a sweep has computed is only ever added to, whoever asks for what in which order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import dpm_demo as dpm
from dpm_demo.compare.references import reference_solver
from dpm_demo.models.calibrated import Fit
from dpm_demo.models.model import Model
from dpm_demo.quality import measure, sweep
from dpm_demo.quality import store as store_module
from dpm_demo.quality.compute import compute
from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.measure import BLOCK, Instrument, Order, Unit
from dpm_demo.quality.store import Store
from dpm_demo.quality.sweep import line, results
from dpm_demo.solver import table
from dpm_demo.solver.settings import Solver

LOOK = Extractor("pixels", "1", lambda x: (x.flatten(1)[:, :8], x.flatten(1)[:, :4]))
REAL = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
TRUTH = reference_solver(Solver())
SOLVERS = (Solver(nfe=2, order=1), Solver(nfe=3, order=2), Solver(nfe=3, eta=1.0), TRUTH)
SHORT = (*SOLVERS[:3], reference_solver(Solver(), 6))
SEEDS = range(12)


def tiny() -> Model:
    """A network of 12 numbers, row by row, whose fast precision is off by a hundredth."""

    def denoise(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        return torch.tanh(x * lam.reshape(-1, 1, 1, 1).exp().clamp(max=3.0))

    def fast(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        return denoise(x, lam) + 0.01

    return Model("tiny", (3, 2, 2), (-5.0, 4.6), fast, denoise, torch.device("cpu"), digest="tiny")


MODEL = tiny()
Rows = dict[tuple[Solver, int, str, str], bytes]


class Sweeps(RuleBasedStateMachine):
    """Sweeps of any kind, precision, seeds and solvers, one after another in one folder."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        for room in (measure, store_module, sweep):  # a reference of 6 evaluations, not 200
            self.patch.setattr(room, "reference_solver", partial(reference_solver, nfe=6))
        self.known: Rows = {}
        self.asked: list[tuple[Solver, range, int, bool]] = []

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.folder)

    @rule(
        solver=st.sampled_from(SHORT),
        first=st.integers(0, 8),
        count=st.integers(1, 4),
        n_error=st.integers(0, 4),
        look=st.booleans(),
        quick=st.booleans(),
    )
    def evaluate(
        self, solver: Solver, first: int, count: int, n_error: int, look: bool, quick: bool
    ) -> None:
        look, n_error = look or quick, 0 if quick else n_error
        seeds = range(first, first + count)
        store = Store(self.folder, MODEL, look=LOOK if look else None, quick=quick)
        compute(store, [solver], list(seeds), n_error)
        assert not list(store.missing(solver, list(seeds), n_error)), "it is not all there"
        if not quick:
            self.asked.append((solver, seeds, n_error, look))

    @invariant()
    def nothing_goes_and_nothing_changes(self) -> None:
        now: Rows = {}
        for quick in (False, True):
            store = Store(self.folder, MODEL, quick=quick)
            for solver in store.solvers():
                for seed, row in store.rows(solver).items():
                    for kind, value in row.items():
                        if not quick or "fast" in row:
                            now[solver, seed, kind, f"{quick}"] = value.tobytes()
        exact = {k for k in self.known if k[3] == "False"}
        changed = [k for k in exact if now.get(k) != self.known[k]]
        assert not changed
        self.known = now

    @invariant()
    def figures_are_those_of_a_folder_of_their_own(self) -> None:
        if self.asked:
            solver, seeds, n_error, look = self.asked[-1]
            with tempfile.TemporaryDirectory() as folder:
                alone = Store(Path(folder), MODEL, look=LOOK if look else None)
                compute(alone, [solver], list(seeds), n_error)
                expected = line(alone, solver, seeds, n_error, REAL if look else None)
            here = Store(self.folder, MODEL, look=LOOK if look else None)
            assert line(here, solver, seeds, n_error, REAL if look else None) == expected


Sweeps.TestCase.settings = settings(max_examples=10, stateful_step_count=5, deadline=None)
TestAnySequenceOfSweepsOnlyAdds = Sweeps.TestCase


@pytest.fixture
def counting() -> tuple[Model, list[int]]:
    """The tiny model, and the network rows that it has computed."""
    rows: list[int] = []

    def exact(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        rows.append(len(x))
        return MODEL.denoise_float32(x, lam)

    def fast(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        rows.append(len(x))
        return MODEL.denoise(x, lam)

    return replace(MODEL, denoise=fast, denoise_float32=exact), rows


def test_errors_then_features_then_errors_again_computes_each_once(
    counting: tuple[Model, list[int]], tmp_path: Path
) -> None:
    model, rows = counting
    solver, seeds = SOLVERS[1], list(SEEDS)
    compute(Store(tmp_path, model), [solver], seeds, 4)
    expected = 12 * solver.nfe + 4 * TRUTH.nfe
    assert sum(rows) == expected
    compute(Store(tmp_path, model, look=LOOK), [solver], seeds, 0)
    expected += 12 * solver.nfe
    assert sum(rows) == expected
    for look in (None, LOOK):
        compute(Store(tmp_path, model, look=look), [solver], seeds, 4)
    assert sum(rows) == expected, "what was there was computed again"


def test_a_fast_sample_is_nobodys_reference(tmp_path: Path) -> None:
    solver, seeds = SOLVERS[1], [0, 1]
    compute(Store(tmp_path, MODEL, look=LOOK, quick=True), [TRUTH, solver], seeds, 0)
    store = Store(tmp_path, MODEL, look=LOOK)
    assert store.rows(TRUTH) == {} and store.solvers() == []
    compute(store, [solver], seeds, 2)
    got = line(store, solver, seeds, 2, None)
    exact = replace(MODEL, denoise=MODEL.denoise_float32)
    made, truth = (dpm.generate(exact, s, seeds).numpy() for s in (solver, TRUTH))
    assert got is not None
    assert got.rmse == pytest.approx(np.sqrt(np.mean((made - truth) ** 2)), rel=1e-6)


def test_a_fast_sweep_takes_exact_rows_first_and_the_results_say_that_it_was_fast(
    counting: tuple[Model, list[int]], tmp_path: Path
) -> None:
    model, rows = counting
    solver = SOLVERS[0]
    compute(Store(tmp_path, model, look=LOOK), [solver], [0, 1], 0)
    before = sum(rows)
    quick = Store(tmp_path, model, look=LOOK, quick=True)
    compute(quick, [solver], [0, 1], 0)
    assert sum(rows) == before
    assert results(quick, [solver], [0, 1], 0, REAL).notes == {}
    compute(quick, [solver], [0, 1, 2], 0)
    assert "1 settings" in results(quick, [solver], [0, 1, 2], 0, REAL).notes["fast precision"]


def test_where_float32_is_the_fast_precision_nothing_is_kept_apart(tmp_path: Path) -> None:
    same = replace(MODEL, denoise=MODEL.denoise_float32)
    compute(Store(tmp_path, same, look=LOOK, quick=True), [TRUTH], [0], 0)
    assert "sample" in Store(tmp_path, same).rows(TRUTH)[0]


def test_a_fit_or_a_table_with_other_numbers_is_another_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_KNOWN", {})
    fit = Fit((-5.0, 4.6), (-5.0,), (0.5,), ((1.0,),), (1.0, 1.0))
    rows = {"name": "mine", "multistep": [[1], [1.5, -0.5]]}

    def of_fit(scale: float) -> Model:
        return replace(MODEL, fits=(replace(fit, scales=(scale,)),))

    def of_table(weight: float) -> Model:
        rows["multistep"] = [[1], [weight, 1 - weight]]
        (tmp_path / "mine.json").write_text(json.dumps(rows))
        table.read(tmp_path / "mine.json")
        return MODEL

    for name, made in (({"schedule": "calibrated"}, of_fit), ({"table": "mine"}, of_table)):
        folder = tmp_path / made.__name__
        for number in (0.5, 1.5):
            store = Store(folder, made(number), look=LOOK)
            solver = Solver(nfe=1 if made is of_fit else 3, **name)
            compute(store, [solver], [0, 1], 0)
            got = np.stack([row["features"][0] for row in store.rows(solver).values()])
            expected = LOOK(torch.from_numpy(store.sample(solver, [0, 1])[0]))[0].numpy()
            assert np.array_equal(got, expected)
            assert store.solvers() == [solver]
        table._KNOWN.clear()
        assert Store(folder, MODEL, look=LOOK).solvers() == []


def test_an_error_of_the_interpreter_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CPython 3.11, two threads that read: a unit was measured without its error, and again
    store = Store(tmp_path, MODEL)
    compute(store, SOLVERS[:1], range(5), 2)
    known, load, said = store.rows(TRUTH), np.load, [SystemError("recursion depth mismatch")] * 2

    def at_times_ill(*asked: object, **how: object) -> object:
        if said:
            raise said.pop()
        return load(*asked, **how)

    monkeypatch.setattr(store_module.np, "load", at_times_ill)
    assert store.rows(TRUTH).keys() == known.keys() == {0, 1}
    assert not said


@pytest.mark.parametrize("content", [b"", b"half a f", b"PK\x03\x04 and no more"])
def test_a_damaged_file_has_no_rows_and_stays(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path, MODEL)
    damaged = tmp_path / "units" / "order=1,nfe=2" / "000001,float32,seeds=0-4.npz"
    damaged.parent.mkdir()
    damaged.write_bytes(content)
    compute(store, SOLVERS[:1], [0, 1], 0)
    assert set(store.rows(SOLVERS[0])) == {0, 1}
    assert damaged.read_bytes() == content


def test_what_a_killed_sweep_was_writing_is_no_file_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path, MODEL)
    part = tmp_path / "units" / "order=1,nfe=2" / ".part-0123456789abcdef.npz"
    part.parent.mkdir()
    part.write_bytes(b"half a f")
    compute(store, SOLVERS[:1], [0, 1], 0)
    assert set(store.rows(SOLVERS[0])) == {0, 1}


def test_a_folder_of_another_sweep_or_of_an_older_layout_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, MODEL, look=LOOK)
    with pytest.raises(ValueError, match="choose another folder"):
        Store(tmp_path, replace(MODEL, digest="other"))
    with pytest.raises(ValueError, match="choose another folder"):
        Store(tmp_path, MODEL, look=replace(LOOK, digest="2"))
    with pytest.raises(ValueError, match="choose another folder"):
        Store(tmp_path, replace(MODEL, lam_span=(-4.0, 4.0)))
    for text in (json.dumps({"model": "tiny", "label": "any", "guidance": 1.0}), "{", ""):
        (tmp_path / "identity.json").write_text(text)
        with pytest.raises(ValueError, match="choose another folder"):
            Store(tmp_path, MODEL)


def test_parts_are_of_bounded_work_and_add_up_to_the_unit() -> None:
    wide = replace(MODEL, shape=(3, 32, 32))
    instrument = Instrument(wide)
    for nfe, expected in ((1000, 1), (200, 9), (20, BLOCK)):
        unit = Unit(Solver(nfe=nfe), tuple(range(BLOCK)))
        parts = instrument.parts(Order(unit))
        assert [s for part in parts for s in part.unit.seeds] == list(unit.seeds)
        assert len(parts[0].unit.seeds) == expected
    gpu = replace(wide, device=torch.device("meta"))
    assert len(Instrument(gpu).parts(Order(Unit(TRUTH, tuple(range(BLOCK)))))) == 1


def test_a_sweep_that_is_stopped_keeps_every_part_that_it_has_finished(tmp_path: Path) -> None:
    wide, calls = replace(MODEL, shape=(3, 32, 32)), []

    def stopped(x: torch.Tensor, lam: torch.Tensor, cond: object = None) -> torch.Tensor:
        calls.append(len(x))
        if sum(calls) > 18 * TRUTH.nfe:
            raise KeyboardInterrupt
        return MODEL.denoise_float32(x, lam)

    store = Store(tmp_path, replace(wide, denoise_float32=stopped, denoise=stopped))
    seeds = list(range(30))
    with pytest.raises(KeyboardInterrupt):
        compute(store, [TRUTH], seeds, 0)
    assert set(store.rows(TRUTH)) == set(range(18)), "two parts of nine"
    left = [seed for unit in store.missing(TRUTH, seeds, 0) for seed in unit.seeds]
    assert left == list(range(18, 30))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
