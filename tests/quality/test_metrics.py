import numpy as np
import pytest
import torch

from dpm_demo.quality.metrics import (
    frechet_distance,
    inception_score,
    kernel_distance,
    scores,
)

F = 6


def gaussian(n: int, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, F, generator=generator, dtype=torch.float64)


def closed_form(a: torch.Tensor, b: torch.Tensor) -> float:
    """The definition, with the square root of the covariances' product by eigenvalues."""
    mean = (a.mean(0) - b.mean(0)).square().sum().item()
    s, t = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = np.sqrt(np.linalg.eigvals(s @ t).astype(complex)).real.sum()
    return float(mean + np.trace(s) + np.trace(t) - 2 * root)


def test_frechet_distance_is_its_definition() -> None:
    a, b = gaussian(400, seed=1), gaussian(300, mean=0.5, scale=2.0, seed=2)
    assert frechet_distance(a, b) == pytest.approx(closed_form(a, b), rel=1e-9)


def test_frechet_distance_of_shifted_features_is_the_shift_squared() -> None:
    a = gaussian(200)
    assert frechet_distance(a, a + 3.0) == pytest.approx(F * 9.0, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-8)


def test_frechet_distance_does_not_depend_on_the_order_of_rows() -> None:
    a, b = gaussian(2500, seed=1), gaussian(1200, mean=0.1, seed=2)
    shuffled = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(3))]
    assert frechet_distance(shuffled, b) == pytest.approx(frechet_distance(a, b), rel=1e-10)


def test_frechet_distance_is_biased_upwards_by_few_samples() -> None:
    real = gaussian(5000, seed=9)
    assert frechet_distance(gaussian(20, seed=1), real) > frechet_distance(
        gaussian(2000, seed=1), real
    )


def test_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_the_shift() -> None:
    real = gaussian(600, seed=1).float()
    near, deviation = kernel_distance(gaussian(600, seed=2).float(), real)
    far, _ = kernel_distance(gaussian(600, mean=1.0, seed=2).float(), real)
    assert abs(near) < 0.1
    assert deviation >= 0
    assert far > 10 * abs(near)


def test_distances_are_the_same_at_every_call_and_leave_the_global_generator_alone() -> None:
    a, b = gaussian(50).float(), gaussian(60, seed=1).float()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = kernel_distance(a, b)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(6)
    assert kernel_distance(a, b) == first


def test_inception_score_is_one_for_equal_predictions_and_the_number_of_classes_for_sure_ones() -> (
    None
):
    assert inception_score(torch.ones(100, 4))[0] == pytest.approx(1.0)
    # one class a row, all as often, in parts of ten: every part sees nearly all classes
    sure = 50.0 * torch.eye(4).repeat(250, 1)
    assert inception_score(sure)[0] == pytest.approx(4.0, rel=0.02)


def test_scores_name_their_n_and_leave_out_a_score_of_too_few() -> None:
    got = scores(gaussian(10).float(), torch.zeros(10, 3), gaussian(50, seed=1).float(), n=10)
    assert got.n == 10
    assert got.inception_score is None
    assert got.fd > 0


@pytest.mark.parametrize(
    ("made", "real"), [((1, F), (5, F)), ((5, F), (5, F + 1)), ((5,), (5, F)), ((0, F), (5, F))]
)
def test_features_that_cannot_be_compared_are_refused(
    made: tuple[int, ...], real: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="features must be"):
        frechet_distance(torch.zeros(made), torch.zeros(real))
    with pytest.raises(ValueError, match="features must be"):
        kernel_distance(torch.zeros(made), torch.zeros(real))


def test_logits_of_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 20"):
        inception_score(torch.zeros(5, 3))
