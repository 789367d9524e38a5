"""`DPMScheduler` in pipelines of diffusers: what they assume, and whose images it reproduces."""

from __future__ import annotations

import math
import threading
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import tiny
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import dpm_demo as dpm
from dpm_demo.models.diffusers import scheduler as rooms
from dpm_demo.solver import alpha, integrate, sigma
from dpm_demo.solver.brownian import BrownianPath

NAMES = list(tiny.FAMILIES)
FLOW = ("sd3", "flux", "z_image")


def run(name: str, scheduler: Any, steps: int = 6, pipe: Any = None) -> Tensor:
    """The latents of a tiny pipeline with a scheduler of its own; of DiT the pictures."""
    pipe = tiny.FAMILIES[name]() if pipe is None else pipe
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler(pipe.scheduler.config)
    asked: dict[str, Any] = {
        "num_inference_steps": steps,
        "generator": torch.Generator().manual_seed(0),
        "guidance_scale": 3.0,
        "return_dict": False,
    }
    if name == "dit":
        asked |= {"class_labels": [7], "output_type": "pt"}
    else:
        asked |= {"prompt": "a cat", "height": 16, "width": 16, "output_type": "latent"}
    if name in ("text_to_video", "animatediff", "wan"):
        asked["num_frames"] = 5
    if name == "pixart":
        asked |= {"use_resolution_binning": False, "clean_caption": False}
    return torch.as_tensor(pipe(**asked)[0])


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {"order": 3}) for name in NAMES),
        *(
            (name, fields)
            for name in ("stable_diffusion", "flux")
            for fields in (
                {"order": 2, "schedule": "karras"},
                {"order": 3, "method": "singlestep", "schedule": "logsnr"},
                {"order": 2, "corrector": True},
            )
        ),
    ],
)
def test_it_runs_in_the_pipeline_of_every_family(name, fields):
    found = run(name, lambda config: dpm.DPMScheduler.from_config(config, **fields))
    assert found.isfinite().all()
    assert found.std() > 0


@pytest.mark.parametrize("steps", [6, 17])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["dpmsolver++", "dpmsolver"])
def test_published_weights_reproduce_diffusers_solver_image_for_image(kind, order, steps):
    config: dict[str, Any] = {"solver_order": order, "algorithm_type": kind}
    if kind == "dpmsolver":
        config["final_sigmas_type"] = "sigma_min"
    theirs = run(
        "stable_diffusion",
        lambda c: DPMSolverMultistepScheduler.from_config(c, **config),
        steps,
    )
    ours = run(
        "stable_diffusion",
        lambda c: dpm.DPMScheduler.from_config(c, **config, weights="published"),
        steps,
    )
    assert relative(ours, theirs) < 1e-4


LARGE = {"thresholding": True, "sample_max_value": 2.5, "dynamic_thresholding_ratio": 0.9}


@pytest.mark.parametrize("kind", ["dpmsolver++", "dpmsolver"])
@pytest.mark.parametrize(
    "fields",
    [
        {"thresholding": True},
        LARGE,
        {"solver_type": "heun"},
        {"solver_type": "heun", "solver_order": 3},
        {"euler_at_final": True, "lower_order_final": False, "final_sigmas_type": "sigma_min"},
    ],
    ids=str,
)
def test_published_weights_reproduce_its_other_settings_too(kind, fields):
    said = {"algorithm_type": kind, "final_sigmas_type": "sigma_min", **fields}
    found = []
    for make in (DPMSolverMultistepScheduler, dpm.DPMScheduler):
        more = {"weights": "published"} if make is dpm.DPMScheduler else {}
        one = make.from_config(tiny.discrete().config, **said, **more)
        one.set_timesteps(9)
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for t in one.timesteps:
            x = one.step(torch.sin(3 * x), t, x).prev_sample
        found.append(x)
    assert relative(*found) < 1e-4


@pytest.mark.parametrize("name", ["stable_diffusion_xl", "text_to_video", "animatediff", "pixart"])
def test_published_weights_reproduce_it_in_other_pipelines_too(name):
    theirs = run(name, DPMSolverMultistepScheduler.from_config)
    ours = run(name, lambda c: dpm.DPMScheduler.from_config(c, weights="published"))
    assert relative(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    "spacing",
    [
        {"timestep_spacing": "leading", "steps_offset": 1},
        {"timestep_spacing": "trailing"},
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_lu_lambdas": True},
        {"prediction_type": "v_prediction"},
    ],
    ids=str,
)
def test_the_timesteps_that_a_configuration_asks_for_are_taken(spacing):
    def both(make: Any) -> Tensor:
        return run("stable_diffusion", lambda c: make(c, **spacing))

    ours = both(lambda c, **more: dpm.DPMScheduler.from_config(c, weights="published", **more))
    assert relative(ours, both(DPMSolverMultistepScheduler.from_config)) < 1e-4


