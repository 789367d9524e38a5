"""The engine: everyone's rows in one call, everyone's failure their own, and no record lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dpm_demo.engine import active_job as active_module
from dpm_demo.engine import scheduler as scheduler_module
from dpm_demo.engine.errors import Busy, Closed, JobFailed
from dpm_demo.engine.events import Cancelled, Done, Failed, Preview
from dpm_demo.engine.film import state_to_uint8
from dpm_demo.engine.inline import run_inline, run_to_end, stream
from dpm_demo.engine.job import Job, Track
from dpm_demo.engine.scheduler import Scheduler
from dpm_demo.engine.ticket import Ticket
from dpm_demo.engine.worker import Engine
from dpm_demo.media.pixels import to_uint8
from dpm_demo.models.exact import MIXTURE
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

SPAN = (-5.0, 4.5)
SHAPE = (3, 4, 4)
WAIT = 120.0  # seconds; only a failure waits that long, on however busy a machine


@dataclass(frozen=True)
class Condition:
    label: int
    guidance: float = 1.0


class Network:
    """A denoiser whose rows do not see each other; it notes rows and thread of every call.

    Label 13 is bad luck: `on_thirteen` may raise, or return what the row's prediction becomes.
    """

    def __init__(self, on_thirteen: Callable[[], float] | None = None) -> None:
        self.on_thirteen = on_thirteen
        self.rows: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, x: torch.Tensor, lam: torch.Tensor, cond: tuple | None = None):
        self.rows.append(len(x))
        self.threads.add(threading.current_thread().name)
        at = lam.view(-1, *[1] * (x.ndim - 1))
        x0 = torch.tanh(x * torch.sigmoid(at)) * 0.9
        for row, one in enumerate(cond or ()):
            x0[row] += 0.02 * one.label * one.guidance
            if one.label == 13 and self.on_thirteen is not None:
                x0[row] = self.on_thirteen()
        return x0


class Gate(Network):
    """A network whose calls wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, x, lam, cond=None):
        self.entered.set()
        assert self.open.wait(WAIT)
        return super().__call__(x, lam, cond)


@pytest.fixture
def engine() -> Iterator[Engine]:
    # a busy machine's milliseconds decide nothing here: who meets whom is the tests' own matter
    engine = Engine(tick_ms=float("inf"))
    yield engine
    engine.close()


def track(nfe: int = 6, seeds: tuple[int, ...] = (0,), cond=None, **solver) -> Track:
    return Track(Solver(nfe=nfe, **solver), seeds, cond=cond, lam_span=SPAN)


def job(network, *tracks: Track, shape=SHAPE, **options) -> Job:
    return Job(network, shape, tracks or (track(),), **options)


def solo(one: Track, shape=SHAPE, network=None) -> np.ndarray:
    """The same track, solved with nobody else around."""
    x = initial_noise(one.seeds, shape)
    return integrate(
        network or Network(),
        x,
        one.solver,
        lam_span=one.lam_span,
        cond=one.conditions,
        seeds=list(one.seeds),
    ).numpy()


MIXED = [
    track(7, (0, 1), Condition(2), order=1),
    track(5, (2,), Condition(4, 3.0), order=3),
    track(9, (3, 4, 5), (Condition(1), Condition(2), Condition(5)), method="singlestep", order=3),
    track(6, (6,), Condition(7), schedule="karras", prediction="noise"),
    track(8, (0,), Condition(3), schedule="cosine", order=1),
]


def test_mixed_orders_budgets_labels_and_guidance_equal_solo_runs(engine):
    network = Network()
    tickets = [engine.submit(job(network, one)) for one in MIXED]
    tickets.append(engine.submit(job(network, *MIXED)))
    for ticket, tracks in zip(tickets, [*([one] for one in MIXED), MIXED], strict=True):
        done = ticket.result(WAIT)
        for result, one in zip(done.tracks, tracks, strict=True):
            np.testing.assert_allclose(result.samples, solo(one), atol=2e-5)
            assert result.samples.dtype == np.float32
            assert [row.nfe for row in result.rows] == [one.solver.nfe] * len(one.seeds)
    assert max(network.rows) > 3, "rows of strangers must meet"
    assert network.threads == {"dpm-engine"}


