"""Parallel in time: Picard sweeps over a window of steps, for one sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.events import Decision, Evaluation, Measure, Trajectory
from dpm_demo.solver.plan import Plan
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.state import combine, prediction, threshold

__all__ = ["PICARD_TOLERANCE", "picard"]

#: Of N steps, a state is settled when a sweep moves it by less than this / max(N, 20), rms in
#: variance-preserving units; so the sample ends well within this of the sequential one.
PICARD_TOLERANCE = 0.01


def picard(x: Tensor, solver: Solver, made: Plan, path: BrownianPath | None) -> Trajectory:
    """Picard sweeps over a sliding window of steps (ParaDiGMS, 2305.16317); for one sample.

    One sweep evaluates every state in the window in one call, then redoes all the updates of the
    plan in sequence with those predictions, which costs no evaluation. Its fixed point is the
    sequential solution of the same plan, at whatever order. The first state of the window is exact,
    so that each sweep settles at least one step and the ticks never exceed the sequential NFE.
    """
    moves = made.moves
    count = len(moves)
    tolerance = PICARD_TOLERANCE / max(count, 20)
    anchors = [max(i for i in range(k + 1) if not moves[i].stage) for k in range(count)]
    states: list[Tensor] = [x] * (count + 1)
    predictions: list[Tensor] = []
    noise: list[Tensor] = []
    done = ticks = nfe = 0

    def advance(k: int) -> Tensor:
        update = moves[k].update
        if update is None:
            return predictions[k].to(x.dtype)
        out = combine(states[anchors[k]], update, predictions[k::-1])
        if path is not None:
            if len(noise) == k:
                start = moves[anchors[k]].lam
                noise.append(path.increment(start, moves[k].target, x))
            out.add_(noise[k], alpha=update.diffusion)
        return out

    while done < count:
        stop = min(done + solver.window, count)
        for k in range(len(predictions), stop):  # entering: as if the prediction stood still
            if ticks:
                states[k] = advance(k - 1)
            predictions.append(predictions[-1] if ticks else x)
        batch = torch.cat(states[done:stop])
        lam = torch.tensor([move.lam for move in moves[done:stop]], dtype=torch.float64)
        x0 = threshold((yield Evaluation(batch, lam)), solver.threshold)
        ticks += 1
        nfe += stop - done
        for k in range(done, stop):
            row = x0[k - done : k - done + 1]
            predictions[k] = prediction(made.prediction, states[k], row, moves[k].lam)
        for k in range(done, stop):
            states[k + 1] = advance(k)
        settled = 1
        if stop - done > 1:
            change = (torch.cat(states[done + 1 : stop]) - batch[1:]).flatten(1)
            moved = torch.linalg.vector_norm(change, dim=1) / math.sqrt(change.shape[1])
            settled += int((yield Measure((moved <= tolerance).cumprod(0).sum())))
        done += settled
        record = {"ticks": ticks, "nfe": nfe, "done": done, "steps": count}
        yield Decision("sweep", moves[done - 1].lam, record)
    yield Decision("end", moves[-1].target, {"ticks": ticks, "nfe": nfe, "converged": True})
    return states[count]