@pytest.mark.parametrize("name", FLOW)
def test_order_one_on_a_flow_is_eulers_scheduler_image_for_image(name):
    theirs = run(name, FlowMatchEulerDiscreteScheduler.from_config)
    ours = run(name, lambda c: dpm.DPMScheduler.from_config(c, order=1))
    assert relative(ours, theirs) < 1e-4


def test_published_weights_reproduce_the_solver_on_the_flow_of_wan():
    theirs = run("wan", DPMSolverMultistepScheduler.from_config)
    ours = run("wan", lambda c: dpm.DPMScheduler.from_config(c, weights="published"))
    assert relative(ours, theirs) < 1e-4


def scheduler(**fields: Any) -> Any:
    return dpm.DPMScheduler.from_config(tiny.discrete().config, **fields)


def test_own_timesteps_and_sigmas_are_honoured_exactly():
    ours = scheduler()
    ours.set_timesteps(timesteps=[901.5, 640, 77.25])
    assert ours.timesteps.tolist() == [901.5, 640, 77.25]
    assert len(ours.sigmas) == 4
    ours.set_timesteps(sigmas=[10.0, 3.0, 0.5])
    assert ours.sigmas.tolist() == pytest.approx([10.0, 3.0, 0.5, 0.0])
    again = scheduler()
    again.set_timesteps(timesteps=ours.timesteps.tolist())
    assert again.sigmas.tolist() == pytest.approx(ours.sigmas.tolist(), rel=1e-4)


def test_own_timesteps_of_a_flow_are_its_sigmas_unshifted():
    ours = dpm.DPMScheduler.from_config(tiny.euler_flow(shift=3.0).config)
    ours.set_timesteps(timesteps=[1000.0, 500.0, 20.0])
    assert ours.sigmas.tolist() == pytest.approx([1.0, 0.5, 0.02, 0.0])


@pytest.mark.parametrize("fields", [{}, {"method": "singlestep", "order": 3}])
@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_a_run_has_as_many_timesteps_as_are_asked_for_and_ends_at_sigma_zero(fields, steps):
    for more in ({}, {"schedule": "cosine"}):
        ours = scheduler(**fields, **more)
        ours.set_timesteps(steps)
        assert len(ours.timesteps) == steps
        assert len(ours.sigmas) == steps + 1
        assert ours.sigmas[-1] == 0
        assert (ours.sigmas.diff() < 0).all()


def test_a_perfect_network_is_followed_to_the_data_it_predicts():
    x0 = torch.randn(2, 3, 4, 4)
    noise = torch.randn(2, 3, 4, 4)
    ours = scheduler(order=3)
    ours.set_timesteps(9)
    x = ours.add_noise(x0, noise, ours.timesteps[:1])
    for t in ours.timesteps:
        assert torch.equal(ours.scale_model_input(x, t), x)
        x = ours.step(noise, t, x).prev_sample
    assert (x - x0).abs().max() < 1e-4


def test_a_run_may_begin_in_the_middle_as_image_to_image_does():
    x0, noise = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    ours = scheduler(order=3)
    for told in (True, False):
        ours.set_timesteps(10)
        if told:
            ours.set_begin_index(4)
        x = ours.add_noise(x0, noise, ours.timesteps[4:5])
        for t in ours.timesteps[4:]:
            x = ours.step(noise, t, x, return_dict=False)[0]
        assert (x - x0).abs().max() < 1e-4


def test_noise_is_added_as_diffusers_adds_it():
    x0, noise = torch.randn(3, 3, 4, 4), torch.randn(3, 3, 4, 4)
    times = torch.tensor([0, 400, 999])
    theirs = tiny.discrete("DDPMScheduler").add_noise(x0, noise, times)
    assert torch.allclose(scheduler().add_noise(x0, noise, times), theirs, atol=1e-5)
    flow = dpm.DPMScheduler.from_config(tiny.euler_flow().config)
    mixed = flow.scale_noise(x0, torch.tensor([250.0]), noise)
    assert torch.allclose(mixed, 0.75 * x0 + 0.25 * noise, atol=1e-5)


