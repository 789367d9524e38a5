"""The results of a sweep: one line a solver and budget, as JSON, CSV, Markdown and plots."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from dpm_demo.compare.figures import psnr
from dpm_demo.media.files import write_bytes, write_text
from dpm_demo.models.checkpoint import CHECKPOINTS

#: Below this many samples a Fréchet distance says more about n than about the model.
ENOUGH = 2000


@dataclass(frozen=True)
class Metric:
    """A column of the results: what it is called, and which way is better."""

    name: str
    title: str
    lower_is_better: bool = True
    log: bool = False


#: By the field of `Line` that holds it. FD is FID only where the features are Inception's.
METRICS: dict[str, Metric] = {
    "rmse": Metric("rmse", "RMSE to the converged sample", log=True),
    "psnr": Metric("psnr", "PSNR to the converged sample (dB)", lower_is_better=False),
    "fd": Metric("fd", "FD ({features})"),
    "kid": Metric("kid", "KID ({features})"),
    "inception_score": Metric("inception_score", "IS ({features})", lower_is_better=False),
    "difference": Metric("difference", "mean |difference| of neighbouring frames, of 255"),
    "neighbour_psnr": Metric("neighbour_psnr", "PSNR between neighbouring frames (dB)"),
}


@dataclass(frozen=True)
class Line:
    """One solver at one budget. None stands for what was not measured.

    `solver` is the text that `request.solver_of_text` reads, without the budget. `rmse` and `psnr`
    are over the first `n_error` seeds, the rest over `n` samples; the deviations are torchmetrics':
    of KID over 100 subsets, of the score over ten parts. `low` and `high` are the ends of the 95 %
    interval of `rmse` over that of the solver `than`, the nearest one of its sweep at this budget,
    by a bootstrap over the seeds in pairs.
    """

    solver: str
    nfe: int
    n_error: int = 0
    rmse: float | None = None
    psnr: float | None = None
    n: int = 0
    fd: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    inception_score: float | None = None
    inception_score_std: float | None = None
    difference: float | None = None
    neighbour_psnr: float | None = None
    low: float | None = None
    high: float | None = None
    than: str = ""


def error_figures(squares: Sequence[float]) -> dict[str, Any]:
    """The fields of `Line` from the mean square error of each seed; none without any.

    Without `psnr` where there is no error at all, as JSON and plots have no infinity.
    """
    if not squares:
        return {}
    root = math.sqrt(fmean(squares))
    return {"n_error": len(squares), "rmse": root, "psnr": psnr(root) if root > 0 else None}


@dataclass(frozen=True)
class Results:
    """A sweep over one model. `held_out` is the same of held-out real pictures, where known.

    `features` names the extractor: "emoji features", or "Inception", with which alone FD is FID.
    """

    model: str
    digest: str
    label: str
    guidance: float
    features: str
    reference_nfe: int
    lines: tuple[Line, ...] = ()
    held_out: Line | None = None
    notes: dict[str, Any] = field(default_factory=dict)  # further figures, for the report

    # --- files

    def to_json(self) -> str:
        return json.dumps(_finite(asdict(self)), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Reads what `to_json` wrote. Raises ValueError, one sentence, for anything else."""
        try:
            values = json.loads(text)
            held = values.pop("held_out")
            lines = tuple(Line(**line) for line in values.pop("lines"))
            return cls(**values, lines=lines, held_out=None if held is None else Line(**held))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"results: this is no sweep ({str(error)[:120]}).") from error

    @classmethod
    def read(cls, path: Path) -> Results:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"results: {path.name} cannot be read ({error}).") from error
        return cls.from_json(text)

    def to_csv(self) -> str:
        out = io.StringIO()
        names = [f.name for f in fields(Line)]
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in self.lines)
        return out.getvalue()

    def with_known(self, known: Results) -> Results:
        """These, and from `known` what was not measured this time (and its notes)."""
        old = {(line.solver, line.nfe): line for line in known.lines}
        new = {(line.solver, line.nfe): line for line in self.lines}
        both = {key: _merged(new[key], old[key]) for key in new.keys() & old.keys()}
        features = known.features if self.held_out is None else self.features
        return replace(
            self,
            features=features,
            lines=tuple({**old, **new, **both}.values()),
            held_out=self.held_out or known.held_out,
            notes={**known.notes, **self.notes},
        )

    def write(self, folder: Path) -> None:
        """`results.json`, `.csv` and `.md`, and plots of what was measured: `.html` and `.png`."""
        write_text(folder / "results.json", self.to_json())
        write_text(folder / "results.csv", self.to_csv())
        write_text(folder / "results.md", self.markdown())
        if shown := self.measured():
            pages = [
                self.figure(metric).to_html(full_html=False, include_plotlyjs=k == 0)
                for k, metric in enumerate(shown)
            ]
            write_text(folder / "results.html", "<meta charset='utf-8'>" + "\n".join(pages))
            names = self.ranking(shown[0])[:8]
            write_bytes(folder / "results.png", self.png(shown[:3], names))

    # --- reading

    def measured(self) -> list[str]:
        """The metrics that at least one line has, in the order of `METRICS`."""
        return [m for m in METRICS if any(getattr(line, m) is not None for line in self.lines)]

    def title(self, metric: str) -> str:
        text = METRICS[metric].title.format(features=self.features)
        return text.replace("FD (Inception)", "FID").replace(" (Inception)", "")

    def best(self, metric: str, nfe: int) -> Line | None:
        """The line that is best at a budget."""
        known = [x for x in self.lines if x.nfe == nfe and getattr(x, metric) is not None]
        sign = 1 if METRICS[metric].lower_is_better else -1
        return min(known, key=lambda line: sign * getattr(line, metric), default=None)

    def behind(self, line: Line, metric: str = "rmse") -> tuple[float, float] | None:
        """The interval of its error over that of the nearest one at its budget, where known."""
        best = self.best("rmse", line.nfe) if metric == "rmse" else None
        if line.low is None or line.high is None or best is None or line.than != best.solver:
            return None
        return line.low, line.high

    def shared(self, metric: str) -> list[int]:
        """The budgets that the most solvers have a figure at: those that a ranking is over."""
        counts = Counter(x.nfe for x in self.lines if getattr(x, metric) is not None)
        return sorted(nfe for nfe, count in counts.items() if count == max(counts.values()))

    def ranking(self, metric: str = "rmse") -> list[str]:
        """Solvers, the best first: by the mean over the budgets that most of them share.

        The geometric mean where a metric spans powers of ten; KID may be below zero. Those that
        lack one of the budgets, as the converged model does, come last.
        """
        by: dict[str, dict[int, float]] = {}
        for line in self.lines:
            if getattr(line, metric) is not None:
                by.setdefault(line.solver, {})[line.nfe] = getattr(line, metric)
        shared = self.shared(metric)
        whole = [s for s, known in by.items() if known.keys() >= set(shared)]
        sign = 1 if METRICS[metric].lower_is_better else -1
        mean = geometric_mean if METRICS[metric].log else fmean
        best = sorted(whole, key=lambda s: sign * mean([by[s][n] for n in shared]))
        return [*best, *sorted(by.keys() - set(whole))]

    # --- report

    def markdown(self, metrics: Sequence[str] | None = None) -> str:
        """A table with a row a solver and a column a budget for each metric."""
        parts = []
        for metric in self.measured() if metrics is None else metrics:
            known = [line for line in self.lines if getattr(line, metric) is not None]
            budgets = sorted({line.nfe for line in known})
            best = {nfe: self.best(metric, nfe) for nfe in budgets}
            counts = sorted({line.n_error if metric in ERRORS else line.n for line in known})
            text = [f"**{self.title(metric)}**, n = {', '.join(map(str, counts))}", ""]
            text += [
                f"| solver | {' | '.join(map(str, budgets))} |",
                "|---|" + "---|" * len(budgets),
            ]
            for solver in dict.fromkeys(line.solver for line in known):
                cells = []
                for nfe in budgets:
                    line = next((x for x in known if (x.solver, x.nfe) == (solver, nfe)), None)
                    shown = (
                        "" if line is None else value_text(line, metric, self.behind(line, metric))
                    )
                    cells.append(f"**{shown}**" if line and line == best[nfe] else shown)
                text.append(f"| {solver} | {' | '.join(cells)} |")
            held = None if self.held_out is None else getattr(self.held_out, metric)
            if self.held_out is not None and held is not None:
                shown = value_text(self.held_out, metric)
                text.append(f"\nHeld-out real pictures: {shown} (n = {self.held_out.n}).")
            parts.append("\n".join(text) + "\n")
        return "\n".join(parts)

    def figure(self, metric: str, solvers: Sequence[str] | None = None) -> go.Figure:
        """A metric against evaluations, a line a solver, to hover over."""
        plot = go.Figure()
        for title, x, y in self._curves(metric, solvers):
            plot.add_scatter(
                x=x,
                y=y,
                name=title,
                mode="lines+markers",
                hovertemplate=f"NFE %{{x}}: %{{y:.4g}}<extra>{title}</extra>",
            )
        held = None if self.held_out is None else getattr(self.held_out, metric)
        if held is not None:
            plot.add_hline(y=held, line_dash="dot", annotation_text="held-out real pictures")
        plot.update_xaxes(type="log", title_text="model evaluations (NFE)")
        budgets = sorted({line.nfe for line in self.lines if getattr(line, metric) is not None})
        plot.update_xaxes(tickvals=budgets, ticktext=[str(n) for n in budgets])
        scale = "log" if METRICS[metric].log else "linear"
        plot.update_yaxes(type=scale, title_text=self.title(metric))
        return plot

    def png(self, metrics: Sequence[str], solvers: Sequence[str] | None = None) -> bytes:
        """The same as a picture, a panel a metric (matplotlib: no browser is needed)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.5 * len(metrics), 4.5), dpi=120, layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            curves = self._curves(metric, solvers)
            for title, x, y in curves:
                axes.plot(x, y, "o-", label=title, markersize=4)
            held = None if self.held_out is None else getattr(self.held_out, metric)
            if held is not None:
                axes.axhline(held, linestyle=":", color="grey", label="held-out real pictures")
            axes.set_xscale("log")
            if METRICS[metric].log:
                axes.set_yscale("log")
            budgets = sorted({n for _, x, _ in curves for n in x})
            axes.set_xticks(budgets, [str(n) for n in budgets])
            axes.minorticks_off()
            axes.set_xlabel("model evaluations (NFE)")
            axes.set_ylabel(self.title(metric))
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7)
        out = io.BytesIO()
        figure.savefig(out, format="png")
        return out.getvalue()

    def _curves(
        self, metric: str, solvers: Sequence[str] | None
    ) -> list[tuple[str, list[int], list[float]]]:
        curves = []
        for solver in dict.fromkeys(line.solver for line in self.lines):
            if solvers is None or solver in solvers:
                known = sorted(
                    (line.nfe, getattr(line, metric))
                    for line in self.lines
                    if line.solver == solver and getattr(line, metric) is not None
                )
                if known:
                    curves.append((solver, [n for n, _ in known], [v for _, v in known]))
        return curves


ERRORS = ("rmse", "psnr")  # the metrics that are over `n_error` seeds
OF_ERRORS = ("n_error", *ERRORS, "low", "high", "than")  # what one measurement of errors fills
DEVIATION = {"kid": "kid_std", "inception_score": "inception_score_std"}


def _merged(new: Line, old: Line) -> Line:
    """Figures of one measurement stay together: those of errors, and those of samples."""
    errors = new if new.n_error else old
    samples = new if new.fd is not None or (new.n and old.fd is None) else old
    return replace(samples, **{name: getattr(errors, name) for name in OF_ERRORS})


def value_text(line: Line, metric: str, behind: tuple[float, float] | None = None) -> str:
    """A figure with its deviation, or with the interval that `Results.behind` gave."""
    text = f"{getattr(line, metric):.3g}"
    if behind is not None and behind[0] < behind[1]:
        return f"{text} ({behind[0]:.2f}–{behind[1]:.2f} ×)"
    deviation = getattr(line, DEVIATION[metric]) if metric in DEVIATION else None
    return text if deviation is None else f"{text} ± {deviation:.1g}"


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; what is not positive counts as the smallest number."""
    logs = [math.log(max(v, 1e-300)) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.inf


def warning(n: int) -> str:
    """What has to stand beside a distance from few samples; empty from `ENOUGH` on."""
    if n >= ENOUGH:
        return ""
    return (
        f"n = {n}, below {ENOUGH:,}: a Fréchet distance is biased upwards by the small n; compare "
        "it only with others of the same n."
    )


def real_warning(distinct: int) -> str:
    """What has to stand beside a distance to few real pictures; empty from `ENOUGH` on."""
    if distinct >= ENOUGH:
        return ""
    return (
        f"{distinct} distinct real pictures, below {ENOUGH:,}, each drawn many times: a Fréchet "
        "distance to them says little about pictures that are not among them."
    )


def landed() -> dict[str, Path]:
    """The sweeps that come with the repository, by model: `checkpoints/MODEL/quality.json`."""
    return {path.parent.name: path for path in sorted(CHECKPOINTS.glob("*/quality.json"))}


def _finite(value: Any) -> Any:
    """JSON has no infinity: what is not finite is not measured."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
