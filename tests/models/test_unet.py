"""The networks: shapes, conditions, and the video network that begins as the picture network."""

import math

import pytest
import torch
import torch.nn.functional as F

from dpm_demo.models.denoiser import to_x0, velocity_of
from dpm_demo.models.layers import Attention, Temporal, lam_features
from dpm_demo.models.unet import UNet, UNet3D, _turns, _waves, spectrum
from dpm_demo.training.loop import begin

SMALL = {"dim": 16, "dim_mults": (1, 2), "axes": (3, 9)}


def _awake(network: UNet) -> UNet:
    """A network whose zero-initialised layers are not zero, except the temporal ones."""
    for name, weight in network.named_parameters():
        if "temporal" not in name:
            torch.nn.init.normal_(weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize("size", [32, 64])
def test_a_picture_keeps_its_shape(size: int) -> None:
    x = torch.randn(2, 3, size, size)
    labels = torch.tensor([[0, 1], [3, 9]])
    assert _awake(UNet(**SMALL))(x, torch.zeros(2), labels).shape == x.shape


@pytest.mark.parametrize("qk_norm", [False, True])
def test_only_with_qk_norm_attention_stays_soft_however_its_weights_grow(qk_norm: bool) -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(64, qk_norm), torch.randn(1, 16, 64)
    torch.nn.init.normal_(attention.out.weight)
    with torch.no_grad():
        attention.qkv.bias.zero_()
        before = attention(tokens)
        attention.qkv.weight[:128] *= 100
        after = attention(tokens)
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-3) == qk_norm


@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_off_the_processor_is_computed_in_the_dtype_of_its_weights(qk_norm: bool) -> None:
    attention = Attention(64, qk_norm).to("meta", torch.bfloat16)
    tokens = torch.empty(2, 16, 64, device="meta", dtype=torch.bfloat16)
    assert attention(tokens).dtype == torch.bfloat16


@pytest.mark.parametrize("frames", [5, 16])
@pytest.mark.parametrize("size", [32, 64])
def test_a_clip_keeps_its_shape_at_any_number_of_frames(frames: int, size: int) -> None:
    x = torch.randn(1, 3, frames, size, size)
    network = _awake(UNet3D(dim=16, dim_mults=(1, 2), axes=(9,)))
    assert network(x, torch.zeros(1), torch.tensor([[2]])).shape == x.shape


def test_a_fresh_video_network_is_the_picture_network_frame_by_frame() -> None:
    pictures, video = _awake(UNet(**SMALL)), UNet3D(**SMALL).eval()
    missing = video.load_state_dict(pictures.state_dict(), strict=False)
    assert missing.missing_keys and all("temporal" in key for key in missing.missing_keys)
    x, lam = torch.randn(2, 3, 4, 32, 32), torch.tensor([-1.0, 2.0])
    labels = torch.tensor([[0, 1], [2, 5]])
    with torch.no_grad():
        clip = video(x, lam, labels)
        for k in range(4):
            assert torch.allclose(clip[:, :, k], pictures(x[:, :, k], lam, labels), atol=1e-5)


def test_trained_temporal_layers_make_frames_depend_on_each_other() -> None:
    torch.manual_seed(0)
    video = UNet3D(dim=16, dim_mults=(1, 2)).eval()
    for weight in video.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x = torch.randn(1, 3, 4, 32, 32)
    other = x.clone()
    other[:, :, 3] += 1
    with torch.no_grad():
        change = (video(x, torch.zeros(1)) - video(other, torch.zeros(1)))[:, :, 0]
    assert change.abs().max() > 1e-3


MOTION = (0.8, 0.09, 0.05, 0.03, 0.02)


def _moving(frames: int, size: int, amount: torch.Tensor) -> torch.Tensor:
    """A clip with the spectrum `MOTION`, its motion `amount` (h, w) times as large."""
    generator = torch.Generator().manual_seed(1)
    white = torch.randn((1, 3, frames, size, size), generator=generator)
    turns = torch.arange(frames // 2 + 1).clamp(max=len(MOTION) - 1)
    std = (torch.tensor(MOTION)[turns] * frames**0.5)[:, None, None] * amount
    std[0] = MOTION[0] * frames**0.5
    return torch.fft.irfft(
        std * torch.fft.rfft(white, dim=2, norm="ortho"), frames, dim=2, norm="ortho"
    )


def _silent_error(amount: torch.Tensor, lam: float, frames: int = 16) -> tuple[float, float, float]:
    """Mean squared error in the moving modes: of a silent network's x0, of 0, of x / alpha."""
    clip = _moving(frames, 24, amount)
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(2))
    x, _ = velocity_of(clip, noise, torch.tensor([lam]))
    network = UNet3D(dim=16, dim_mults=(1, 2), motion=MOTION).eval()  # its last layer is zero
    with torch.no_grad():
        x0 = to_x0(network(x, torch.tensor([lam])), x, torch.tensor([lam]), "velocity")
    alpha = torch.sigmoid(torch.tensor(2 * lam)).sqrt()

    def error(guess: torch.Tensor) -> float:
        left = guess - clip
        return (left - left.mean(dim=2, keepdim=True)).square().mean().item()

    return error(x0), error(torch.zeros_like(clip)), error(x / alpha)


