"""Trajectories as generators: they ask for evaluations, and never see who answers.

A sampler yields `Evaluation` and is sent the data prediction for those rows, `Measure` and is sent
a float, `Decision` and is sent nothing. Its return value is the sample. All states are in
variance-preserving coordinates x = α x0 + σ ε. Tensors it has yielded or was sent are never changed
in place: whoever drives it may keep them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.coefficients import Update, linear_update
from dpm_demo.solver.plan import Move, check_nodes, plan
from dpm_demo.solver.schedule import alpha, check_span, sigma
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.step_control import FIRST_STEP, SHORTEST_STEP, StabilityControl, StepControl

__all__ = [
    "Decision",
    "Evaluation",
    "Measure",
    "Trajectory",
    "initial_noise",
    "integrate",
    "one_row",
    "threshold",
    "trajectory",
]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Asks for the data prediction at `x`: (n, *shape), at `lam`.

    lam is a float for all rows, or a float64 CPU tensor (n,), one for each row (Picard).
    stage 0 is a trajectory point; above 0, an inner evaluation that previews leave out.
    """

    x: Tensor
    lam: float | Tensor
    stage: int = 0


@dataclass(frozen=True, eq=False)
class Measure:
    """Asks for the value of a 0-d tensor as a float: the only wait for the device."""

    value: Tensor


@dataclass(frozen=True)
class Decision:
    """Says what was decided at `lam`, for the record.

    "step"       an adaptive step was tried: h, error, order, accepted
    "stability"  the order or the step was changed: h, error, order, accepted, action
    "sweep"      Picard: ticks, nfe, done (steps settled so far), steps
    "end"        an adaptive or Picard trajectory ends: nfe, accepted, rejected, converged; ticks
    """

    kind: str
    lam: float
    data: dict[str, Any] = field(default_factory=dict)


Trajectory = Generator[Evaluation | Measure | Decision, Any, Tensor]
Denoiser = Callable[..., Tensor]


def one_row(solver: Solver) -> bool:
    """Whether a trajectory of this solver holds exactly one row, as it decides from its values."""
    return solver.method == "adaptive" or solver.window > 0


def trajectory(
    x: Tensor,
    solver: Solver,
    *,
    lam_span: tuple[float, float] | None = None,
    lambdas: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
) -> Trajectory:
    """The generator of one trajectory from `x`, the state at the first node, to the last node.

    x: (n, *shape), any floating dtype and number of axes, both kept; exactly one row for
    "adaptive" and for `window`. `lam_span` and `lambdas` as in `plan`. `seeds`: one for each row,
    needed when eta > 0, where the Brownian path belongs to the sample. Falling nodes lead from
    data to noise (inversion). `ValueError` at once, before the first evaluation.
    """
    if x.ndim < 1 or not x.is_floating_point():
        raise ValueError(f"x must be a floating tensor (n, *shape), not {x.dtype} of {x.ndim} axes")
    if one_row(solver) and len(x) != 1:
        raise ValueError(f"a trajectory of this solver holds one row, not {len(x)}")
    if solver.method == "adaptive":
        return _adaptive(x, solver, *_ends(solver, lam_span, lambdas))
    moves = plan(solver, lam_span, lambdas).moves
    path = None
    if solver.eta > 0:
        if seeds is None or len(seeds) != len(x):
            raise ValueError(f"eta {solver.eta} needs seeds, one for each of the {len(x)} rows")
        path = BrownianPath(seeds, x.shape[1:], solver.eta)
    if solver.window:
        return _picard(x, solver, moves, path)
    return _fixed(x, solver, moves, path)


def _ends(
    solver: Solver, lam_span: tuple[float, float] | None, lambdas: Sequence[float] | None
) -> tuple[float, float]:
    """The ends of an adaptive trajectory, which places its own nodes between them."""
    if lambdas is not None and lam_span is None:
        listed = check_nodes(solver, lambdas)
        if len(listed) != 2:
            raise ValueError(
                f'method "adaptive" places its own nodes: lambdas must be its two ends, '
                f"not {len(listed)} nodes"
            )
        lam_span = (listed[0], listed[1])
    elif lam_span is None or lambdas is not None:
        raise ValueError("give either lam_span or lambdas")
    first, last = check_span(lam_span)
    if solver.denoise_to_zero and last < first:
        raise ValueError("denoise_to_zero must be off on the way from data to noise")
    return first, last