def test_adaptive_seeds_equal_solo_runs_and_choose_steps_of_their_own(engine):
    one = track(200, (0, 1, 2), Condition(1), method="adaptive", order=2)
    done = engine.submit(job(Network(), one)).result(WAIT)
    np.testing.assert_allclose(done.tracks[0].samples, solo(one), atol=1e-4)
    assert all(row.converged and 1 < row.nfe < 200 for row in done.tracks[0].rows)
    assert done.nfe == sum(row.nfe for row in done.tracks[0].rows)


def test_adaptive_run_at_its_cap_is_not_called_converged(engine):
    one = track(4, (0,), Condition(1), method="adaptive", order=2, tolerance=1e-4)
    row = engine.submit(job(Network(), one)).result(WAIT).tracks[0].rows[0]
    assert not row.converged and row.nfe <= 4 and row.sample is not None
    assert row.decisions


def test_scalars_of_a_tick_come_to_the_host_in_one_transfer(engine, monkeypatch):
    sizes = []
    stack = torch.stack

    def counting(tensors, *args):
        if tensors[0].ndim == 0:
            sizes.append(len(tensors))
        return stack(tensors, *args)

    monkeypatch.setattr(torch, "stack", counting)
    one = track(200, (0, 1, 2, 3), Condition(1), method="adaptive", order=2)
    engine.submit(job(Network(), one)).result(WAIT)
    assert max(sizes) >= 3


def test_stochastic_rows_keep_their_noise_in_company(engine):
    one = track(8, (4, 5), Condition(1), eta=1.0)
    network = Network()
    tickets = [engine.submit(job(network, one)) for _ in range(2)]
    other = engine.submit(job(network, track(8, (5,), Condition(1), eta=1.0)))
    samples = [ticket.result(WAIT).tracks[0].samples for ticket in tickets]
    np.testing.assert_allclose(samples[0], samples[1], atol=2e-5)
    np.testing.assert_allclose(samples[0][1], other.result(WAIT).tracks[0].samples[0], atol=2e-5)


def test_parallel_in_time_equals_its_solo_run(engine):
    one = track(12, (4, 5), Condition(1), window=4)
    done = engine.submit(job(Network(), one)).result(WAIT)
    np.testing.assert_allclose(done.tracks[0].samples, solo(one), atol=1e-4)
    assert done.tracks[0].rows[0].nfe >= 12


@pytest.mark.parametrize("nfe, window", [(10, 4), (6, 64), (7, 2)])
def test_parallel_in_time_spends_its_budget_where_nothing_settles_before_its_turn(nfe, window):
    erratic = job(lambda x, lam: torch.sin(1e6 * x), track(nfe, window=window))
    assert run_to_end(erratic).nfe == erratic.budget


def test_nodes_of_ones_own_spend_their_budget():
    for solver in (Solver(table="heun"), Solver(denoise_to_zero=True)):
        own = Track(solver, (1,), lambdas=(-1.0, 0.5, 2.0, 4.0))
        assert run_to_end(job(Network(), own)).nfe == own.budget


