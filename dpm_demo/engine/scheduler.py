"""The tick: all running trajectories of one network advance by one batched call.

`Scheduler` belongs to one thread at a time and starts none. The engine's worker drives it, and so
does a plain loop where a worker cannot be had (`dpm_demo.engine.inline`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import torch

from dpm_demo.engine.active_job import ActiveJob, Watch
from dpm_demo.engine.cost import Cost
from dpm_demo.engine.errors import sentence
from dpm_demo.engine.events import Cancelled, Failed, Stats
from dpm_demo.engine.film import shown
from dpm_demo.engine.job import Job
from dpm_demo.engine.run import Piece, Run
from dpm_demo.engine.ticket import Ticket

log = logging.getLogger(__name__)

STRETCH = 1.5  # how much longer than alone a request's call may become by rows of other requests


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


class Scheduler:
    """Advances all trajectories of all requests, one network call a tick.

    A tick serves one denoiser, shape and dtype. Three quarters of the time belong to the smallest
    request (among about equals, to the one that has had the least), a quarter to the one that has
    waited longest: a single picture passes grids and videos, and none of them starves. The request
    that leads brings as many rows as fit into `tick_ms`; every other request of the same network
    joins with as many rows as the leader, and with more where the call grows by no more than half.
    A batch costs less than its rows alone, so those who share a call pay for it by rows.

    `preview_hz` limits previews a second and request (infinite: every tick; 0: none). Clocks and
    milliseconds are measured with `clock` (seconds).
    """

    def __init__(
        self,
        tick_ms: float = 200.0,
        preview_hz: float = 15.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not tick_ms > 0:
            raise ValueError(f"tick_ms must be above 0, got {tick_ms!r}.")
        if not preview_hz >= 0:
            raise ValueError(f"preview_hz must be 0 or above, got {preview_hz!r}.")
        self.stats = Stats()
        self._tick_ms = tick_ms
        self._pause = 1 / preview_hz if preview_hz else float("inf")
        self._clock = clock
        self._requests: list[ActiveJob] = []
        self._new: list[ActiveJob] = []
        self._costs: OrderedDict[Hashable, Cost] = OrderedDict()
        self._owed = 0.0  # a third of the milliseconds that passed the one who waits longest
        self._elder: ActiveJob | None = None
        self._ticks = 0

    @property
    def busy(self) -> bool:
        return bool(self._requests or self._new)

    def add(self, ticket: Ticket, watch: Watch | None = None) -> None:
        """Admits a job; `watch` is called with the tensors of every trajectory point."""
        self._new.append(ActiveJob(ticket, watch, self._clock))

    @torch.no_grad()
    def tick(self) -> bool:
        """Advances some trajectories by one network call; False when there is nothing to do."""
        self._drop_cancelled()
        self._start_new()
        pieces = self._plan()
        if pieces:
            began = self._clock()
            try:
                self._advance(pieces)
            except Exception as error:
                log.exception("a tick failed")
                for piece in pieces:
                    piece.run.fail(sentence(error))
            self._charge(pieces, (self._clock() - began) * 1e3)
        self._publish()
        if self.stats.requests != len(self._requests):
            self.stats = replace(self.stats, requests=len(self._requests))
        return self.busy

    # Coming and going.

    def _drop_cancelled(self) -> None:
        for request in [r for r in self._requests + self._new if r.ticket.cancelled]:
            (self._requests if request in self._requests else self._new).remove(request)
            tracks = request.results() if request.ticket.subscribed else ()
            request.ticket.finish(Cancelled(tracks, request.nfe, request.seconds))

    def _start_new(self) -> None:
        new, self._new = self._new, []
        for request in new:
            request.served = self._ticks
            self._requests.append(request)
            began: list[tuple[Run, Any]] = []
            for run, x in request.start_states():
                try:
                    run.start(x)
                    began.append((run, None))
                except Exception as error:
                    run.fail(sentence(error))
            self._send(began)

    def _publish(self) -> None:
        now = self._clock()
        for request in list(self._requests):
            ended = all(run.ended for run in request.runs)
            try:
                if ended:
                    self._requests.remove(request)
                    request.ticket.finish(request.final())
                elif (
                    request.ticket.subscribed
                    and request.served == self._ticks
                    and now >= request.next_preview
                    and self._pause < float("inf")
                ):
                    request.next_preview = now + self._pause
                    request.ticket.offer(request.preview())
            except Exception as error:
                log.exception("a record failed")
                if request in self._requests:
                    self._requests.remove(request)
                request.ticket.finish(Failed(f"The record could not be made: {sentence(error)}."))

    # Whose turn it is.

    def _cost(self, key: Hashable) -> Cost:
        cost = self._costs.setdefault(key, Cost())
        self._costs.move_to_end(key)
        if len(self._costs) > 32:
            self._costs.popitem(last=False)
        return cost

    def _plan(self) -> list[Piece]:
        """Chooses the rows of this tick."""
        waiting = [request for request in self._requests if request.queue]
        if not waiting:
            return []
        if len(waiting) == 1:  # nobody to take turns with
            self._elder = waiting[0]
            key = self._elder.queue[0].key
            limit = self._cost(key).rows_of_a_tick(self._tick_ms)
            return self._take(self._elder, key, limit)
        leader = min(waiting, key=lambda r: (self._size(r), r.attained, r.served))
        self._elder = min(waiting, key=lambda r: r.served)
        if self._owed >= self._price(self._elder):
            leader = self._elder
        key = leader.queue[0].key
        cost = self._cost(key)
        limit = cost.rows_of_a_tick(self._tick_ms)
        pieces = self._take(leader, key, limit)
        share = sum(len(piece.rows) for piece in pieces)
        total = share
        others = sorted((r for r in waiting if r is not leader), key=lambda r: r.attained)
        stretched = min(limit, cost.rows_within(STRETCH * cost.ms(share)))
        for most, bound in ((share, limit), (limit, stretched)):
            for request in others:
                taken = self._take(request, key, min(most, bound - total))
                total += sum(len(piece.rows) for piece in taken)
                pieces += taken
        return pieces

    def _size(self, request: ActiveJob) -> int:
        """How long a request would take alone, as a power of two: near equals share by turns."""
        each = self._cost(request.queue[0].key).ms(1)
        return int(math.log2(1 + request.work * each))

    def _price(self, request: ActiveJob) -> float:
        """Milliseconds of a tick that this request leads."""
        cost = self._cost(request.queue[0].key)
        rows = sum(len(run.todo) for run in request.queue)
        return cost.ms(min(rows, cost.rows_of_a_tick(self._tick_ms)))

    @staticmethod
    def _take(request: ActiveJob, key: Hashable, most: int) -> list[Piece]:
        """Up to `most` waiting rows of one request: of the first of its trajectories.

        So where a call has no room for all, some are done soon, and not all of them late.
        """
        pieces = []
        for run in sorted(request.queue, key=lambda run: run.first_tile):
            if most <= 0:
                break
            if run.key == key:
                pieces.append(run.take(most))
                most -= len(pieces[-1].rows)
                if not run.todo:
                    request.queue.remove(run)
        return pieces

    def _charge(self, pieces: list[Piece], ms: float) -> None:
        self._ticks += 1
        total = sum(len(piece.rows) for piece in pieces)
        for piece in pieces:
            part = ms * len(piece.rows) / total
            request = piece.run.request
            piece.run.ms += part
            request.attained += part
            request.served = self._ticks
            request.rows, request.call_ms = total, ms
        paid = self._elder is None or self._elder.served == self._ticks
        self._owed = 0.0 if paid else self._owed + ms / 3
        self._elder = None
        device = self.stats.device or _device_text(pieces[0].run.request.device)
        self.stats = Stats(len(self._requests), self._ticks, total, ms, ms / total, device)

    # The work.

    def _advance(self, pieces: list[Piece]) -> None:
        """Calls the network once for all pieces, and sends each trajectory its own rows."""
        job = pieces[0].run.request.job
        x = torch.cat([piece.x for piece in pieces]) if len(pieces) > 1 else pieces[0].x
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        lams = [lam for piece in pieces for lam in piece.lam]
        lam = torch.tensor(lams, dtype=dtype, device=x.device)
        cond: list[Any] | None = None
        if pieces[0].run.conditions is not None:
            cond = [
                (piece.run.conditions or ())[row % len(piece.run.seeds)]
                for piece in pieces
                for row in piece.rows
            ]
        cost, began = self._cost(pieces[0].run.key), self._clock()
        x0, failures = self._call(job, x, lam, cond, cost)
        # a sum that is finite has no other terms, and costs a tenth of looking at each
        finite = [True] * x.shape[0]
        if not math.isfinite(x0.sum().item()):
            finite = torch.isfinite(x0).flatten(1).all(1).tolist()
        if not failures:
            cost.add(x.shape[0], (self._clock() - began) * 1e3)
        place = 0
        for piece in pieces:
            run = piece.run
            answer = x0[place : place + len(piece.rows)]
            bad = [k for k in range(len(piece.rows)) if not finite[place + k]]
            if bad:  # zeros in the place of a failed row keep NaN from its neighbours
                answer = answer.clone()
                answer[bad] = 0
            for k, row in enumerate(piece.rows):
                reason = failures.get(place + k)
                if reason is None and not finite[place + k]:
                    at = run.lam[row]
                    reason = f"the network's prediction at lambda = {at:.3f} is not finite"
                if reason is not None:
                    run.fail_row(row % len(run.seeds), reason)
            place += len(piece.rows)
            run.fill(piece.rows, answer)
        # A trajectory may have several pieces in one call.
        runs = dict.fromkeys(piece.run for piece in pieces)
        complete = [run for run in runs if not run.todo and not run.ended]
        self._observe(complete)
        self._send([(run, run.answer) for run in complete])

    def _call(
        self, job: Job, x: torch.Tensor, lam: torch.Tensor, cond: list[Any] | None, cost: Cost
    ) -> tuple[torch.Tensor, dict[int, str]]:
        """One network call; if it raises, halves of it, down to the rows that are to blame."""
        failures: dict[int, str] = {}
        whole: torch.Tensor | None = None
        size = x.shape[0]
        todo = [(0, size)]
        while todo:
            start, stop = todo.pop()
            try:
                some = None if cond is None else tuple(cond[start:stop])
                args = (x[start:stop], lam[start:stop])
                part = job.denoise(*args) if some is None else job.denoise(*args, cond=some)
                if part.shape != args[0].shape:
                    raise ValueError(
                        f"the network answered {tuple(part.shape)} to {tuple(args[0].shape)}"
                    )
            except Exception as error:
                reason, full = sentence(error), _out_of_memory(error)
            else:
                if stop - start == size:
                    return part.to(x.dtype), {}
                if whole is None:
                    whole = torch.zeros_like(x)
                whole[start:stop] = part
                continue
            if full:
                cost.cap = max(1, (stop - start) // 2)
                if x.is_cuda:
                    torch.cuda.empty_cache()
            if stop - start == 1:
                failures[start] = reason
            else:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
        return (torch.zeros_like(x) if whole is None else whole), failures

    def _observe(self, runs: list[Run]) -> None:
        """Notes what was evaluated: points, and pictures of all trajectory points at once."""
        seen = []
        for run in runs:
            ask = run.evaluation
            run.nfe += len(run.lam) // len(run.seeds)
            run.film.add_point(run.nfe, run.lam[-1], ask.stage)
            if ask.stage == 0 and run.answer is not None:
                run.request.changed[run] = None
                x, x0 = ask.x[run.newest], run.answer[run.newest]
                run.request.show(run, run.lam[-1], x, x0)
                if run.pictures:
                    seen.append((run, x, x0))
        if not seen:
            return
        x = torch.cat([x for _, x, _ in seen])
        lam = torch.tensor([run.lam[-1] for run, _, x in seen for _ in x], dtype=torch.float64)
        x0 = torch.cat([x0 for _, _, x0 in seen])
        pixels0, pixels = shown(seen[0][0].request.job, x0, x, lam)
        sizes = [len(run.seeds) for run, _, _ in seen]
        for (run, _, _), x0, x in zip(seen, pixels0.split(sizes), pixels.split(sizes), strict=True):
            run.film.add_picture(x0.clone(), x.clone())

    def _send(self, answers: list[tuple[Run, Any]]) -> None:
        """Sends answers until each trajectory waits for the network or has ended.

        Scalars that the samplers want to know come to the host together, in one transfer.
        """
        while answers:
            asked = []
            for run, answer in answers:
                try:
                    value = run.step(answer)
                except Exception as error:
                    run.fail(sentence(error))
                    continue
                if value is not None:
                    asked.append((run, value))
            answers = []
            for device in {value.device for _, value in asked}:
                some = [(run, value) for run, value in asked if value.device == device]
                wide = torch.float32 if device.type == "mps" else torch.float64  # it has no other
                values = torch.stack([value.to(wide) for _, value in some]).tolist()
                answers += [(run, value) for (run, _), value in zip(some, values, strict=True)]


def _device_text(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
