"""A visitor of a running page, over plain HTTP, and the page as a process that is watched."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

#: What no answer may say: the program's own words.
PYTHON = re.compile(
    r"Traceback|NoneType|object has no attribute|unhashable|<class|File \\?\"|Errno|"
    r"\b(Key|Type|Value|Attribute|Index|Runtime|Assertion|OS|Unicode\w+)Error\b"
)


class App:
    """`python -m dpm_demo serve` as a process of its own, its log in a file."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.temp, self.log = folder / "temp", folder / "log.txt"
        self.temp.mkdir(parents=True, exist_ok=True)
        self._words = [sys.executable, "-m", "dpm_demo", "serve", "--device", "cpu", *arguments]
        self._env = {
            **os.environ,
            "GRADIO_TEMP_DIR": str(self.temp),
            "OMP_WAIT_POLICY": "PASSIVE",
            **environment,
        }
        self.address = ""
        self.start()

    def start(self) -> None:
        self._out = self.log.open("ab")
        began = self.log.stat().st_size
        self.process = subprocess.Popen(
            self._words, stdout=self._out, stderr=subprocess.STDOUT, env=self._env
        )
        limit = time.monotonic() + 300
        while True:
            said = self.log.read_bytes()[began:].decode(errors="replace")
            if found := re.search(r"serving on (http://\S+),", said):
                self.address = found.group(1).rstrip("/") + "/"
                return
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the page did not start: {said[-500:]}")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self._out.close()

    def tracebacks(self) -> int:
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")

    def figures(self) -> dict[str, float]:
        """Memory in MB, threads, open files, and bytes below the folder for temporary files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        memory = re.search(r"VmRSS:\s+(\d+) kB", status)
        threads = re.search(r"Threads:\s+(\d+)", status)
        assert memory and threads
        files = [p for p in self.temp.rglob("*") if p.is_file()]
        return {
            "memory MB": int(memory.group(1)) / 1024,
            "threads": int(threads.group(1)),
            "open files": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "temporary MB": sum(p.stat().st_size for p in files) / 1e6,
        }


@dataclass
class Answer:
    """What a visitor got: "done", "refused" with a sentence, "left", or "nothing"."""

    kind: str = "nothing"
    said: str = ""
    first: float | None = None  # seconds to the first answer that streams
    end: float = 0.0
    steps: list[Any] = field(default_factory=list)


async def call(
    client: httpx.AsyncClient,
    address: str,
    name: str,
    data: list[Any],
    leave_after: int | None = None,
    pause: float = 0.0,
    keep: bool = False,
) -> Answer:
    """One call of a named endpoint; leaves after so many answers, reads with pauses."""
    began, answer = time.perf_counter(), Answer()
    try:
        posted = await client.post(f"{address}gradio_api/call/{name}", json={"data": data})
        if posted.status_code != 200:
            answer.kind, answer.said = "refused", posted.text
            return answer
        url = f"{address}gradio_api/call/{name}/{posted.json()['event_id']}"
        kind, count = "", 0
        async with client.stream("GET", url) as stream:
            async for line in stream.aiter_lines():
                word, _, value = line.partition(": ")
                kind = value if word == "event" else kind
                if word != "data" or kind == "heartbeat":
                    continue
                if kind == "error":
                    answer.kind, answer.said = "refused", value
                    return answer
                answer.first = answer.first or time.perf_counter() - began
                count += 1
                if keep:
                    answer.steps.append(json.loads(value))
                if kind == "complete":
                    answer.kind = "done"
                    return answer
                if leave_after is not None and count >= leave_after:
                    answer.kind = "left"
                    return answer
                if pause:
                    await asyncio.sleep(pause)
    except httpx.HTTPError as error:
        answer.kind, answer.said = "nothing", type(error).__name__
    finally:
        answer.end = time.perf_counter() - began
    return answer


async def event(
    client: httpx.AsyncClient, address: str, number: int, data: list[Any], session: str
) -> Answer:
    """One event of the page by its number, as its own script asks for it."""
    began, answer = time.perf_counter(), Answer()
    body = {"data": data, "fn_index": number, "session_hash": session}
    try:
        posted = await client.post(f"{address}gradio_api/queue/join", json=body)
        if posted.status_code != 200:
            answer.kind, answer.said = "refused", posted.text
            return answer
        url = f"{address}gradio_api/queue/data"
        async with client.stream("GET", url, params={"session_hash": session}) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data: "):
                    continue
                said = json.loads(line[6:])
                if said.get("msg") == "process_completed":
                    good = said.get("success", False)
                    answer.kind = "done" if good else "refused"
                    answer.said = "" if good else json.dumps(said.get("output"))
                    return answer
    except httpx.HTTPError as error:
        answer.kind, answer.said = "nothing", type(error).__name__
    finally:
        answer.end = time.perf_counter() - began
    return answer


def has_sentence(said: str) -> bool:
    """Whether a refusal says anything: several words, and none of the program's own."""
    return len(re.findall(r"[A-Za-z]{2,}", said)) >= 4
