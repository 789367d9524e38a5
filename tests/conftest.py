"""What several folders of tests share, their order, and which share a process where several run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)  # pytest-xdist writes the group of a test into its id
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests last: from the first of them on Playwright's event loop has the thread.

    Those of a file that share what a fixture of the file made are one group of pytest-xdist, as
    the fixture would run in each process; those of them that need the browser are another, so
    that the order holds in every process. All that need the cluster are one, which comes before
    the browser's and ends with those of them that need it too.
    """

    def needs(item: pytest.Item, name: str) -> bool:
        return (
            name in getattr(item, "fixturenames", ()) or item.get_closest_marker(name) is not None
        )

    def shares(item: pytest.Item) -> bool:
        made = item._fixtureinfo.name2fixturedefs.values()
        return any(made[-1].scope in ("module", "class") for made in made)

    items.sort(key=lambda item: (needs(item, "browser"), needs(item, "cluster")))
    for item in items:
        if needs(item, "cluster"):
            _group(item, "cluster")
        elif shares(item):
            _group(item, item.path.stem + ("-browser" if needs(item, "browser") else ""))


def _group(item: pytest.Item, name: str) -> None:
    item.add_marker(pytest.mark.xdist_group(name))
    # pytest-xdist 3.8 writes it where the id of a test was before pytest 9.2
    if hasattr(item, "_id") and item.config.getoption("loadgroup", False):
        item._id = type(item._id).parse(f"{item.nodeid}@{name}")


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
