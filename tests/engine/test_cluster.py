"""How a cluster is reached, and from where."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_cluster_of_this_machine_listens_on_the_loopback_address_alone() -> None:
    look = """
import psutil
from dpm_demo.engine.cluster import LOCAL, connect
ray = connect(LOCAL, 1)
ray.get(ray.remote(lambda: 1).remote())
for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
    for each in process.net_connections("inet"):
        if each.status == psutil.CONN_LISTEN:
            print("listens", each.laddr.ip)
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    answer = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found = [line for line in answer.stdout.splitlines() if line.startswith("listens")]
    assert found and all(line.endswith(("127.0.0.1", " ::1")) for line in found), found
