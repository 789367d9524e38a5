"""What a command says, shows and writes, and how much of it is wanted."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from dpm_demo.media.files import write_bytes, write_text

if TYPE_CHECKING:
    from dpm_demo.engine.events import Done, Event
    from dpm_demo.engine.job import Job
    from dpm_demo.training.data import Pictures

SILENCE = 10.0  # seconds between two lines of progress where there is no terminal
LONG = 10.0  # seconds from which on a run is told about beforehand


@dataclass
class Wanted:
    """What the options that every command has ask for."""

    quiet: bool = False
    json: bool = False
    debug: bool = False


wanted = Wanted()


def say(text: str) -> None:
    """A line for people, on standard output."""
    if not (wanted.quiet or wanted.json):
        print(text)


def note(text: str) -> None:
    """A line for people that is no result, on standard error; a bar there goes on below it."""
    if wanted.quiet:
        return
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)


def pictures(source: Path, size: int = 32) -> Pictures:
    """A data set, or a folder of pictures after a line on what was found and what left out."""
    from dpm_demo.training.folder import open_data

    found = open_data(source, size)
    for line in found.report:
        note(line)
    return found


def to_json(value: Any) -> str:
    """`value` as one line of JSON, in which numbers that are not finite are text ("inf", "nan")."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, Path) else value


def bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """Progress on standard error: a bar in a terminal, elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        return tqdm(items, disable=wanted.quiet, **options)
    return _Lines(
        items, disable=wanted.quiet, mininterval=SILENCE, delay=SILENCE, ascii=True, **options
    )


class _Lines(tqdm):  # type: ignore[type-arg]
    """tqdm for a log: whole lines, and none of work that is over before the first is due."""

    @staticmethod
    def status_printer(file: TextIO) -> Any:
        def line(text: str) -> None:
            if text.strip():
                file.write(text + "\n")
                file.flush()

        return line


def run(job: Job, total: int, text: str | None = None) -> Done:
    """Runs a job to its end under a progress bar. Raises JobFailed, with the engine's sentence.

    Of a long one a line says how long it will take, once two calls of the network were timed: the
    first also pays for its set-up.
    """
    from dpm_demo.engine.events import Preview
    from dpm_demo.engine.forecast import Pace, duration
    from dpm_demo.engine.inline import run_to_end

    pace = Pace()
    with bar(total=total, desc=text, unit="evaluation") as shown:

        def show(event: Event) -> None:
            shown.update(event.nfe - shown.n)
            if isinstance(event, Preview) and event.seq <= 2:
                pace.note(job, event)
                seconds = pace.seconds(job) or 0.0
                if event.seq == 2 and seconds >= LONG:
                    note(f"about {duration(seconds)} on this machine: {total:,} evaluations")

        return run_to_end(job, show)


def write(path: Path, data: bytes | str) -> Path:
    """The whole file or none of it; text is UTF-8."""
    return write_text(path, data) if isinstance(data, str) else write_bytes(path, data)