def integrate(
    denoise: Denoiser,
    x_T: Tensor,
    solver: Solver,
    *,
    lam_span: tuple[float, float] | None = None,
    lambdas: Sequence[float] | None = None,
    cond: Sequence[Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Solve the diffusion ODE (or SDE) from the state at the first node to that at the last.

    denoise(x, lam) or denoise(x, lam, cond) returns the data prediction; x: (n, *shape), lam:
    (n,) on x's device, float64 for a float64 x and else float32. cond: one for each row, or None.
    x_T and the result are variance-preserving states with the same dtype and shape. The nodes are
    those of `plan`, so the budget `solver.nfe` is spent exactly for each row (adaptive: at most).
    """
    if cond is not None and len(cond) != len(x_T):
        raise ValueError(f"cond must have one entry for each of the {len(x_T)} rows")
    if seeds is not None and len(seeds) != len(x_T):
        raise ValueError(f"seeds must have one entry for each of the {len(x_T)} rows")
    width = 1 if one_row(solver) else max(1, len(x_T))
    done = [
        _drive(
            denoise,
            trajectory(
                x_T[i : i + width],
                solver,
                lam_span=lam_span,
                lambdas=lambdas,
                seeds=None if seeds is None else seeds[i : i + width],
            ),
            None if cond is None else cond[i : i + width],
        )
        for i in range(0, max(1, len(x_T)), width)
    ]
    return done[0] if len(done) == 1 else torch.cat(done)


def _drive(denoise: Denoiser, steps: Trajectory, cond: Sequence[Any] | None) -> Tensor:
    answer: Any = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = None
        if isinstance(event, Measure):
            answer = float(event.value)
        elif isinstance(event, Evaluation):
            x = event.x
            dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
            if isinstance(event.lam, Tensor):
                lam = event.lam.to(x.device, dtype)
            else:
                lam = torch.full((len(x),), event.lam, dtype=dtype, device=x.device)
            with torch.no_grad():
                if cond is None:
                    answer = denoise(x, lam)
                else:  # Picard's rows are copies of one
                    answer = denoise(x, lam, [*cond] * (len(x) // len(cond)))


def initial_noise(seeds: Iterable[int], shape: Sequence[int]) -> Tensor:
    """Standard normal x_T: (n, *shape) float32 on the CPU, each row from its own seed.

    So sample k of seed s is the same alone, in a batch, and whatever device it is moved to.
    """
    rows = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(seed)))
        for seed in seeds
    ]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


DYNAMIC_QUANTILE = 0.995


def threshold(x0: Tensor, kind: str) -> Tensor:
    """Keep a data prediction in range, row by row; x0: (n, *shape) in [−1, 1] by intention.

    "static" clips to [−1, 1]. "dynamic" takes s, the 99.5th percentile of |x0| in the row, clips to
    [−s, s] and divides by s where s > 1 (Saharia et al. 2205.11487, section 2.3). Trap: with a cap
    of s at 1, the default elsewhere, "dynamic" is only the static clip.
    """
    if kind == "static":
        return x0.clamp(-1, 1)
    flat = x0.abs().flatten(1)
    position = DYNAMIC_QUANTILE * (flat.shape[1] - 1)
    below = math.floor(position)
    # the few largest of each row, instead of a sort of all
    top = flat.topk(flat.shape[1] - below, dim=1).values
    upper = top[:, -2] if top.shape[1] > 1 else top[:, -1]
    s = torch.lerp(top[:, -1], upper, position - below).clamp_(min=1)
    s = s.reshape(-1, *[1] * (x0.ndim - 1))
    return torch.minimum(torch.maximum(x0, -s), s).div_(s)


# --- fixed steps ----------------------------------------------------------------------------------


def _fixed(
    x: Tensor, solver: Solver, moves: Sequence[Move], path: BrownianPath | None
) -> Trajectory:
    """Every fixed-step method: the plan says what each prediction is worth."""
    history: deque[Tensor] = deque(maxlen=4)  # the newest prediction first
    anchor, anchor_lam = x, moves[0].lam
    for move in moves:
        x0 = yield Evaluation(x, move.lam, move.stage)
        if solver.threshold is not None:
            x0 = threshold(x0, solver.threshold)
        if move.update is None:
            return x0.to(x.dtype)
        history.appendleft(_prediction(solver, x, x0, move.lam))
        if move.correct is not None:
            x = combine(anchor, move.correct, history)
        if not move.stage:
            anchor, anchor_lam = x, move.lam
        x = combine(anchor, move.update, history)
        if path is not None:
            x.add_(path.increment(anchor_lam, move.target, x), alpha=move.update.diffusion)
    return x


def combine(x: Tensor, update: Update, predictions: Iterable[Tensor]) -> Tensor:
    """scale · x + Σ weights[k] · predictions[k]: p + 1 kernels for p predictions."""
    out = x * update.scale
    for weight, prediction in zip(update.weights, predictions, strict=False):
        if weight:
            out.add_(prediction, alpha=weight)
    return out


def _prediction(solver: Solver, x: Tensor, x0: Tensor, lam: float) -> Tensor:
    """What the solver's form integrates: x0 itself, or the noise ε = (x − α x0)/σ."""
    if solver.prediction == "data":
        return x0
    return (x * (1 / sigma(lam))).sub_(x0, alpha=alpha(lam) / sigma(lam))


# --- adaptive steps -------------------------------------------------------------------------------

#: atol / rtol of the local error, as published: 0.0078 / 0.05.
ATOL_RATIO = 0.156


class _Steps:
    """Singlestep steps of one row, their evaluations counted against a budget."""

    def __init__(self, solver: Solver, budget: int) -> None:
        self.solver = solver
        self.budget = budget
        self.spent = 0

    def predict(self, x: Tensor, lam: float, stage: int) -> Trajectory:
        """One evaluation: returns the data prediction after thresholding."""
        self.spent += 1
        x0 = yield Evaluation(x, lam, stage)
        return x0 if self.solver.threshold is None else threshold(x0, self.solver.threshold)

    def update(self, lam: float, target: float, known: Sequence[float], role: str) -> Update:
        return linear_update(
            lam,
            target,
            known,
            noise_form=self.solver.prediction == "noise",
            published=role if self.solver.weights == "published" else None,
        )

    def pair(
        self, x: Tensor, first: Tensor, lam: float, target: float, *, order: int, stage: int = 0
    ) -> Generator[Evaluation | Measure | Decision, Any, tuple[Tensor, Tensor]]:
        """States at `target` of order `order` and one below; `first` is the prediction at λ.

        The stages lie at the half (order 2) or the thirds (order 3) and serve both; they are
        marked from `stage` + 1 on.
        """
        known, predictions = [lam], [first]
        for i in range(1, order):
            there = lam + (target - lam) * i / order
            y = combine(x, self.update(lam, there, known, "stage"), predictions)
            y0 = yield from self.predict(y, there, stage + i)
            known.insert(0, there)
            predictions.insert(0, _prediction(self.solver, y, y0, there))
        high = combine(x, self.update(lam, target, known, "singlestep"), predictions)
        low = combine(x, self.update(lam, target, known[1:], "singlestep"), predictions[1:])
        return high, low

    def doubled(
        self, x: Tensor, first: Tensor, lam: float, target: float, *, order: int
    ) -> Generator[Evaluation | Measure | Decision, Any, tuple[Tensor, Tensor]]:
        """States at `target` of order `order` + 1 and `order`, by Richardson's extrapolation.

        The lower one is two half steps; against one whole step their error is 2^p − 1 times less.
        """
        whole, _ = yield from self.pair(x, first, lam, target, order=order)
        middle = 0.5 * (lam + target)
        y, _ = yield from self.pair(x, first, lam, middle, order=order, stage=order - 1)
        y0 = yield from self.predict(y, middle, 2 * order - 1)
        second = _prediction(self.solver, y, y0, middle)
        halves, _ = yield from self.pair(
            y, second, middle, target, order=order, stage=2 * order - 1
        )
        return halves + (halves - whole) / (2**order - 1), halves

    def cost(self, order: int) -> int:
        """Evaluations of one try, besides the first one at λ, which a rejected step keeps."""
        return order - 1 if self.solver.error == "embedded" else 3 * order - 2


def _adaptive(x: Tensor, solver: Solver, lam: float, end: float) -> Trajectory:
    """DPM-Solver-12 and -23 (2206.00927, appendix C), and step doubling; for one sample.

    A step is accepted when E ≤ 1, with E = rms((x_high − x_low)/max(atol, rtol·max(|x_low|,
    |x_prev|))) in variance-preserving coordinates, x_prev the x_low of the step before; x_high
    goes on.
    """
    steps = _Steps(solver, solver.nfe - solver.denoise_to_zero)
    control = StepControl(solver.controller)
    stability = StabilityControl(int(solver.order))
    direction = math.copysign(1.0, end - lam)
    h, previous, x0 = FIRST_STEP, x, None
    accepted = rejected = 0
    converged = True
    while lam != end and converged:
        if steps.spent == steps.budget:
            converged = False
            break
        x0 = yield from steps.predict(x, lam, 0)
        first = _prediction(solver, x, x0, lam)
        while True:
            order = stability.order
            if steps.spent + steps.cost(order) > steps.budget:
                converged = False
                break
            h = min(max(h, SHORTEST_STEP), abs(end - lam))
            target = end if h == abs(end - lam) else lam + direction * h
            attempt = steps.pair if solver.error == "embedded" else steps.doubled
            high, low = yield from attempt(x, first, lam, target, order=order)
            error = (yield Measure(_distance(high, low, previous))) / solver.tolerance
            if not math.isfinite(error * solver.tolerance):
                raise FloatingPointError(f"the data prediction is not finite after λ = {lam:.4g}")
            q = order + (solver.error == "doubling")  # the order of the lower state, plus one
            record = {"h": h, "error": error, "order": order, "accepted": error <= 1}
            yield Decision("step", lam, record)
            h = control.next_step(h, error, q)
            action = stability.observe(error, record["h"]) if solver.stability else None
            if action is not None:
                h = h / 2 if action == "lower" else h
                control.forget()
                record = {**record, "h": h, "order": stability.order, "action": action}
                yield Decision("stability", lam, record)
            if error <= 1:
                accepted += 1
                lam, x, previous = target, high, low
                break
            rejected += 1
    if solver.denoise_to_zero and converged:
        x = (yield from steps.predict(x, lam, 0)).to(x.dtype)
    elif not converged and x0 is not None and direction > 0:
        x = x0.to(x.dtype)
    yield Decision(
        "end",
        lam,
        {
            "nfe": steps.spent,
            "accepted": accepted,
            "rejected": rejected,
            "converged": converged,
        },
    )
    return x


def _distance(high: Tensor, low: Tensor, previous: Tensor) -> Tensor:
    """E times the tolerance, a 0-d tensor; so a tiny tolerance cannot underflow on the way."""
    scale = torch.maximum(low.abs(), previous.abs()).clamp_(min=ATOL_RATIO)
    ratio = (high - low).div_(scale)
    wide = torch.float64 if ratio.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(ratio, dtype=wide) / math.sqrt(max(1, ratio.numel()))


# --- parallel in time -----------------------------------------------------------------------------

#: Of N steps, a state is settled when a sweep moves it by less than this / max(N, 20), rms in
#: variance-preserving units; so the sample ends well within this of the sequential one.
PICARD_TOLERANCE = 0.01


def _picard(
    x: Tensor, solver: Solver, moves: Sequence[Move], path: BrownianPath | None
) -> Trajectory:
    """Picard sweeps over a sliding window of steps (ParaDiGMS, 2305.16317); for one sample.

    One sweep evaluates every state in the window in one call, then redoes all the updates of the
    plan in sequence with those predictions, which costs no evaluation. Its fixed point is the
    sequential solution of the same plan, at whatever order. The first state of the window is exact,
    so that each sweep settles at least one step and the ticks never exceed the sequential NFE.
    """
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
        x0 = yield Evaluation(batch, lam)
        ticks += 1
        nfe += stop - done
        if solver.threshold is not None:
            x0 = threshold(x0, solver.threshold)
        for k in range(done, stop):
            row = x0[k - done : k - done + 1]
            predictions[k] = _prediction(solver, states[k], row, moves[k].lam)
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
