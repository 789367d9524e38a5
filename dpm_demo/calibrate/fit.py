"""A fixed-step solver fitted to a model: nodes, coefficients, and the λ told to the network.

A fitted step is the one formula with additions: in variance-preserving coordinates, from λ_i to
λ_{i+1} = λ_i + h,

    x_{i+1} = (α'/α) e^{−h} x_i + α' (1 − e^{−h}) Σ_k (w_ik + c_ik) m_k

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

from dpm_demo.solver import plan
from dpm_demo.solver.settings import Solver

#: denoise(x, lam) -> x0 for rows of one batch, with gradients to x and lam
Denoise = Callable[[Tensor, Tensor], Tensor]
HISTORY = 3  # predictions that a fitted step may use


@dataclass(frozen=True)
class Batch:
    """Samples to fit to: noise and converged samples `(n, *shape)`, and a denoiser for their rows.

    `denoise(rows)` answers for those rows of the batch, whose conditions it knows.
    """

    noise: Tensor
    truth: Tensor
    denoise: Callable[[Sequence[int]], Denoise]

    def __len__(self) -> int:
        return len(self.noise)


class Fitted(nn.Module):
    """The parameters of a fitted solver of `nfe` evaluations, started from a multistep `solver`.

    float64 on the CPU: the arithmetic on them is nothing beside the network's.
    """

    def __init__(self, solver: Solver, lam_span: tuple[float, float]) -> None:
        super().__init__()
        start = plan(solver, lam_span)
        if solver.method != "multistep" or solver.corrector or solver.prediction != "data":
            raise ValueError("a fit starts from a multistep solver in data form without corrector")
        self.first, self.last = lam_span
        self.orders = start.orders
        lam = torch.tensor(start.nodes, dtype=torch.float64)
        nfe = len(lam) - 1
        self.increments = nn.Parameter(lam.diff().abs().log())
        self.told = nn.Parameter(torch.zeros(nfe, dtype=torch.float64))
        self.added = nn.Parameter(torch.zeros(nfe, HISTORY, dtype=torch.float64))

    def nodes(self) -> Tensor:
        """λ of the nodes `(nfe + 1,)`: the ends are fixed, the shares between them a softmax."""
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
            factor = alpha[1] * -torch.expm1(-h)
            yield lam[i] + self.told[i], scale, factor * (weights + self.added[i, :reach])

    def forward(self, denoise: Denoise, x: Tensor) -> Tensor:
        """The sample from the state `x` `(n, *shape)` at the first node."""
        history: list[Tensor] = []
        for told, scale, weights in self.steps():
            x0 = denoise(x, told.to(x.dtype).expand(len(x)))
            history = [x0, *history][:HISTORY]
            x = scale.to(x.dtype) * x
            for weight, prediction in zip(weights.to(x.dtype), history, strict=True):
                x = x + weight * prediction
        return x


def exact_weights(r: Tensor, z: Tensor) -> Tensor:
    """Weights w with Σ_k w_k r_k^j = M_j(z), differentiable; up to three nodes `r`."""
    edge = -1 / torch.expm1(-z)
    moments = [torch.ones_like(z)]
    for j in range(1, len(r)):
        moments.append(edge - j * moments[-1] / z)
    rows = torch.stack([r**j for j in range(len(r))])
    return torch.linalg.solve(rows, torch.stack(moments))


def errors(fitted: Fitted, batch: Batch, at_once: int = 32) -> Tensor:
    """RMSE of each sample of `batch` to its converged one."""
    found = []
    with torch.no_grad():
        for rows in torch.arange(len(batch)).split(at_once):
            sample = fitted(batch.denoise(rows.tolist()), batch.noise[rows])
            found.append(per_sample(sample, batch.truth[rows]))
    return torch.cat(found)


def per_sample(sample: Tensor, truth: Tensor) -> Tensor:
    """RMSE of each row."""
    return (sample.float() - truth).square().flatten(1).mean(1).sqrt()


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a fit goes; `nodes_only` leaves coefficients and told λ alone."""

    iterations: int = 150
    batch: int = 16
    lr_nodes: float = 0.03
    lr_rest: float = 0.01
    nodes_only: bool = False
    seed: int = 0


def fit(
    fitted: Fitted,
    batch: Batch,
    recipe: Recipe = Recipe(),
    on_progress: Callable[[int, float], None] = lambda iteration, loss: None,
) -> Fitted:
    """Fits `fitted` to `batch` in place, deterministically: Adam, the rates decayed by a cosine."""
    rest = [] if recipe.nodes_only else [fitted.told, fitted.added]
    groups = [{"params": [fitted.increments], "lr": recipe.lr_nodes}]
    if rest:
        groups.append({"params": rest, "lr": recipe.lr_rest})
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / recipe.iterations))
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.randperm(len(batch), generator=generator)
    for iteration in range(recipe.iterations):
        if len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(batch), generator=generator)])
        rows, order = order[: recipe.batch], order[recipe.batch :]
        sample = fitted(batch.denoise(rows.tolist()), batch.noise[rows])
        loss = per_sample(sample, batch.truth[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(fitted.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_progress(iteration, loss.item())
    return fitted


def best_start(
    nfe: int, lam_span: tuple[float, float], batch: Batch, starts: Sequence[Solver]
) -> tuple[Fitted, Solver, float]:
    """The fitted solver that starts from the best of `starts`, that one, and its mean error."""
    tried = []
    for solver in (replace(start, nfe=nfe) for start in starts):
        fitted = Fitted(solver, lam_span)
        tried.append((errors(fitted, batch).mean().item(), solver, fitted))
    error, solver, fitted = min(tried, key=lambda one: one[0])
    return fitted, solver, error
