"""Is what is fitted to a model 1.5 times nearer to the converged sample than the best rival?

python -m benchmarks.calibrated [--models emoji-image,mixture] [--nfe 5,6,8,10] [--seeds 16]

On the cases of `benchmarks.defaults` (seeds and conditions that nothing was fitted to): the mean
RMSE of schedule "calibrated" and of the best of all settings and samplers that took part, which is
chosen on these very seeds; their ratio with its paired 95 % interval; met or missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.defaults import arguments, cases, read
from dpm_demo.compare.paired import ratio

AIM = 1.5
HEAD = (
    "| model | NFE | guidance | best rival's RMSE | calibrated | times nearer (95 %) | aim |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def verdict(path: Path) -> str:
    """One line of the table."""
    what, errors, settings = read(path)
    ends = "-".join(f"{g:g}" for g in dict.fromkeys(what["guidance"]))
    case = f"| {what['model']} | {what['nfe']} | {ends} "
    rival = min((n for n in errors if n != "calibrated"), key=lambda n: errors[n].mean())
    best = f"{errors[rival].mean():.4f} ({rival}: `{settings[rival]}`)"
    if "calibrated" not in errors:
        return f"{case}| {best} | not fitted | | missed |"
    fitted = errors["calibrated"]
    low, high = ratio(errors[rival], fitted)
    gain = errors[rival].mean() / fitted.mean()
    met = "met" if gain >= AIM else "missed"
    return f"{case}| {best} | {fitted.mean():.4f} | {gain:.2f} ({low:.2f} to {high:.2f}) | {met} |"


def main(words: Sequence[str] | None = None) -> None:
    found = cases(arguments(__doc__).parse_args(words))
    print(HEAD)
    for path in found:
        print(verdict(path))


if __name__ == "__main__":
    main()
