"""`samplers`: other programs' samplers, by their names."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from typer import Argument

from dpm_demo.cli import output


def samplers(
    name: Annotated[str | None, Argument(help="One sampler, by any of its names.")] = None,
) -> list[dict[str, Any]]:
    """Who is who: other programs' samplers, what they equal, and their measured orders."""
    from dpm_demo.compare.samplers import listing, rows

    shown = rows(name)
    output.say(listing(shown))
    return [asdict(row) for row in shown]
