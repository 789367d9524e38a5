"""A sweep on a cluster of two nodes is the sweep of one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpm_demo as dpm
from dpm_demo.cli.main import main
from dpm_demo.compare.references import reference_solver
from dpm_demo.engine import cluster as reach
from dpm_demo.engine.cluster import Refused
from dpm_demo.models.model import Model
from dpm_demo.quality.compute import compute, here
from dpm_demo.quality.distributed import IN_FLIGHT, on_ray
from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.measure import BLOCK, Instrument, Order, Unit
from dpm_demo.quality.store import Store
from dpm_demo.solver import initial_noise
from dpm_demo.solver.settings import Solver

LOOK = Extractor("pixels", "1", lambda x: (x.flatten(1)[:, :8], x.flatten(1)[:, :4]))
SOLVERS = [Solver(nfe=3, order=2), Solver(nfe=4, order=3)]
PATIENCE = 600.0  # seconds; only a failure waits that long


def until(true: Callable[[], Any]) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)


def known(store: Store, solvers: list[Solver], n_error: int) -> dict[Any, dict[str, np.ndarray]]:
    everything = [*solvers, *(reference_solver(s) for s in solvers if n_error)]
    return {(s, seed): row for s in everything for seed, row in store.rows(s).items()}


def assert_same_bits(a: Any, b: Any) -> None:
    assert a.keys() == b.keys() and a
    for key, row in a.items():
        assert row.keys() == b[key].keys()
        for name, value in row.items():
            np.testing.assert_array_equal(value, b[key][name], err_msg=f"{key} {name}")


@pytest.fixture(scope="module", autouse=True)
def _workers_know_what_is_defined_here(cluster: Any) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def model() -> Model:
    return dpm.load("mixture", "cpu")


class Obeying:
    """The exact mixture, whose calls do what a file in `folder` says; every call adds a line."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder = model, folder

    def __call__(self, x: Any, lam: Any, cond: Any = None) -> Any:
        with (self.folder / "calls").open("a") as file:
            file.write(f"{os.getpid()} {len(x)}\n")
        while (self.folder / "wait").exists():
            time.sleep(0.02)
        if (self.folder / "die").exists():
            os._exit(1)
        if (self.folder / "fail").exists():
            raise RuntimeError("the network is ill")
        return self.model.denoise_float32(x, lam)

    def say(self, word: str) -> Path:
        path = self.folder / word
        path.touch()
        return path

    @property
    def calls(self) -> list[list[int]]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [[int(word) for word in line.split()] for line in lines]


@pytest.fixture
def obeying(model: Model, tmp_path: Path) -> tuple[Obeying, Model]:
    network = Obeying(model, tmp_path)
    return network, replace(model, denoise_float32=network)


def test_a_network_with_labels_and_features_gives_the_bits_of_one_process(
    cluster: Any, tmp_path: Path
) -> None:
    from dpm_demo.quality.extract import open_extractor

    emoji = dpm.load("emoji-image", "cpu")
    one, many = (
        Store(tmp_path / name, emoji, "animals", 2.0, open_extractor("emoji"))
        for name in ("one", "many")
    )
    seeds = range(BLOCK - 4, BLOCK + 4)  # two blocks
    solvers = [Solver(nfe=2, order=2)]
    compute(one, solvers, seeds, 0, here)
    seen: list[int] = []
    compute(many, solvers, seeds, 0, on_ray(cluster.address, "emoji-image", "cpu"), seen.append)
    assert_same_bits(known(one, solvers, 0), known(many, solvers, 0))
    assert sum(seen) == 8 * 2 and len(seen) == 2


