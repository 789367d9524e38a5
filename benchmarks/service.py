"""Visitors over HTTP against bare network calls: first frame and end of many at once.

    python -m benchmarks.service [--visitors 1 8 32 100] [--runtime auto] [--busy] [--door page]

A page is started as a process of its own, and this one plays its visitors: each clicks "Generate"
(`--door page`) or calls the API, for one picture without guidance, all at the same moment, and
reads its event stream to the end. One more visitor comes when the crowd's first frame is there: the
newcomer. A bare call is the same network by the same runtime in this process while the page
rests, 16 rows at a time. What plays the visitors uses the same cores as the page, which counts
against it. `--busy` measures again while another process keeps one core busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

import dpm_demo as dpm
from benchmarks.figure import call, seconds
from dpm_demo.models.model import Model

NFE = 12
ROWS = 16  # of one bare call
START_SECONDS = 180


@dataclass(frozen=True)
class Visit:
    """Seconds from the click to the first frame and to the end; `refused`: why there is none."""

    first: float
    end: float
    refused: str = ""


@dataclass(frozen=True)
class Round:
    """One number of visitors at once; times in seconds, medians over the repeats."""

    visitors: int
    busy: bool
    bare: float
    first: tuple[float, float]  # 50 % and 95 % of the visitors
    end: tuple[float, float]
    newcomer: float
    refused: int

    @property
    def multiple(self) -> float:
        """The last half of the visitors' time as a multiple of the bare calls'."""
        return self.end[1] / self.bare


class Page:
    """A running page in a process of its own, and the two ways to ask it for a picture."""

    def __init__(self, runtime: str, model: str, door: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        words = ["app.py", "--port", str(self.port), "--quiet", "--device", "cpu"]
        # all visitors come from one address here
        words += ["--runtime", runtime, "--max-requests", "256", "--max-address", "256"]
        self.process = subprocess.Popen([sys.executable, *words])
        self.model, self.door = model, door
        began = time.perf_counter()
        while not self._answers():
            if self.process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError("the page did not start")
            time.sleep(0.05)
        self.ready = time.perf_counter() - began
        self.config = json.loads(self._get("/config"))

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        try:
            return b"ok" in self._get("/healthz")
        except OSError:
            return False

    def rests(self) -> None:
        """Waits until no request is under way."""
        while json.loads(self._get("/healthz"))["requests"]:
            time.sleep(0.05)

    def memory(self) -> float:
        """GB of the process's memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            rss = next(line for line in file if line.startswith("VmRSS"))
        return int(rss.split()[1]) * 1024 / 1e9

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def _event(self, seed: int) -> dict[str, Any]:
        """The function's number and its arguments."""
        parts = {one["id"]: one["props"] for one in self.config["components"]}
        for event in self.config["dependencies"]:
            shown = {parts[k].get("elem_id") for k in event["outputs"]}
            if self.door == "api" and event["api_name"] == "generate":
                values = (self.model, "any", 1, seed, 1, {"nfe": NFE}, "", "", 0, 0, 0)
                return {"fn_index": event["id"], "data": list(values)}
            if self.door == "page" and "generate-player" in shown and event["inputs"]:
                own = {"Model": self.model, "Guidance": 1, "Seed": seed, "Pictures": 1}
                own |= {"Model evaluations (NFE)": NFE}
                asked = [parts[k] for k in event["inputs"]]
                if "Seed" in {p.get("label") for p in asked}:
                    data = [own.get(p.get("label"), p.get("value")) for p in asked]
                    return {"fn_index": event["id"], "data": data}
        raise LookupError("the page has no such event")

    async def visit(self, seed: int, seen: asyncio.Event | None = None) -> Visit:
        """One visitor's picture; `seen` is set at the first frame."""
        body = {**self._event(seed), "session_hash": uuid.uuid4().hex[:10], "event_data": None}
        began = time.perf_counter()
        said = await self._post("/gradio_api/queue/join", body)
        if b"event_id" not in said:
            return Visit(0, 0, said.decode(errors="replace")[-200:])
        path = f"/gradio_api/queue/data?session_hash={body['session_hash']}"
        reader, writer = await self._ask("GET", path)
        first, last = 0.0, b""
        while line := await reader.readline():
            if not first and b"data:image/png" in line:
                first = time.perf_counter() - began
                if seen is not None:
                    seen.set()
            if b'"process_completed"' in line:
                last = line
                break
        writer.close()
        ended = time.perf_counter() - began
        refused = "" if first and b'"success":true' in last.replace(b" ", b"") else repr(last[:300])
        return Visit(first, ended, refused)

    async def _ask(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # HTTP 1.0: the answer comes as it is, without chunks
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**26)
        head = f"{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        reader, writer = await self._ask("POST", path, json.dumps(body).encode())
        answer = await reader.read()
        writer.close()
        return answer