def test_its_configuration_is_saved_loaded_and_given_back_to_diffusers(tmp_path):
    ours = scheduler(order=3, schedule="karras", corrector=True)
    ours.save_pretrained(tmp_path)
    again = dpm.DPMScheduler.from_pretrained(tmp_path)
    assert again.solver == ours.solver
    assert again.own_schedule
    said = [{k: v for k, v in s.config.items() if k[0] != "_"} for s in (again, ours)]
    assert said[0] == said[1]
    ours.set_timesteps(7)
    again.set_timesteps(7)
    assert torch.equal(ours.timesteps, again.timesteps)
    back = DPMSolverMultistepScheduler.from_config(ours.config)
    assert back.config.beta_end == 0.012


@pytest.mark.parametrize("other", ["DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"])
def test_a_configuration_survives_the_way_through_another_scheduler(other):
    plain = dpm.DPMScheduler(beta_start=1e-4, beta_end=0.02, trained_betas=[0.1, 0.2, 0.3])
    assert plain.betas.tolist() == pytest.approx([0.1, 0.2, 0.3])
    between = getattr(diffusers, other)
    assert between in plain.compatibles
    again = dpm.DPMScheduler.from_config(between.from_config(plain.config).config)
    assert {k: again.config[k] for k in plain.config} == dict(plain.config)


def test_a_pipeline_saved_with_it_is_read_back_with_it(tmp_path):
    from diffusers import StableDiffusionPipeline

    pipe = tiny.stable_diffusion()
    pipe.scheduler = dpm.DPMScheduler.from_config(pipe.scheduler.config, order=3)
    pipe.save_pretrained(tmp_path)
    again = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert isinstance(again.scheduler, dpm.DPMScheduler)
    assert again.scheduler.solver.order == 3
    assert dpm.load(tmp_path).lam_span == dpm.load(tiny.stable_diffusion()).lam_span


def test_a_run_leaves_nothing_behind_for_the_next():
    pipe, found = tiny.stable_diffusion(), []
    pipe.scheduler = dpm.DPMScheduler.from_config(pipe.scheduler.config, order=3)
    for _ in range(2):
        found.append(run("stable_diffusion", lambda c, pipe=pipe: pipe.scheduler, pipe=pipe))
    assert torch.equal(*found)


def test_two_instances_in_two_threads_give_what_each_gives_alone():
    steps = {"order": (5, {"order": 3}), "karras": (8, {"order": 2, "schedule": "karras"})}

    def work(name: str) -> Tensor:
        count, fields = steps[name]
        ours = scheduler(**fields)
        ours.set_timesteps(count)
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        for t in ours.timesteps:
            x = ours.step(torch.tanh(x) * t / 1000, t, x).prev_sample
        return x

    alone = {name: work(name) for name in steps}
    found: dict[str, list[Tensor]] = {name: [] for name in steps}
    gate = threading.Barrier(len(steps))

    def thread(name: str) -> None:
        gate.wait()
        found[name] += [work(name) for _ in range(20)]

    threads = [threading.Thread(target=thread, args=(name,)) for name in steps]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for name in steps:
        assert all(torch.equal(x, alone[name]) for x in found[name])


def test_noise_of_the_sde_comes_from_the_generator_handed_over():
    def once(seed: int) -> Tensor:
        ours = scheduler(eta=1.0)
        ours.set_timesteps(5)
        generator, x = torch.Generator().manual_seed(seed), torch.ones(1, 3, 4, 4)
        for t in ours.timesteps:
            x = ours.step(x, t, x, generator=generator).prev_sample
        return x

    assert torch.equal(once(0), once(0))
    assert not torch.equal(once(0), once(1))


@pytest.mark.parametrize("fields", [{}, {"eta": 1.0}, {"threshold": "dynamic"}], ids=str)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_step_stays_on_the_device_of_the_state(kind, fields):
    ours = scheduler(prediction_type=kind, **fields)
    ours.set_timesteps(4)
    times = ours.timesteps.tolist()
    with FakeTensorMode():
        x = torch.empty(2, 3, 4, 4, device="cuda")
        ours.set_begin_index()
        for t in times:
            x = ours.step(x, t, x).prev_sample
        assert x.device.type == "cuda"


def guess(x: Tensor, lam: Any) -> Tensor:
    """A data prediction of a variance-preserving state, of values beyond [-1, 1] too."""
    return 1.5 * torch.tanh(2 * x)


NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "fields",
    [{}, {"prediction": "noise"}, {"threshold": "static"}, {"method": "singlestep", "order": 3}],
    ids=str,
)
def test_a_flow_from_pure_noise_is_what_integrate_solves(fields):
    ours = dpm.DPMScheduler.from_config(tiny.euler_flow(shift=3.0).config, **fields)
    ours.set_timesteps(8)
    assert ours.lambdas[0] == -math.inf
    x = NOISE
    for t in ours.timesteps:
        s = float(t) / 1000
        x0 = guess(x / math.hypot(1 - s, s), None)
        x = ours.step((x - x0) / s, t, x).prev_sample
    assert (x - integrate(guess, NOISE, ours.solver, lambdas=ours.lambdas)).abs().max() < 1e-4


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_along_the_same_brownian_path_the_sde_is_what_integrate_solves(method, monkeypatch):
    ours = scheduler(eta=1.0, order=2, method=method, schedule="logsnr")
    ours.set_timesteps(9)
    path, gaps = BrownianPath([0, 1], NOISE.shape[1:], 1.0), pairwise(ours.lambdas)

    def drawn(shape: Any, **like: Any) -> Tensor:
        lam, target = next(gaps)
        step = path.increment(lam, target, torch.zeros((), dtype=torch.float64))
        return (step / math.sqrt(math.exp(2 * target) - math.exp(2 * lam))).float()

    monkeypatch.setattr(rooms, "randn_tensor", drawn)
    x = NOISE
    for t, lam in zip(ours.timesteps, ours.lambdas, strict=False):
        noise = (x - alpha(lam) * guess(x, lam)) / sigma(lam)
        x = ours.step(noise, t, x).prev_sample
    expected = integrate(guess, NOISE, ours.solver, lambdas=ours.lambdas, seeds=[0, 1])
    assert (x - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"order": 4}, "order must be"),
        ({"method": "adaptive"}, "decides its own steps"),
        ({"prediction_type": "other"}, "prediction_type must be"),
        ({"schedule": "calibrated"}, '^schedule "calibrated" belongs to a model'),
        *(({name: 8}, f"^{name} means nothing in a pipeline") for name in ("window", "nfe")),
        *(({name: 0.1}, f"^{name} means nothing in a pipeline") for name in ("tolerance", "error")),
        ({"shift": 5.0}, "^shift 5.0 belongs to flow matching"),
    ],
)
def test_what_means_nothing_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        scheduler(**fields)


def test_a_shift_makes_no_flow_of_a_model_whose_betas_are_the_default():
    plain = DPMSolverMultistepScheduler()
    with pytest.raises(ValueError, match=r"^shift 5.0 belongs to flow matching"):
        dpm.DPMScheduler.from_config(plain.config, shift=5.0)
    flow = dpm.DPMScheduler.from_config(FlowMatchEulerDiscreteScheduler().config, shift=5.0)
    assert flow.flow and flow.config["shift"] == 5.0


def test_to_denoise_at_the_end_is_what_a_pipeline_does_anyway():
    found = []
    for fields in ({}, {"denoise_to_zero": True}):
        ours = scheduler(schedule="logsnr", **fields)
        ours.set_timesteps(5)
        x = NOISE
        for t in ours.timesteps:
            x = ours.step(torch.sin(x), t, x).prev_sample
        found.append(x)
    assert torch.equal(*found)


def test_a_step_before_set_timesteps_is_refused():
    with pytest.raises(ValueError, match="set_timesteps"):
        scheduler().step(torch.zeros(1, 3, 2, 2), 1, torch.zeros(1, 3, 2, 2))


