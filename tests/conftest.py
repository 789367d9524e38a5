"""What several folders of tests share, their order, and which share a process where several run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests last: from the first of them on Playwright's event loop has the thread.

    A file is one group of pytest-xdist, as its tests share what its fixtures made; those of its
    tests that need the browser are another, so that this holds in every process. All that need the
    cluster are one, some of them with the browser: after all that need neither.
    """

    def needs(item: pytest.Item, name: str) -> bool:
        return name in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: (needs(item, "browser"), needs(item, "cluster")))
    for item in items:
        group = item.path.stem + ("-browser" if needs(item, "browser") else "")
        item.add_marker(pytest.mark.xdist_group("cluster" if needs(item, "cluster") else group))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine, a core each, and this process connected to it.

    The first node has no cores for work, so that a test may end any other.
    """
    # at Ray's niceness of 15 workers starve beside the tests of another process
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 150 * 2**20}
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, **small},
    )
    for _ in range(2):
        made.add_node(num_cpus=1, **small)
    ray.init(made.address, log_to_driver=False, namespace="tests")
    yield made
    ray.shutdown()
    made.shutdown()
