"""What a service has done, for its operator: kept by `Serving.run`, told in Prometheus' format."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dpm_demo.ui.serving import Runner

__all__ = ["Ledger", "available", "exposition", "quantile"]

LAST = 1000  # requests that the quantiles are over
QUANTILES = (0.5, 0.95)


@dataclass
class Ledger:
    """Counts since the start: requests by their end, row evaluations, refusals; recent seconds."""

    ended: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    refused: int = 0
    first_frames: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))

    def add(self, end: str, rows: int, seconds: float) -> None:
        """Notes a request that has ended: done, failed, cancelled, or stopped with its tab."""
        self.ended[end] += 1
        self.rows += rows
        self.seconds.append(seconds)


def quantile(values: deque[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; NaN of none."""
    return float(np.quantile(list(values), share, method="inverted_cdf")) if values else math.nan


def available() -> bool:
    """Whether `prometheus_client` is installed."""
    return importlib.util.find_spec("prometheus_client") is not None


def exposition(ledger: Ledger, engine: Runner) -> bytes:
    """The text that Prometheus reads. Needs `prometheus_client`."""
    from prometheus_client import generate_latest

    now: Any = SimpleNamespace(collect=partial(_families, ledger, engine))
    return bytes(generate_latest(now))


def _families(ledger: Ledger, engine: Runner) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    requests = CounterMetricFamily("dpm_requests", "Requests by how they ended.", labels=["end"])
    for end in ("done", "failed", "cancelled", "stopped"):
        requests.add_metric([end], ledger.ended[end])
    yield requests
    yield CounterMetricFamily("dpm_rows", "Row evaluations of ended requests.", ledger.rows)
    yield CounterMetricFamily(
        "dpm_refusals", "Refused for want of room or at the close.", ledger.refused
    )
    restarts = getattr(engine, "restarts", 0)
    yield CounterMetricFamily("dpm_restarts", "Requests begun anew on another worker.", restarts)
    stats = engine.stats()
    yield GaugeMetricFamily("dpm_requests_open", "Admitted and not ended.", stats.requests)
    yield GaugeMetricFamily("dpm_row_milliseconds", "Of the last network call.", stats.ms_per_row)
    for name, values, text in (
        ("dpm_first_frame_seconds", ledger.first_frames, "From a request to its first frame."),
        ("dpm_request_seconds", ledger.seconds, "From a request to its end."),
    ):
        family = GaugeMetricFamily(name, f"{text} Of the last {LAST}.", labels=["quantile"])
        for share in QUANTILES:
            family.add_metric([str(share)], quantile(values, share))
        yield family
    if not hasattr(engine, "workers"):
        return
    workers = engine.workers()
    for name, key, text in (
        ("dpm_worker_rows_left", "rows_left", "Row evaluations that a worker has still to do."),
        ("dpm_worker_memory_bytes", "memory", "Memory of a worker's process."),
        ("dpm_worker_row_milliseconds", "ms_per_row", "Of a worker's last network call."),
        ("dpm_worker_ticks", "ticks", "Network calls of a worker."),
    ):
        family = GaugeMetricFamily(name, text, labels=["worker"])
        for worker in workers:
            if key in worker:
                family.add_metric([str(worker["worker"])], worker[key])
        yield family
