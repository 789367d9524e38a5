"""A fixed-step solver fitted to a model: nodes, coefficients, and the λ told to the network.

A fitted step is the one formula with additions: in variance-preserving coordinates, from λ_i to
λ_{i+1} = λ_i + h,

    x_{i+1} = (α'/α) e^{−h} x_i + α' (1 − e^{−h}) Σ_k (w_ik + c_ik) m_k,   k = 0 … 4

where m_k are data predictions, the newest first, each asked for at a told λ_k + d_k; w are the
exact weights of the moment conditions at the current nodes, and everything that is fitted starts
from a setting of the ordinary solver: c = d = 0. The loss is the mean over samples of the RMSE to
the converged sample, and its gradient goes through all steps and through the network.

Relatives: LD3 (2405.15506) and GITS (2405.11326) fit nodes, S4S (2502.17423) and DyWeight
(2603.11607) coefficients too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpm_demo.models.calibrated import Fit
from dpm_demo.models.model import Condition
from dpm_demo.request.codec import solver_text
from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver

HISTORY = 5  # predictions that a fitted step may use; UniPC's corrector is within four


@dataclass(frozen=True)
class Samples:
    """What is fitted to, or measured on: noise and converged samples `(n, *shape)`.

    `denoise(x, lam, conditions)` is the model, with gradients to x and lam.
    """

    noise: Tensor
    truth: Tensor
    conditions: tuple[Condition, ...] | None
    denoise: Callable[..., Tensor]

    def __len__(self) -> int:
        return len(self.noise)

    def pick(self, rows: Tensor) -> Samples:
        """The samples of those numbers."""
        own = None if self.conditions is None else tuple(self.conditions[k] for k in rows.tolist())
        return Samples(self.noise[rows], self.truth[rows], own, self.denoise)


class Fitted(nn.Module):
    """The parameters of a fitted solver, started from a multistep `solver` in data form.

    float64 on the CPU: the arithmetic on them is nothing beside the network's.
    """

    def __init__(self, solver: Solver, lam_span: tuple[float, float]) -> None:
        super().__init__()
        if solver.method != "multistep" or solver.corrector or solver.prediction != "data":
            raise ValueError("a fit starts from a multistep solver in data form, without corrector")
        start = plan(solver, lam_span)
        self.first, self.last = lam_span
        self.orders = start.orders
        lam = torch.tensor(start.nodes, dtype=torch.float64)
        steps = len(lam) - 1
        self.increments = nn.Parameter(lam.diff().abs().log())
        self.told = nn.Parameter(torch.zeros(steps, dtype=torch.float64))
        self.added = nn.Parameter(torch.zeros(steps, HISTORY, dtype=torch.float64))

    @classmethod
    def like(cls, fit: Fit, lam_span: tuple[float, float], nodes_only: bool = False) -> Fitted:
        """What starts as `fit` does, its nodes stretched to `lam_span` where that is another.

        `nodes_only`: at its nodes, but with the exact weights of order 2.
        """
        made = cls(Solver(nfe=fit.nfe, order=2), lam_span)
        lam = torch.tensor(fit.lambdas, dtype=torch.float64)
        with torch.no_grad():
            made.increments.copy_(lam.diff().log())
            if nodes_only:
                return made
            made.told.copy_(torch.tensor(fit.told, dtype=torch.float64) - lam[:-1])
            for i, (_, _, weights) in enumerate(made.steps()):
                own, other = (gain(nodes[i], nodes[i + 1]) for nodes in (made.nodes(), lam))
                wanted = torch.tensor(fit.weights[i][:HISTORY], dtype=torch.float64) / other
                made.added[i, : len(wanted)] = wanted - (weights / own)[: len(wanted)]
        return made

    def nodes(self) -> Tensor:
        """λ of the nodes `(steps + 1,)`: fixed ends, and the shares between them a softmax."""
        shares = torch.softmax(self.increments, dim=0).cumsum(0)
        inner = self.first + (self.last - self.first) * shares[:-1]
        ends = torch.tensor([self.first, self.last], dtype=torch.float64)
        return torch.cat([ends[:1], inner, ends[1:]])

    def steps(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each step: the told λ, the scale of x, the weights of predictions, newest first."""
        lam = self.nodes()
        for i, order in enumerate(self.orders):
            h = lam[i + 1] - lam[i]
            known = lam[[i - k for k in range(min(order, i + 1))]]
            weights = exact_weights((known - lam[i]) / h, h)
            reach = min(HISTORY, i + 1)
            weights = torch.cat([weights, weights.new_zeros(reach - len(weights))])
            alpha = torch.sigmoid(2 * lam[i : i + 2]).sqrt()
            scale = alpha[1] / alpha[0] * torch.exp(-h)
            weights = gain(lam[i], lam[i + 1]) * (weights + self.added[i, :reach])
            yield lam[i] + self.told[i], scale, weights

    def forward(self, samples: Samples) -> Tensor:
        """RMSE of each of `samples` to its converged one."""
        x = samples.noise
        history: list[Tensor] = []
        for step in self.steps():
            told, scale, weights = (value.to(x.device, x.dtype) for value in step)
            cond = () if samples.conditions is None else (samples.conditions,)
            history = [samples.denoise(x, told.expand(len(x)), *cond), *history][:HISTORY]
            x = scale * x
            for weight, prediction in zip(weights, history, strict=True):
                x = x + weight * prediction
        return (x.float() - samples.truth).square().flatten(1).mean(1).sqrt()

    def frozen(self, guidance: tuple[float, float]) -> Fit:
        """The fit as numbers."""
        with torch.no_grad():
            rows = [
                (float(told), float(scale), tuple(weights.tolist()))
                for told, scale, weights in self.steps()
            ]
            told, scales, weights = zip(*rows, strict=True)
            return Fit(tuple(self.nodes().tolist()), told, scales, weights, guidance)


