"""The networks: shapes, conditions, and the video network that begins as the picture network."""

import pytest
import torch

from dpm_demo.models.unet import UNet, UNet3D, lam_features

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
    video = UNet3D(dim=16, dim_mults=(1, 2)).eval()
    for weight in video.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x = torch.randn(1, 3, 4, 32, 32)
    other = x.clone()
    other[:, :, 3] += 1
    with torch.no_grad():
        change = (video(x, torch.zeros(1)) - video(other, torch.zeros(1)))[:, :, 0]
    assert change.abs().max() > 1e-3


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
