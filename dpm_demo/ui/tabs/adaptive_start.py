"""What the tab "Error control" opens on: a recorded run, so that a visitor sees a result at once.

`python -m benchmarks.record_examples` writes it beside the checkpoint that made it: what was tried
and said, and the last picture of each sample.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpm_demo.compare.adaptive_plots import hops_figure, steps_figure
from dpm_demo.engine.events import SolverDecision
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.model import Model
from dpm_demo.ui.serving import drawn
from dpm_demo.ui.tabs.adaptive_runs import News

log = logging.getLogger("dpm_demo")

NAME = "errors/start.json"  # in the folder of recordings


def recorded(model: Model | None) -> News:
    """The recorded run of the model's own weights; nothing where there is none."""
    if model is None or not model.digest:
        return News()
    path = CHECKPOINTS / model.name / "recorded" / NAME
    if not path.is_file():
        return News()
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["digest"] != model.digest:
            return News()
        steps = [SolverDecision(**one) for one in read["decisions"]]
        hops = drawn(hops_figure, steps, read["titles"], model.lam_span, read["fixed_lambdas"])
        plot = drawn(steps_figure, steps, read["titles"], model.lam_span)
        return News(read["text"], hops, read["adaptive"], read["fixed"], plot)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: %s: %s", path.name, type(error).__name__, error)
        return News()


def recording(
    digest: str,
    titles: Sequence[str],
    decisions: Sequence[SolverDecision],
    fixed_lambdas: Sequence[float],
    news: News,
) -> Mapping[str, Any]:
    """What the file of a run holds; `recorded` reads it."""
    return {
        "digest": digest,
        "titles": list(titles),
        "text": news.text,
        "decisions": [asdict(one) for one in decisions],
        "fixed_lambdas": [round(lam, 4) for lam in fixed_lambdas],
        "adaptive": news.adaptive,
        "fixed": news.fixed,
    }
