"""What becomes of damaged files: `python -m benchmarks.bad_files [--files 200] [--seed 0]`.

Checkpoints, data sets, pictures, results and settings are made, spoilt (cut short, bits turned,
other types and shapes, numbers that are not finite, JSON without an end, bombs, links that lead
nowhere or in a circle) and read through the doors that commands and page use. Each file has a
process of its own, with two gigabytes of memory more than it began with and a minute of a
processor. Four things may happen: it is refused in one sentence; it is read, since what was spoilt
does not matter; the reader fails in another way (a fault of ours); the process dies (a worse one).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from dpm_demo.media.decode import decode
from dpm_demo.media.png import png, png_text
from dpm_demo.models.calibrated import read_fits
from dpm_demo.models.checkpoint import CHECKPOINTS, load_checkpoint, save_checkpoint
from dpm_demo.models.unet import UNet
from dpm_demo.quality.extract import RealFeatures
from dpm_demo.quality.features import load_features
from dpm_demo.quality.results import Results
from dpm_demo.request.codec import read as read_settings
from dpm_demo.request.codec import to_text
from dpm_demo.request.generate import GenerateRequest
from dpm_demo.solver.table import read as read_table
from dpm_demo.training.data import Pictures
from dpm_demo.training.folder import read_folder
from dpm_demo.training.loop import Recipe, train
from dpm_demo.training.state import kind_of, read_state

MEMORY = 2 * 2**30  # bytes that a reader may take
SECONDS = 60
#: What no sentence to a person has in it.
PYTHON = ("Traceback", "object at 0x", "has no attribute", "NoneType", "pickle", "weights_only")


@dataclass(frozen=True)
class Door:
    """A kind of file: its place in the folder of good ones, and what reads it there."""

    name: str
    file: str
    read: Callable[[Path], object]  # of the folder
    bytes_only: bool = False  # what is read comes over the network: never a link


def good_files(folder: Path) -> list[Door]:
    """Makes one good file of each kind below `folder`."""
    torch.manual_seed(0)
    n = 8
    no, held = torch.zeros(n, dtype=torch.bool), torch.arange(n) >= 6
    pixels = torch.randint(0, 256, (n, 3, 16, 16)).to(torch.uint8)
    labels = torch.zeros(n, 1, dtype=torch.int16)
    pictures = Pictures(pixels, labels, {"class": ("a",)}, torch.arange(n), no, held)
    pictures.save(folder / "data.npz")
    recipe = Recipe(minutes=1e-9, batch=2, dim=16, save_minutes=1.0)
    train(pictures, folder / "trained", recipe)
    network = UNet(dim=16, axes=(1,))
    save_checkpoint(
        folder / "model", network, target="velocity", shape=(3, 16, 16), labels={"class": ("a",)}
    )
    shutil.copytree(CHECKPOINTS / "emoji-features", folder / "features")
    shutil.copy(CHECKPOINTS / "emoji-image" / "quality.json", folder / "results.json")
    number = {"lambdas": [-5, 0, 4], "told": [0, 0], "scales": [1, 1], "weights": [[1], [1, 0]]}
    fits = {"digest": "d", "fits": [{**number, "guidance": [1, 1]}]}
    (folder / "calibrated.json").write_text(json.dumps(fits), encoding="utf-8")
    table = {"name": "ab2", "multistep": [[1], [1.5, -0.5]]}
    (folder / "table.json").write_text(json.dumps(table), encoding="utf-8")
    tile = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    settings = to_text(GenerateRequest())
    (folder / "sheet.png").write_bytes(png(tile, {"dpm-demo": settings}))
    own = folder / "pictures"
    own.mkdir()
    for k in range(3):
        Image.fromarray(np.roll(tile, k, 0)).save(own / f"{k}.png")
    Image.fromarray(tile).save(folder / "photo.jpg")
    Image.fromarray(tile).save(folder / "photo.webp", lossless=True)
    Image.fromarray(tile).save(folder / "photo.tif", compression="tiff_lzw")
    frames = [Image.fromarray(np.roll(tile, k, 0)) for k in range(3)]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])

    def chunk(at: Path) -> object:
        return read_settings(json.loads(png_text((at / "sheet.png").read_bytes())["dpm-demo"]))

    kind = kind_of(recipe, pictures, {})
    return [
        Door("checkpoint, weights", "model/model.safetensors", lambda at: load(at / "model")),
        Door("checkpoint, config", "model/config.json", lambda at: load(at / "model")),
        Door("training state", "trained/state.pt", lambda at: state(at / "trained", kind)),
        Door("data set", "data.npz", lambda at: Pictures.load(at / "data.npz")),
        Door("own pictures", "pictures/1.png", lambda at: read_folder(at / "pictures", 16)),
        *(
            Door("picture", name, lambda at, name=name: decode(at / name))  # type: ignore[misc]
            for name in ("photo.jpg", "photo.webp", "photo.tif", "film.gif")
        ),
        Door("settings in a picture", "sheet.png", chunk, bytes_only=True),
        Door("results", "results.json", lambda at: Results.read(at / "results.json")),
        Door("fitted solvers", "calibrated.json", lambda at: read_fits(at / "calibrated.json")),
        Door("solver table", "table.json", lambda at: read_table(at / "table.json")),
        Door("extractor, weights", "features/model.safetensors", features),
        Door("extractor, config", "features/features.json", features),
        Door("real features", "features/real.safetensors", real),
    ]


def load(folder: Path) -> object:
    model = load_checkpoint(folder, "cpu", "torch")
    cond = [model.condition()] if model.labels else None
    return model.denoise(torch.zeros(1, *model.shape), torch.zeros(1), cond)


def state(folder: Path, kind: dict[str, object]) -> object:
    return read_state(folder, kind, "cpu")


def features(at: Path) -> object:
    return load_features(at / "features").features(torch.zeros(1, 3, 32, 32))


def real(at: Path) -> object:
    return RealFeatures.load(at / "features" / "real.safetensors")


# ---------------------------------------------------------------- how files are spoilt


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def turned(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 4, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def head(path: Path, rng: random.Random) -> None:
    """Bits turned where formats keep their sizes."""
    data = bytearray(path.read_bytes())
    for _ in range(4):
        data[rng.randrange(min(len(data), 200))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def other(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice((b"", b"\0" * 4096, rng.randbytes(4096), b"<html>404</html>")))


def link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice((path.name, "/nowhere/at/all", "/dev/null", "/", "..")))


def bomb(path: Path, rng: random.Random) -> None:
    """A little file that says that it is large."""
    if path.suffix == ".npz":
        with np.load(path) as npz:
            arrays = {k: v for k, v in npz.items() if k != "data"}
        np.savez(path, **arrays)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            header = io.BytesIO()
            side = 40_000
            told = {"descr": "|u1", "fortran_order": False, "shape": (side, 3, side, 1)}
            np.lib.format.write_array_header_1_0(header, told)  # type: ignore[arg-type]
            archive.writestr("data.npy", header.getvalue() + bytes(10**6))
    elif path.suffix in (".png", ".jpg", ".webp", ".tif", ".gif"):
        Image.new("1", (20_000, 20_000)).save(path, "PNG")
    elif path.suffix == ".safetensors":
        told = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
        path.write_bytes(len(told).to_bytes(8, "little") + told.encode() + bytes(64))
    else:
        path.write_bytes(b"[" * rng.choice((10**5, 10**6)))


def retyped(path: Path, rng: random.Random) -> None:
    """Other types, other shapes, numbers that are not finite; well-formed all the same."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = file.metadata()
        name = rng.choice(sorted(weights))
        one = weights[name].float()
        weights[name] = rng.choice(
            (one.long(), one.flatten()[:-1], torch.full_like(one, torch.nan), one[None], one > 0)
        ).contiguous()
        save_file(weights, path, metadata=told)
    elif path.suffix == ".npz":
        with np.load(path) as npz:
            arrays = dict(npz)
        name = rng.choice(sorted(arrays))
        one = arrays[name]
        arrays[name] = rng.choice(
            (np.array("text"), np.zeros(3), one[None], np.full(one.shape, -1e30), one[:0].copy())
            if one.ndim
            else (np.zeros(3), np.array("[1]"), np.array("{"))
        )
        np.savez(path, **arrays)
    elif path.suffix == ".json":
        path.write_text(json.dumps(swapped(json.loads(path.read_text("utf-8")), rng)), "utf-8")
    elif path.suffix == ".pt":
        known = torch.load(path, weights_only=True)
        known[rng.choice(sorted(known))] = rng.choice((None, "text", [1], torch.zeros(1)))
        torch.save(known, path)
    elif path.name == "sheet.png":
        text = rng.choice(('{"nfe": [1]}', "[]", "null", '{"nfe": 1e999}', '{"x": 1}', "{"))
        path.write_bytes(png(np.zeros((4, 4, 3), np.uint8), {"dpm-demo": text}))
    else:
        Image.new(rng.choice(("F", "I;16", "LA", "CMYK", "1")), (5, 7)).save(path, "TIFF")


