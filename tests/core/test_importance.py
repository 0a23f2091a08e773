"""Importance sampling: draws from a list, samples left out by chance, and what that does to the direction."""

import numpy as np
import pytest
from helpers.combinations import combinations
from helpers.problems import DTYPES, TOLERANCE, Problem
from helpers.twin import Twin
from sklearn.datasets import load_digits

from asysvrg.core.draws import draw_batch
from asysvrg.core.importance import UNIFORM, Draws, Importance
from asysvrg.core.loop import minimize
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.schedule import Schedule
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Trace


@combinations(
    hidden=[(), (19, 6)],
    dtype=DTYPES,
    loss=["softmax", "squared_error", "binary"],
    form=["dense", "zeros", "csr"],
    direction=["sgd", "svrg", "svrg-uncached"],
    coordinates=[(0, 1), (9, 1)],
)
def test_draws_from_a_list_against_the_twin(hidden, dtype, loss, form, direction, coordinates):
    """Any list and any ratio; the gradient norms left behind are those where a sample was drawn last."""
    problem = Problem(hidden=hidden, loss=loss, form=form, dtype=dtype, weighted=True, n=60, p=9)
    rng, kind = np.random.default_rng(4), direction.removesuffix("-uncached")
    ratio, norms = (rng.random(60) + 0.5).astype(dtype), np.full(60, -1, dtype)
    draws = Draws(np.sort(rng.integers(60, size=60, dtype=np.int32)), ratio, norms)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"seed": 7, "epoch": 3, "replacement": False, "draws": (draws.listed, ratio)}
    before, expected = (problem.twin.epoch(kind, problem.x, m, 0.02, 4, *coordinates, **how) for m in (24, 25))
    x, loop = problem.vector(problem.x), problem.inner_loop(*coordinates, replacement=False)
    how = {"direction": kind, "eta": 0.02, "epoch": 3, "mu": mu, "x_snap": problem.vector(problem.x), "draws": draws}
    loop.run(x, 25, cache=cache if direction == "svrg" else None, **how)
    np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    last = draws.listed[draw_batch(7, 3, 24, 60, 4, False)]
    np.testing.assert_allclose(draws.norms[last], problem.twin.gradient_norms(before, last), rtol=10 * TOLERANCE[dtype])
    assert ((draws.norms < 0) == ~np.isin(np.arange(60), draws.listed)).all()


def with_norms(norms, seed=0):
    importance = Importance(len(norms), np.float64, seed)
    importance.norms[:] = norms
    return importance


def test_at_first_all_samples_are_alike():
    draws = Importance(7, np.float32, 3).draws(0)
    np.testing.assert_array_equal(draws.listed, np.arange(7))
    np.testing.assert_array_equal(draws.ratio, np.ones(7, np.float32))


@pytest.mark.parametrize("norms", [np.zeros(5), np.ones(1), np.full(5, 1e308), np.r_[1e-300, np.zeros(4)]], ids=str)
def test_norms_of_any_size(norms):
    draws = with_norms(norms).draws(2)
    assert len(draws.listed) == len(norms)
    assert ((draws.ratio > 0) & (draws.ratio <= 1 / UNIFORM)).all()


def in_numpy(norms):
    """n p_i of all samples."""
    share = norms.astype(np.float64) / norms.max()
    return UNIFORM + (1 - UNIFORM) * share / share.mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 17, 10_000])
@pytest.mark.parametrize("epoch", [0, 5])
def test_the_list_against_numpy(n, epoch, dtype):
    """Places of samples 0 .. i in the list are floor(n (p_0 + .. + p_i) + offset), with one offset for all i."""
    rng = np.random.default_rng(n)
    norms = rng.exponential(size=n).astype(dtype) * (rng.random(n) < 0.8) + dtype(1e-3)
    importance = Importance(n, dtype, 3)
    importance.norms[:] = norms
    listed, ratio, kept = importance.draws(epoch)
    assert kept is importance.norms
    expected = in_numpy(norms)
    np.testing.assert_allclose(ratio, 1 / expected, rtol=1e-6)
    assert ratio.dtype == dtype
    over = np.cumsum(np.bincount(listed, minlength=n)) - np.cumsum(expected)
    assert over.max() + 1e-9 >= 0
    assert over.max() < over.min() + 1 + 1e-9


def test_samples_are_listed_in_proportion_and_count_as_much_less():
    norms = np.random.default_rng(1).exponential(size=50)
    p = UNIFORM / 50 + (1 - UNIFORM) * norms / norms.sum()
    importance, epochs = with_norms(norms), 4000
    times = np.array([np.bincount(importance.draws(epoch).listed, minlength=50) for epoch in range(epochs)])
    assert (times.sum(1) == 50).all()
    assert (np.abs(times - 50 * p) < 1).all()
    np.testing.assert_allclose(importance.draws(0).ratio, 1 / (50 * p), rtol=1e-12)
    np.testing.assert_allclose(times.mean(0), 50 * p, atol=5 * 0.5 / np.sqrt(epochs))  # no less varied than a coin


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_the_mean_of_the_direction_is_the_gradient(direction):
    """Over all places of a list and many lists, at an x that is not the snapshot; by the twin."""
    problem = Problem(n=60, p=9, weighted=True)
    x = problem.x + 0.3 * np.random.default_rng(2).standard_normal(len(problem.x))
    importance = with_norms(np.random.default_rng(3).exponential(size=60))
    directions = []
    for epoch in range(300):
        draws = importance.draws(epoch)
        share = draws.ratio[draws.listed]
        directions.append(problem.twin.direction(direction, x, problem.x, draws.listed, share=share))
    spread = np.std(directions, axis=0) / np.sqrt(len(directions))
    assert spread.max() > 0
    assert (np.abs(np.mean(directions, axis=0) - problem.twin.gradient(x)) < 5 * spread + 1e-12).all()


def test_the_direction_varies_less():
    """Gradients of all samples after some epochs on digits; p from the norms that the run left behind."""
    X, y = load_digits(return_X_y=True)
    network, n = Network((64, 20, 10), "relu", "softmax", np.float64), len(y)
    samples = Samples(X / 16, y.astype(np.int32))
    objective = Objective(network, samples, alpha=1e-3, threads=1)
    execution = ThreadedExecution(
        objective, batch_size=10, seed=0, sampling="importance", execution="serial", update="plain"
    )
    x = initial_parameters(network, np.random.RandomState(0))
    minimize(execution, x, Schedule("sgd", 10, inner_steps=n // 10, learning_rate=0.1, decay="linear"), Trace({}))
    norms = execution.state()["gradient_norms"]
    _, gradients, _ = Twin((64, 20, 10), "relu", "softmax", X / 16, y).per_sample(x)
    squares = (gradients**2).sum(1)
    assert norms.min() < 1e-2 < 1 < norms.max()
    draws = with_norms(norms).draws(0)
    assert (draws.ratio * squares).mean() < 0.6 * squares.mean()
