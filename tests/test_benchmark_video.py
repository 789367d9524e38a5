"""The figures of the video model, on tiny models: they run, and are what they say."""

import numpy as np
import pytest
import torch

from benchmarks.video import BUDGETS, compare_motion, draw, errors, peak_memory, speed
from dpm_demo.models.denoiser import Denoiser
from dpm_demo.models.exact import PictureMixture, mixture_video_model
from dpm_demo.models.model import Model
from dpm_demo.models.unet import UNet3D
from dpm_demo.request.limits import memory_needed
from dpm_demo.training.data import Pictures


def _tiny(size: int = 16) -> Model:
    torch.manual_seed(0)
    network = UNet3D(dim=8, dim_mults=(1, 2), axes=(3,)).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    denoise = Denoiser(network, "velocity", (3,))
    shape, labels = (3, 4, size, size), {"category": ("a", "b", "c")}
    return Model("tiny", shape, (-5.0, 4.6), denoise, denoise, torch.device("cpu"), labels)


def test_a_sample_is_drawn_with_the_label_of_its_own_clip() -> None:
    model = _tiny()
    labels = torch.tensor([[0], [1], [2], [0], [1]])
    clips = draw(model, labels, 5, guidance=1.0, nfe=2)
    assert clips.shape == (5, 3, 4, 16, 16) and clips.dtype == np.uint8
    # the fifth is in a second batch and has the label of its row all the same
    other = draw(model, torch.tensor([[0], [1], [2], [0], [2]]), 5, guidance=1.0, nfe=2)
    assert np.array_equal(clips[:4], other[:4]) and not np.array_equal(clips[4], other[4])


def test_the_exact_models_clips_move_as_its_own_do() -> None:
    """Samples against exact samples: the bounds of the figures are met by the right model."""
    exact = PictureMixture(size=16, frames=8, falloff=2.0, slowness=2.0)
    device = torch.device("cpu")
    args = (exact.denoise, exact.denoise, device)
    model = Model("exact", (3, 8, 16, 16), (-5.0, 4.6), *args, exact_solution=exact.flow)
    noise = torch.randn(24, 3, 8, 16, 16, generator=torch.Generator().manual_seed(5))
    clips = ((exact.flow(noise, -5.0, 4.6).clamp(-1, 1) + 1) * 127.5).round().byte()
    n = len(clips)
    held = torch.arange(n) % 2 == 0
    data = Pictures(
        clips, torch.zeros(n, 0), {}, torch.arange(n), torch.zeros(n, dtype=torch.bool), held
    )
    made, real = compare_motion(model, data, n=12, nfe=20)
    assert made.n == real.n == 12 and real.difference > 1
    assert abs(made.difference / real.difference - 1) < 0.3 and abs(made.psnr - real.psnr) < 3
    with pytest.raises(ValueError, match="13 is more than the 12 held-out"):
        compare_motion(model, data, n=13)


def test_the_error_falls_with_evaluations_and_with_order() -> None:
    found = errors(mixture_video_model(torch.device("cpu")), [0])
    low, high = BUDGETS
    for order in (1, 2, 3):
        assert found[order, high] < 0.7 * found[order, low]
    assert found[3, high] < found[2, high] < found[1, high]


def test_speed_and_memory_of_a_clip_are_measured_and_within_what_the_page_reckons() -> None:
    model = _tiny(64)
    numbers = 3 * 4 * 64 * 64
    assert 0 <= peak_memory(model, nfe=3) < memory_needed([3], numbers) + 64e6
    found = speed(model, _tiny(), repeats=1, nfe=3)
    assert min(found.ms_one, found.ms_four, found.seconds, found.newcomer) > 0
