"""One's own network as a model: the same function in six dresses gives the same samples."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import dpm_demo as dpm
from dpm_demo.models.exact import MIXTURE, Mixture
from dpm_demo.models.wrap import FLOW_SPAN, KINDS, flow_span, wrap
from dpm_demo.solver import integrate
from dpm_demo.solver.schedule import alpha, lambdas_of_betas, sigma
from dpm_demo.solver.settings import Solver

SPAN = (-4.0, 3.5)
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
NOISE = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def column(t: Tensor, x: Tensor) -> Tensor:
    return t.double().view(-1, *[1] * (x.ndim - 1))


def dressed(exact: Mixture, kind: str):
    """The network of that kind that knows `exact`; time is λ, or σ for "sigma" and "flow"."""

    def net(x: Tensor, time: Tensor) -> Tensor:
        t = column(time, x)
        if kind == "sigma":
            lam = -t.log()
            return exact.denoise(x * alpha(lam), lam.flatten())
        if kind == "flow":
            lam = ((1 - t) / t).log()
            x0 = exact.denoise(x / ((1 - t) ** 2 + t**2).sqrt(), lam.flatten())
            return (x - x0) / t
        a, s = alpha(t), sigma(t)
        x0 = exact.denoise(x, time)
        eps = (x - a * x0) / s
        return {"eps": eps, "v": a * eps - s * x0, "x0": x0, "score": -eps / s}[kind]

    return net


@pytest.mark.parametrize("solver", [Solver(nfe=12, order=3), Solver(nfe=7, prediction="noise")])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_function_gives_the_same_samples_whatever_the_network_predicts(kind, solver):
    model = wrap(dressed(MIXTURE, kind), kind, span=SPAN, shape=(64,))
    got = integrate(model.denoise, NOISE, solver, lam_span=model.lam_span)
    expected = integrate(MIXTURE.denoise, NOISE, solver, lam_span=SPAN)
    assert (got - expected).abs().max() < 1e-10


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_a_flow_field_is_solved_at_the_order_asked_for(order, method):
    span = (-5.02, 4.56)
    model = wrap(dressed(MIXTURE, "flow"), "flow", span=span, shape=(64,))
    truth = MIXTURE.flow(NOISE, *span)
    errors = []
    for nfe in (192, 384):
        solver = Solver(nfe=nfe, order=order, method=method, lower_order_final=False)
        got = integrate(model.denoise, NOISE, solver, lam_span=span)
        errors.append((got - truth).abs().mean().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", [1, 2])
def test_a_gaussian_flow_field_is_solved_at_the_order_asked_for(order):
    exact = Mixture((1.0,), (0.3,), (0.5,))
    model = wrap(dressed(exact, "flow"), "flow", span=SPAN, shape=(64,))
    truth = exact.flow(NOISE, *SPAN)
    errors = []
    for nfe in (96, 192):
        solver = Solver(nfe=nfe, order=order, lower_order_final=False)
        got = integrate(model.denoise, NOISE, solver, lam_span=SPAN)
        errors.append((got - truth).abs().mean().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_a_flow_starts_in_pure_noise_at_an_infinite_node_and_nothing_overflows():
    """σ = 1, where λ = −∞: the first step is x' = σ' x + α' x0, and truth is met at order 2."""
    net = dressed(MIXTURE, "flow")

    def from_pure_noise(x: Tensor, time: Tensor) -> Tensor:
        if bool((time == 1).all()):  # the data says nothing yet: x0 is its mean
            mean = sum(w * m for w, m in zip(MIXTURE.weights, MIXTURE.means, strict=True))
            return x - mean
        return net(x, time)

    model = wrap(from_pure_noise, "flow", shape=(64,))
    truth = MIXTURE.flow(NOISE, -12.0, 12.0)
    errors = []
    for nfe in (48, 96, 192):
        times = [1 - k / nfe for k in range(1, nfe)]
        nodes = [-math.inf, *[math.log((1 - t) / t) for t in times], math.inf]
        got = integrate(model.denoise, NOISE, Solver(order=2), lambdas=nodes)
        errors.append((got - truth).abs().mean().item())
    assert errors[2] < 1e-3
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_order_one_on_a_flow_field_is_eulers_method():
    net = dressed(MIXTURE, "flow")
    model = wrap(net, "flow", shape=(64,))
    times = [0.99, 0.8, 0.55, 0.3, 0.1, 0.02]
    x = NOISE
    for here, there in pairwise(times):
        x = x + (there - here) * net(x, torch.full((2,), here, dtype=torch.float64))
    lambdas = [math.log((1 - t) / t) for t in times]
    radius = [math.hypot(1 - t, t) for t in (times[0], times[-1])]
    got = integrate(model.denoise, NOISE / radius[0], Solver(order=1), lambdas=lambdas)
    assert (got * radius[1] - x).abs().max() < 1e-12


