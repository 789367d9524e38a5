"""Each family against its own pipeline, on tiny networks with random weights, in float32."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

import dpm_demo as dpm
from dpm_demo.models.model import Model

NAMES = list(tiny.FAMILIES)
FLOW = ("sd3", "flux", "z_image", "wan")
VIDEO = ("text_to_video", "animatediff", "wan")
PROMPT, NEGATIVE = "a cat", "dog"
STEPS = 6


@cache
def pipeline(name: str) -> Any:
    pipe = tiny.FAMILIES[name]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def model_of(name: str) -> Model:
    return dpm.load(pipeline(name))


def options(name: str) -> dict[str, Any]:
    frames = {"wan": 5, "text_to_video": 3, "animatediff": 3}.get(name)
    return {"size": (16, 16), **({"frames": frames} if frames else {})}


def theirs(
    name: str, scheduler: Any, x_T: Tensor, guidance: float, pipe: Any = None
) -> tuple[Tensor, list[float]]:
    """The latents of the family's own pipeline with a scheduler of diffusers, and its nodes."""
    pipe = pipeline(name) if pipe is None else pipe
    before, pipe.scheduler = pipe.scheduler, scheduler
    asked: dict[str, Any] = {
        "num_inference_steps": STEPS,
        "output_type": "latent",
        "guidance_scale": guidance,
        "height": 16,
        "width": 16,
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "latents": x_T.clone(),
    }
    if name in VIDEO:
        asked["num_frames"] = options(name)["frames"]
    if name == "z_image":
        asked["guidance_scale"] = guidance - 1 if guidance > 1 else 0.0
    if name == "flux":
        del asked["negative_prompt"]
        n, c, h, w = x_T.shape
        asked["latents"] = pipe._pack_latents(x_T, n, c, h, w)
    if name == "pixart":
        asked |= {"use_resolution_binning": False, "clean_caption": False}
    try:
        found = pipe(**asked, return_dict=False)[0]
    finally:
        pipe.scheduler = before
    if name == "flux":
        found = pipe._unpack_latents(found, 16, 16, pipe.vae_scale_factor)
    return found, nodes_of(scheduler)


def nodes_of(scheduler: Any) -> list[float]:
    """λ of a scheduler's own nodes."""
    flow = "Flow" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas")
    nodes = []
    for s in scheduler.sigmas.double().tolist():
        if s == 0:
            nodes.append(math.inf)
        elif flow:
            nodes.append(math.log((1 - s) / s) if s < 1 else -math.inf)
        else:
            nodes.append(-math.log(s))
    return nodes


