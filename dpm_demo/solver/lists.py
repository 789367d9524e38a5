"""Nodes as the lists of other programs, out and in: λ, σ and timesteps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dpm_demo.solver.plan import plan
from dpm_demo.solver.settings import Solver
from dpm_demo.solver.table import named

__all__ = ["lambdas_of_sigmas", "lambdas_on", "listed", "sigmas_of_lambdas", "sigmas_on"]


def listed(
    lambdas: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    lam_of: Callable[[float], float] | None = None,
) -> list[float] | None:
    """λ of the one list that is given, None where there is none. `ValueError` for two of them."""
    given = [one for one in (lambdas, sigmas, timesteps) if one is not None]
    if len(given) > 1:
        raise ValueError("give one of lambdas, sigmas and timesteps")
    if lam_of is not None and timesteps is None:
        raise ValueError("lam_of belongs to timesteps, which are not given")
    if lambdas is not None:
        return [float(lam) for lam in lambdas]
    if sigmas is not None:
        return lambdas_of_sigmas(sigmas)
    if timesteps is None:
        return None
    if lam_of is None:
        raise ValueError("timesteps need lam_of, the function that turns one into its λ")
    return [float(lam_of(float(t))) for t in timesteps]


def lambdas_of_sigmas(sigmas: Sequence[float], flow: bool = False) -> list[float]:
    """λ = −log σ of σ/α; of a flow's σ, log((1 − σ)/σ). 0 is λ = ∞, a flow's 1 is λ = −∞."""
    found = []
    for value in map(float, sigmas):
        if not 0 <= value < math.inf or (flow and value > 1):
            most = "to 1 on a flow" if flow else "up"
            raise ValueError(f"sigmas must be numbers from 0 {most}, not {value!r}")
        if value == 0:
            found.append(math.inf)
        elif flow:
            found.append(-math.inf if value == 1 else math.log((1 - value) / value))
        else:
            found.append(-math.log(value))
    return found


def sigmas_of_lambdas(lambdas: Sequence[float], flow: bool = False) -> list[float]:
    """The inverse of `lambdas_of_sigmas`."""
    if not flow:
        return [math.exp(-lam) for lam in lambdas]
    return [1 / (1 + math.exp(lam)) if lam < 700 else 0.0 for lam in lambdas]


def lambdas_on(solver: Solver, model: Any, shape: tuple[int, ...] | None = None) -> list[float]:
    """λ of every evaluation of a fixed-step solver, stages too, and of the end.

    Of a table whose steps take several evaluations, the ends of its steps. `model` has a `lam_span`
    (and perhaps `span_for(shape)`), or is the span itself. For a multistep solver, whose
    evaluations are its nodes, `lambdas=` takes the list back, and for a table.
    """
    span = model
    if solver.schedule == "calibrated" and hasattr(model, "resolved"):
        solver = model.resolved(solver)
    if hasattr(model, "lam_span"):
        span = model.lam_span if shape is None else model.span_for(shape)
    made = plan(solver, span)
    if solver.table and named(solver.table).calls > 1:
        return list(made.nodes)
    end = [] if solver.denoise_to_zero else [made.nodes[-1]]
    return [lam for lam, _ in made.evaluations] + end


def sigmas_on(solver: Solver, model: Any, shape: tuple[int, ...] | None = None) -> list[float]:
    """σ/α = e^{−λ} of those, the σ of k-diffusion and ComfyUI; on a flow model its own σ."""
    return sigmas_of_lambdas(lambdas_on(solver, model, shape), _is_flow(model))


def timesteps_on(solver: Solver, model: Any, shape: tuple[int, ...] | None = None) -> list[float]:
    """What the network is told at each evaluation, not rounded; λ itself where it takes that."""
    lam = lambdas_on(solver, model, shape)
    lam = lam if solver.denoise_to_zero else lam[:-1]
    at = torch.tensor(lam, dtype=torch.float64, device=getattr(model, "device", None))
    denoise = getattr(model, "denoise", None)
    network = getattr(denoise, "network", None)
    for owner, name in (
        (getattr(model, "latents", None), "time_of"),
        (denoise, "time_of"),
        (network, "time_told"),
    ):
        told = getattr(owner, name, None)
        if told is not None:
            return [float(t) for t in told(at).double().tolist()]
    return lam


def _is_flow(model: Any) -> bool:
    path = getattr(getattr(model, "latents", None), "path", None)
    if path is not None:
        return not hasattr(path, "labels")
    return getattr(model, "family", "") == "flow"
