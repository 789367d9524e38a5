"""Where several processes run the tests, those that share what a file's fixture made share one."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="module")
def made() -> int:
    return os.getpid()


def test_the_tests_of_a_files_fixture_are_a_group_by_their_ids(
    made: int, request: pytest.FixtureRequest
) -> None:
    grouped = "PYTEST_XDIST_WORKER" in os.environ and request.config.getoption("loadgroup", False)
    assert request.node.nodeid.endswith("@test_groups") == grouped
    assert made == os.getpid()


def test_a_test_that_shares_nothing_is_in_no_group(request: pytest.FixtureRequest) -> None:
    assert "@" not in request.node.nodeid