def gain(lam: Tensor, to: Tensor) -> Tensor:
    """α' (1 − e^{−h}): what a step weighs a data prediction with that does not change."""
    return torch.sigmoid(2 * to).sqrt() * -torch.expm1(lam - to)


def exact_weights(r: Tensor, z: Tensor) -> Tensor:
    """Weights w with Σ_k w_k r_k^j = M_j(z), differentiable; up to three nodes `r`."""
    edge = -1 / torch.expm1(-z)
    moments = [torch.ones_like(z)]
    for j in range(1, len(r)):
        moments.append(edge - j * moments[-1] / z)
    rows = torch.stack([r**j for j in range(len(r))])
    return torch.linalg.solve(rows, torch.stack(moments))


def errors(fitted: Fitted, samples: Samples, at_once: int = 32) -> Tensor:
    """RMSE of each sample."""
    with torch.no_grad():
        parts = torch.arange(len(samples)).split(at_once)
        return torch.cat([fitted(samples.pick(rows)) for rows in parts])


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a fit goes; `nodes_only` leaves coefficients and told λ alone."""

    iterations: int = 300
    batch: int = 16
    lr_nodes: float = 0.03
    lr_rest: float = 0.01
    ema: float = 0.95
    nodes_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "batch"):
            if not 1 <= getattr(self, name) <= 100_000:
                raise ValueError(
                    f"{name} must be a whole number from 1 to 100000, not {getattr(self, name)}"
                )


def fit(
    fitted: Fitted,
    samples: Samples,
    recipe: Recipe = Recipe(),
    on_progress: Callable[[int, float], None] = lambda iteration, loss: None,
) -> Fitted:
    """Fits `fitted` to `samples` in place, deterministically.

    Adam, the rates decayed by a cosine; what remains is the moving average of the parameters.
    """
    groups = [{"params": [fitted.increments], "lr": recipe.lr_nodes}]
    if not recipe.nodes_only:
        groups.append({"params": [fitted.told, fitted.added], "lr": recipe.lr_rest})
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / recipe.iterations))
    )
    average = AveragedModel(fitted, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(len(samples), generator=generator)
    for iteration in range(recipe.iterations):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(samples), generator=generator)])
        rows, order = order[: recipe.batch], order[recipe.batch :]
        loss = fitted(samples.pick(rows)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(fitted.parameters(), 1.0)
        optimizer.step()
        decay.step()
        average.update_parameters(fitted)
        on_progress(iteration + 1, loss.item())
    fitted.load_state_dict(average.module.state_dict())
    return fitted


def best_start(
    nfe: int,
    lam_span: tuple[float, float],
    samples: Samples,
    starts: Sequence[Solver],
    like: Sequence[Fit] = (),
    nodes_only: bool = False,
) -> tuple[Fitted, str]:
    """The best of `starts` and of the fits `like` it on `samples`, and its name.

    Starts whose first step takes two evaluations, and which so have a step less, are left out.
    """
    tried: list[tuple[str, Fitted]] = [
        (solver_text(solver), Fitted(solver, lam_span))
        for solver in (replace(start, nfe=nfe) for start in starts)
    ]
    tried = [(name, fitted) for name, fitted in tried if len(fitted.told) == nfe]
    tried += [("another model's table", Fitted.like(fit, lam_span, nodes_only)) for fit in like]
    found = [(errors(fitted, samples).mean().item(), name, fitted) for name, fitted in tried]
    _, name, fitted = min(found, key=lambda one: one[0])
    return fitted, name
