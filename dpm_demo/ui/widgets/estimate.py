"""The line by a button: about how long a run of the settings will take on this machine."""

from __future__ import annotations

from dpm_demo.engine.forecast import Pace, duration
from dpm_demo.engine.job import Job

__all__ = ["TOLD", "about", "spent"]

#: Hands a text to a component of that tab that is not Gradio's own.
TOLD = """(text) => {
  document.dispatchEvent(new CustomEvent("dpm-estimate", { detail: { tab: "TAB", text } }));
}"""


def about(pace: Pace, job: Job) -> str:
    """ "about 12 s", or that nobody knows yet."""
    seconds = pace.seconds(job)
    return "not timed here yet" if seconds is None else f"about {duration(seconds)}"


def spent(job: Job) -> str:
    """ "60 evaluations", of all its samples."""
    solvers = [track.solver for track in job.tracks]
    open_end = any(solver.method == "adaptive" or solver.window for solver in solvers)
    return f"{'up to ' if open_end else ''}{job.budget:,} evaluation{'s' * (job.budget != 1)}"
