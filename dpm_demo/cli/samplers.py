"""`samplers`: other programs' samplers, by their names."""

from __future__ import annotations

import json
from typing import Annotated, Any

from typer import Argument

from dpm_demo.cli import output


def samplers(
    name: Annotated[str | None, Argument(help="One sampler, by any of its names.")] = None,
) -> list[dict[str, Any]]:
    """Who is who: other programs' samplers, what they equal, and their measured orders."""
    from dpm_demo.compare.samplers import listing, rows, to_json

    shown = rows(name)
    output.say(listing(shown))
    return json.loads(to_json(shown))