def test_eight_clients_meet_in_one_forward(engine):
    network = Gate()
    blocker = engine.submit(job(network))
    assert network.entered.wait(WAIT)
    tickets: list[Ticket] = []
    clients = [
        threading.Thread(
            target=lambda k=k: tickets.append(engine.submit(job(network, track(20, (k,)))))
        )
        for k in range(8)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(WAIT)
    network.open.set()
    for ticket in [blocker, *tickets]:
        ticket.result(WAIT)
    assert network.rows.count(8) + network.rows.count(9) >= 19
    assert len(network.rows) <= 24


def test_cancelled_job_leaves_before_the_next_tick(engine):
    network = Gate()
    ticket = engine.submit(job(network, track(1000)))
    assert network.entered.wait(WAIT)
    ticket.cancel()
    network.open.set()
    assert isinstance(list(ticket)[-1], Cancelled)
    assert len(network.rows) == 1
    assert engine.submit(job(network)).result(WAIT).nfe == 6


def test_leaving_the_with_block_cancels(engine):
    with engine.submit(job(Network(), track(1000, (0, 1)))) as ticket:
        for event in ticket:
            assert isinstance(event, Preview)
            break
    assert isinstance(list(ticket)[-1], Cancelled)


def _raise(error: BaseException) -> Callable[[], float]:
    def thrower() -> float:
        raise error

    return thrower


@pytest.mark.parametrize(
    ("on_thirteen", "said"),
    [(_raise(RuntimeError("bad luck")), "bad luck"), (lambda: float("nan"), "not finite")],
    ids=["raises", "NaN"],
)
@pytest.mark.parametrize("company", ["another job", "same track"])
def test_one_rows_failure_is_its_own(engine, on_thirteen, said, company):
    network = Network(on_thirteen)
    lucky, unlucky = Condition(1), Condition(13)
    if company == "another job":
        good = engine.submit(job(network, track(8, (1, 2), lucky), track(8, (3,), lucky)))
        bad = engine.submit(job(network, track(8, (4,), unlucky)))
        with pytest.raises(JobFailed, match="seed 4.*multistep.*" + said):
            bad.result(WAIT)
        done = good.result(WAIT)
        assert done.error is None
        samples = np.concatenate([result.samples for result in done.tracks])
        np.testing.assert_allclose(samples, solo(track(8, (1, 2, 3), lucky)), atol=2e-5)
    else:
        one = track(8, (1, 2, 3), (lucky, unlucky, lucky))
        done = engine.submit(job(network, one)).result(WAIT)
        first, second, third = done.tracks[0].rows
        assert second.sample is None and second.nfe == 0 and said in (second.error or "")
        expected = solo(track(8, (1, 3), lucky))
        np.testing.assert_allclose([first.sample, third.sample], expected, atol=2e-5)
        assert len(first.points) == 9 and len(second.points) == 0


def test_failed_row_is_not_asked_again(engine):
    network = Network(_raise(RuntimeError("bad luck")))
    one = track(20, (0, 1, 2, 3), (Condition(13), *[Condition(1)] * 3))
    engine.submit(job(network, one)).result(WAIT)
    assert max(network.rows[8:]) <= 3


def test_row_that_fails_midway_keeps_its_record_until_then(engine):
    luck = itertools.chain([0.1] * 3, itertools.repeat(float("inf")))
    network = Network(lambda: next(luck))
    ticket = engine.submit(job(network, track(8, (0, 1), (Condition(1), Condition(13)))))
    row = ticket.result(WAIT).tracks[0].rows[1]
    assert row.nfe == 3 and len(row.points) == 3 and len(row.x0) == 3
    assert "after 3 evaluations" in (row.error or "")


def test_wrong_shape_from_the_network_is_a_sentence(engine):
    with pytest.raises(JobFailed, match=r"answered \(1, 3, 2, 2\)"):
        engine.submit(job(lambda x, lam: x[:, :, ::2, ::2])).result(WAIT)


def test_bad_start_fails_its_track_only(engine):
    bad = Track(Solver(nfe=3), (7,), lam_span=SPAN, start=np.zeros((2, 2), np.float32))
    done = engine.submit(job(Network(), bad, track(4))).result(WAIT)
    assert done.tracks[0].rows[0].sample is None
    assert "seed 7" in (done.error or "") and "shape (2, 2)" in (done.error or "")
    np.testing.assert_allclose(done.tracks[1].samples, solo(track(4)), atol=2e-5)


def test_full_memory_halves_the_batch_and_goes_on(engine):
    network = Network()

    def small(x, lam):
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return network(x, lam)

    one = track(6, tuple(range(8)))
    done = engine.submit(job(small, one)).result(WAIT)
    np.testing.assert_allclose(done.tracks[0].samples, solo(one), atol=2e-5)
    assert set(network.rows[4:]) == {2}


def test_exception_inside_the_tick_ends_that_job_with_a_sentence(engine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(scheduler_module, "shown", _raise_any)
        with pytest.raises(JobFailed, match=r"seed 0.*paint"):
            engine.submit(job(Network())).result(WAIT)
    assert engine.submit(job(Network())).result(WAIT).nfe == 6


def _raise_any(*_args):
    raise RuntimeError("out of paint")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_worker_answers_everyone_and_is_replaced(engine):
    gate = Gate()

    def deadly(x, lam):
        gate(x, lam)
        raise SystemExit

    tickets = [engine.submit(job(deadly)), engine.submit(job(Network()))]
    call = engine.call(lambda: 1)
    gate.open.set()
    for ticket in tickets:
        last = list(ticket)[-1]
        assert isinstance(last, Failed) and "restarted" in last.error
    assert call.exception(WAIT) is None or "restarted" in str(call.exception())
    assert engine.submit(job(Network())).result(WAIT).nfe == 6
    assert engine.stats().requests == 0


def test_slow_reader_gets_the_newest_and_a_complete_end():
    steps = threading.Semaphore(0)
    network = Network()

    def paced(x, lam):
        assert steps.acquire(timeout=WAIT)
        return network(x, lam)

    engine = Engine(preview_hz=float("inf"))
    ticket = engine.submit(job(paced, track(12, (0, 1))))
    events = iter(ticket)
    steps.release(2)
    first = next(events)
    steps.release(6)
    while len(network.rows) < 8:
        threading.Event().wait(0.001)
    # the previews of the calls before are there by now, and the reader took none of them
    second = next(events)
    steps.release(100)
    *_, last = events
    engine.close()
    assert isinstance(first, Preview) and isinstance(second, Preview)
    assert second.seq > first.seq + 1, "previews in between are dropped"
    assert second.tiles[0].nfe >= 5 and set(second.pictures) == {0, 1}
    assert isinstance(last, Done)
    assert [len(row.x0) for row in last.tracks[0].rows] == [13, 13]


def test_previews_of_slow_readers_keep_every_tiles_newest_picture():
    ticket = Ticket(job(Network(), track(6, (0,)), track(6, (1,), order=1)))
    ticket.subscribed = True
    scheduler = Scheduler(preview_hz=float("inf"))
    scheduler.add(ticket)
    for _ in range(4):  # the first tick of an unknown network serves one tile only
        scheduler.tick()
    preview = ticket.poll()
    assert isinstance(preview, Preview) and set(preview.pictures) == {0, 1}
    assert ticket.poll() is None


def test_without_a_reader_no_preview_is_made(engine, monkeypatch):
    monkeypatch.setattr(active_module.ActiveJob, "preview", _raise_any)
    assert engine.submit(job(Network(), track(50))).result(WAIT).nfe == 50


def test_record_has_no_holes(engine):
    one = track(20, (3, 4))
    done = engine.submit(job(Network(), one)).result(WAIT)
    frames = list(stream(job(Network(), one)))
    for k, row in enumerate(done.tracks[0].rows):
        assert [p.nfe for p in row.points] == [*range(1, 21), 20]
        assert [p.picture for p in row.points] == list(range(21))
        assert row.x0.shape == row.x.shape == (21, 4, 4, 3)
        for frame, point, x0, x in zip(frames, row.points, row.x0, row.x, strict=True):
            assert frame.nfe == point.nfe and frame.lam == pytest.approx(point.lam)
            lam = torch.tensor([frame.lam])
            near = np.abs(x0.astype(int) - to_uint8(frame.x0[k : k + 1])[0].numpy())
            assert near.max() <= 1  # a batch rounds differently
            near = np.abs(x.astype(int) - state_to_uint8(frame.x[k : k + 1], lam)[0].numpy())
            assert near.max() <= 1
        assert np.array_equal(row.x0[-1], to_uint8(torch.as_tensor(row.sample)[None])[0].numpy())


@pytest.mark.parametrize("nfe", [63, 64, 100, 300])
def test_record_above_64_points_is_evenly_chosen_and_ends_with_the_sample(engine, nfe):
    row = engine.submit(job(Network(), track(nfe))).result(WAIT).tracks[0].rows[0]
    assert len(row.points) == nfe + 1 and len(row.x0) == len(row.x) == 64
    assert row.points[-1].picture == 63 and row.points[0].picture == 0
    shown = [p.picture for p in row.points]
    assert shown == sorted(shown) and set(shown) == set(range(64))
    assert max(shown.count(k) for k in range(64)) <= -(-2 * nfe // 64)
    assert np.array_equal(row.x0[-1], to_uint8(torch.as_tensor(row.sample)[None])[0].numpy())


def test_inner_stages_show_the_picture_before_them(engine):
    row = engine.submit(job(Network(), track(9, method="singlestep", order=3))).result(WAIT)
    points = row.tracks[0].rows[0].points
    assert len(points) == 10 and any(p.stage for p in points)
    for before, point in itertools.pairwise(points):
        assert point.picture == before.picture + (point.stage == 0)


def test_record_of_a_video_has_frames_before_pixels(engine):
    shape = (3, 5, 4, 6)
    done = engine.submit(job(Network(), track(4), shape=shape)).result(WAIT)
    row = done.tracks[0].rows[0]
    assert row.x0.shape == (5, 5, 4, 6, 3) and row.sample.shape == shape
    assert row.x0.dtype == np.uint8


def test_uint8_is_rounded_and_noise_is_clipped_at_two():
    x0 = torch.tensor([-1.5, -1.0, 0.0, 0.5, 1.0, 2.0]).view(1, 6, 1, 1)
    assert to_uint8(x0).flatten().tolist() == [0, 0, 128, 191, 255, 255]
    noise = torch.tensor([-3.0, -2.0, 0.0, 2.0]).view(1, 4, 1, 1)
    assert state_to_uint8(noise, torch.tensor([-20.0])).flatten().tolist() == [0, 0, 128, 255]
    clean = state_to_uint8(x0, torch.tensor([20.0]))
    assert torch.equal(clean, to_uint8(x0))


def test_start_and_nodes_of_ones_own(engine):
    x = initial_noise([1, 2], SHAPE).double()
    nodes = (-1.0, 0.5, 2.0, 4.0)
    starts = (x, x.numpy(), lambda: x)
    tracks = [Track(Solver(order=2), (1, 2), lambdas=nodes, start=start) for start in starts]
    done = engine.submit(job(Network(), *tracks)).result(WAIT)
    expected = integrate(Network(), x, Solver(order=2), lambdas=list(nodes))
    for result in done.tracks:
        np.testing.assert_allclose(result.samples, expected.float().numpy(), atol=1e-6)
        assert result.rows[0].nfe == 3 and result.rows[0].points[-1].lam == 4.0


def test_asynchronous_readers_share_one_loop(engine):
    network = Network()

    async def read(seed: int) -> list:
        ticket = engine.submit(job(network, track(30, (seed,))))
        return [event async for event in ticket]

    async def both():
        return await asyncio.wait_for(asyncio.gather(read(1), read(2)), WAIT)

    for events in asyncio.run(both()):
        assert isinstance(events[-1], Done)
        assert all(isinstance(event, Preview) for event in events[:-1])
        assert events[-1].nfe == 30


def test_abandoned_asynchronous_reader_harms_nobody(engine):
    network = Gate()

    async def leave() -> Ticket:
        ticket = engine.submit(job(network))

        async def read() -> None:
            async for _ in ticket:
                pass

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.05)
        return ticket

    ticket = asyncio.run(leave())
    network.open.set()
    assert ticket.result(WAIT).nfe == 6


def test_admission_is_bounded_and_opens_again():
    network = Gate()
    engine = Engine(max_requests=2)
    tickets = [engine.submit(job(network)) for _ in range(2)]
    with pytest.raises(Busy, match="2 requests"):
        engine.submit(job(network))
    assert engine.stats().requests == 2
    network.open.set()
    for ticket in tickets:
        ticket.result(WAIT)
    assert engine.submit(job(network)).result(WAIT).nfe == 6
    engine.close()


def test_closing_answers_those_who_wait():
    network = Gate()
    engine = Engine()
    ticket = engine.submit(job(network, track(1000)))
    assert network.entered.wait(WAIT)
    threading.Timer(0.02, network.open.set).start()
    engine.close(WAIT)
    with pytest.raises(JobFailed, match="closing"):
        ticket.result(WAIT)
    with pytest.raises(Closed):
        engine.submit(job(network))


def test_call_runs_on_the_worker_and_its_errors_are_its_own(engine):
    name = engine.call(lambda: threading.current_thread().name)
    assert name.result(WAIT) == "dpm-engine"
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda: 1 / 0).result(WAIT)
    nested = engine.call(lambda: engine.call(lambda: 3).result(0))
    assert nested.result(WAIT) == 3


def test_stats_tell_rows_and_device(engine):
    engine.submit(job(Network(), track(5, (0, 1, 2)))).result(WAIT)
    stats = engine.stats()
    assert stats.requests == 0 and stats.rows == 3 and stats.ticks >= 5
    assert stats.ms > 0 and stats.ms_per_row == pytest.approx(stats.ms / 3)
    assert stats.device.startswith("cpu")


def test_no_worker_and_no_gradients_inline():
    network = Network()
    before = threading.active_count()
    events = []
    for event in run_inline(job(network, track(5, (0,)))):
        assert torch.is_grad_enabled()
        events.append(event)
    assert threading.active_count() == before and "dpm-engine" not in network.threads
    assert [event.tiles[0].nfe for event in events[:-1]] == [1, 2, 3, 4]
    np.testing.assert_allclose(events[-1].tracks[0].samples, solo(track(5)), atol=2e-5)


def test_stream_yields_one_frame_a_trajectory_point_and_then_the_sample():
    one = track(9, (0, 1), method="singlestep", order=3)
    frames = list(stream(job(Network(), one)))
    assert [frame.final for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert len(frames) < 10 and frames[-1].nfe == 9
    np.testing.assert_allclose(frames[-1].x0.numpy(), solo(one), atol=1e-6)
    with pytest.raises(JobFailed, match="not finite"):
        list(stream(job(lambda x, lam: x * float("nan"), one)))


# Fairness and the bound, on a clock that only the network moves: a + b·rows milliseconds.


class Timed:
    def __init__(self, fixed: float, each: float, clock: list[float]) -> None:
        self.fixed, self.each, self.clock = fixed, each, clock
        self.rows: list[int] = []

    def __call__(self, x: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        self.clock[0] += (self.fixed + self.each * len(x)) / 1e3
        return x * 0.5


def _until(scheduler: Scheduler, ticket: Ticket) -> float:
    while not ticket.finished:
        scheduler.tick()
    return ticket.result(0).seconds * 1e3


def _grid(network: Timed) -> Job:
    budgets = (5, 8, 10, 15, 20, 40)
    return Job(network, (3, 2, 2), [track(n, (k,)) for k in range(6) for n in budgets])


def _new(scheduler: Scheduler, work: Job) -> Ticket:
    ticket = Ticket(work)
    scheduler.add(ticket)
    return ticket


@pytest.mark.parametrize(
    ("fixed", "each", "grids"), [(12.0, 3.2, 1), (12.0, 3.2, 2), (0.0, 15.0, 1), (15.0, 0.1, 4)]
)
@pytest.mark.parametrize("ticks", [0, 1, 7])
def test_single_picture_in_a_grid_ends_within_three_times_its_time_alone(fixed, each, grids, ticks):
    clock = [0.0]
    network = Timed(fixed, each, clock)
    scheduler = Scheduler(clock=lambda: clock[0])
    alone = _until(scheduler, _new(scheduler, Job(network, (3, 2, 2), [track(20)])))
    assert alone == pytest.approx(20 * (fixed + each))
    runs = [_new(scheduler, _grid(network)) for _ in range(grids)]
    for _ in range(ticks):
        scheduler.tick()
    single = _new(scheduler, Job(network, (3, 2, 2), [track(20)]))
    assert _until(scheduler, single) <= 3 * alone
    for run in runs:
        _until(scheduler, run)


@pytest.mark.parametrize("split", [True, False], ids=["four requests", "one request"])
@pytest.mark.parametrize(("fixed", "each"), [(20.0, 100.0), (10.0, 60.0), (30.0, 450.0)])
@pytest.mark.parametrize("ticks", [1, 2, 5, 9])
def test_single_picture_beside_four_videos_ends_within_three_times_its_time_alone(
    fixed, each, ticks, split
):
    clock = [0.0]
    picture, video = Timed(12.0, 3.2, clock), Timed(fixed, each, clock)
    scheduler = Scheduler(clock=lambda: clock[0])
    alone = _until(scheduler, _new(scheduler, Job(picture, (3, 2, 2), [track(20)])))
    shape, tracks = (3, 4, 2, 2), [track(20, (k,)) for k in range(4)]
    for some in [[one] for one in tracks] if split else [tracks]:
        _new(scheduler, Job(video, shape, some))
    for _ in range(ticks):
        scheduler.tick()
    single = Ticket(Job(picture, (3, 2, 2), [track(20)]), submitted=clock[0])
    scheduler.tick()  # it comes just after a tick has begun
    scheduler.add(single)
    assert _until(scheduler, single) <= 3 * alone


def test_a_stream_of_newcomers_does_not_starve_a_video():
    clock = [0.0]
    picture, video = Timed(12.0, 3.2, clock), Timed(20.0, 100.0, clock)
    scheduler = Scheduler(clock=lambda: clock[0])
    long = _new(scheduler, Job(video, (3, 4, 2, 2), [track(20)]))
    newcomer = _new(scheduler, Job(picture, (3, 2, 2), [track(20)]))
    while not long.finished:
        if newcomer.finished:
            newcomer = _new(scheduler, Job(picture, (3, 2, 2), [track(20)]))
        scheduler.tick()
    assert long.result(0).seconds * 1e3 <= 5 * 20 * 120


def test_a_tick_stays_under_its_milliseconds():
    clock = [0.0]
    network = Timed(10.0, 4.0, clock)
    scheduler = Scheduler(tick_ms=100.0, clock=lambda: clock[0])
    done = _new(scheduler, Job(network, (3, 2, 2), [track(20, tuple(range(64)))]))
    _until(scheduler, done)
    assert max(network.rows) <= (100 - 10) / 4
    assert network.rows.count(22) > 20, "and it uses them"
    assert done.result(0).tracks[0].ms == pytest.approx(clock[0] * 1e3)


@pytest.mark.parametrize("fixed", [40.0, 90.0])
def test_slow_network_is_not_called_row_by_row(fixed):
    clock = [0.0]
    network = Timed(fixed, fixed / 4, clock)
    scheduler = Scheduler(tick_ms=fixed, clock=lambda: clock[0])
    _until(scheduler, _new(scheduler, Job(network, (3, 2, 2), [track(20, tuple(range(16)))])))
    assert len(network.rows) <= 40, "the fixed part is paid once for all rows"


def test_people_who_share_a_call_are_done_sooner_than_in_turn():
    clock = [0.0]
    network = Timed(12.0, 3.2, clock)
    scheduler = Scheduler(clock=lambda: clock[0])
    jobs = [Job(network, (3, 2, 2), [track(20, (k,))]) for k in range(8)]
    apart = sum(_until(scheduler, _new(scheduler, one)) for one in jobs)
    began = clock[0]
    tickets = [_new(scheduler, one) for one in jobs]
    for ticket in tickets:
        _until(scheduler, ticket)
    assert (clock[0] - began) * 1e3 <= 0.36 * apart


def test_contract_is_checked_before_anything_runs():
    with pytest.raises(ValueError, match="seeds must"):
        Track(Solver(), (), lam_span=SPAN)
    with pytest.raises(ValueError, match="either lam_span or lambdas"):
        Track(Solver(), (0,))
    with pytest.raises(ValueError, match="one condition for each of the 2 seeds"):
        track(4, (0, 1), (Condition(1),))
    with pytest.raises(ValueError, match="tracks must"):
        Job(Network(), SHAPE, ())
    with pytest.raises(ValueError, match="max_requests must"):
        Engine(max_requests=0)
    with pytest.raises(ValueError, match="tick_ms must"):
        Scheduler(tick_ms=0)


def test_a_preview_brings_the_sample_of_each_tile_that_has_ended_once() -> None:
    job = Job(
        MIXTURE.denoise,
        (3, 4, 4),
        tuple(Track(Solver(nfe=n), (0, 1), lam_span=(-4.0, 4.0)) for n in (3, 6, 9)),
    )
    seen: dict[int, np.ndarray] = {}
    for event in run_inline(job):
        if isinstance(event, Preview):
            assert not seen.keys() & event.samples.keys()
            seen.update(event.samples)
            assert all(event.tiles[k].state == "done" for k in seen)
        else:
            assert isinstance(event, Done)
            rows = [row for track in event.tracks for row in track.rows]
    assert {0, 1, 2, 3} <= seen.keys()
    for k, sample in seen.items():
        assert np.array_equal(sample, rows[k].sample)
