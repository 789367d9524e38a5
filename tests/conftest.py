"""What several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine, a core each, and this process connected to it.

    The first node has no cores for work, so that a test may end any other.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
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