async def _crowd(page: Page, visitors: int, seed: int) -> tuple[list[Visit], Visit]:
    """All visitors at once, and the newcomer among them."""
    seen = asyncio.Event()
    crowd = [asyncio.create_task(page.visit(seed + k, seen)) for k in range(visitors)]
    await asyncio.wait([asyncio.create_task(seen.wait()), *crowd], return_when="FIRST_COMPLETED")
    newcomer = await page.visit(seed + visitors)
    return list(await asyncio.gather(*crowd)), newcomer


def bare(model: Model, visitors: int) -> float:
    """Seconds of the same evaluations as network calls and nothing else."""
    batches = [ROWS] * (visitors // ROWS) + ([visitors % ROWS] if visitors % ROWS else [])
    spent = {}
    for rows in set(batches):
        work = call(model, rows)
        spent[rows] = median([seconds(work) for _ in range(6)][1:])
    return NFE * sum(spent[rows] for rows in batches)


@contextmanager
def busy_core(wanted: bool = True) -> Iterator[None]:
    """Another process that computes without a pause, as one's own browser may."""
    if not wanted:
        yield
        return
    other = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    other.start()
    try:
        yield
    finally:
        other.kill()
        other.join()


def _spin() -> None:
    while True:
        pass


def measure(page: Page, model: Model, visitors: int, busy: bool = False, repeats: int = 3) -> Round:
    """The page, then bare calls, in turns; bare calls always without the busy core."""
    asyncio.run(page.visit(0))  # everything is loaded
    ends, firsts, newcomers, bares, refused = [], [], [], [], 0
    for repeat in range(repeats):
        with busy_core(busy):
            visits, newcomer = asyncio.run(_crowd(page, visitors, 1000 * repeat))
        page.rests()
        bares.append(bare(model, visitors))
        served = [visit for visit in visits if not visit.refused]
        refused += len(visits) - len(served) + bool(newcomer.refused)
        firsts.append(_spread([visit.first for visit in served]))
        ends.append(_spread([visit.end for visit in served]))
        newcomers.append(float("inf") if newcomer.refused else newcomer.first)
    return Round(
        visitors,
        busy,
        median(bares),
        (median(a for a, _ in firsts), median(b for _, b in firsts)),
        (median(a for a, _ in ends), median(b for _, b in ends)),
        median(newcomers),
        refused,
    )


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """The 50 % and 95 % points."""
    middle, most = np.percentile(values, (50, 95)) if values else (np.nan, np.nan)
    return float(middle), float(most)


def table(rounds: Sequence[Round]) -> str:
    """The rounds in Markdown."""
    lines = [
        f"| visitors x {NFE} evaluations | one core busy | bare s | first frame s (50, 95 %) "
        "| end s (50, 95 %) | end / bare | newcomer's first frame s | refused |",
        "|" + "---|" * 8,
    ]
    for one in rounds:
        lines.append(
            f"| {one.visitors} | {'yes' if one.busy else 'no'} | {one.bare:.2f} "
            f"| {one.first[0]:.2f}, {one.first[1]:.2f} | {one.end[0]:.2f}, {one.end[1]:.2f} "
            f"| **{one.multiple:.2f}** | {one.newcomer:.2f} | {one.refused} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="emoji-image")
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 8, 32, 100])
    parser.add_argument("--runtime", default="auto", help="auto, torch or onnx")
    parser.add_argument("--door", choices=("page", "api"), default="page")
    parser.add_argument("--busy", action="store_true", help="again with one core busy")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = dpm.load(options.model, "cpu", runtime=options.runtime)
    print(f"{model.name}, computed by {model.runtime}, {os.cpu_count()} cores, ", end="")
    print(f"door {options.door}, medians of {options.repeats}\n")
    page = Page(options.runtime, options.model, options.door)
    try:
        rounds = [
            measure(page, model, visitors, busy, options.repeats)
            for busy in ((False, True) if options.busy else (False,))
            for visitors in options.visitors
        ]
    finally:
        page.close()
    print(table(rounds))


if __name__ == "__main__":
    main()