def test_a_shift_moves_the_span_by_its_logarithm():
    s = 3.0
    low, high = flow_span(s)
    for end, shifted in zip(FLOW_SPAN, (low, high), strict=True):
        plain = 1 / (1 + math.exp(end))
        assert 1 / (1 + math.exp(shifted)) == pytest.approx(s * plain / (1 + (s - 1) * plain))
    assert wrap(dressed(MIXTURE, "flow"), "flow", shift=s, shape=(4,)).lam_span == (low, high)


def test_labels_of_betas_are_what_the_network_is_told():
    lambdas = lambdas_of_betas(BETAS)
    told: list[Tensor] = []

    def net(x: Tensor, label: Tensor) -> Tensor:
        told.append(label)
        return torch.zeros_like(x)

    model = wrap(net, "eps", betas=BETAS, shape=(3,))
    at = torch.tensor([lambdas[700], lambdas[3]])
    model.denoise(torch.zeros(2, 3, dtype=torch.float64), at)
    assert told[0].tolist() == pytest.approx([700, 3], abs=1e-4)
    assert model.lam_span == pytest.approx((lambdas[-1], lambdas[0]))


def test_a_network_in_16_bits_is_told_its_labels_unrounded():
    lambdas = lambdas_of_betas(BETAS)
    told: list[Tensor] = []

    class Net(torch.nn.Linear):
        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            told.append(label)
            return super().forward(x)

    model = wrap(Net(3, 3).bfloat16(), "eps", betas=BETAS, shape=(3,))
    x0 = model.denoise(torch.zeros(2, 3), torch.tensor([lambdas[993], lambdas[701]]))
    assert told[0].tolist() == pytest.approx([993, 701], abs=1e-2)
    assert x0.dtype == torch.float32


def test_k_diffusion_time_is_sigma_and_may_be_mapped():
    told: list[Tensor] = []

    def net(x: Tensor, time: Tensor) -> Tensor:
        told.append(time)
        return torch.zeros_like(x)

    model = wrap(net, "sigma", time=lambda s: s.log() / 4, shape=(3,))
    model.denoise(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([-2.0]))
    assert told[0].item() == pytest.approx(0.5)
    assert model.lam_span == pytest.approx((-math.log(80), -math.log(0.002)))


@pytest.mark.parametrize("size", [16, 48])
def test_a_class_conditional_grey_unet_of_diffusers_is_a_model_in_one_line(size):
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    net = UNet2DModel(
        sample_size=size,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        num_class_embeds=4,
    ).eval()
    names = ("zero", "one", "two")
    model = wrap(net, "eps", betas=BETAS, labels={"digit": names}, guidance=2.0)
    solver = Solver(nfe=4)
    both = dpm.generate(model, solver, seeds=[0, 1], label="two", guidance=2.0)
    alone = dpm.generate(model, solver, seeds=[1], label="two", guidance=2.0)
    other = dpm.generate(model, solver, seeds=[1], label="one", guidance=2.0)
    assert both.shape == (2, 1, size, size)
    assert (both[1:] - alone).norm() < 1e-5 * alone.norm()
    assert (both[1:] - other).norm() > 1e-4 * other.norm()


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        ("noise", {}, "kind must be one of eps, v, x0, score, sigma, flow, not 'noise'"),
        ("eps", {}, 'kind "eps" needs betas, or span'),
        ("flow", {"betas": [0.1]}, 'betas mean nothing with kind "flow"'),
        ("v", {"span": (1.0, -1.0)}, "span must rise"),
        ("flow", {"shape": None, "decode": lambda x: x}, "shape must be given with decode"),
        ("flow", {"shift": 0}, "shift must be a positive number, not 0"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_in_one_sentence(kind, more, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        wrap(lambda x, t: x, kind, **{"shape": (3,), **more})


def test_decoded_pictures_hold_no_gradients():
    decode = torch.nn.Conv2d(1, 3, 1)
    model = wrap(lambda x, t: x, "x0", span=SPAN, shape=(1, 4, 4), decode=decode)
    assert not dpm.generate(model, Solver(nfe=2)).requires_grad


def test_a_network_without_a_shape_takes_that_of_its_noise():
    model = wrap(dressed(MIXTURE, "flow"), kind="flow", span=(-4.0, 4.0))
    got = dpm.generate(model, Solver(nfe=6), seeds=[0, 1], x_T=NOISE)
    expected = integrate(MIXTURE.denoise, NOISE, Solver(nfe=6), lam_span=(-4.0, 4.0))
    assert (got - expected).abs().max() < 1e-5
    with pytest.raises(ValueError, match="has no shape of its own"):
        dpm.generate(model, Solver(nfe=6))


def test_a_network_that_answers_in_another_shape_is_refused():
    model = wrap(lambda x, t: x[:, :1], "flow", shape=(3,))
    with pytest.raises(ValueError, match="the network answered"):
        model.denoise(torch.zeros(1, 3), torch.zeros(1))
