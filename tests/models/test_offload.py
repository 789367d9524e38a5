"""Parts that take turns: one at a time is on the device, and the pictures are the same.

There is no GPU here. Moves are watched on the device "meta", which has no numbers; what is computed
in turns is compared on the processor, where the same hooks have nowhere to send a part.
"""

from __future__ import annotations

import pytest
import tiny
import torch
from accelerate.hooks import CpuOffload
from torch import nn

import dpm_demo as dpm
from dpm_demo.models.diffusers import offload, registry
from dpm_demo.models.diffusers.offload import Turns
from dpm_demo.models.model import CheckpointError

SOLVER = dpm.Solver(nfe=3)
MADE = {
    "stable diffusion": (tiny.stable_diffusion, None),
    "XL, two encoders": (tiny.stable_diffusion_xl, None),
    "Wan, two networks": (lambda: tiny.wan(two=True), 5),
}


def in_turns(monkeypatch) -> list[str]:
    """Has parts take turns on the processor; the classes of those that are called, in order."""
    called: list[str] = []
    plain = offload._Turn.pre_forward

    def told(hook, module, *args, **kwargs):
        if called[-1:] != [type(module).__name__]:
            called.append(type(module).__name__)
        return plain(hook, module, *args, **kwargs)

    monkeypatch.setattr(offload._Turn, "pre_forward", told)
    monkeypatch.setattr(registry, "_turns", lambda device, name: Turns(device))
    return called


@pytest.mark.parametrize(("made", "frames"), MADE.values(), ids=MADE)
def test_in_turns_the_pictures_are_the_same_bit_for_bit(
    made, frames, monkeypatch, tmp_path
) -> None:
    made().save_pretrained(tmp_path)
    asked = {"size": (16, 16), "frames": frames}

    def drawn() -> tuple[dpm.Model, list[torch.Tensor]]:
        model = dpm.load(tmp_path, offload=True)
        words = ("a cat", "a dog")
        return model, [dpm.generate(model, SOLVER, prompt=text, **asked) for text in words]

    _, alone = drawn()
    called = in_turns(monkeypatch)
    model, one_by_one = drawn()
    assert all(map(torch.equal, alone, one_by_one))
    pipe = model.latents.pipe
    parts = {type(p).__name__ for p in pipe.components.values() if isinstance(p, nn.Module)}
    assert parts < set(called), "the encoders, which have left, were called too"
    assert called[-1] == type(pipe.vae).__name__


def test_a_pipeline_object_keeps_its_encoders_and_they_take_turns_too(monkeypatch) -> None:
    pipe = tiny.stable_diffusion()
    before = dpm.generate(dpm.load(pipe, offload=True), SOLVER, prompt="a cat")
    called = in_turns(monkeypatch)
    after = dpm.generate(dpm.load(pipe, offload=True), SOLVER, prompt="a cat")
    assert torch.equal(before, after)
    assert called == ["CLIPTextModel", "UNet2DConditionModel", "AutoencoderKL"]
    assert pipe.text_encoder is not None


def test_a_part_at_work_is_not_sent_away_by_another_thread(monkeypatch) -> None:
    plain, held = offload._Turn.pre_forward, []
    monkeypatch.setattr(registry, "_turns", lambda device, name: Turns(device))
    model = dpm.load(tiny.stable_diffusion(), offload=True)

    def watched(hook, module, *args, **kwargs):
        held.append(not model.latents.predicting.acquire(blocking=False))
        return plain(hook, module, *args, **kwargs)

    monkeypatch.setattr(offload._Turn, "pre_forward", watched)
    dpm.generate(model, SOLVER, prompt="a cat")
    assert held and all(held)


def test_before_a_part_comes_to_the_device_the_one_at_work_leaves(monkeypatch) -> None:
    monkeypatch.setattr(CpuOffload, "init_hook", lambda _, module: module.to_empty(device="cpu"))
    device = torch.device("meta")
    encoder, network, decoder = parts = [nn.Linear(2, 2) for _ in range(3)]
    turns = Turns(device)
    for part in parts:
        turns.add(part)

    def there() -> list[nn.Module]:
        return [part for part in parts if part.weight.device == device]

    assert there() == []
    for part in (encoder, network, network, decoder, network, encoder, network, decoder):
        assert part(torch.zeros(1, 2, device=device)).device == device
        assert there() == [part]
    turns.forget(decoder)
    network(torch.zeros(1, 2, device=device))
    assert there() == [network, decoder], "nothing is done for a part that was let go"


def test_on_a_processor_nothing_takes_turns_and_on_a_gpu_it_takes_accelerate(monkeypatch) -> None:
    assert registry._turns(torch.device("cpu"), "sd") is None
    assert isinstance(registry._turns(torch.device("cuda", 1), "sd"), Turns)
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert registry._turns(torch.device("cpu"), "sd") is None
    with pytest.raises(CheckpointError, match=r"^sd: with offload .* cuda:1, .*accelerate; pip "):
        registry._turns(torch.device("cuda", 1), "sd")
