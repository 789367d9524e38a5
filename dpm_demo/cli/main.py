"""From the words of a command line to the command, and one line for whatever goes wrong.

A command is a file of this folder with a function of the file's name. Its parameters are its
options (typer), its docstring is its help, and what it returns is what `--json` prints. To add one
write the file and name it in `COMMANDS`; whatever is heavy is imported inside the function, so that
help, and the refusal of a setting, are there at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from dpm_demo.cli import output
from dpm_demo.cli.options import with_options
from dpm_demo.engine.errors import JobFailed

# Threads that wait for each other sleep. torch's would spin instead, each for a core that another
# program uses, and a call becomes six times as long; OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = (
    "serve",
    "sample",
    "compare",
    "evaluate",
    "samplers",
    "nodes",
    "advise",
    "calibrate",
    "train",
    "prepare",
    "features",
    "convert",
    "export",
    "bench",
)

# Large tensors mapped and unmapped at each operation halve the training speed on a CPU. glibc
# reads these once, at the start of a process, so a process without them starts itself again.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}

_COMMON = {
    name: (Annotated[bool, typer.Option(f"--{name}", help=text)], False)
    for name, text in (
        ("json", "The result as JSON, for machines."),
        ("quiet", "Neither text nor progress."),
        ("debug", "An error with its traceback."),
    )
}


def _command(name: str) -> Callable[..., Any]:
    """The command of that name with the options that all have."""
    function = getattr(import_module(f"dpm_demo.cli.{name}"), name)

    def call(own: dict[str, Any], more: dict[str, Any]) -> None:
        vars(output.wanted).update(more)
        found = function(**own)
        if output.wanted.json and found is not None:
            print(output.to_json(found))

    return with_options(function, _COMMON, call)


def application() -> typer.Typer:
    """All commands."""
    made = typer.Typer(
        help="DPM-Solver, watched: sampling, comparing and measuring diffusion solvers.",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name in COMMANDS:
        rest = {"ignore_unknown_options": True, "allow_interspersed_args": False}
        made.command(name, context_settings=rest if name == "bench" else None)(_command(name))
    return made


def main(arguments: Sequence[str] | None = None, program: str = "python -m dpm_demo") -> int:
    """Runs a command and returns the exit code; one line on standard error if it is not 0.

    2: the words are no command; 1: it failed; 130: stopped from the keyboard, or told to end
    (SIGTERM), which saves on the way out as the keyboard does.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    vars(output.wanted).update(vars(output.Wanted()))
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    name = words[0] if words and words[0] in COMMANDS else program
    started = time.monotonic()
    command = typer.main.get_command(application())
    try:
        if name != "serve" and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        with command.make_context(program, words) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print(f"{name}: stopped after {time.monotonic() - started:.0f} s", file=sys.stderr)
        return 130
    except Exception as error:
        if output.wanted.debug:
            traceback.print_exc()
        if (said := getattr(error, "format_message", None)) is not None:  # typer's own
            text = said() if not words else f"{name}: {_line(said())}"  # no words at all: the help
            print(text, file=sys.stderr)
            return 2
        print(f"{name}: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


def sentence(error: BaseException) -> str:
    """What went wrong on one line: the text of a refusal, and of anything else its kind too."""
    text = _line(str(error))
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    elif not isinstance(error, (ValueError, JobFailed)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    return text


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]


def entry() -> int:
    """`dpm-demo`, and `python -m dpm_demo`."""
    if sys.argv[1:2] == ["train"] and not set(_ALLOCATOR) & set(os.environ):
        again = [sys.executable, "-m", "dpm_demo", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, **_ALLOCATOR})
    own = os.path.basename(sys.argv[0]).removesuffix(".exe")
    return main(program=own if own == "dpm-demo" else "python -m dpm_demo")
