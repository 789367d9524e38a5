"""The exact moving model, and the solver on clips: five axes are four, slice by slice."""

import pytest
import torch

from dpm_demo.models.exact import MIXTURE, PictureMixture, mixture_video_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.solver import initial_noise, integrate
from dpm_demo.solver.settings import Solver

SPAN = (-5.0, 4.6)
SOLVERS = [
    Solver(nfe=7, order=1),
    Solver(nfe=9, order=3, corrector=True),
    Solver(nfe=8, order=3, method="singlestep", schedule="cosine"),
    Solver(nfe=9, order="auto", prediction="noise", denoise_to_zero=True),
    Solver(nfe=6, order=2, threshold="static"),
    Solver(nfe=8, order=2, window=4),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{s.method}-{s.order}-{s.prediction}")
def test_a_clip_is_solved_as_its_frames_are(solver: Solver) -> None:
    x = torch.randn(2, 3, 5, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    clip = integrate(MIXTURE.denoise, x, solver, lam_span=SPAN)
    for k in range(x.shape[2]):
        frame = integrate(MIXTURE.denoise, x[:, :, k], solver, lam_span=SPAN)
        torch.testing.assert_close(clip[:, :, k], frame, rtol=0, atol=1e-12)


@pytest.mark.parametrize("frames", [2, 5, 16])
def test_the_moving_mixtures_flow_is_the_limit_of_the_solver(frames: int) -> None:
    exact = PictureMixture(size=8, frames=frames)
    x = torch.randn(
        1, 3, frames, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    truth = exact.flow(x, *SPAN)
    errors = [
        float((integrate(exact.denoise, x, Solver(nfe=n, order=2), lam_span=SPAN) - truth).std())
        for n in (50, 100, 200)
    ]
    assert errors[2] < 0.002 and errors[0] / errors[1] > 3 and errors[1] / errors[2] > 3


def test_the_moving_mixture_is_a_closed_loop_that_moves_a_little_each_frame() -> None:
    model = mixture_video_model(torch.device("cpu"))
    x = initial_noise([0, 1], model.shape)
    clips = integrate(model.denoise, x, Solver(nfe=20), lam_span=model.lam_span)
    assert clips.shape == (2, 3, 16, 32, 32) and 0.2 < float(clips.std()) < 1
    steps = (clips.roll(-1, 2) - clips).abs().mean((0, 1, 3, 4)) * 127.5
    assert float(steps.min()) > 2 and float(steps.max()) < 20
    assert float(steps[-1]) < 1.3 * float(steps[:-1].mean()), "the loop jumps where it closes"


def test_the_shelf_tells_models_of_videos_from_those_of_pictures(tmp_path) -> None:
    library = ModelLibrary(root=tmp_path, offered=())
    assert library.choices(video=True) == [("mixture (exact), moving", "mixture-video")]
    assert library.choices(video=False) == [("mixture (exact)", "mixture")]
    assert library.get("mixture-video").frames == 16
