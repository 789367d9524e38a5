"""What a service of this page stands: hostile input, visitors, stops, hours, deaths.

    python -m benchmarks.reliability hostile --calls 10000
    python -m benchmarks.reliability visitors
    python -m benchmarks.reliability storm --calls 1000
    python -m benchmarks.reliability soak --minutes 30
    python -m benchmarks.reliability death

Each starts pages of its own, prints its figures and writes them into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.figure import seconds
from benchmarks.reliability_http import PYTHON, Answer, App, call, event, has_sentence

PAGE = Path("docs/reliability.md")
HEAD = "# Reliability\n\nEvery part is written by the command that it names.\n"
NASTY: list[Any] = [
    None, True, False, -1, 0, 1.5, 2**31, 2**32 + 5, 1e308, float("1e400"), "", " ", "NaN", "-inf",
    "' OR 1=1 --", "<script>alert(1)</script>", "../../etc/passwd", "hub:../x", "hub:a/b",
    "a\nINFO forged", "\x00", "λ" * 500, "x" * 5000, [], [[]], {}, {"nfe": "x"}, {"nfe": []},
    {"seed": 1}, {"__class__": 1}, {"order": {"a": [1]}}, ["order=1"] * 7, ["euler", 5], [5, "5"],
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
]  # fmt: skip
GOOD: dict[str, list[Any]] = {
    "generate": ["mixture", "any", 1, 0, 1, {"nfe": 3}, "", "", 0, 0, 0],
    "video": ["mixture-video", "any", 1, 0, 1, {"nfe": 2}, "", "", 0, 0, 0, 0, True],
    "compare": ["mixture", "any", 1, 0, 1, ["order=1"], [3], False, "", "", 0, 0, 0],
    "adaptive": ["mixture", "any", 1, 0, 1, {"tolerance": 0.5}],
}
MIXED: dict[str, list[Any]] = {
    "generate": ["emoji-image", "animals", 3.5, 0, 2, {"nfe": 10}, "", "", 0, 0, 0],
    "video": ["mixture-video", "any", 1, 0, 1, {"nfe": 6}, "", "", 0, 0, 0, 0, True],
    "compare": ["mixture", "any", 1, 0, 1, ["order=1", "order=3"], [5, 9], False, "", "", 0, 0, 0],
    "adaptive": ["mixture", "any", 1, 0, 2, {"tolerance": 0.1}],
}  # fmt: skip


def write(part: str, command: str, lines: list[str]) -> None:
    """Prints the lines, and puts them between the part's own marks of the page."""
    print("\n".join(lines))
    text = PAGE.read_text("utf-8") if PAGE.exists() else HEAD
    marks = (f"<!-- service: {part} -->\n", f"<!-- /service: {part} -->\n")
    body = f"## {part.capitalize()}\n\n`{command}` ({date.today()})\n\n" + "\n".join(lines) + "\n"
    start, end = text.find(marks[0]), text.find(marks[1])
    if start < 0 or end < 0:
        text = f"{text.rstrip()}\n\n{marks[0]}{body}{marks[1]}"
    else:
        text = text[:start] + marks[0] + body + text[end:]
    PAGE.write_text(text, "utf-8")


def client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(timeout=httpx.Timeout(300), limits=limits)


async def at_once(works: list[Callable[[], Any]], most: int) -> list[Any]:
    """All of them, `most` at a time."""
    gate = asyncio.Semaphore(most)

    async def one(work: Callable[[], Any]) -> Any:
        async with gate:
            return await work()

    return await asyncio.gather(*map(one, works))


# ---------------------------------------------------------------- hostile input


