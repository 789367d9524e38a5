"""The current settings as code to copy: Python, the command line, and diffusers."""

from __future__ import annotations

import shlex
from dataclasses import fields

from dpm_demo.request.codec import settings
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.solver.settings import SEED_MAX, Solver

KINDS = ("Python", "Command line", "diffusers")


def code_for(kind: str, request: GenerateRequest) -> str:
    """The code of that kind which draws what `request` asks for."""
    return {
        "Python": _python,
        "Command line": _command,
        "diffusers": _diffusers,
        "diffusers pipeline": _pipeline,  # with our solver dropped in
    }[kind](request)


def _solver_arguments(solver: Solver) -> dict[str, object]:
    default = Solver(method="adaptive") if solver.method == "adaptive" else Solver()
    named = {f.name: getattr(solver, f.name) for f in fields(Solver)}
    keep = {k: v for k, v in named.items() if v != getattr(default, k)}
    if solver.method == "adaptive":
        keep["method"] = "adaptive"
    return {"nfe": solver.nfe, "order": solver.order, **keep}


def _python(r: GenerateRequest) -> str:
    arguments = ", ".join(f"{k}={v!r}" for k, v in _solver_arguments(r.solver).items())
    last = r.seed + r.count
    seeds = f"range({r.seed}, {last})" if last <= SEED_MAX + 1 else repr(list(r.seeds))
    return (
        "import dpm_demo as dpm\n\n"
        f"model = dpm.load({r.model!r})\n"
        f"solver = dpm.Solver({arguments})\n"
        f"images = dpm.generate(model, solver, seeds={seeds}, {_asked(r)}"
        f"guidance={r.guidance!r})\n"
        "# (n, 3, h, w), or (n, 3, frames, h, w), in [-1, 1]; "
        "dpm.stream(...) yields every evaluation as it is made\n"
    )


def _asked(r: GenerateRequest) -> str:
    """Label, prompt and size as arguments of `generate`, each with a comma after it."""
    named: dict[str, object] = {}
    if r.label != "any" or not r.prompt:
        named["label"] = r.label
    if r.prompt:
        named["prompt"] = r.prompt
    if r.negative_prompt:
        named["negative_prompt"] = r.negative_prompt
    if r.size:
        named["size"] = r.size
    if r.frames:
        named["frames"] = r.frames
    return "".join(f"{k}={v!r}, " for k, v in named.items())


def _unknown(solver: Solver) -> str:
    """The one sentence where a solver has no place in a pipeline, and else nothing."""
    if solver.table:
        what = f"table {solver.table!r}"
    elif solver.schedule == "calibrated":
        what = f"schedule {solver.schedule!r}"
    elif solver.shift is not None:  # a pipeline's shift moves the span too
        what = f"shift {solver.shift!r}"
    else:
        return ""
    return f"# no code for diffusers is known for {what}.\n"


def _pipeline(r: GenerateRequest) -> str:
    """A pipeline of diffusers with the same solver dropped in."""
    if said := _unknown(r.solver):
        return said
    fields_ = {k: v for k, v in _solver_arguments(r.solver).items() if k != "nfe"}
    fields_["schedule"] = r.solver.schedule
    if r.solver.method == "adaptive" or r.solver.window:
        return (
            "# a pipeline counts its steps: adaptive and parallel solvers have no place in one.\n"
        )
    solver = ", ".join(f"{k}={v!r}" for k, v in fields_.items())
    size = "" if r.size is None else f"height={r.size[0]}, width={r.size[1]}, "
    size += f"num_frames={r.frames}, " if r.frames else ""
    return (
        "import dpm_demo as dpm\nimport torch\nfrom diffusers import DiffusionPipeline\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({r.model.removeprefix('hub:')!r})\n"
        f"pipe.scheduler = dpm.DPMScheduler.from_config(pipe.scheduler.config, {solver})\n"
        f"noise = torch.Generator().manual_seed({r.seed})\n"
        f"images = pipe({r.prompt!r}, negative_prompt={r.negative_prompt!r}, {size}"
        f"guidance_scale={r.guidance!r},\n"
        f"              num_inference_steps={r.solver.nfe}, generator=noise)\n"
        "# its last step goes on to sigma 0; the pipeline's own noise differs from the page's\n"
    )


