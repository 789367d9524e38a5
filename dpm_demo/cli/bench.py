"""`bench`: the measurements of the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from dpm_demo.cli import output


def bench(
    name: Annotated[str, Argument(help="engine, solver_step, solver_orders, reference, ...")],
    arguments: Annotated[list[str] | None, Argument(help="Passed on to it.")] = None,
) -> dict[str, Any]:
    """Run one of the benchmarks of the repository with the arguments that follow its name."""
    files = Path("benchmarks").glob("*.py")
    found = {p.stem for p in files if "__main__" in p.read_text("utf-8")}
    if name not in found:
        raise ValueError(
            f"name must be one of {', '.join(sorted(found))}, not {name!r:.60}"
            if found
            else "there is no folder benchmarks here; start it from the repository."
        )
    words = [sys.executable, "-m", f"benchmarks.{name}", *(arguments or [])]
    shown = sys.stderr if output.wanted.json else None  # standard output is the JSON's
    if subprocess.run(words, check=False, stdout=shown).returncode:
        raise ValueError(f"{name} failed; its own message stands above.")
    return {"name": name, "arguments": arguments or []}