def spoilt_pictures(draw: random.Random) -> list[bytes]:
    out = io.BytesIO()
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(out, "PNG")
    whole = out.getvalue()
    bad = [b"", b"no picture", whole[: len(whole) // 2], b"GIF89a" + bytes(50)]
    for _ in range(16):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        bad.append(bytes(flipped))
    return bad


async def hostile(app: App, calls: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    kinds: Counter[str] = Counter()
    bad: dict[str, str] = {}

    def judge(where: str, answer: Answer) -> None:
        kinds[answer.kind] += 1
        if answer.kind == "refused" and not has_sentence(answer.said):
            bad[f"no sentence: {where}"] = answer.said[:200]
        if answer.kind == "nothing":
            bad[f"nothing: {where}"] = answer.said[:200]
        if PYTHON.search(answer.said):
            bad[f"program's words: {where}"] = answer.said[:300]

    async with client() as http:
        config = (await http.get(app.address + "config")).json()
        events = [d for d in config["dependencies"] if d.get("backend_fn")]

        def endpoint() -> Any:
            name = draw.choice(list(GOOD))
            data = list(GOOD[name])
            for _ in range(draw.choice([1, 1, 2, 5])):
                data[draw.randrange(len(data))] = draw.choice(NASTY)
            data = data[: draw.choice([len(data)] * 9 + [draw.randrange(len(data))])]
            data = json.loads(json.dumps(data).replace("Infinity", '"Infinity"'))

            async def work() -> None:
                judge(name, await call(http, app.address, name, data))

            return work

        def of_the_page() -> Any:
            one = draw.choice(events)
            data = [draw.choice(NASTY) for _ in one["inputs"]]
            data = json.loads(json.dumps(data).replace("Infinity", '"Infinity"'))

            async def work() -> None:
                where = f"event {one['id']} {one.get('api_name')}"
                judge(where, await event(http, app.address, one["id"], data, uuid.uuid4().hex))

            return work

        def link() -> Any:
            names = ("tab", "model", "nfe", "row", "budgets", "seed", "controller", "", "__theme")
            pairs = [(draw.choice(names), str(draw.choice(NASTY))[:200]) for _ in range(4)]

            async def work() -> None:
                got = await http.get(app.address, params=pairs)
                said = "" if got.status_code == 200 else got.text
                judge("link", Answer("done" if not said else "refused", said))

            return work

        pictures = spoilt_pictures(draw)

        def upload() -> Any:
            content = draw.choice(pictures)

            async def work() -> None:
                files = {"files": (draw.choice(["a.png", "../../a.png", "a\nb.gif"]), content)}
                got = await http.post(app.address + "gradio_api/upload", files=files)
                judge("upload", Answer("done" if got.is_success else "refused", got.text))

            return work

        before: dict[str, float] = {}
        began = time.perf_counter()
        makers = [endpoint] * 12 + [of_the_page] * 5 + [link] * 2 + [upload]
        warm = min(calls // 10, 300)
        await at_once([draw.choice(makers)() for _ in range(warm)], 8)
        before = app.figures()
        await at_once([draw.choice(makers)() for _ in range(calls // 2 - warm)], 8)
        half = app.figures()
        await at_once([draw.choice(makers)() for _ in range(calls - calls // 2)], 8)
        seconds = time.perf_counter() - began
        after = app.figures()
    for where, said in sorted(bad.items()):
        print("BAD", where, said)
    grown = (after["memory MB"] - half["memory MB"]) * 1e6 / (calls - calls // 2)
    return [
        f"- {calls:,} calls in {seconds:.0f} s over every named endpoint, every event of the page, "
        "links and uploads: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common()),
        f"- answers without a sentence, without an end or with the program's own words: {len(bad)}",
        f"- tracebacks in the log: {app.tracebacks()}",
        f"- memory after the first {warm} calls {before['memory MB']:.0f} MB, after half of them "
        f"{half['memory MB']:.0f} MB, at the end {after['memory MB']:.0f} MB ({grown:.0f} bytes a "
        "call in the second half)",
    ]


# ---------------------------------------------------------------- visitors


def bare_seconds() -> float:
    """Seconds of the network's calls alone of `generate` in MIXED, in this process."""
    import torch

    import dpm_demo as dpm

    model = dpm.load("emoji-image", "cpu")
    cond = (model.condition("animals", 3.5),) * 2
    x, lam = torch.randn(2, *model.shape), torch.zeros(2)
    return statistics.median(
        seconds(lambda: [model.denoise(x, lam, cond=cond) for _ in range(10)]) for _ in range(5)
    )


async def visitors(app: App, numbers: list[int], bare: float) -> list[str]:
    lines = [
        f"The network calls of `generate` alone take {bare:.2f} s here; times are multiples of it.",
        "",
        "| at once | done | one sentence | nothing | first p50 | first p95 | end p50 | end p95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    async with client() as http:
        for name, data in MIXED.items():  # models are loaded before anybody is timed
            await call(http, app.address, name, data)
        for number in numbers:
            names = [list(MIXED)[k % len(MIXED)] for k in range(number)]

            async def one(name: str, k: int) -> Answer:
                data = list(MIXED[name])
                data[3] = k
                return await call(http, app.address, name, data)

            answers = await asyncio.gather(*(one(name, k) for k, name in enumerate(names)))
            kinds = Counter(answer.kind for answer in answers)
            for answer in answers:
                if answer.kind == "refused":
                    assert has_sentence(answer.said), answer.said
            done = [answer for answer in answers if answer.kind == "done"]
            shown = []
            for values in ([a.first or a.end for a in done], [a.end for a in done]):
                points = np.percentile(values, (50, 95)) if values else (0, 0)
                shown += [f"{at / bare:.1f}" for at in points]
            counts = (kinds["done"], kinds["refused"], kinds["nothing"])
            lines.append(f"| {number} | " + " | ".join([*map(str, counts), *shown]) + " |")
    return [*lines, "", f"Tracebacks in the log: {app.tracebacks()}."]


# ---------------------------------------------------------------- storm


async def idle(http: httpx.AsyncClient, app: App) -> float:
    """Seconds until the engine says that nothing is running."""
    began = time.perf_counter()
    while (await http.get(app.address + "healthz")).json()["requests"]:
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def storm(app: App, calls: int, seed: int) -> list[str]:
    draw, kinds = random.Random(seed), Counter[str]()
    steady = ["emoji-image", "animals", 3.5, 7, 1, {"nfe": 8}, "", "", 0, 0, 0]
    sheets: set[str] = set()
    async with client() as http:
        over = False

        async def beside() -> int:
            rounds = 0
            while not over:
                answer = await call(http, app.address, "generate", steady, keep=True)
                if answer.kind == "done":
                    sheets.add(answer.steps[-1][0]["sheet"])
                    rounds += 1
                await asyncio.sleep(0.2)
            return rounds

        def stopped() -> Any:
            name = draw.choice(list(MIXED))
            data = list(MIXED[name])
            if name == "generate":
                data[5] = {"nfe": 200}
            leave, pause = draw.choice([(1, 0.0), (2, 0.0), (3, 0.1), (None, 0.05)])

            async def work() -> None:
                answer = await call(http, app.address, name, data, leave, pause)
                kinds[answer.kind] += 1

            return work

        watching = asyncio.ensure_future(beside())
        await at_once([stopped() for _ in range(calls)], 16)
        over = True
        rounds = await watching
        free = await idle(http, app)
    return [
        f"- {calls:,} runs, some left after one to three answers, some read slowly: "
        + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()),
        f"- nothing was running {free * 1e3:.0f} ms after the last of them",
        f"- a visitor beside them asked {rounds} times for the same picture and got "
        + ("the same one every time" if len(sheets) == 1 else f"{len(sheets)} different ones"),
        f"- tracebacks in the log: {app.tracebacks()}",
    ]


# ---------------------------------------------------------------- soak


async def soak(app: App, minutes: float, seed: int) -> list[str]:
    draw, kinds, seen = random.Random(seed), Counter[str](), []
    async with client() as http:
        began = time.monotonic()
        until = began + 60 * minutes

        async def visitor() -> None:
            while time.monotonic() < until:
                name = draw.choice(list(MIXED))
                data = list(MIXED[name])
                data[3] = draw.randrange(1000)
                kinds[(await call(http, app.address, name, data)).kind] += 1

        async def watch() -> None:
            while time.monotonic() < until:
                await asyncio.sleep(5)
                seen.append((time.monotonic() - began, app.figures()))

        await asyncio.gather(watch(), *(visitor() for _ in range(4)))
    late = [one for one in seen if one[0] > 20 * minutes]  # the first third fills caches
    lines = [
        f"{minutes:g} minutes of mixed work of four visitors: "
        + ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
        + f"; tracebacks in the log: {app.tracebacks()}.",
        "",
        "| | after a third | at the end | slope an hour, over the last two thirds |",
        "|---|---|---|---|",
    ]
    times = np.array([t for t, _ in late]) / 3600
    for name in late[0][1]:
        values = np.array([figures[name] for _, figures in late])
        slope = np.polyfit(times, values, 1)[0]
        lines.append(f"| {name} | {values[0]:.1f} | {values[-1]:.1f} | {slope:+.1f} |")
    return [
        *lines,
        "",
        "Files stay for an hour before they are swept, so theirs is a slope until then.",
    ]


# ---------------------------------------------------------------- death


async def killed_process(folder: Path, rounds: int = 2) -> str:
    app = App(folder)
    said: Counter[str] = Counter()
    long = ["emoji-image", "any", 1, 0, 1, {"nfe": 1000}, "", "", 0, 0, 0]
    async with client() as http:
        for _ in range(rounds):
            running = [
                asyncio.ensure_future(call(http, app.address, "generate", long)) for _ in range(3)
            ]
            await asyncio.sleep(1)
            app.stop(signal.SIGKILL)
            said.update([(await one).kind for one in running])
            app.start()
            said.update([(await call(http, app.address, "generate", GOOD["generate"])).kind])
    app.stop()
    left = [p for p in app.temp.rglob("*") if p.is_file()]
    return (
        f"- the process is killed {rounds} times under three visitors and started again: "
        + ", ".join(f"{n} {kind}" for kind, n in said.most_common())
        + f" (nothing: the connection ended); {len(left)} files are left below its folder"
    )


async def full_disk(folder: Path) -> str:
    small = folder / "temp"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(small)], check=True)
    try:
        app = App(folder)
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    file.flush()
            except OSError:
                pass
        async with client() as http:
            first = await call(http, app.address, "video", GOOD["video"])
            plain = await call(http, app.address, "generate", GOOD["generate"])
            halves = [p.name for p in small.rglob("*.webp")]
            filler.unlink()
            again = await call(http, app.address, "video", GOOD["video"])
        app.stop()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    words = "one sentence" if has_sentence(first.said) and not PYTHON.search(first.said) else "BAD"
    return (
        f"- the disk is full: a clip's files are {first.kind} ({words}), a picture that needs none "
        f"is {plain.kind}, {len(halves)} half files lie there; with room again the clip is "
        f"{again.kind}"
    )


async def dead_worker_and_missing_folder(folder: Path) -> list[str]:
    """In this process: the engine's thread is ended from outside; the checkpoints are removed."""
    import ctypes

    from dpm_demo.engine.worker import Engine
    from dpm_demo.models.checkpoint import CHECKPOINTS
    from dpm_demo.models.library import ModelLibrary
    from dpm_demo.ui.page import serve
    from dpm_demo.ui.serving import Serving

    root = folder / "checkpoints"
    for name in ("emoji-image", "emoji-video"):
        shutil.copytree(CHECKPOINTS / name, root / name)
    shutil.copytree(CHECKPOINTS / "emoji-image", root / "second-image")  # which nobody asks for yet
    engine = Engine()
    serving = Serving(engine, ModelLibrary("cpu", root=root))
    demo, address = await asyncio.to_thread(serve, serving, None, quiet=True)
    address = address.rstrip("/") + "/"
    long = ["emoji-image", "any", 1, 0, 1, {"nfe": 1000}, "", "", 0, 0, 0]
    async with client() as http:
        running = [asyncio.ensure_future(call(http, address, "generate", long)) for _ in range(3)]
        while engine.stats().requests < 3:
            await asyncio.sleep(0.05)
        worker = engine._worker
        assert worker is not None and worker.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(worker.ident), ctypes.py_object(SystemExit)
        )
        answers = [await one for one in running]
        after = await call(http, address, "generate", GOOD["generate"])
        kinds = Counter(a.kind for a in answers)
        good = all(has_sentence(a.said) and not PYTHON.search(a.said) for a in answers)
        lines = [
            "- the worker thread dies under three visitors: "
            + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
            + f" ({'one sentence each' if good else 'BAD: ' + answers[0].said[:120]}); the next "
            f"run is {after.kind}"
        ]
        shutil.rmtree(root)
        loaded = await call(http, address, "generate", [*long[:5], {"nfe": 3}, "", "", 0, 0, 0])
        gone = ["second-image", *GOOD["generate"][1:]]
        missing = await call(http, address, "generate", gone)
        clean = has_sentence(missing.said) and not PYTHON.search(missing.said)
        words = "one sentence" if clean else f"BAD: {missing.said[:160]}"
        lines.append(
            f"- the models' folder is removed: the model that is loaded is {loaded.kind}, the "
            f"other one {missing.kind} ({words})"
        )
    await asyncio.to_thread(demo.close)
    serving.close()
    return lines


async def death(folder: Path) -> list[str]:
    lines = await dead_worker_and_missing_folder(folder / "in")
    lines.append(await killed_process(folder / "killed"))
    lines.append(await full_disk(folder / "full"))
    return lines


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=("hostile", "visitors", "storm", "soak", "death"))
    parser.add_argument("--calls", type=int, default=0, help="of hostile (10000), storm (1000)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of soak")
    parser.add_argument("--visitors", default="1,8,32,100")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    command = f"python -m benchmarks.reliability {asked.part}"
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name)
        if asked.part == "death":
            write("death", command, asyncio.run(death(folder)))
            return
        bare = bare_seconds() if asked.part == "visitors" else 0.0
        app = App(folder, "--max-address", "64")
        try:
            if asked.part == "hostile":
                calls = asked.calls or 10_000
                lines = asyncio.run(hostile(app, calls, asked.seed))
                command += f" --calls {calls}"
            elif asked.part == "storm":
                calls = asked.calls or 1000
                lines = asyncio.run(storm(app, calls, asked.seed))
                command += f" --calls {calls}"
            elif asked.part == "soak":
                lines = asyncio.run(soak(app, asked.minutes, asked.seed))
                command += f" --minutes {asked.minutes:g}"
            else:
                numbers = [int(n) for n in asked.visitors.split(",")]
                lines = asyncio.run(visitors(app, numbers, bare))
        finally:
            app.stop()
    write(asked.part, command, lines)


if __name__ == "__main__":
    main()
