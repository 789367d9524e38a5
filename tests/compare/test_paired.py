"""What seeds in pairs tell, and what they cannot."""

import numpy as np
import pytest

from dpm_demo.compare.paired import ratio, ratios


def test_what_differs_by_chance_is_tied_and_what_differs_by_far_is_not():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.1, 0.2, 32)
    low, high = ratio(base * rng.normal(1, 0.3, 32), base)
    assert low < 1 < high
    assert ratio(2 * base, base) == pytest.approx((2, 2))


def test_every_row_is_beside_the_nearest_over_the_seeds_that_all_have():
    base = np.array([0.1, 0.2, 0.3])
    found = ratios(np.array([[*(3 * base), 9.0], [*base, np.nan]]))
    assert found == [pytest.approx((3, 3)), pytest.approx((1, 1))]
    assert np.isnan(ratios(np.array([[np.nan], [1.0]]))).all()
