import numpy as np
import pytest
import torch

from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.neighbours import (
    nearest,
    neighbours_sheet,
    share_nearer,
    training_features,
)
from dpm_demo.training.data import Pictures


def pictures(n: int) -> Pictures:
    data = torch.randint(0, 256, (n, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return Pictures(
        data.to(torch.uint8),
        torch.zeros(n, 0, dtype=torch.long),
        {},
        torch.arange(n),
        torch.zeros(n, dtype=torch.bool),
        torch.zeros(n, dtype=torch.bool),
    )


LOOK = Extractor("pixels", "", lambda x: (x.flatten(1), x.flatten(1)))


def test_a_copy_of_a_training_picture_is_found_at_distance_zero() -> None:
    train = pictures(700)
    features = training_features(train, LOOK)
    copies = train.data[[3, 600]].float() / 127.5 - 1
    found = nearest(LOOK(copies)[0], features)
    assert found.index.tolist() == [3, 600]
    assert np.allclose(found.distance, 0, atol=1e-2)


def test_share_nearer_is_a_half_for_equal_distances_one_for_copies_and_zero_for_far_ones() -> None:
    held = np.array([1.0, 2.0, 3.0, 4.0])
    assert share_nearer(held, held) == 0.5
    assert share_nearer(np.zeros(7), held) == 1.0
    assert share_nearer(np.full(7, 9.0), held) == 0.0
    assert share_nearer(np.array([2.5]), held) == 0.5
    assert share_nearer(np.array([2.0]), held) == 0.625  # below two, equal to one of four


def test_the_sheet_shows_the_sample_left_and_its_neighbour_right() -> None:
    train = pictures(5)
    samples = train.data[[4]].float() / 127.5 - 1
    found = nearest(LOOK(samples)[0], training_features(train, LOOK))
    sheet = neighbours_sheet(samples, found, train, columns=2)
    real = np.moveaxis(train.data[4].numpy(), 0, -1)
    pair = np.concatenate([real, real], axis=1).repeat(4, 0).repeat(4, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, pair.shape)
    assert (windows == pair).all(axis=(-1, -2, -3)).any()


def test_empty_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        nearest(torch.zeros(0, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="empty"):
        share_nearer(np.zeros(0), np.zeros(3))
