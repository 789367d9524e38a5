"""The units of a sweep as tasks of a Ray cluster.

    compute(store, solvers, seeds, n_error, run=on_ray("local", "emoji-image"))

The weights are put into the cluster's object store once, and a worker process loads them once.
This program alone writes into the sweep's folder, so nodes need no common disk; it holds at most
`IN_FLIGHT` units for each worker, results included. A worker or a node that dies costs its units,
which are computed again elsewhere, three times at most; a unit that fails then is told of at the
end. Stopped or killed, this program loses what was in flight, and a cluster drops the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dpm_demo.engine.cluster import Refused, check_code, code_digest, connect, pack, unpack
from dpm_demo.models.checkpoint import folder_of
from dpm_demo.quality.compute import Measured, Runner
from dpm_demo.quality.measure import Instrument, Order

IN_FLIGHT = 2  # units a worker: one that is computed, and one that waits for it
RETRIES = 3  # of a unit whose worker died


def on_ray(address: str, name: str, device: str = "auto") -> Runner:
    """The runner of `quality.compute` on a cluster: "local" for one of this machine, or its
    address.

    `name` is what the model was loaded by; a folder's files travel, other models as they are.
    Workers are its GPUs if it has any and `device` allows, else its cores. Raises ValueError, one
    sentence, where there is no such cluster, and while it runs `Refused`.
    """
    ray = connect(address)
    folder = folder_of(name)

    def run(
        instrument: Instrument, orders: Iterable[Order], on_progress: Callable[[int], None]
    ) -> Iterator[Measured]:
        packed = pack(instrument.model, folder if folder.is_dir() else None, device)
        there = ray.put((packed, instrument.look, instrument.quick))
        need = "GPU" if device != "cpu" and ray.cluster_resources().get("GPU") else "CPU"
        task = ray.remote(_measure).options(
            num_cpus=0 if need == "GPU" else 1,
            num_gpus=1 if need == "GPU" else 0,
            max_retries=RETRIES,
        )
        waiting, flying = iter(orders), {}  # type: ignore[var-annotated]
        more = True
        try:
            while True:
                room = IN_FLIGHT * max(1, int(ray.cluster_resources().get(need, 0)))
                while more and len(flying) < room:
                    order = next(waiting, None)
                    more = order is not None
                    if order is not None:
                        flying[task.remote([there], code_digest(), order)] = order
                if not flying:
                    return
                (done, *_), _ = ray.wait(list(flying), num_returns=1)
                order = flying.pop(done)
                got = _result(ray, done)
                on_progress(order.unit.solver.nfe * len(order.unit.seeds))
                yield order, got
        finally:
            for left in flying:
                ray.cancel(left, force=True)

    return run


def _result(ray: Any, ref: Any) -> dict[str, np.ndarray] | Exception:
    try:
        return dict(ray.get(ref))
    except Refused:
        raise
    except ray.exceptions.WorkerCrashedError as error:
        return RuntimeError(f"its workers died {1 + RETRIES} times ({type(error).__name__})")
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        return cause if isinstance(cause, Exception) else error


_loaded: dict[str, Instrument] = {}  # of this process, the last one


def _measure(boxed: list[Any], code: str, order: Order) -> dict[str, np.ndarray]:
    """One unit, on a worker, which loads what it measures with once.

    A reference in a box is not resolved before it is called: that would be done for each unit.
    """
    import ray

    check_code(code)
    key = boxed[0].hex()
    if key not in _loaded:
        packed, look, quick = ray.get(boxed[0])
        _loaded.clear()
        _loaded[key] = Instrument(unpack(packed), look, quick)
    return _loaded[key].measure(order)