def test_errors_and_references_are_the_same_bits_and_a_second_run_computes_nothing(
    cluster: Any, model: Model, tmp_path: Path
) -> None:
    one, many = (Store(tmp_path / name, model, look=LOOK) for name in ("one", "many"))
    seeds, run = range(2 * BLOCK + 3), on_ray(cluster.address, "mixture", "cpu")
    compute(one, SOLVERS, seeds, 4)
    compute(many, SOLVERS, seeds, 4, run)
    assert_same_bits(known(one, SOLVERS, 4), known(many, SOLVERS, 4))
    before = {path: path.stat().st_mtime_ns for path in many.units.glob("*/*.npz")}
    seen: list[int] = []
    compute(many, SOLVERS, seeds, 4, run, seen.append)
    assert seen == []
    assert before == {path: path.stat().st_mtime_ns for path in many.units.glob("*/*.npz")}


def test_no_more_results_are_in_flight_than_workers_have_room_for(
    cluster: Any, model: Model
) -> None:
    asked = [0]

    def orders() -> Any:
        for k in range(40):
            asked[0] += 1
            yield Order(Unit(SOLVERS[0], (k,)))

    instrument = Instrument(model)
    workers = 2
    for got, _ in enumerate(on_ray(cluster.address, "mixture", "cpu")(instrument, orders(), id)):
        assert asked[0] - got <= IN_FLIGHT * workers
    assert asked[0] == 40


def test_a_node_that_is_killed_costs_its_units_only(
    cluster: Any, obeying: tuple[Obeying, Model], model: Model, tmp_path: Path
) -> None:
    network, watched = obeying
    store, alone = Store(tmp_path / "many", watched), Store(tmp_path / "one", model)
    wait, seeds = network.say("wait"), range(4 * BLOCK)
    node = cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20)

    def kill(spent: int) -> None:
        nonlocal node
        if node is not None:  # after the first unit; others are at work
            cluster.remove_node(node, allow_graceful=False)
            node = None

    threading.Thread(
        target=lambda: (until(lambda: len({p for p, _ in network.calls}) == 3), wait.unlink())
    ).start()  # all three nodes are at work
    compute(store, SOLVERS, seeds, 0, on_ray(cluster.address, "obeying", "cpu"), kill)
    compute(alone, SOLVERS, seeds, 0)
    assert node is None
    assert_same_bits(known(alone, SOLVERS, 0), known(store, SOLVERS, 0))


def test_a_worker_that_dies_has_its_units_computed_by_another(
    cluster: Any, obeying: tuple[Obeying, Model], model: Model, tmp_path: Path
) -> None:
    network, watched = obeying
    store, alone = Store(tmp_path / "many", watched), Store(tmp_path / "one", model)
    die, seeds = network.say("die"), range(2 * BLOCK)
    threading.Thread(target=lambda: (until(lambda: network.calls), die.unlink())).start()
    compute(store, SOLVERS[:1], seeds, 0, on_ray(cluster.address, "obeying", "cpu"))
    compute(alone, SOLVERS[:1], seeds, 0)
    assert_same_bits(known(alone, SOLVERS[:1], 0), known(store, SOLVERS[:1], 0))


def test_a_unit_that_fails_is_told_of_and_the_others_are_kept(
    cluster: Any, tmp_path: Path, model: Model
) -> None:
    first = initial_noise([0], model.shape)

    def ill(x: Any, lam: Any, cond: Any = None) -> Any:
        if any((row == first[0]).all() for row in x):
            raise RuntimeError("the network is ill")
        return model.denoise_float32(x, lam)

    store = Store(tmp_path, replace(model, denoise_float32=ill))
    with pytest.raises(ValueError, match=r"1 units failed.*seeds 0 to 49.*the network is ill"):
        run = on_ray(cluster.address, "ill", "cpu")
        compute(store, SOLVERS[:1], range(BLOCK + 3), 0, run)
    assert sorted(store.rows(SOLVERS[0])) == [50, 51, 52]


