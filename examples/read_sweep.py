"""Reading a sweep: which solver is best at which budget, and what one more evaluation buys.

python -m examples.read_sweep                        # the sweep that comes with emoji-image
python -m examples.read_sweep out/sweep/results.json # one's own, of `dpm-demo evaluate`
"""

from __future__ import annotations

import sys
from pathlib import Path

from dpm_demo.quality.results import Results, landed


def main(path: Path) -> Results:
    """Prints, for each metric, the best solver at each budget, and returns what was read."""
    sweep = Results.read(path)
    print(f"{sweep.model}, label {sweep.label}, guidance {sweep.guidance}")
    print(f"{len(sweep.lines)} settings and budgets, reference: {sweep.reference_nfe} evaluations")
    for metric in sweep.measured():
        print(f"\n{sweep.title(metric)}")
        for nfe in sweep.shared(metric):
            if (best := sweep.best(metric, nfe)) is not None:
                print(f"  {nfe:4} evaluations: {getattr(best, metric):.4g}  {best.solver}")
    return sweep


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else landed()["emoji-image"])
