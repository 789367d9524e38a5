"""Denoisers: one function seen as velocity, noise or data; labels and guidance row by row."""

import pytest
import torch
from torch import Tensor, nn

from dpm_demo.models.denoiser import Denoiser, to_x0
from dpm_demo.models.model import Condition
from dpm_demo.solver import add_noise, initial_noise, integrate
from dpm_demo.solver.settings import Solver

SPAN = (-4.0, 4.0)


class _AsTarget(nn.Module):
    """The exact x0 of N(0.3, 0.25) data, answered as another target."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None) -> Tensor:
        lam = lam.to(x.dtype).view(-1, 1, 1, 1)
        alpha, sigma = torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()
        variance = (0.5 * alpha) ** 2 + sigma**2
        x0 = 0.3 + alpha * 0.25 / variance * (x - alpha * 0.3)
        eps = (x - alpha * x0) / sigma
        return {"data": x0, "noise": eps, "velocity": alpha * eps - sigma * x0}[self.target]


def test_velocity_noise_and_data_networks_give_the_same_samples() -> None:
    x = initial_noise([0, 1], (1, 4, 4))
    samples = [
        integrate(Denoiser(_AsTarget(t), t), x, Solver(nfe=12, order=3), lam_span=SPAN)
        for t in ("velocity", "noise", "data")
    ]
    assert torch.allclose(samples[0], samples[2], atol=1e-5)
    assert torch.allclose(samples[1], samples[2], atol=1e-4)


@pytest.mark.parametrize("target", ["velocity", "noise", "data"])
def test_the_true_answer_of_each_kind_gives_back_x0(target: str) -> None:
    x0, noise = torch.randn(3, 2, 4, 4).double(), torch.randn(3, 2, 4, 4).double()
    lam = torch.tensor([-2.0, 0.0, 3.0]).double()
    x = add_noise(x0, lam, noise)
    alpha, sigma = (torch.sigmoid(s * 2 * lam).sqrt().view(-1, 1, 1, 1) for s in (1, -1))
    answer = {"data": x0, "noise": noise, "velocity": alpha * noise - sigma * x0}[target]
    assert torch.allclose(to_x0(answer, x, lam, target), x0, atol=1e-12)


class _ByLabel(nn.Module):
    """Answers with a constant picture that depends on the label; counts its rows."""

    rows = 0

    def forward(self, x: Tensor, lam: Tensor, labels: Tensor | None) -> Tensor:
        self.rows = len(x)
        assert labels is not None
        return labels[:, :1].to(x.dtype).view(-1, 1, 1, 1).expand_as(x).clone()


def test_guidance_extrapolates_from_any_to_the_label_and_doubles_only_guided_rows() -> None:
    network = _ByLabel()
    denoise = Denoiser(network, "data", axes=(9,))
    cond = [
        Condition((2,), 1.0),
        Condition((2,), 3.0),
        Condition((2,), 0.0),
        Condition((9,), 5.0),
        None,
    ]
    x0 = denoise(torch.zeros(5, 1, 2, 2), torch.zeros(5), cond)
    # 9 stands for "any": 9 + 3 (2 - 9) = -12
    assert x0[:, 0, 0, 0].tolist() == [2, -12, 9, 9, 9]
    assert network.rows == 6
    assert denoise.network_rows(cond) == 6


def test_a_row_among_strangers_is_that_row_alone() -> None:
    from dpm_demo.models.unet import UNet

    network = UNet(dim=16, dim_mults=(1, 2), axes=(3, 9)).eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    denoise = Denoiser(network, "velocity", axes=(3, 9))
    x, lam = torch.randn(4, 3, 32, 32), torch.tensor([-3.0, 0.0, 1.0, 4.0])
    cond = [Condition((0, 1), 2.0), None, Condition((2, 8), 1.0), Condition((3, 4), 0.0)]
    together = denoise(x, lam, cond)
    for k in range(4):
        alone = denoise(x[k : k + 1], lam[k : k + 1], cond[k : k + 1])
        assert torch.allclose(alone[0], together[k], atol=1e-4)
