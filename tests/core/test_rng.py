"""Random draws (csrc/rng.h): mini-batches, orders and blocks of coordinates."""

import numpy as np
import pytest

from asysvrg.core.draws import draw_batch, draw_blocks


def test_draws_depend_on_seed_epoch_and_iteration_only():
    base = draw_batch(1, 2, 3, 1000, 10)
    np.testing.assert_array_equal(base, draw_batch(1, 2, 3, 1000, 10))
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
        assert (draw_batch(*other, 1000, 10) != base).any()
    assert (draw_blocks(1, 2, 3, 1000, 10, 1) != base).any()


def test_mini_batches_are_uniform_and_independent():
    """Assumption 1: chi-squared of single draws and of neighbouring pairs; fixed seed, bound at 5 sigma."""
    n, batches = 20, np.array([draw_batch(0, 0, t, 20, 10, True) for t in range(20_000)])
    for cells in [
        batches.ravel(),
        (batches[:, :-1] * n + batches[:, 1:])[:, ::2].ravel(),
        batches[1:, 0] * n + batches[:-1, 0],
    ]:
        bins = n if cells.max() < n else n * n
        expected = len(cells) / bins
        chi = ((np.bincount(cells, minlength=bins) - expected) ** 2 / expected).sum()
        assert abs(chi - bins) < 5 * np.sqrt(2 * bins)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 1000])
@pytest.mark.parametrize("b", [1, 3, 10])
def test_without_replacement_a_pass_has_each_sample_once(n, b):
    passes = 3 * b
    drawn = np.concatenate([draw_batch(0, 5, t, n, b, False) for t in range(passes * n // b)]).reshape(passes, n)
    assert (np.sort(drawn) == np.arange(n)).all()
    if n >= 16:
        assert len(np.unique(drawn, axis=0)) == passes


@pytest.mark.parametrize("n", [8, 20])
def test_orders_are_uniform(n):
    """Chi-squared of what stands where in an order, and of what follows what; bounds at 5 sigma."""
    times = 20_000
    orders = np.array([draw_batch(1, epoch, 0, n, n, False) for epoch in range(times)])
    places = np.array([np.bincount(column, minlength=n) for column in orders.T])
    pairs = np.bincount((orders[:, :-1] * n + orders[:, 1:]).ravel(), minlength=n * n).reshape(n, n)
    assert (np.diag(pairs) == 0).all()
    chi = ((places - times / n) ** 2 / (times / n)).sum()
    assert abs(chi - (n - 1) ** 2) < 5 * np.sqrt(2) * (n - 1)
    expected = times / n  # of each ordered pair of neighbours: times (n - 1) places, n (n - 1) pairs
    chi = ((pairs[~np.eye(n, dtype=bool)] - expected) ** 2 / expected).sum()
    assert abs(chi - n * (n - 1)) < 5 * np.sqrt(2 * n * (n - 1))


@pytest.mark.parametrize(
    ("d", "coordinates", "block"), [(103, 10, 1), (103, 10, 16), (103, 50, 16), (64, 63, 1), (1000, 100, 8)]
)
def test_blocks_are_distinct_and_every_coordinate_has_the_same_probability(d, coordinates, block):
    times, hits = 20_000, np.zeros(d)
    for t in range(times):
        chosen = draw_blocks(5, 0, t, d, coordinates, block)
        assert len(np.unique(chosen)) == len(chosen)
        k = (chosen[:, None] * block + np.arange(block)).ravel()
        hits[k[k < d]] += 1
    p = coordinates / d
    np.testing.assert_allclose(hits / times, p, atol=5 * np.sqrt(p * (1 - p) / times))
