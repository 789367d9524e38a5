"""Several devices, without one of them being a GPU: a device is data."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpm_demo.engine.errors import Busy
from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.pool import Pool
from dpm_demo.engine.worker import Engine
from dpm_demo.models.built_in import BuiltIn
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import Model
from dpm_demo.solver.settings import Solver

DEVICES = [torch.device("cpu", 0), torch.device("cpu", 1)]


class Places:
    """Two engines whose network notes the thread that calls it, and waits for `go`."""

    def __init__(self, max_requests: int = 64) -> None:
        self.go = threading.Event()
        self.threads: dict[torch.device, set[int]] = {device: set() for device in DEVICES}
        built_in = (BuiltIn("mixture", "mixture", self.make),)
        self.engines = [Engine(max_requests) for _ in DEVICES]
        libraries = [ModelLibrary(device, built_in=built_in) for device in DEVICES]
        self.pool = Pool(list(zip(self.engines, libraries, strict=True)))
        for _ in DEVICES:
            self.pool.load("mixture").result(30)

    def make(self, device: torch.device) -> Model:
        model = mixture_model(device)

        def denoise(x, lam, cond=None):
            self.threads[device].add(threading.get_ident())
            assert self.go.wait(120)
            return model.denoise_float32(x, lam)

        return replace(model, denoise=denoise)

    def start(self, name: str = "mixture"):
        model = self.pool.load(name).result(30)  # at once, also from a device that is busy
        return self.pool.submit(job_of(model))


def job_of(model: Model) -> Job:
    track = Track(Solver(nfe=4), (3,), lam_span=model.lam_span)
    return Job(model.denoise, model.shape, (track,), device=model.device)


@pytest.fixture
def places() -> Iterator[Places]:
    made = Places()
    yield made
    made.go.set()
    made.pool.close()


def test_a_request_goes_to_the_device_that_serves_the_fewest(places: Places):
    first, second, third = (places.start() for _ in range(3))
    assert [t.job.device for t in (first, second)] == DEVICES
    # one has two requests now; when the other is free again it gets both of the next
    assert third.job.device == DEVICES[0]
    assert [places.start().job.device for _ in range(2)] == [DEVICES[1], DEVICES[0]]
    assert places.pool.stats().requests == 5


def test_every_device_computes_on_its_own_thread_and_the_samples_agree(places: Places):
    places.go.set()
    tickets = [places.start() for _ in DEVICES]
    a, b = (ticket.result(30).tracks[0].samples for ticket in tickets)
    np.testing.assert_array_equal(a, b)
    *_, alone = run_inline(job_of(mixture_model(torch.device("cpu"))), preview_hz=0)
    assert isinstance(alone, Done)
    np.testing.assert_allclose(a, alone.tracks[0].samples, atol=1e-6)
    one, other = (places.threads[device] for device in DEVICES)
    assert len(one) == len(other) == 1 and one != other


def test_a_full_pool_refuses_and_an_unknown_device_is_one_sentence(places: Places):
    full = Places(max_requests=1)
    tickets = [full.start() for _ in DEVICES]
    with pytest.raises(Busy):
        full.start()
    full.go.set()
    assert all(isinstance(ticket.result(30), Done) for ticket in tickets)
    full.pool.close()
    job = replace(job_of(mixture_model(torch.device("cpu"))), device=torch.device("cpu", 7))
    with pytest.raises(ValueError, match="device: cpu:7 is none of this pool's: cpu:0, cpu:1"):
        places.pool.submit(job)
    with pytest.raises(ValueError, match="different devices"):
        Pool([(Engine(), ModelLibrary(DEVICES[0])) for _ in range(2)])


def test_the_page_serves_several_devices_through_a_pool_and_one_through_its_engine():
    from dpm_demo.request.limits import Limits
    from dpm_demo.ui.page import serving_on

    one, two = serving_on(DEVICES[:1], Limits()), serving_on(DEVICES, Limits(requests=3))
    try:
        assert isinstance(one.engine, Engine) and one.device_text == "cpu:0"
        assert isinstance(two.engine, Pool) and two.device_text == "cpu:0, cpu:1"
        models = [two.load("mixture").result(30) for _ in range(2)]
        assert {model.device for model in models} == set(DEVICES)
        for model in models:
            assert isinstance(two.engine.submit(job_of(model)).result(30), Done)
        assert "least busy" in two.note
    finally:
        one.close()
        two.close()