class _ToldExactly(DPMSolverMultistepScheduler):
    """Diffusers rounds the times of a flow to whole numbers; here the network is told σ itself."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.timesteps = self.sigmas[:-1] * self.config.num_train_timesteps


def scheduler_of(name: str, order: int) -> Any:
    """DPM-Solver++ of diffusers with the family's own configuration; Euler for order 1 of a flow.

    FLUX and Z-Image hand sigmas to their scheduler, which only Euler's takes.
    """
    config = dict(pipeline(name).scheduler.config)
    if name not in FLOW:
        return DPMSolverMultistepScheduler.from_config(config, solver_order=order)
    shift = config.get("flow_shift", config.get("shift"))
    if order == 1:
        return FlowMatchEulerDiscreteScheduler.from_config(config, shift=shift)
    return _ToldExactly(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        flow_shift=shift,
        solver_order=order,
    )


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def save(name: str, folder: Path) -> None:
    pipeline(name).save_pretrained(folder)
    if name == "dit":  # which the class takes, and does not save
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        index["id2label"] = {7: "cock", 207: "golden retriever"}
        (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def start(name: str, seed: int = 3) -> Tensor:
    shape = model_of(name).shape_for(**options(name))
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def ours(
    name: str,
    solver: dpm.Solver,
    nodes: list[float],
    x_T: Tensor,
    model: Model | None = None,
    **asked: Any,
) -> Tensor:
    model = model_of(name) if model is None else model
    if hasattr(model.latents.path, "config"):  # of a flow: the state as a variance-preserving one
        s = 1 / (1 + math.exp(nodes[0])) if nodes[0] > -700 else 1.0
        x_T = x_T / math.hypot(s, 1 - s)
    return dpm.generate(
        model,
        solver,
        seeds=range(len(x_T)),
        output="latent",
        x_T=x_T,
        lambdas=nodes,
        **{**options(name), **asked},
    )


CASES = [(n, o) for n in NAMES if n != "dit" for o in (1, 2)]
CASES = [c for c in CASES if c not in (("flux", 2), ("z_image", 2))]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize(("name", "order"), CASES)
def test_the_published_solver_on_a_pipelines_own_nodes_gives_its_latents(name, order, guidance):
    x_T = start(name)
    expected, nodes = theirs(name, scheduler_of(name, order), x_T, guidance)
    # below 15 steps diffusers takes the last one at order 1, as the taper does
    solver = dpm.Solver(order=order, weights="published")
    negative = "" if name == "flux" else NEGATIVE
    asked = {"prompt": PROMPT, "negative_prompt": negative, "guidance": guidance}
    got = ours(name, solver, nodes, x_T, **asked)
    assert got.shape == expected.shape
    assert relative(got, expected) < 1e-4


@pytest.mark.parametrize("name", [n for n in NAMES if n not in FLOW and n != "dit"])
def test_a_network_of_labels_on_a_flow_is_told_what_its_pipeline_tells_it(name):
    flow = _ToldExactly(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    pipe = tiny.FAMILIES[name]()
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = flow
    x_T, asked = start(name), {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance": 4.0}
    model = dpm.load(pipe)
    expected, nodes = theirs(name, flow, x_T, 4.0, pipe)
    got = ours(name, dpm.Solver(weights="published"), nodes, x_T, model, **asked)
    assert relative(got, expected) < 1e-4


def test_noise_predicted_on_a_flow_is_refused():
    pipe = tiny.stable_diffusion()
    pipe.scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True)
    with pytest.raises(ValueError, match="its prediction_type 'epsilon' on a flow is not read"):
        dpm.load(pipe)


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_xl"])
def test_guidance_is_an_input_of_a_latent_consistency_model(name):
    pipe = tiny.FAMILIES[name]()
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(6)
    network = type(pipe.unet).from_config(pipe.unet.config, time_cond_proj_dim=8)
    pipe.register_modules(unet=network.eval())
    model, x_T = dpm.load(pipe), start(name)
    expected, nodes = theirs(name, scheduler_of(name, 2), x_T, 4.0, pipe)
    solver = dpm.Solver(weights="published")
    got = ours(name, solver, nodes, x_T, model, prompt=PROMPT, guidance=4.0)
    assert relative(got, expected) < 1e-4
    assert model.rows(model.condition(None, 4.0, prompt=PROMPT)) == 1
    assert relative(ours(name, solver, nodes, x_T, model, prompt=PROMPT, guidance=8.0), got) > 1e-4
    with pytest.raises(ValueError, match="negative_prompt: .* takes none; leave it empty"):
        model.condition(None, 4.0, prompt=PROMPT, negative_prompt=NEGATIVE)


def test_flux_takes_no_negative_prompt_and_only_dev_takes_guidance():
    assert [dpm.load(tiny.flux(dev)).guided for dev in (True, False)] == ["input", "no"]
    with pytest.raises(ValueError, match="negative_prompt: .* takes none; leave it empty"):
        model_of("flux").condition(None, 3.5, prompt=PROMPT, negative_prompt=NEGATIVE)


WIDEST = {"stable_diffusion": 8, "dit": 16, "flux": 16, "wan": 24, "z_image": 32}


@pytest.mark.parametrize(("name", "width"), WIDEST.items())
def test_a_row_is_estimated_at_forty_of_its_widest_hidden_state(name, width):
    latents, shape = model_of(name).latents, start(name).shape[1:]
    places = math.prod(shape[1:]) // latents.patch**2
    assert latents.row_bytes(tuple(shape)) == 40 * places * width * 4


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_dit_gives_the_pictures_of_its_pipeline(guidance):
    pipe, model = pipeline("dit"), model_of("dit")
    scheduler = scheduler_of("dit", 2)
    before, pipe.scheduler = pipe.scheduler, scheduler
    generator = torch.Generator().manual_seed(3)
    try:
        expected = pipe(
            [207],
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            generator=generator,
            output_type="pt",
        ).images
    finally:
        pipe.scheduler = before
    got = dpm.generate(
        model,
        dpm.Solver(weights="published"),
        label="golden retriever",
        guidance=guidance,
        x_T=start("dit"),
        lambdas=nodes_of(scheduler),
    )
    assert relative((got / 2 + 0.5).clamp(0, 1), expected) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_guidance_of_all_kinds_share_a_call_and_each_is_as_if_alone(name):
    """Prompts of other lengths, guidance and none, and other λ, in one call of the network."""
    model = model_of(name)
    x = torch.cat([start(name, seed) for seed in range(4)])
    lam = torch.tensor([-3.0, -1.0, 0.5, 2.0])
    if name == "dit":
        conds = [model.condition("cock", 3.0), model.condition(None, 1.0)]
        conds += [model.condition("golden retriever", g) for g in (0.0, 1.0)]
    else:
        asked = [("a cat", 4.0), ("a dog on a hill", 1.0), ("", 0.0), ("abc", 2.5)]
        negative = "" if name == "flux" else "x"
        conds = [model.condition(None, g, prompt=p, negative_prompt=negative) for p, g in asked]
    together = model.denoise(x, lam, conds)
    for k in range(4):
        alone = model.denoise(x[k : k + 1], lam[k : k + 1], conds[k : k + 1])
        assert relative(together[k : k + 1], alone) < 1e-5
    assert relative(together[:1], model.denoise(x[:1], lam[:1], conds[3:])) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_two_prompts_in_a_batch_equal_each_alone(name):
    model, solver = model_of(name), dpm.Solver(nfe=4)
    words = {"prompt": ["a cat", "a longer prompt"]} if model.prompted else {}
    both = dpm.generate(model, solver, seeds=[0, 1], output="latent", **words, **options(name))
    for k in range(2):
        mine = {"prompt": words["prompt"][k]} if words else {}
        alone = dpm.generate(model, solver, seeds=[k], output="latent", **mine, **options(name))
        assert relative(both[k : k + 1], alone) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_decoded_into_pictures_of_the_size_asked_for(name):
    model = model_of(name)
    pixels = dpm.generate(model, dpm.Solver(nfe=2), **options(name))
    frames = (options(name)["frames"],) if name in VIDEO else ()
    assert pixels.shape == (1, 3, *frames, 16, 16)
    assert pixels.abs().max() <= 1
    assert model.picture_shape(model.shape_for(**options(name))) == (3, *frames, 16, 16)
    assert model.latents is not None
    quick = model.latents.preview(start(name))
    assert quick.shape[:2] == (1, 3)
    assert quick.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_folder_gives_the_samples_of_the_pipeline_object(name, tmp_path):
    save(name, tmp_path / name)
    model = dpm.load(tmp_path / name)
    words = {"prompt": PROMPT} if model.prompted else {"label": "cock"}
    solver = dpm.Solver(nfe=3)
    got = dpm.generate(model, solver, output="latent", **words, **options(name))
    expected = dpm.generate(model_of(name), solver, output="latent", **words, **options(name))
    assert relative(got, expected) < 1e-5
    assert model.family == model_of(name).family
    assert len(model.digest) == 16


def test_a_network_with_parts_in_float32_asks_for_what_loads_it(tmp_path, monkeypatch):
    save("wan", tmp_path / "wan")
    monkeypatch.setattr("dpm_demo.models.diffusers.components.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs accelerate; pip install"):
        dpm.load(tmp_path / "wan")


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_bits_give_about_the_samples_of_thirty_two(name, tmp_path):
    save(name, tmp_path / name)
    words = {"prompt": PROMPT} if model_of(name).prompted else {"label": "cock"}
    found = {
        kind: dpm.generate(
            dpm.load(tmp_path / name, dtype=kind), dpm.Solver(nfe=4), **words, **options(name)
        )
        for kind in ("float32", "bfloat16", "float16")
    }
    for dtype, bound in (("bfloat16", 5e-2), ("float16", 1e-2)):
        assert found[dtype].dtype == torch.float32
        assert relative(found[dtype], found["float32"]) < bound


@pytest.mark.parametrize("name", ["stable_diffusion", "flux"])
def test_gradients_flow_from_a_sample_to_its_noise(name):
    model, solver = model_of(name), dpm.Solver(nfe=3)
    x, way = start(name, 1), start(name, 2)
    conds = [model.condition(None, 2.0, prompt="a cat")]

    def end(noise: Tensor, **more: Any) -> Tensor:
        found = dpm.integrate(
            model.denoise, noise, solver, lam_span=model.lam_span, cond=conds, **more
        )
        return found.square().sum()

    noise = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(end(noise, differentiable=True), noise)
    step = 1e-3
    measured = (end(x + step * way) - end(x - step * way)) / (2 * step)
    assert (slope * way).sum().item() == pytest.approx(measured.item(), rel=5e-2)


@cache
def two_networks() -> Model:
    return dpm.load(tiny.wan(two=True))


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_wans_two_networks_give_the_latents_of_its_pipeline(guidance):
    pipe = tiny.wan(two=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    x_T = start("wan")
    expected = pipe(
        PROMPT,
        NEGATIVE,
        height=16,
        width=16,
        num_frames=5,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        latents=x_T.clone(),
        output_type="latent",
        return_dict=False,
    )[0]
    nodes = nodes_of(pipe.scheduler)
    assert nodes[1] < two_networks().restart < nodes[-2]
    got = dpm.generate(
        two_networks(),
        dpm.Solver(order=1),
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        guidance=guidance,
        output="latent",
        x_T=x_T,
        lambdas=nodes,
    )
    assert relative(got, expected) < 1e-4


def test_rows_on_both_sides_of_the_boundary_share_a_call_and_each_is_as_if_alone():
    model = two_networks()
    x = torch.cat([start("wan", seed) for seed in range(2)])
    lam = torch.tensor([model.restart - 0.5, model.restart + 0.5])
    conds = [model.condition(None, 2.0, prompt=p) for p in ("a cat", "a dog")]
    together = model.denoise(x, lam, conds)
    for k in range(2):
        alone = model.denoise(x[k : k + 1], lam[k : k + 1], conds[k : k + 1])
        assert relative(together[k : k + 1], alone) < 1e-5


def test_pictures_and_clips_that_a_network_cannot_do_are_refused_beforehand():
    motion, positions = model_of("animatediff"), model_of("sd3")
    most = pipeline("sd3").transformer.config.pos_embed_max_size * 2 * positions.latents.scale
    assert motion.shape_for((16, 16), 32)[1] == 32
    assert positions.shape_for((most, 16))[-2:] == (most // 2, 8)
    with pytest.raises(ValueError, match="^frames must be a whole number from 1 to 32 for"):
        motion.shape_for((16, 16), 33)
    with pytest.raises(ValueError, match=f"^size: height and width .* up to {most}, for"):
        positions.shape_for((16, most + 4))


LENGTHS = {"stable_diffusion": 77, "sd3": 256, "flux": 512, "z_image": 512, "wan": 512}


@pytest.mark.parametrize(("name", "most"), LENGTHS.items())
def test_a_prompt_that_is_cut_is_told_of(name, most, recwarn):
    family, model = model_of(name).latents, model_of(name)
    family.given(model.condition(prompt="a" * (most - 2)), False)
    assert not [one for one in recwarn if str(one.message).startswith("prompt")]
    with pytest.warns(UserWarning, match=f"^prompt: .* reads the first {most} tokens of it; "):
        family.given(model.condition(prompt="a" * (most + 5)), False)


def in_two_threads(work: Callable[[int], Any]) -> list[Any]:
    """What `work` gives to each of two threads that begin at once."""
    gate = threading.Barrier(2)

    def one(number: int) -> Any:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, range(2)))


def test_two_threads_decode_what_each_decodes_alone():
    model, latents = model_of("wan"), [start("wan", seed) for seed in range(2)]
    alone = [model.decode(x) for x in latents]
    found = in_two_threads(lambda k: [model.decode(latents[k]) for _ in range(20)])
    for k, clips in enumerate(found):
        assert all(torch.equal(clip, alone[k]) for clip in clips)


def test_encoders_that_leave_after_a_prompt_are_not_at_work_in_another_thread(tmp_path):
    save("stable_diffusion", tmp_path)
    model = dpm.load(tmp_path, offload=True)

    def encoded(number: int) -> list[Tensor]:
        conds = [model.condition(prompt=f"{'ab'[number]} {'c' * k}") for k in range(10)]
        return [model.latents.given(cond, False)["encoder_hidden_states"] for cond in conds]

    alone = [encoded(k) for k in range(2)]
    model.latents._encoded.clear()
    for mine, found in zip(alone, in_two_threads(encoded), strict=True):
        assert all(map(torch.equal, mine, found))
