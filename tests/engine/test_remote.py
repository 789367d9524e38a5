"""Workers of a cluster: the engine's answers from elsewhere, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpm_demo.engine import workforce
from dpm_demo.engine.errors import Busy, Closed, JobFailed
from dpm_demo.engine.events import Cancelled, Done, Preview
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.remote import RESTARTED, TWICE, Remote
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.workforce import Place, Work, price
from dpm_demo.models.built_in import BuiltIn
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.solver.settings import Solver

PATIENCE = 600.0  # seconds; only a failure waits that long
NAMES = ("obeying", "other", "changed")
BESIDE = {"num_cpus": 0}  # of a worker that may be wherever others have the cores


def until(true: Callable[[], Any]) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


class Obeying:
    """The exact mixture, whose calls note who makes them, and do what files in `folder` say."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder = model, folder

    def __call__(self, x: Any, lam: Any, cond: Any = None) -> Any:
        with (self.folder / "calls").open("a") as file:
            file.write(f"{os.getpid()} {len(x)}\n")
        calls = callers(self.folder).count(os.getpid())
        for word, after in (("wait", 0), ("wait later", 5)):
            while calls > after and (self.folder / word).exists():
                time.sleep(0.01)
        return self.model.denoise_float32(x, lam)


def callers(folder: Path) -> list[int]:
    """The process of each call."""
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[0]) for line in lines]


def made(device: torch.device, name: str, folder: Path, digest: str) -> Model:
    mixture = mixture_model(device)
    network = Obeying(mixture, folder)
    return replace(mixture, name=name, denoise=network, denoise_float32=network, digest=digest)


def library(folder: Path, changed: str = "") -> ModelLibrary:
    digests = dict.fromkeys(NAMES, "") | {"changed": changed}
    models = [
        BuiltIn(name, name, partial(made, name=name, folder=folder, digest=digest))
        for name, digest in digests.items()
    ]
    return ModelLibrary("cpu", built_in=models)


class Service:
    """Two workers, and what their networks have done and shall do."""

    def __init__(self, address: str, folder: Path, workers: int = 2, **options: Any) -> None:
        self.folder = folder
        options.setdefault("need", BESIDE if workers == 1 else None)
        here = library(folder, changed="since they were started")
        self.remote = Remote(address, workers, here, partial(library, folder), **options)
        until(lambda: self.ready == workers)

    @property
    def ready(self) -> int:
        return sum(w["state"] == "ready" for w in self.remote.workers())

    def say(self, word: str) -> Path:
        path = self.folder / word
        path.touch()
        return path

    @property
    def callers(self) -> list[int]:
        return callers(self.folder)

    def job(self, seeds: tuple[int, ...] = (3, 4), nfe: int = 6, name: str = "obeying") -> Job:
        model = self.remote.load(name).result(PATIENCE)
        track = Track(Solver(nfe=nfe, order=3), seeds, lam_span=model.lam_span)
        return Job(model.denoise, model.shape, (track,), device=model.device)

    def start(self, *args: Any, **options: Any) -> Ticket:
        ticket = self.remote.submit(self.job(*args, **options))
        ticket.subscribed = True
        return ticket

    def running(self) -> Ticket:
        """A request whose worker is in the middle of a network call, and waits."""
        before = len(self.callers)
        self.say("wait")
        ticket = self.start()
        until(lambda: len(self.callers) > before)
        return ticket


def alone(service: Service) -> Done:
    """The same job in one process."""
    mixture = mixture_model(torch.device("cpu"))
    job = replace(service.job(), denoise=mixture.denoise_float32)
    *_, done = run_inline(job, preview_hz=0)
    assert isinstance(done, Done)
    return done


