import re
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpm_demo.media.pixels import from_levels, to_data, to_levels, to_uint8, uint8

LEVELS = np.arange(256, dtype=np.uint8)
ROOT = Path(__file__).parents[2]


def test_levels_come_back_from_values_exactly_in_numpy_and_torch() -> None:
    assert np.array_equal(to_levels(from_levels(LEVELS)), LEVELS)
    assert torch.equal(to_levels(from_levels(torch.tensor(LEVELS))), torch.tensor(LEVELS))
    assert from_levels(LEVELS).min() == -1
    assert from_levels(LEVELS).max() == 1


@given(st.lists(st.floats(-3, 3, width=32), min_size=1))
def test_numpy_and_torch_round_alike(values: list[float]) -> None:
    x = np.array(values, np.float32)
    assert np.array_equal(to_levels(x), to_levels(torch.from_numpy(x)).numpy())


def test_channels_go_last_and_come_back() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(uint8(to_data(picture)), picture)
    assert np.array_equal(to_uint8(torch.from_numpy(to_data(picture))[None])[0].numpy(), picture)


def test_the_formula_stands_in_one_file() -> None:
    found = [p for p in ROOT.glob("dpm_demo/**/*.py") if re.search(r"127\.5", p.read_text("utf-8"))]
    # the network measures its frequencies on clips as they are stored
    assert {p.name for p in found} <= {"pixels.py", "unet.py", "unet3d.py"}
