"""Which device a name means, decided from what the machine says it has."""

from __future__ import annotations

import pytest
import torch

from dpm_demo.models.device import pick_device, pick_devices, processor_precision


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int, capability: tuple[int, int] = (8, 0)):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(
    ("gpus", "name", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_name_means_a_device_of_this_machine(monkeypatch, gpus, name, device):
    machine(monkeypatch, gpus)
    assert pick_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("gpus", "name", "devices"),
    [
        (0, "auto", ["cpu"]),
        (1, "auto", ["cuda:0"]),
        (3, "auto", ["cuda:0", "cuda:1", "cuda:2"]),
        (2, "cuda", ["cuda:0", "cuda:1"]),
        (2, "cuda:1", ["cuda:1"]),
        (2, "cpu", ["cpu"]),
    ],
)
def test_a_service_takes_every_gpu_unless_one_is_named(monkeypatch, gpus, name, devices):
    machine(monkeypatch, gpus)
    assert pick_devices(name) == [torch.device(device) for device in devices]


@pytest.mark.parametrize(
    ("gpus", "name", "says"),
    [
        (0, "cuda", "no usable CUDA GPU"),
        (2, "cuda:2", "cuda:0 to cuda:1"),
        (2, "gpu", '"auto", "cpu", "cuda" or "cuda:n"'),
        (2, "cuda:-1", '"auto", "cpu", "cuda" or "cuda:n"'),
        (2, None, '"auto", "cpu", "cuda" or "cuda:n"'),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(monkeypatch, gpus, name, says):
    machine(monkeypatch, gpus)
    with pytest.raises(ValueError, match="device: ") as error:
        pick_device(name)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_precision_is_what_the_gpu_computes_in_by_itself(monkeypatch):
    machine(monkeypatch, 1, capability=(9, 0))
    assert processor_precision(torch.device("cuda", 0)) == "bfloat16"
    machine(monkeypatch, 1, capability=(7, 5))
    assert processor_precision(torch.device("cuda", 0)) == "float16"