def swapped(value: object, rng: random.Random) -> object:
    """The value with one of its parts exchanged for something else."""
    wrong = rng.choice((None, "text", -1, 1e30, [], {}, [[1]], True))
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: swapped(value[key], rng) if rng.random() < 0.5 else wrong}
    if isinstance(value, list) and value:
        k = rng.randrange(len(value))
        return [*value[:k], swapped(value[k], rng), *value[k + 1 :]]
    return wrong


WAYS = (cut, turned, head, other, link, bomb, retyped)


# ---------------------------------------------------------------- what becomes of them


def outcome(read: Callable[[Path], object], folder: Path) -> tuple[str, str]:
    """("refused" | "read" | "failed" | "died", what was said), in a process of its own."""
    back, forth = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(back)
        code = 0
        try:
            _bounded()
            try:
                read(folder)
                told = ["read", ""]
            except ValueError as error:
                told = ["refused", str(error)]
            except BaseException as error:
                told = ["failed", f"{type(error).__name__}: {error}"]
            os.write(forth, json.dumps(told)[:60_000].encode())
        except BaseException:
            code = 1
        finally:
            os._exit(code)
    os.close(forth)
    with os.fdopen(back, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not said:
        return "died", f"status {status}"
    kind, text = json.loads(said)
    if kind == "refused" and (len(text.splitlines()) != 1 or any(word in text for word in PYTHON)):
        kind = "failed"
    return kind, text


def _bounded() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="what was said of each file")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process that is forked has no teams of threads
    rng = random.Random(options.seed)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as room:
        good = Path(room, "good")
        good.mkdir()
        doors = good_files(good)
        for door in doors:
            if (found := outcome(door.read, good))[0] != "read":
                raise SystemExit(f"{door.name}: the good file is {found}")
        for k in range(options.files):
            door = doors[k % len(doors)]
            ways = [way for way in WAYS if not (door.bytes_only and way is link)]
            way = ways[k // len(doors) % len(ways)]
            bad = Path(room, "bad")
            shutil.copytree(good, bad)
            way(bad / door.file, rng)
            kind, text = outcome(door.read, bad)
            counts[door.name][kind] += 1
            line = f"{door.name}, {way.__name__}: {kind}: {text[:300]}"
            if kind in ("failed", "died"):
                faults.append(line)
            if options.verbose:
                print(line, flush=True)
            shutil.rmtree(bad)
    kinds = ("refused", "read", "failed", "died")
    print(f"\n| file | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, count in counts.items():
        print(f"| {name} | {' | '.join(str(count[kind]) for kind in kinds)} |")
    total = sum(counts.values(), Counter[str]())
    print(f"| all | {' | '.join(str(total[kind]) for kind in kinds)} |")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
