"""What the page's words mean: one sentence each, shown where the word stands (glossary.js)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Term:
    """A word's sentence; `labels` are the widgets that are named by it, in whichever tab."""

    text: str
    labels: tuple[str, ...] = ()


#: By the name that our own markup gives it, `data-term`.
TERMS = {
    "evaluations": Term(
        "NFE, the number of function evaluations: how often the network is called for one sample, "
        "which is nearly all that sampling costs.",
        ("Model evaluations (NFE)", "Budgets", "Evaluations", "Cap on evaluations"),
    ),
    "lambda": Term(
        "λ = log(α/σ), half the log of the signal-to-noise ratio: about −5 is all noise, "
        "about 4.6 a clean picture.",
        ("λ",),
    ),
    "order": Term(
        "How fast the error falls with the step: half the step divides it by 2 at order 1, "
        "by 4 at order 2 and by 8 at order 3.",
        ("Order",),
    ),
    "taper": Term(
        "Lower orders over the last steps of a run: steadier with few evaluations, but it hides "
        "how fast the error falls.",
        ("Lower order at the end", "Without the final taper"),
    ),
    "guidance": Term(
        "How strongly a sample follows its label or prompt: 1 is the network as it is, more is "
        "stricter and less varied, and costs two network rows for each evaluation.",
        ("Guidance",),
    ),
    "corrector": Term(
        "Redoes a step once the next evaluation is known, which brings it nearer without another "
        "call of the network.",
        ("UniPC corrector (multistep)",),
    ),
    "converged": Term(
        "What every solver comes to with enough evaluations from the same noise: the sample of "
        "the exact equation, against which errors are measured.",
    ),
}


def table() -> str:
    """The table as a script for the page's head, before glossary.js, which reads it."""
    return f"const TERMS = {json.dumps({name: asdict(term) for name, term in TERMS.items()})};"
