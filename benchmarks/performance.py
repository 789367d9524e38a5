"""Every figure of docs/performance.md, by one command, on one machine in one run.

    python -m benchmarks.performance [--write] [--repeats 5] [--only calls http start]

Most are ratios of two measurements in turns, medians; the aim stands beside each, and what misses
it says so. Run it on an idle machine; the load at the start is written down. `--write` puts the
table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

import dpm_demo as dpm
from benchmarks import network_calls, service, startup
from benchmarks.document import write
from benchmarks.figure import Figure, table
from dpm_demo.models.runtime import processor

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
PARTS = ("calls", "http", "start")
AIMS = {1: None, 8: 1.6, 32: 1.6, 100: 1.5}
IDLE = 0.5  # of a core, in use by others at the start


def http(visitors: list[int], repeats: int) -> Iterator[Figure]:
    """Visitors over HTTP, idle and with one core busy."""
    model = dpm.load("emoji-image", "cpu")
    page = service.Page("auto", "emoji-image", "page")
    try:
        for n in visitors:
            idle = service.measure(page, model, n, False, repeats)
            busy = service.measure(page, model, n, True, repeats)
            what = f"{n} visitors x {service.NFE} evaluations over HTTP, 95 % have their picture"
            refused = f", {idle.refused} refused" if idle.refused else ""
            yield Figure(
                what,
                f"bare calls: {idle.bare:.2f} s",
                f"{idle.end[1]:.2f} s{refused}",
                idle.multiple,
                AIMS.get(n),
            )
            yield Figure(
                f"{n} visitors, one core busy",
                f"idle: {idle.end[1]:.2f} s",
                f"{busy.end[1]:.2f} s",
                busy.end[1] / idle.end[1],
                2.0,
            )
            yield Figure(
                f"first frame of a newcomer among {n}, s",
                f"all at once, 50 and 95 %: {idle.first[0]:.2f}, {idle.first[1]:.2f} s",
                f"{idle.newcomer:.2f} s",
                idle.newcomer,
                1.0 if n <= 32 else None,
            )
    finally:
        page.close()


def about() -> str:
    """The machine, the versions, and whether anything else was running."""
    load = os.getloadavg()[0]
    state = "nothing else running" if load < IDLE else f"**a busy machine, load {load:.1f}**"
    programs = ", ".join(f"{p} {version(p)}" for p in ("onnxruntime", "gradio", "diffusers"))
    return (
        f"{os.cpu_count()} cores, {processor().rpartition(':')[2].strip()}; "
        f"torch {torch.__version__}, {programs}; at the start {state}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 8, 32, 100])
    options = parser.parse_args()
    repeats = options.repeats
    said = about()
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "calls": lambda: network_calls.measure(repeats),
        "http": lambda: http(options.visitors, min(repeats, 3)),
        "start": lambda: startup.measure(min(repeats, 3)),
    }

    def measured() -> Iterator[Figure]:
        for name in options.only:
            try:
                yield from parts[name]()
            except Exception as error:  # the others' figures are worth having
                reason = f"not measured: {type(error).__name__}: {error}"
                yield Figure(name, "", reason[:200].replace("\n", " "), None)

    said += f" Medians of {repeats}."
    print(said + "\n")
    text = table(measured())
    if options.write:
        write(DOCUMENT, {"performance": f"\n{said}\n\n{text}\n"})


if __name__ == "__main__":
    main()