def test_another_version_and_other_weights_are_refused(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emoji = dpm.load("emoji-image", "cpu")
    run = on_ray(cluster.address, "emoji-image", "cpu")
    other = Store(tmp_path / "weights", replace(emoji, digest="other"))
    with pytest.raises(Refused, match="other weights"):
        compute(other, SOLVERS[:1], range(2), 0, run)
    from dpm_demo.quality import distributed

    monkeypatch.setattr(distributed, "code_digest", lambda: "0123456789abcdef")
    with pytest.raises(Refused, match=f"another version.*{reach.code_digest()}.*0123456789abcdef"):
        compute(Store(tmp_path / "code", emoji), SOLVERS[:1], range(2), 0, run)


# --- several drivers


def command(folder: Path, *words: str) -> list[str]:
    about = ["--model", "mixture", "--device", "cpu", "--metrics", "rmse", "--solvers", "order=2"]
    return ["evaluate", *about, "--out", str(folder), *words]


def evaluate(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, in one process unless `words` say otherwise."""
    program = [sys.executable, "-m", "dpm_demo", *command(folder, *words)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_second_driver_beside_it_computes_nothing_twice(
    cluster: Any, obeying: tuple[Obeying, Model], model: Model, tmp_path: Path
) -> None:
    network, watched = obeying
    wait, seeds = network.say("wait"), range(4 * BLOCK)
    run = on_ray(cluster.address, "obeying", "cpu")
    stores = [Store(tmp_path / "both", watched) for _ in range(2)]
    spent: list[list[int]] = [[], []]
    drivers = [
        threading.Thread(
            target=compute, args=(store, SOLVERS, seeds, 2, run, spent[k].append), daemon=True
        )
        for k, store in enumerate(stores)
    ]
    for driver in drivers:
        driver.start()
    until(lambda: network.calls)
    wait.unlink()
    for driver in drivers:
        driver.join(PATIENCE)
        assert not driver.is_alive()
    alone = Store(tmp_path / "alone", model)
    once: list[int] = []
    compute(alone, SOLVERS, seeds, 2, here, once.append)
    assert sum(map(sum, spent)) == sum(once)
    assert_same_bits(known(alone, SOLVERS, 2), known(stores[0], SOLVERS, 2))


def test_a_driver_that_is_killed_keeps_what_it_has_and_the_next_goes_on(
    cluster: Any, tmp_path: Path
) -> None:
    many, one = tmp_path / "many", tmp_path / "one"
    words = ["--nfe", "5", "--error-seeds", str(BLOCK + 1)]
    driver = evaluate(many, *words, "--ray", cluster.address)
    until(lambda: list(many.glob("units/*/*.npz")) or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    driver.wait(PATIENCE)
    kept = {path: path.stat().st_mtime_ns for path in many.glob("units/*/*.npz")}
    assert kept
    assert main(command(many, *words, "--ray", cluster.address)) == 0
    assert main(command(one, *words)) == 0
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in many.glob("units/*/*.npz")}.items()
    assert (many / "results.csv").read_text() == (one / "results.csv").read_text()


def test_ctrl_c_keeps_what_is_done(
    cluster: Any, obeying: tuple[Obeying, Model], tmp_path: Path
) -> None:
    _, watched = obeying
    store = Store(tmp_path / "many", watched)

    def stop(spent: int) -> None:
        raise KeyboardInterrupt

    run = on_ray(cluster.address, "obeying", "cpu")
    with pytest.raises(KeyboardInterrupt):
        compute(store, SOLVERS, range(6 * BLOCK), 0, run, stop)
    first = store.rows(SOLVERS[0])
    assert first == {} or len(first) % BLOCK == 0
    compute(store, SOLVERS, range(6 * BLOCK), 0, run)
    assert len(store.rows(SOLVERS[1])) == 6 * BLOCK


def test_an_address_where_nothing_answers_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # this process is connected already
    words = ["--ray", "127.0.0.1:1", "--nfe", "5", "--error-seeds", "1"]
    assert main(command(tmp_path, *words)) == 1
    said = capsys.readouterr().err
    assert "ray: '127.0.0.1:1' does not answer" in said and said.strip().count("\n") == 0