@pytest.mark.parametrize("frames", [5, 6, 16])
@pytest.mark.parametrize("lam", [-1.0, 1.0, 2.0])
def test_a_silent_clip_network_is_the_best_linear_guess_of_gaussian_motion(
    lam: float, frames: int
) -> None:
    """Its error is that of a Wiener filter, sum of s_k^2 sigma^2 / V_k, within a tenth."""
    found, _, _ = _silent_error(torch.ones(24, 24), lam, frames)
    turns = torch.fft.fftfreq(frames, 1 / frames).abs().long().clamp(max=len(MOTION) - 1)[1:]
    s2 = torch.tensor(MOTION)[turns].square() * frames
    alpha2, sigma2 = torch.sigmoid(torch.tensor([2 * lam, -2 * lam]))
    best = (s2 * sigma2 / (alpha2 * s2 + sigma2)).sum().item() / frames
    assert found == pytest.approx(best, rel=0.1)


def test_it_sees_where_a_clip_moves_and_leaves_the_rest_still() -> None:
    """A square that moves on ground at rest: a third of the error of one guess for all places."""
    amount = torch.zeros(24, 24)
    amount[8:16, 8:16] = 3.0  # as much motion in all as a clip that moves everywhere
    here, _, _ = _silent_error(amount, 2.0)
    everywhere, _, _ = _silent_error(torch.ones(24, 24), 2.0)
    assert here < 0.4 * everywhere
    still, _, noise = _silent_error(torch.zeros(24, 24), 2.0)
    assert still < 0.02 * noise


def test_a_clip_network_with_motion_takes_any_number_of_frames_and_any_size() -> None:
    network = UNet3D(dim=16, dim_mults=(1, 2), motion=MOTION).eval()
    for shape in ((2, 3, 5, 16, 24), (1, 3, 20, 32, 32), (1, 3, 1, 16, 16)):
        x = torch.randn(shape)
        with torch.no_grad():
            v = network(x, torch.linspace(-5, 4.6, len(x)))
        assert v.shape == x.shape
        assert v.isfinite().all()


def test_at_rest_a_clip_network_with_motion_is_the_picture_network() -> None:
    """The mean over the frames is that of the picture network's answers, frame by frame."""
    pictures = _awake(UNet(**SMALL))
    video = UNet3D(**SMALL, motion=MOTION).eval()
    begin(video, pictures.state_dict())
    x, lam = torch.randn(2, 3, 6, 32, 32), torch.tensor([-1.0, 2.0])
    labels = torch.tensor([[0, 1], [2, 5]])
    with torch.no_grad():
        clip = video(x, lam, labels).mean(dim=2)
        frames = [pictures(x[:, :, k], lam, labels) for k in range(6)]
    torch.testing.assert_close(clip, torch.stack(frames).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_the_spectrum_of_a_wave_is_its_amplitude() -> None:
    turn = 2 * torch.pi * torch.arange(16) / 16
    wave = 127.5 + 100 * torch.cos(2 * turn)
    clips = wave.round().to(torch.uint8)[None, None, :, None, None].expand(2, 3, 16, 4, 4)
    found = spectrum(clips)
    assert len(found) == 9
    assert found[2] == pytest.approx(100 / 127.5 / 2, rel=0.01)  # half of it turns either way
    assert max(found[:2] + found[3:]) < 0.01


def test_label_lam_and_null_label_each_change_the_answer() -> None:
    network = _awake(UNet(**SMALL))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        answers = [
            network(x, torch.tensor([lam]), torch.tensor([label]))
            for lam, label in [(0.0, [0, 1]), (0.0, [0, 2]), (0.0, [3, 9]), (1.0, [0, 1])]
        ]
        assert torch.equal(network(x, torch.zeros(1), None), answers[2])
    for k, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-4 for other in answers[k + 1 :])


def test_a_size_that_cannot_be_halved_is_refused_with_the_multiple() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        UNet(**SMALL)(torch.randn(1, 3, 30, 32), torch.zeros(1))


def test_lam_features_are_smooth() -> None:
    """A handful of cycles over the span: no feature moves by more than 2.1 per unit of lam."""
    lam = torch.linspace(-5, 5, 2001)
    steepest = (lam_features(lam).diff(dim=0).abs().max() / 0.005).item()
    assert steepest < 2.2


def test_time_is_mixed_as_by_a_convolution_and_a_norm_of_each_place() -> None:
    torch.manual_seed(0)
    layer = Temporal(16)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    tokens = torch.randn(2, 5, 3, 16)  # clips, frames, places, channels
    each = tokens.transpose(1, 2).flatten(0, 1)
    turn = torch.arange(5) * (2 * math.pi / 5)
    angle = turn[:, None] * torch.arange(1, 5)
    place = layer.position(torch.cat([angle.sin(), angle.cos()], dim=1))
    each = each + layer.attention(each + place)
    along = each.transpose(1, 2)
    h = layer.conv1(F.silu(F.group_norm(along, 4, layer.norm.weight, layer.norm.bias)))
    wanted = (along + layer.conv2(F.silu(h))).transpose(1, 2).unflatten(0, (2, 3)).transpose(1, 2)
    assert torch.allclose(layer(tokens), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_waves_are_the_fourier_modes_of_a_loop(frames: int) -> None:
    waves, turns = _waves(frames, torch.device("cpu")), _turns(frames, torch.device("cpu"))
    assert torch.allclose(waves @ waves.T, torch.eye(frames), atol=1e-6)
    x = torch.randn(frames)
    power = torch.zeros(frames // 2 + 1).index_add(0, turns, (waves @ x).square())
    modes = torch.fft.rfft(x, norm="ortho").abs().square()
    twice = torch.tensor([1.0 if 2 * k % frames == 0 else 2.0 for k in range(frames // 2 + 1)])
    assert torch.allclose(power, twice * modes, atol=1e-5)