def test_a_table_is_refused_where_one_timestep_is_one_evaluation():
    with pytest.raises(ValueError, match="table 'heun' is not for diffusers' pipelines"):
        dpm.DPMScheduler(table="heun")


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_xl", "sd3", "flux"])
def test_it_runs_image_to_image_from_the_middle_of_its_steps(name):
    from diffusers import AutoPipelineForImage2Image

    pipe = AutoPipelineForImage2Image.from_pipe(tiny.FAMILIES[name]())
    pipe.set_progress_bar_config(disable=True)
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def run_from(strength: float, fields: dict[str, Any]) -> Tensor:
        pipe.scheduler = dpm.DPMScheduler.from_config(pipe.scheduler.config, **fields)
        return pipe(
            "a cat",
            image=picture,
            height=16,
            width=16,
            strength=strength,
            num_inference_steps=8,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images

    for fields in ({"order": 3}, {"order": 2, "corrector": True, "schedule": "logsnr"}):
        little, much = (run_from(s, fields) for s in (0.25, 0.9))
        assert little.isfinite().all() and much.isfinite().all()
        assert not torch.equal(little, much)


def test_noise_predicted_on_a_flow_is_refused():
    with pytest.raises(ValueError, match="prediction_type must be one of flow_prediction, not eps"):
        dpm.DPMScheduler(use_flow_sigmas=True)


@pytest.mark.parametrize(
    "name",
    [
        "EDMEulerScheduler",
        "EDMDPMSolverMultistepScheduler",
        "CMStochasticIterativeScheduler",
        "ScoreSdeVeScheduler",
        "IPNDMScheduler",
        "SCMScheduler",
        "DDPMWuerstchenScheduler",
    ],
)
@pytest.mark.parametrize("saved", [False, True])
def test_a_scheduler_without_betas_or_a_flow_is_refused(name, saved):
    config = dict(getattr(diffusers, name)().config)
    if saved:
        config.pop("_use_default_values")
        config["_class_name"] = name
    with pytest.raises(ValueError, match="has no β schedule|^prediction_type|'trigflow'"):
        dpm.DPMScheduler.from_config(config)


def test_a_network_that_is_told_sigma_in_place_of_a_label_is_refused():
    euler = tiny.discrete("EulerDiscreteScheduler", timestep_type="continuous")
    with pytest.raises(ValueError, match='timestep_type "continuous"'):
        dpm.DPMScheduler.from_config(euler.config)
    pipe = tiny.stable_diffusion()
    pipe.scheduler = euler
    with pytest.raises(ValueError, match='timestep_type "continuous"'):
        dpm.load(pipe)


@pytest.mark.parametrize("fields", [{}, {"rescale_betas_zero_snr": True}], ids=str)
def test_a_shift_of_the_signal_to_noise_ratio_is_followed(fields):
    theirs = tiny.discrete("CogVideoXDDIMScheduler", timestep_spacing="trailing", **fields)
    assert theirs.config.snr_shift_scale == 3
    expected = theirs.alphas_cumprod.float()
    ours = dpm.DPMScheduler.from_config(theirs.config)
    assert torch.allclose(ours.alphas_cumprod, expected, atol=1e-6)
    ours.set_timesteps(5)
    found = 1 / (1 + ours.sigmas[:-1] ** 2)
    assert torch.allclose(found, expected[ours.timesteps.long()], atol=1e-5)
    pipe = tiny.stable_diffusion()
    pipe.scheduler = theirs
    high = float(expected[0].logit()) / 2
    assert dpm.load(pipe).lam_span[1] == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize("count", [1000, 2500])
@pytest.mark.parametrize("spacing", ["linspace", "leading"])
def test_more_steps_than_labels_keep_apart_are_placed_between_them(spacing, count):
    ours = scheduler(timestep_spacing=spacing)
    ours.set_timesteps(count)
    assert len(ours.timesteps) == count
    assert (ours.timesteps.diff() < 0).all()
    assert (ours.sigmas.diff() < 0).all()
    x = torch.ones(1, 3, 4, 4)
    assert ours.step(x, ours.timesteps[0], x).prev_sample.isfinite().all()


def flow(**fields: Any) -> Any:
    return dpm.DPMScheduler.from_config(tiny.euler_flow(shift=3.0).config, **fields)


def test_noise_on_a_flow_from_sigma_one_is_refused_before_the_run():
    with pytest.raises(ValueError, match=r'^eta must be 0 where a flow .* schedule="logsnr"'):
        flow(eta=1.0).set_timesteps(5)
    flow(eta=1.0, schedule="logsnr").set_timesteps(5)


@pytest.mark.parametrize("field", ["invert_sigmas", "stochastic_sampling"])
def test_a_flow_that_would_not_be_followed_is_refused(field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        flow(**{field: True})


def test_a_step_refuses_what_it_would_not_do():
    ours = scheduler()
    ours.set_timesteps(2)
    x = torch.ones(1, 3, 4, 4)
    ours.step(x, ours.timesteps[0], x, eta=0.0, use_clipped_model_output=None, s_churn=0)
    for name, value in {"eta": 1.0, "per_token_timesteps": x, "variance_noise": x}.items():
        with pytest.raises(ValueError, match=f"^{name} is nothing that"):
            ours.step(x, ours.timesteps[1], x, **{name: value})
