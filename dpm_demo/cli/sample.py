"""`sample`: pictures or clips, and the film of their denoising."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dpm_demo.cli import output
from dpm_demo.cli.options import (
    Count,
    Device,
    Frames,
    Height,
    Label,
    Model,
    NegativePrompt,
    Offload,
    Out,
    OwnGuidance,
    Prompt,
    Runtime,
    Seed,
    Width,
    machine_limits,
    solver_options,
)
from dpm_demo.media.files import folder_for
from dpm_demo.request.codec import read, settings, solver_text


@solver_options
def sample(
    solver: dict[str, str],
    model: Model = "emoji-image",
    label: Label = "any",
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    guidance: OwnGuidance = "",
    seed: Seed = "0",
    count: Count = "4",
    height: Height = "0",
    width: Width = "0",
    frames: Frames = "0",
    device: Device = "auto",
    runtime: Runtime = "auto",
    offload: Offload = False,
    out: Out = "out",
) -> dict[str, Any]:
    """Draw samples: a PNG sheet and a GIF of the denoising, or MP4, GIF, WebP and ZIP of clips."""
    values: dict[str, Any] = {
        "label": label,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        **({"guidance": guidance} if guidance else {}),
        "seed": seed,
        "count": count,
        "height": height,
        "width": width,
        "frames": frames,
        **solver,
    }
    read(values)  # refused before anything heavy is imported

    from dpm_demo import api
    from dpm_demo.calibrate.defaults import default_solver
    from dpm_demo.request.files import Clips, clip_files, denoising_gif, sheet_png, stem_of
    from dpm_demo.request.job import Checked, checked

    opened = api.load(model, device, runtime=runtime, offload=offload)
    asked = read({"guidance": opened.guidance, **values, "model": opened.name})
    if not set(solver) - {"nfe"}:  # a budget at most: no solver is named
        strength = Checked.of(asked, opened).strength
        asked = replace(asked, solver=default_solver(asked.solver.nfe, strength, opened))
    wanted = checked(asked, opened, machine_limits())
    request = wanted.request
    where = folder_for(out)
    done = output.run(wanted.job(), request.count * request.solver.nfe)
    whole = tuple(row for row in done.tracks[0].rows if row.sample is not None)
    if done.error and (opened.frames > 1 or not whole):
        raise ValueError(done.error)
    if done.error:
        output.say(f"{done.error} The other {len(whole)} are written.")
        done = replace(done, tracks=(replace(done.tracks[0], rows=whole),))
    if opened.frames > 1:
        files = list(clip_files(Clips(request, done.tracks[0].samples), where).values())
    else:
        stem = stem_of(request)
        files = [
            output.write(where / f"{stem}.png", sheet_png(done, request)),
            denoising_gif(done, where / f"{stem}.gif"),
        ]
    for file in files:
        output.say(str(file))
    spent = max(row.nfe for row in done.tracks[0].rows)
    output.say(f"{spent} evaluations of a sample, {solver_text(request.solver)}")
    output.say(f"{done.seconds:.2f} s")
    return {
        "files": files,
        "nfe": spent,
        "seconds": done.seconds,
        "settings": settings(request),
    }
