"""Our solvers as a scheduler that one drops into a pipeline of diffusers.

pipe.scheduler = dpm_demo.DPMScheduler.from_config(pipe.scheduler.config, order=3)
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from diffusers import (
    ConfigMixin,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from dpm_demo.models.denoiser import to_x0
from dpm_demo.models.diffusers import configured
from dpm_demo.models.diffusers.labels import LabelMap, schedule_lambdas
from dpm_demo.models.diffusers.paths import TARGETS
from dpm_demo.models.wrap import flow_span
from dpm_demo.solver.lists import sigmas_of_lambdas
from dpm_demo.solver.plan import Move
from dpm_demo.solver.schedule import alpha, nodes, sigma
from dpm_demo.solver.settings import ADAPTIVE_FIELDS, Solver
from dpm_demo.solver.state import combine, prediction, threshold

#: Fields of a solver that a pipeline has no place for; a shift is its configuration's own.
_NONE = ("nfe", "window", *ADAPTIVE_FIELDS)
_OURS = {f.name for f in fields(Solver)} - {"table", "shift", *_NONE}


class DPMScheduler(SchedulerMixin, ConfigMixin):
    """Multistep, singlestep, corrected and noisy solvers of any order, one network call a step.

    `from_config(config, **solver)` takes the configuration of any scheduler with discrete labels
    (noise, velocity or data) or of a flow, and the fields of `dpm_demo.Solver` but `nfe`, `window`,
    `table` and those of adaptive steps; `shift` is that of a flow's configuration. Without a
    `schedule` the timesteps are those that the configuration asks for: with
    `weights="published"` it is then `DPMSolverMultistepScheduler.from_config(config)`, and of
    order 1 on a flow `FlowMatchEulerDiscreteScheduler`. With one, the nodes are that schedule's
    over the model's span, their labels not rounded, and one last step to σ = 0.

    Stages of singlestep methods are timesteps of their own. One instance serves one run at a time;
    instances share nothing. ValueError for a solver that means nothing, or that decides its own
    steps ("adaptive").
    """

    config_name = "scheduler_config.json"  # type: ignore[assignment]
    # what may be made of its config
    _compatibles: ClassVar[list[str]] = [one.name for one in KarrasDiffusionSchedulers]
    order = 1
    init_noise_sigma = 1.0
    num_inference_steps: int | None = None
    lambdas: list[float]  # of the nodes, the last one infinite
    timesteps: Tensor
    sigmas: Tensor
    _labels: LabelMap | None = None
    _index: int | None = None
    _begin: int | None = None
    _moves: deque[Move]
    _history: deque[Tensor]
    _anchor: Any = None
    _walked: Any = 0.0  # the Brownian path since the anchor

    def __init__(self, **settings: Any) -> None:
        if settings.get("table"):
            raise ValueError(
                f"table {settings['table']!r} is not for diffusers' pipelines: its evaluations are "
                "not one a timestep"
            )
        for name in _NONE:
            if settings.get(name) is not None:
                raise ValueError(f"{name} means nothing in a pipeline of diffusers: leave it out")
        flow = settings.get("flow_match")
        if flow is None:  # the configuration of flow matching has a shift and no β
            flow = "shift" in settings and "beta_schedule" not in settings
        base = FlowMatchEulerDiscreteScheduler if flow else DPMSolverMultistepScheduler
        known = set(inspect.signature(base.__init__).parameters)
        asked = {k: v for k, v in settings.items() if k in _OURS and v is not None}
        plain = {k: v for k, v in settings.items() if k not in _OURS}
        made = base.from_config({k: v for k, v in plain.items() if k in known})
        self._places: Any = made
        rest = {k: v for k, v in plain.items() if k not in known and not k.startswith("_")}
        config = {**made.config, **rest, **asked, "flow_match": bool(flow)}
        # what nobody said, so that another class may take its own default for it
        unsaid = set(config.pop("_use_default_values", ())) - {*asked}
        if unsaid:
            config["_use_default_values"] = sorted(unsaid)
        self.register_to_config(**config)
        self.solver = configured.solver_of(asked, made.config)
        self._threshold = configured.threshold_of(self.solver, made.config)
        self.own_schedule = "schedule" in asked
        self.flow = bool(flow or made.config.get("use_flow_sigmas"))
        kind = made.config.get("prediction_type", "flow_prediction")
        known_kinds = ("flow_prediction",) if self.flow else tuple(TARGETS)
        if kind not in known_kinds:
            raise ValueError(f"prediction_type must be one of {', '.join(known_kinds)}, not {kind}")
        configured.check_way(config, self.flow)
        if not self.flow:
            lambdas = schedule_lambdas(config)
            self._labels = LabelMap(lambdas)
            if config.get("snr_shift_scale") not in (None, 1):
                made.alphas_cumprod = torch.from_numpy(lambdas).mul(2).sigmoid().float()
            self.betas, self.alphas_cumprod = made.betas, made.alphas_cumprod
            self._target = TARGETS[kind]
        self.lambdas = []
        self.timesteps = made.timesteps
        self.sigmas = made.sigmas
        self._forget()

    @classmethod
    def from_config(
        cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """A scheduler with a configuration of any scheduler's, changed by `kwargs`."""
        # what another class filled in by itself gives way to our defaults, as in diffusers
        filled = set((config or {}).get("_use_default_values", ())) | {"_use_default_values"}
        filled -= {"snr_shift_scale"}  # which ours have not
        said = {k: v for k, v in (config or {}).items() if k not in filled}
        if "flow_match" not in said and "shift" in (config or {}):
            said.setdefault("shift", (config or {})["shift"])
        elif "beta_schedule" in (config or {}):  # even where it is a default
            said.setdefault("flow_match", False)
        made = cls(**{**said, **kwargs})
        if "shift" in kwargs and not made.config["flow_match"]:
            raise ValueError(f"shift {kwargs['shift']!r} belongs to flow matching: leave it out")
        configured.check_kind(config or {}, kwargs, made.flow)
        if "_class_name" in (config or {}):  # a saved one, which says by what it was saved
            hidden = {k: v for k, v in config.items() if k == "_diffusers_version"}
            made.register_to_config(**hidden, _class_name=cls.__name__)
        return (made, {}) if return_unused_kwargs else made

    # --- nodes

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Places the nodes: so many, or at `timesteps` or `sigmas` of one's own, exactly.

        sigmas are σ/α, or σ of a flow, where they go through the configuration's shift as the
        pipelines that hand them over (FLUX, Z-Image) expect. A last node of σ = 0 is added.
        """
        if timesteps is not None and sigmas is not None:
            raise ValueError("give either timesteps or sigmas, not both")
        if num_inference_steps is None and timesteps is None and sigmas is None:
            raise ValueError("give num_inference_steps, timesteps or sigmas")
        if timesteps is not None:
            own = [float(t) for t in timesteps]
            self.lambdas = [*(self._lam_of(t) for t in own), math.inf]
            self.timesteps = torch.tensor(own)
        elif sigmas is not None and not self.config["flow_match"]:
            own = [float(s) for s in sigmas if float(s) > 0]
            self.lambdas = [*(self._lam_of_sigma(s) for s in own), math.inf]
            self.timesteps = self._told(self.lambdas[:-1])
        elif self.own_schedule:
            count = len(sigmas) if num_inference_steps is None else num_inference_steps  # type: ignore[arg-type]
            self.lambdas = self._scheduled(count, mu)
            self.timesteps = self._told(self.lambdas[:-1])
        else:
            self._borrow(num_inference_steps, sigmas, mu)
        configured.check_start(self.solver, self.lambdas)
        self.sigmas = torch.tensor(sigmas_of_lambdas(self.lambdas, self._labels is None))
        self.timesteps = self.timesteps.to(device)
        self.num_inference_steps = len(self.timesteps)
        self._forget()

    def _borrow(self, count: int | None, sigmas: Sequence[float] | None, mu: float | None) -> None:
        """The nodes of diffusers' own scheduler for this configuration."""
        options: dict[str, Any] = {}
        if mu is not None and self.config["use_dynamic_shifting"]:
            options["mu"] = mu
        if sigmas is not None:
            options["sigmas"] = list(sigmas)
        self._places.set_timesteps(count, **options)
        self.lambdas = [self._lam_of_sigma(s) for s in self._places.sigmas.double().tolist()]
        self.timesteps = self._places.timesteps
        if self._labels is not None and len(set(self.lambdas)) < len(self.lambdas):
            # more steps than rounded labels keep apart: from the last label on, not rounded
            count = len(self.timesteps)
            self.timesteps = torch.linspace(len(self) - 1, 0, count + 1)[:-1]
            self.lambdas[:-1] = [self._lam_of(float(t)) for t in self.timesteps]

    def _scheduled(self, count: int, mu: float | None) -> list[float]:
        if self._labels is not None:
            span = self._labels.span
        elif mu is not None and self.config["use_dynamic_shifting"]:
            span = flow_span(math.exp(mu))
        else:
            span = flow_span(self.config.get("flow_shift") or self.config.get("shift") or 1.0)
        if count == 1:
            return [span[0], math.inf]
        return [*nodes(self.solver.schedule, count - 1, span), math.inf]

    def _told(self, lambdas: Sequence[float]) -> Tensor:
        """What the network is told at these λ, not rounded."""
        lam = torch.tensor(lambdas, dtype=torch.float64)
        if self._labels is None:
            return (torch.sigmoid(-lam) * self.config["num_train_timesteps"]).float()
        return self._labels(lam).float()

    def _lam_of(self, timestep: float) -> float:
        if self._labels is None:
            return self._lam_of_sigma(timestep / self.config["num_train_timesteps"])
        return float(self._labels.lam(torch.tensor(timestep, dtype=torch.float64)))

    def _lam_of_sigma(self, s: float) -> float:
        if s <= 0:
            return math.inf
        if self._labels is not None:
            return -math.log(s)
        return -math.inf if s >= 1 else math.log((1 - s) / s)

    # --- what a pipeline asks

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    @property
    def step_index(self) -> int | None:
        return self._index

    @property
    def begin_index(self) -> int | None:
        return self._begin

    def set_begin_index(self, begin_index: int = 0) -> None:
        self._begin = begin_index

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample itself: networks see the state as it is."""
        return sample

    def index_for_timestep(self, timestep: Any) -> int:
        """The place of a timestep, or of the nearest one."""
        return int((self.timesteps - torch.as_tensor(timestep).to(self.timesteps)).abs().argmin())

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: Any = None,
        return_dict: bool = True,
        **ignored: Any,
    ) -> Any:
        """The state at the next node, from the network's output at this one."""
        configured.check_ignored(ignored)
        if not self.lambdas:
            raise ValueError("set_timesteps must be called before step")
        if self._index is None:
            begin = self._begin
            self._index = self.index_for_timestep(timestep) if begin is None else begin
            self._moves = self._planned(self._index)
        if not self._moves:
            raise ValueError("the run is over; set_timesteps starts another")
        move = self._moves.popleft()
        x = sample.float() / self._radius(move.lam)
        x0 = self._data(model_output.float(), x, move.lam)
        self._history.appendleft(prediction(self.solver.prediction, x, x0, move.lam))
        if move.correct is not None:
            x = combine(self._anchor, move.correct, self._history)
        if not move.stage:
            self._anchor, self._walked = x, 0.0
        out = x0
        if move.update is not None:
            out = combine(self._anchor, move.update, self._history)
            if self.solver.eta > 0:
                noise = randn_tensor(x.shape, generator=generator, device=x.device, dtype=x.dtype)
                self._walked = self._walked + noise * self._spread(move.lam, move.target)
                out.add_(self._walked, alpha=move.update.diffusion)
            out = out * self._radius(move.target)
        self._index += 1
        previous = out.to(sample.dtype)
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The forward process to `timesteps`, (n,) or one for all."""
        lam = torch.tensor(
            [self._lam_at(float(t)) for t in torch.as_tensor(timesteps).reshape(-1)],
            dtype=torch.float64,
        ).view(-1, *[1] * (original_samples.ndim - 1))
        a, s = alpha(lam), sigma(lam)
        if self._labels is None:
            a, s = torch.sigmoid(lam), torch.sigmoid(-lam)
        return a.to(original_samples) * original_samples + s.to(original_samples) * noise

    def scale_noise(self, sample: Tensor, timestep: Any, noise: Tensor) -> Tensor:
        """`add_noise`, as the pipelines of flow models call it."""
        return self.add_noise(sample, noise, timestep)

    # --- inside

    def _forget(self) -> None:
        self._index = self._begin = self._anchor = None
        self._moves, self._history = deque(), deque(maxlen=4)

    def _planned(self, begin: int) -> deque[Move]:
        """The plan from a node on: an image-to-image run starts in the middle."""
        taper = self.solver.lower_order_final
        if self.solver.weights == "published" and not self.own_schedule:
            taper = taper and len(self.timesteps) < 15  # as published
        # what ends at σ = 0 ends with a data prediction
        solver = replace(self.solver, lower_order_final=taper, denoise_to_zero=False)
        return deque(configured.moves_of(solver, self.config, self.lambdas[begin:]))

    def _lam_at(self, timestep: float) -> float:
        """λ of one of the run's own timesteps, or of any other."""
        if self.lambdas:
            place = self.index_for_timestep(timestep)
            if abs(float(self.timesteps[place]) - timestep) < 1e-4:
                return self.lambdas[place]
        return self._lam_of(timestep)

    def _radius(self, lam: float) -> float:
        """√(α² + σ²) of the path: a flow state is the variance-preserving one times it."""
        if self._labels is not None or lam == math.inf:
            return 1.0
        (s,) = sigmas_of_lambdas([lam], flow=True)
        return math.hypot(1 - s, s)

    def _data(self, output: Tensor, x: Tensor, lam: float) -> Tensor:
        if output.shape[1] == 2 * x.shape[1]:  # a learned variance
            output = output[:, : x.shape[1]]
        if self._labels is None:
            (s,) = sigmas_of_lambdas([lam], flow=True)
            x0 = x * self._radius(lam) - s * output
        else:
            x0 = to_x0(output, x, torch.full((len(x),), lam, dtype=torch.float64), self._target)
        return threshold(x0, *self._threshold)

    def _spread(self, lam: float, target: float) -> float:
        """√Δτ with τ = e^{2ηλ}, by which noise of variance 1 is an increment of the path."""
        rate = 2 * self.solver.eta
        return math.sqrt(math.exp(rate * target) - math.exp(rate * lam))
