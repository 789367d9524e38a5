"""docs/kuberay.yaml says what this program and Ray accept, as far as it can be read dry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    text = (ROOT / "docs/kuberay.yaml").read_text()
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def containers(documents: dict[str, Any]) -> list[dict[str, Any]]:
    spec = documents["RayCluster"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [each for group in groups for each in group["template"]["spec"]["containers"]]


def test_every_pod_has_the_same_image_and_ray_is_the_one_that_was_tested(
    documents: dict[str, Any],
) -> None:
    import ray

    assert len({each["image"] for each in containers(documents)}) == 1
    assert documents["RayCluster"]["spec"]["rayVersion"] == ray.__version__


def test_ray_knows_the_start_parameters(documents: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    known = {word.removeprefix("--") for one in start.params for word in one.opts}
    spec = documents["RayCluster"]["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group["rayStartParams"]) <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_page_is_started_by_a_command_that_this_program_takes(
    documents: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpm_demo.cli.main import main
    from dpm_demo.ui import page

    asked: dict[str, Any] = {}
    monkeypatch.setattr(page, "run", lambda make, **options: asked.update(make.keywords | options))
    (found,) = (each for each in containers(documents) if each["name"] == "page")
    assert found["command"] == ["python", "app.py"]
    assert main(["serve", *found["args"]]) == 0
    assert (asked["ray"], asked["port"]) == ("127.0.0.1:6379", 7860)
    (group,) = documents["RayCluster"]["spec"]["workerGroupSpecs"]
    bounds = group["minReplicas"], group["maxReplicas"]
    assert (asked["workers"], asked["most_workers"]) == bounds


def test_the_page_shares_what_a_driver_needs_with_the_head_and_visitors_reach_the_page_alone(
    documents: dict[str, Any],
) -> None:
    page, head = (
        next(each for each in containers(documents) if each["name"] == name)
        for name in ("page", "ray-head")
    )
    assert page["volumeMounts"] == head["volumeMounts"]
    assert [each["targetPort"] for each in documents["Service"]["spec"]["ports"]] == ["page"]
    open_to_all = [
        rule for rule in documents["NetworkPolicy"]["spec"]["ingress"] if "from" not in rule
    ]
    assert [[port["port"] for port in rule["ports"]] for rule in open_to_all] == [[7860]]


def test_a_group_may_grow_and_shrink_between_sound_bounds(documents: dict[str, Any]) -> None:
    for group in documents["RayCluster"]["spec"]["workerGroupSpecs"]:
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
