"""One trajectory from a solver's settings, and the plain loop that runs it with a denoiser."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dpm_demo.solver.adaptive import adaptive, ends
from dpm_demo.solver.brownian import BrownianPath
from dpm_demo.solver.events import Evaluation, Measure, Trajectory
from dpm_demo.solver.fixed import fixed
from dpm_demo.solver.lists import listed
from dpm_demo.solver.picard import picard
from dpm_demo.solver.plan import Plan, plan
from dpm_demo.solver.settings import NFE_DEFAULT, Solver
from dpm_demo.solver.table import named

__all__ = ["Denoiser", "integrate", "one_row", "trajectory"]

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
    restart: float | None = None,
) -> Trajectory:
    """The generator of one trajectory from `x`, the state at the first node, to the last node.

    x: (n, *shape), any floating dtype and number of axes, both kept; a state of 16 bits is held
    in float32 and rounded where the network sees it and at the end, so that its error does not
    grow with the budget. Exactly one row for "adaptive" and for `window`. `lam_span` and `lambdas`
    as in `plan`. `seeds`: one for each row, needed when eta > 0, where the Brownian path belongs
    to the sample. Falling nodes lead from data to noise (inversion). λ = `restart` parts two
    networks: once a node lies beyond it, a multistep method uses no prediction of before.
    `ValueError` at once, before the first evaluation.
    """
    if x.ndim < 1 or not x.is_floating_point():
        raise ValueError(f"x must be a floating tensor (n, *shape), not {x.dtype} of {x.ndim} axes")
    if one_row(solver) and len(x) != 1:
        raise ValueError(f"a trajectory of this solver holds one row, not {len(x)}")
    if x.dtype in (torch.bfloat16, torch.float16):
        steps = trajectory(
            x.float(), solver, lam_span=lam_span, lambdas=lambdas, seeds=seeds, restart=restart
        )
        return _rounded(steps, x.dtype)
    if solver.method == "adaptive":
        return adaptive(x, solver, *ends(solver, lam_span, lambdas))
    made = plan(solver, lam_span, lambdas)
    if solver.table and (own := named(solver.table).sampler) is not None:
        return own(x, made.nodes)
    path = None
    if solver.eta > 0:
        if seeds is None or len(seeds) != len(x):
            raise ValueError(f"eta {solver.eta} needs seeds, one for each of the {len(x)} rows")
        path = BrownianPath(seeds, x.shape[1:], solver.eta)
    if restart is not None:
        made = _anew(solver, made, restart)
    return picard(x, solver, made, path) if solver.window else fixed(x, solver, made, path)


def _anew(solver: Solver, made: Plan, restart: float) -> Plan:
    """The same plan, but no prediction from before `restart` counts at a node behind it.

    Left whole: singlestep methods, tables of several evaluations a step, and those with nodes of
    their own.
    """
    points = made.nodes
    low = points[0] < restart
    cut = next((k for k, lam in enumerate(points) if (lam < restart) != low), 0)
    table = named(solver.table) if solver.table else None
    whole = solver.method == "singlestep" or (table and (table.nodes or table.calls > 1))
    if whole or not 0 < cut < len(points) - 1:
        return made
    steps = [k for k, move in enumerate(made.moves) if not move.stage]
    after = plan(solver, lambdas=points[cut:])
    return replace(made, moves=(*made.moves[: steps[cut]], *after.moves))


def _rounded(steps: Trajectory, dtype: torch.dtype) -> Trajectory:
    """The same trajectory for a network that computes in `dtype`."""
    answer: Any = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return stop.value.to(dtype)
        if isinstance(event, Evaluation):
            event = Evaluation(event.x.to(dtype), event.lam, event.stage)
        answer = yield event


def integrate(
    denoise: Denoiser,
    x_T: Tensor,
    solver: Solver,
    *,
    lam_span: tuple[float, float] | None = None,
    lambdas: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    lam_of: Callable[[float], float] | None = None,
    cond: Sequence[Any] | None = None,
    seeds: Sequence[int] | None = None,
    differentiable: bool = False,
) -> Tensor:
    """Solve the diffusion ODE (or SDE) from the state at the first node to that at the last.

    denoise(x, lam) or denoise(x, lam, cond) returns the data prediction; x: (n, *shape), lam:
    (n,) on x's device, float64 for a float64 x and else float32. cond: one for each row, or None.
    x_T and the result are variance-preserving states with the same dtype and shape. The nodes are
    those of `plan`, so the budget `solver.nfe` is spent exactly for each row (adaptive: at most).

    Nodes of one's own: `lambdas`, or `sigmas` = σ/α = e^{−λ} (falling; 0 is λ = ∞), or `timesteps`,
    which `lam_of` turns into λ. They rule, and `solver.nfe` is ignored: a `UserWarning` says so
    when it is neither the default nor what the nodes spend. `differentiable` keeps gradients from
    the result to x_T and to whatever `denoise` holds; without it the result has none.

    `ValueError` when the denoiser answers in another shape, `FloatingPointError` at the first
    answer that is not finite.
    """
    lambdas = listed(lambdas, sigmas, timesteps, lam_of)
    if lambdas is not None and lam_span is None and solver.method != "adaptive":
        spent = plan(solver, lambdas=lambdas).nfe
        if solver.nfe not in (NFE_DEFAULT, spent):
            warnings.warn(
                f"nfe {solver.nfe} is ignored: the {len(lambdas)} nodes spend {spent} evaluations",
                stacklevel=2,
            )
    if not differentiable:
        x_T = x_T.detach()
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
            differentiable,
        )
        for i in range(0, max(1, len(x_T)), width)
    ]
    return done[0] if len(done) == 1 else torch.cat(done)


def _drive(
    denoise: Denoiser, steps: Trajectory, cond: Sequence[Any] | None, differentiable: bool
) -> Tensor:
    answer: Any = None
    while True:
        try:
            event = steps.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = None
        if isinstance(event, Measure):
            answer = float(event.value.detach())
        elif isinstance(event, Evaluation):
            x = event.x
            dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
            if isinstance(event.lam, Tensor):
                lam = event.lam.to(x.device, dtype)
            else:
                lam = torch.full((len(x),), event.lam, dtype=dtype, device=x.device)
            with torch.set_grad_enabled(differentiable):
                if cond is None:
                    answer = denoise(x, lam)
                else:  # Picard's rows are copies of one
                    answer = denoise(x, lam, [*cond] * (len(x) // len(cond)))
            _check_answer(answer, x, lam)


def _check_answer(answer: Any, x: Tensor, lam: Tensor) -> None:
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"the denoiser answered {found} to a state of shape {tuple(x.shape)}")
    if not torch.isfinite(answer).all():
        raise FloatingPointError(
            f"the denoiser's answer at λ = {float(lam[0]):.4g} is not finite (NaN or infinity)"
        )
