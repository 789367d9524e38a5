"""ZeroGPU: jobs run in a forked process, models by name, events pickled, and nothing else moves."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from stand_in_spaces import StandIn
from torch.utils._python_dispatch import TorchDispatchMode

from dpm_demo.engine import zerogpu
from dpm_demo.engine.errors import Busy, Closed, JobFailed
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.worker import Engine
from dpm_demo.engine.zerogpu import ZeroGPU, seconds_of
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.request.job import Checked
from dpm_demo.request.limits import Limits
from dpm_demo.solver.settings import Solver

VISITOR: ContextVar[str] = ContextVar("VISITOR", default="nobody")
SLOW, POISON, DEADLY = 7.0, 8.0, 9.0  # guidance, as a word to the network below


class Network:
    """The exact mixture; counts the calls of this process, and obeys the guidance of a row."""

    def __init__(self, model: Model) -> None:
        self.model, self.calls = model, 0

    def __call__(self, x, lam, cond=None):
        self.calls += 1
        wish = cond[0].guidance if cond else 0.0
        if wish == SLOW:
            time.sleep(0.05)
        if wish == POISON:
            raise RuntimeError("the network is ill")
        if wish == DEADLY:
            os._exit(1)
        return self.model.denoise_float32(x, lam)


@pytest.fixture
def spaces() -> Iterator[StandIn]:
    made = StandIn(VISITOR.get)
    yield made
    made.end()


@pytest.fixture
def model() -> Model:
    mixture = mixture_model(torch.device("cpu"))
    return replace(mixture, denoise=Network(mixture))


@pytest.fixture
def zero(spaces: StandIn, model: Model) -> Iterator[ZeroGPU]:
    made = ZeroGPU([model], spaces.GPU, max_requests=2)
    yield made
    made.close()


def job_of(model: Model, guidance: float = 1.0, nfe: int = 6, seeds=(0, 1)) -> Job:
    solver = Solver(nfe=nfe, order=3)
    cond = model.condition(None, guidance)
    track = Track(solver, seeds, cond=cond, lam_span=model.lam_span)
    return Job(model.denoise, model.shape, (track,), device=model.device)


def free(spaces: StandIn) -> None:
    """Waits until every worker has gone back to where the next request takes it."""
    until = time.monotonic() + 10
    while len(spaces.idle) < sum(w.process.is_alive() for w in spaces.workers):
        assert time.monotonic() < until, "a worker was not given back"
        time.sleep(0.01)


# --- the way of a job


def test_a_job_gives_the_same_samples_and_record_and_the_network_is_called_elsewhere(zero, model):
    *previews, done = list(zero.submit(job_of(model)))
    assert isinstance(done, Done) and all(isinstance(event, Preview) for event in previews)
    assert model.denoise.calls == 0, "torch ran in the parent"
    *_, alone = run_inline(job_of(model), preview_hz=0)
    np.testing.assert_allclose(done.tracks[0].samples, alone.tracks[0].samples, atol=1e-5)
    for row, same in zip(done.tracks[0].rows, alone.tracks[0].rows, strict=True):
        assert row.points == same.points and row.x0.shape == same.x0.shape == (7, 32, 32, 3)


def test_no_engine_thread_is_started(zero, model):
    before = {t.name for t in threading.enumerate()}
    zero.submit(job_of(model)).result(30)
    assert "dpm-engine" not in {t.name for t in threading.enumerate()} - before


def test_a_worker_is_used_again_and_a_model_that_was_not_there_is_refused(zero, model, spaces):
    for _ in range(3):
        zero.submit(job_of(model)).result(30)
        free(spaces)
    assert len(spaces.workers) == 1
    assert zero.load("mixture").result() is model
    with pytest.raises(CheckpointError, match="'hub:someone/else' is not offered here"):
        zero.load("hub:someone/else").result()


def test_every_evaluation_is_yielded_and_the_page_gets_what_it_can_show(spaces, model):
    zero = ZeroGPU([model], spaces.GPU, preview_hz=4)
    began = time.perf_counter()
    *previews, done = list(zero.submit(job_of(model, SLOW, nfe=12)))
    seconds = time.perf_counter() - began
    yielded = [event.nfe for event in spaces.values if isinstance(event, Preview)]
    # with the last of them the job ends
    assert [nfe for nfe in yielded if nfe] == [2 * k for k in range(1, 12)]
    assert isinstance(done, Done) and done.nfe == 24
    assert 2 <= len(previews) <= 2 + 4 * seconds


def test_a_sample_that_ends_between_two_previews_is_in_the_next(spaces, model):
    zero = ZeroGPU([model], spaces.GPU, preview_hz=3)
    (long,), (short,) = (job_of(model, SLOW, nfe=n).tracks for n in (14, 2))
    job = replace(job_of(model), tracks=(long, short))
    samples = {k for event in list(zero.submit(job))[:-1] for k in event.samples}
    assert samples == {2, 3}


def test_the_duration_is_computed_from_the_request(zero, model, spaces):
    small, large = job_of(model, nfe=4), job_of(model, nfe=400, seeds=tuple(range(16)))
    assert seconds_of(small) < seconds_of(large) <= zerogpu.SECONDS_MAX
    enormous = replace(small, shape=(3, 512, 512), tracks=large.tracks)
    assert seconds_of(enormous) == zerogpu.SECONDS_MAX
    zero.submit(small).result(30)
    assert spaces.durations == [seconds_of(small)]


def test_the_duration_counts_what_is_evaluated_in_parallel(model):
    one = replace(job_of(model, nfe=50), shape=(3, 256, 256))
    (track,) = one.tracks
    swept = replace(track, solver=replace(track.solver, window=16))
    assert seconds_of(replace(one, tracks=(swept,))) > seconds_of(one)


def test_the_call_is_made_in_the_context_of_the_visitor(zero, model, spaces):
    token = VISITOR.set("Ada")
    ticket = zero.submit(job_of(model))
    VISITOR.reset(token)
    ticket.result(30)
    assert spaces.contexts == ["Ada"]


# --- ends


def test_a_cancelled_job_leaves_at_the_next_yield_and_its_worker_serves_the_next(
    zero, model, spaces
):
    ticket = zero.submit(job_of(model, SLOW, nfe=1000))
    events = iter(ticket)
    assert isinstance(next(events), Preview)
    ticket.cancel()
    assert isinstance(list(events)[-1], Cancelled)
    free(spaces)
    assert isinstance(zero.submit(job_of(model)).result(30), Done)
    assert len(spaces.workers) == 1


def test_what_goes_wrong_is_one_sentence_for_that_visitor_only(zero, model, spaces):
    with pytest.raises(JobFailed, match="the network is ill"):
        zero.submit(job_of(model, POISON)).result(30)
    free(spaces)
    with pytest.raises(JobFailed, match=r"^GPU task aborted\.$"):
        zero.submit(job_of(model, DEADLY)).result(30)
    assert isinstance(zero.submit(job_of(model)).result(30), Done)
    assert len(spaces.workers) == 2, "one died"


def test_a_gpu_that_ends_early_and_a_quota_that_is_spent_are_said(model):
    def early(duration):
        return lambda task: lambda *_: (e for e in [next(run_inline(job_of(model)))])

    def spent(duration):
        def handler(*_):
            raise sys.modules["gradio"].Error("You have exceeded your quota")
            yield

        return lambda task: handler

    for gpu, says in ((early, "taken back before the end"), (spent, "exceeded your quota")):
        *_, last = list(ZeroGPU([model], gpu).submit(job_of(model)))
        assert isinstance(last, Failed) and says in last.error and "\n" not in last.error


def test_admission_is_bounded_and_ends_with_close(zero, model):
    tickets = [zero.submit(job_of(model, SLOW, nfe=100)) for _ in range(2)]
    assert zero.stats().requests == 2
    with pytest.raises(Busy, match="2 requests"):
        zero.submit(job_of(model))
    zero.close()
    assert all(isinstance(list(ticket)[-1], Failed) for ticket in tickets)
    with pytest.raises(Closed):
        zero.submit(job_of(model))


# --- what the tabs send


def test_other_work_runs_there_too(zero, model):
    from dpm_demo.compare.references import exact_references

    (sample,) = zero.call(partial(exact_references, model, [5])).result(30)
    (same,) = exact_references(model, [5])
    np.testing.assert_allclose(sample, same, atol=1e-6)
    assert zero.call(os.getpid).result(30) != os.getpid()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        zero.call(partial(divmod, 1, 0)).result(30)


def test_every_kind_of_job_of_the_page_can_be_sent(zero, model):
    from dpm_demo.ui.tabs.from_picture_runs import midway_job, way_job

    wanted = Checked.of(GenerateRequest("mixture", count=1, solver=Solver(nfe=3)), model)
    picture = np.zeros((32, 32, 3), np.uint8)
    state = np.zeros(model.shape, np.float32)
    for job in (midway_job(wanted, picture, 0.5), way_job(wanted, state, False)):
        *_, alone = run_inline(job, preview_hz=0)
        done = zero.submit(job).result(30)
        np.testing.assert_allclose(done.tracks[0].samples, alone.tracks[0].samples, atol=1e-5)


# --- the page


@pytest.mark.parametrize(
    ("flag", "package", "there"),
    [("true", True, True), ("1", True, True), ("", True, False), ("true", False, False)],
)
def test_it_is_used_where_the_space_says_so_and_the_package_is_there(
    monkeypatch, flag, package, there
):
    monkeypatch.setenv("SPACES_ZERO_GPU", flag)
    monkeypatch.setitem(sys.modules, "spaces", StandIn() if package else None)
    assert zerogpu.available() is there


def test_without_it_the_page_has_its_engine(monkeypatch):
    from dpm_demo.ui.page import make_serving

    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setitem(sys.modules, "spaces", StandIn())
    serving, _ = make_serving("cpu")
    assert isinstance(serving.engine, Engine) and serving.note == ""
    serving.close()


class Noticing(TorchDispatchMode):
    """Notes every torch operation of this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_page_streams_from_a_forked_process_and_says_how_requests_are_run(monkeypatch, spaces):
    from gradio_client import Client

    from dpm_demo.ui.page import make_serving, serve

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    before = {t.name for t in threading.enumerate()}
    serving, first = make_serving("auto", Limits())
    assert isinstance(serving.engine, ZeroGPU) and first is serving.load(first.name).result()
    with Noticing() as torch_in_the_parent:
        demo, address = serve(serving, first, quiet=True)
    try:
        assert torch_in_the_parent.seen == []
        with urllib.request.urlopen(f"{address}config", timeout=120) as answer:
            assert zerogpu.NOTE in json.dumps(json.load(answer), ensure_ascii=False)
        client = Client(address, verbose=False)
        solver = {"nfe": 5, "order": 2}
        sent = client.submit("mixture", "any", 1.0, 0, 2, solver, api_name="/generate")
        *_, last = list(sent)
        assert last["final"] and last["nfe"] == 5 and last["sheet"].startswith("data:image/png")
        assert len(spaces.workers) == 1
        started = {t.name for t in threading.enumerate()} - before
        assert "dpm-engine" not in started
    finally:
        demo.close()
        serving.close()
