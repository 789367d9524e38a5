"""Records the converged samples that the page's first runs are measured against.

    python -m benchmarks.record_references

To be run whenever a checkpoint is replaced; a test compares the weights. The evaluations of order 3
are doubled until the sample moves by less than a tenth of the smallest error of the comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np

import dpm_demo as dpm
from dpm_demo.compare.figures import rmse
from dpm_demo.compare.questions import START
from dpm_demo.compare.references import Converged, References, Target, reference_solver
from dpm_demo.compare.run import ComparisonRun
from dpm_demo.compare.shipped import write_shipped
from dpm_demo.engine.inline import run_to_end
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.model import Model
from dpm_demo.request.comparison import Comparison
from dpm_demo.solver.settings import Solver
from dpm_demo.ui.tabs.quality_small import SEEDS_OF_ERROR

FIRST, MOST = 100, 1000
SHARE = 0.1  # of the smallest error: what the reference may be off by


def converged(sample: Callable[[int], np.ndarray], smallest: float) -> Converged:
    """Doubles the evaluations until the sample moves by less than `SHARE` of `smallest`.

    Raises ValueError where `MOST` evaluations do not do it.
    """
    nfe, before = FIRST, sample(FIRST)
    while 2 * nfe <= MOST:
        nfe *= 2
        now = sample(nfe)
        apart = rmse(now, before)
        if apart <= SHARE * smallest:
            return Converged(now, nfe, apart)
        before = now
    raise ValueError(f"{MOST} evaluations do not resolve errors of {smallest:.1e}")


def record(model: Model, comparison: Comparison) -> dict[Target, Converged]:
    """The samples of a comparison's targets."""
    run = ComparisonRun(comparison, model, References())
    done = run_to_end(run.job)
    run.take(done)
    smallest = min(v.rmse for v in run.values.values() if v.rmse is not None)
    found = {}
    for target in {run.target(0, seed) for seed in run.seeds} - {None}:
        assert target is not None

        def sample(nfe: int, seed: int = target.seed) -> np.ndarray:
            track = run.wanted.track(reference_solver(Solver(), nfe), [seed], pictures=False)
            rows = run_to_end(run.wanted.job([track], float32=True)).tracks[0].rows
            assert rows[0].sample is not None
            return rows[0].sample

        found[target] = converged(sample, smallest)
        one = found[target]
        print(
            f"seed {target.seed}: {one.nfe} evaluations, {one.apart:.1e} to half as many; ", end=""
        )
        print(f"the smallest error on show is {smallest:.1e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="emoji-image")
    options = parser.parse_args()
    model = dpm.load(options.model, "cpu")
    # what the tab Compare starts with, and the small sweep of Quality
    found = record(model, replace(START, model=model.name))
    small = {"count": SEEDS_OF_ERROR, "guidance": 1.0, "budgets": (5, 10, 20)}
    found |= record(model, Comparison(model=model.name, **small))
    path = write_shipped(CHECKPOINTS / options.model, found)
    print(f"{path.name}: {path.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