@pytest.fixture(scope="module", autouse=True)
def _workers_know_what_is_defined_here(cluster: Any) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def two(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(cluster.address, tmp_path_factory.mktemp("two"))
    yield service
    service.remote.close()


@pytest.fixture
def service(two: Service) -> Iterator[Service]:
    """The two workers as they were at first: at rest, of no past, and alive again."""
    yield two
    for path in two.folder.iterdir():
        path.unlink()
    until(lambda: two.ready == 2 and two.remote.stats().requests == 0)


# --- the way of a request


def test_a_request_gives_the_record_of_one_process_and_nothing_is_computed_here(
    service: Service,
) -> None:
    *previews, done = list(service.start())
    assert isinstance(done, Done) and all(isinstance(event, Preview) for event in previews)
    assert os.getpid() not in service.callers
    expected = alone(service)
    np.testing.assert_array_equal(done.tracks[0].samples, expected.tracks[0].samples)
    for row, same in zip(done.tracks[0].rows, expected.tracks[0].rows, strict=True):
        assert row.points == same.points
        np.testing.assert_array_equal(row.x0, same.x0)


def test_two_requests_run_on_two_workers_and_a_third_on_that_with_the_least_to_do(
    service: Service,
) -> None:
    wait = service.say("wait")
    tickets = [service.start((0,), nfe=nfe) for nfe in (30, 6)]
    until(lambda: len(set(service.callers)) == 2)
    tickets.append(service.start((0,), nfe=5))
    until(lambda: sum(w["requests"] for w in service.remote.workers()) == 3)
    assert sorted((w["requests"], w["rows_left"]) for w in service.remote.workers()) == [
        *((1, 30), (2, 11)),
    ]
    wait.unlink()
    for ticket in tickets:
        ticket.result(PATIENCE)


def test_rows_of_the_same_model_weigh_less_since_they_share_network_calls() -> None:
    def place(model: str, left: int) -> Place:
        return Place(0, None, work={Work(model, left)})

    same, other, idle = place("a", 30), place("b", 20), Place(0, None)
    assert price(idle, "a") < price(same, "a") < price(other, "a")


def test_a_run_goes_on_after_its_model_was_let_go_here_for_another(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = service.job()
    monkeypatch.setattr(ModelLibrary, "kept", lambda library: ())
    service.remote.load("other").result(PATIENCE)
    assert service.remote.submit(job).result(PATIENCE).nfe == 12


def test_other_work_runs_on_a_worker_and_its_error_is_the_caller_s(service: Service) -> None:
    assert service.remote.call(os.getpid).result(PATIENCE) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        service.remote.call(partial(divmod, 1, 0)).result(PATIENCE)


# --- ends


def test_stop_reaches_the_worker_before_its_next_tick(service: Service) -> None:
    ticket = service.running()
    ticket.cancel()
    (request,) = (r for p in service.remote.force.places for r in p.work)
    told = service.remote.force.ask(request.place, "cancel", request.ident)  # again: it has arrived
    service.remote._ray.get(told)
    calls = len(service.callers)
    (service.folder / "wait").unlink()
    *_, last = list(ticket)
    assert isinstance(last, Cancelled)
    assert len(service.callers) == calls
    assert isinstance(service.start().result(PATIENCE), Done)


def test_a_worker_that_dies_costs_time_and_the_picture_is_the_same(service: Service) -> None:
    ticket, before = service.running(), service.remote.restarts
    (victim,) = set(service.callers)
    os.kill(victim, signal.SIGKILL)
    (service.folder / "wait").unlink()
    done = ticket.result(PATIENCE)
    assert done.note == RESTARTED and service.remote.restarts == before + 1
    np.testing.assert_array_equal(done.tracks[0].samples, alone(service).tracks[0].samples)
    assert set(service.callers) - {victim}
    until(lambda: service.ready == 2)


def test_previews_after_a_restart_say_so_and_count_on(service: Service) -> None:
    later = service.say("wait later")
    events = iter(service.start(nfe=10))
    seen = [next(events)]
    os.kill(service.callers[-1], signal.SIGKILL)
    seen.append(next(event for event in events if getattr(event, "note", "")))
    later.unlink()
    seen += events
    assert seen[1].note == RESTARTED and isinstance(seen[-1], Done)
    seqs = [event.seq for event in seen if isinstance(event, Preview)]
    assert seqs == sorted(seqs)


def test_two_deaths_of_one_request_are_one_sentence(service: Service) -> None:
    ticket = service.running()
    for _ in range(2):
        until(lambda: not ticket.finished and [p for p in set(service.callers) if alive(p)])
        for pid in set(service.callers):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
                until(lambda pid=pid: not alive(pid))
    with pytest.raises(JobFailed, match=f"^{TWICE}$"):
        ticket.result(PATIENCE)


def alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except OSError:
        return False


def test_a_node_that_is_killed_in_the_middle_of_a_request_costs_time(
    cluster: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20, resources={"third": 1})
    service = Service(cluster.address, tmp_path, 1, need={"num_cpus": 1, "resources": {"third": 1}})
    try:
        ticket = service.running()
        service.remote.force.need = BESIDE  # the next may be anywhere
        cluster.remove_node(node, allow_graceful=False)
        (tmp_path / "wait").unlink()
        done = ticket.result(PATIENCE)
        assert done.note == RESTARTED
        np.testing.assert_array_equal(done.tracks[0].samples, alone(service).tracks[0].samples)
    finally:
        service.remote.close()


# --- who may come, and how many


def test_a_worker_of_another_version_is_refused(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workforce, "code_digest", lambda: "0123456789abcdef")
    with pytest.raises(ValueError, match="another version"):
        Remote(cluster.address, 1, library(tmp_path), partial(library, tmp_path), need=BESIDE)


def test_a_worker_with_other_weights_is_not_asked_for_that_model(service: Service) -> None:
    with pytest.raises(JobFailed, match="No worker is left"):
        service.start(name="changed").result(PATIENCE)
    assert any("other weights" in why for why in service.remote.force.refusals)
    assert not service.callers


def test_workers_come_and_go_while_it_serves(service: Service) -> None:
    ticket = service.running()
    service.remote.force.scale(1)  # the idle one goes
    until(lambda: [w["requests"] for w in service.remote.workers()] == [1])
    service.remote.force.scale(2)
    (service.folder / "wait").unlink()
    until(lambda: [w["state"] for w in service.remote.workers()] == ["ready"] * 2)
    assert ticket.result(PATIENCE).note == ""


@pytest.fixture(scope="module")
def one(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A worker, with another where much waits, for two requests."""
    service = Service(cluster.address, tmp_path_factory.mktemp("one"), 1, most=2, max_requests=2)
    yield service
    service.remote.close()


def test_another_worker_is_started_while_much_waits_and_goes_after_a_calm_time(
    one: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workforce, "ROWS_EACH", 10)
    monkeypatch.setattr(workforce, "CALM_SECONDS", 0.0)
    ticket = one.running()  # 12 rows
    until(lambda: [w["state"] for w in one.remote.workers()] == ["ready"] * 2)
    other = one.start((9,))
    until(lambda: len(set(one.callers)) == 2)  # the new one has it
    (one.folder / "wait").unlink()
    assert ticket.result(PATIENCE) and other.result(PATIENCE)
    until(lambda: len(one.remote.workers()) == 1)


def test_as_many_workers_as_there_is_room_for_are_no_more_than_the_most(
    cluster: Any, tmp_path: Path
) -> None:
    make = partial(library, tmp_path)
    remote = Remote(cluster.address, 0, make(), make, need=BESIDE, most=1)
    assert len(remote.workers()) == 1
    remote.close()


def test_admission_is_bounded_and_ends_with_close(one: Service) -> None:
    tickets = [one.running(), one.start((9,))]
    with pytest.raises(Busy, match="2 requests"):
        one.start()
    assert one.remote.stats().requests == 2
    one.remote.close()
    for ticket in tickets:
        with pytest.raises(JobFailed, match="closing"):
            ticket.result(PATIENCE)
    with pytest.raises(Closed):
        one.start()


def test_a_report_tells_memory_speed_and_models(service: Service) -> None:
    before = {w["worker"]: w["ticks"] for w in service.remote.workers()}
    service.start().result(PATIENCE)
    every = service.remote.workers()
    assert [w["worker"] for w in every] == list(before) and len(before) == 2
    served = [w for w in every if w["ticks"] > before[w["worker"]]]
    assert len(served) == 1 and served[0]["ms_per_row"] > 0
    assert all(w["memory"] > 2**20 and w["device"] == "cpu" for w in every)
    assert "obeying" in served[0]["models"]