def _command(r: GenerateRequest) -> str:
    flat = settings(r)
    more = [k for k in ("prompt", "negative_prompt", "height", "width", "frames") if flat[k]]
    wanted = ["model", "label", "guidance", "seed", "count", *more]
    wanted += _solver_arguments(r.solver)
    words = ["python", "-m", "dpm_demo", "sample"]
    for name in wanted:
        value = str(flat[name])
        written = value.lower() if isinstance(flat[name], bool | None) else value
        words += [f"--{name.replace('_', '-')}", written]
    return shlex.join([*words, "--out", "out"]) + "\n"


def _diffusers(r: GenerateRequest) -> str:
    s = r.solver
    if r.prompt or r.size or r.frames or _unknown(s):
        return _pipeline(r)
    notes = []
    name = {
        "multistep": "DPMSolverMultistepScheduler",
        "singlestep": "DPMSolverSinglestepScheduler",
    }
    scheduler = name.get(s.method)
    if s.variable != "lambda":
        return f"# no code for diffusers is known for variable {s.variable!r}.\n"
    if scheduler is None or s.window or s.order == "auto":
        what = (
            "adaptive steps"
            if scheduler is None
            else ("parallel-in-time sampling" if s.window else 'order "auto"')
        )
        return f"# diffusers has no counterpart of {what}.\n"
    noise_form = s.prediction == "noise"
    arguments: dict[str, object] = {
        "solver_order": s.order,
        "lower_order_final": s.lower_order_final,
    }
    if s.corrector:
        scheduler = "UniPCMultistepScheduler"
        arguments["predict_x0"] = not noise_form
    elif 0 < s.eta < 1:
        notes.append(f"eta = {s.eta} has no counterpart: diffusers knows the ODE and the full SDE")
    else:
        kind = "dpmsolver" if noise_form else "dpmsolver++"
        arguments["algorithm_type"] = f"sde-{kind}" if s.eta == 1 else kind
    schedules: dict[str, dict[str, object]] = {
        "logsnr": {"use_exponential_sigmas": True},
        "karras": {"use_karras_sigmas": True},
    }
    extra = schedules.get(s.schedule, {})
    # nodes of these end at the smallest sigma, from where the only way on is to 0
    to_zero = s.denoise_to_zero or bool(extra)
    known = s.schedule in (*schedules, "linear", "quadratic")
    if not known or (noise_form and to_zero):  # its noise form cannot end at sigma 0
        return _pipeline(r)
    arguments["final_sigmas_type"] = "zero" if to_zero else "sigma_min"
    if to_zero and not s.denoise_to_zero:
        notes.append("its last step goes on to sigma 0, as with denoise_to_zero")
    if to_zero and s.corrector and not s.lower_order_final:
        arguments["lower_order_final"] = True
        notes.append("where it goes on to sigma 0 its order has to fall at the end")
    if s.schedule == "quadratic":
        notes.append("diffusers has no quadratic time nodes; its own are even in time")
    if s.threshold:
        extra = {**extra, "thresholding": True}
        if s.threshold == "dynamic":  # its own bound of 1 makes it the static clip
            extra["sample_max_value"] = 1e9
    if s.method == "multistep" and s.order == 3 and s.weights == "exact" and not s.corrector:
        notes.append("its order 3 uses the published weights, which converge at order 2")
    if s.method == "multistep" and s.order == 2 and s.weights == "exact" and not s.corrector:
        notes.append("its order 2 is the published midpoint form; ours uses exact weights")
    notes.append("it rounds nodes to integer timesteps, so pictures agree only roughly")
    keywords = "".join(f", {k}={v!r}" for k, v in {**arguments, **extra}.items())
    return (
        "from diffusers import DiffusionPipeline\n"
        f"from diffusers import {scheduler}\n\n"
        'pipe = DiffusionPipeline.from_pretrained("google/ddpm-cifar10-32")  # your model\n'
        f"pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config{keywords})\n"
        f"images = pipe(batch_size={r.count}, num_inference_steps={s.nfe}).images\n"
        + "".join(f"# note: {note}\n" for note in notes)
    )
