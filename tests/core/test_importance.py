"""Importance sampling: draws from a list, samples left out by chance, and what that does to the direction."""

import numpy as np
import pytest
from asysvrg.core.inner import draw_batch, draw_lots
from asysvrg.core.network import Network, Samples
from helpers.combinations import combinations
from helpers.problems import DTYPES, TOLERANCE, Problem, shortened
from helpers.twin import Twin
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier
from asysvrg.core.importance import ENOUGH, UNIFORM, Draws, Importance
from asysvrg.core.loop import Plan, minimize
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.shared import SharedExecution
from asysvrg.core.trace import Trace


@combinations(
    hidden=[(), (19, 6)],
    dtype=DTYPES,
    loss=["softmax", "squared", "binary"],
    form=["dense", "zeros", "csr"],
    direction=["sgd", "svrg", "svrg-uncached"],
    coordinates=[(0, 1), (9, 1)],
)
def test_draws_from_a_list_against_the_twin(hidden, dtype, loss, form, direction, coordinates):
    """Any list and any ratio; the lengths left behind are those where a sample was drawn last."""
    problem = Problem(hidden=hidden, loss=loss, form=form, dtype=dtype, weighted=True, n=60, p=9)
    rng, kind = np.random.default_rng(4), direction.removesuffix("-uncached")
    ratio, lengths = (rng.random(60) + 0.5).astype(dtype), np.full(60, -1, dtype)
    draws = Draws(np.sort(rng.integers(60, size=60, dtype=np.int32)), ratio, lengths)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"seed": 7, "epoch": 3, "replacement": False, "draws": (draws.listed, ratio, 0)}
    before, expected = (problem.twin.epoch(kind, problem.x, m, 0.02, 4, *coordinates, **how) for m in (24, 25))
    x, loop = problem.vector(problem.x), problem.inner_loop(*coordinates, "serial", replacement=False)
    how = {"direction": kind, "eta": 0.02, "epoch": 3, "mu": mu, "x_snap": problem.vector(problem.x), "draws": draws}
    loop.run(x, 25, cache=cache if direction == "svrg" else None, **how)
    np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    last = draws.listed[draw_batch(7, 3, 24, 60, 4, False)]
    np.testing.assert_allclose(draws.lengths[last], problem.twin.lengths(before, last), rtol=10 * TOLERANCE[dtype])
    assert ((draws.lengths < 0) == ~np.isin(np.arange(60), draws.listed)).all()


@combinations(
    hidden=[(), (19, 6)],
    dtype=DTYPES,
    loss=["softmax", "squared", "binary"],
    form=["dense", "zeros", "csr", "zeros-lines"],
    direction=["sgd", "svrg", "svrg-uncached"],
    rank=[0, 3],
)
def test_lots_against_the_twin(hidden, dtype, loss, form, direction, rank):
    """csrc/step.h: after_lot. Nobody is left out where it saves nothing, or where x~ has not been looked at yet."""
    form, _, subset = form.partition("-")
    problem = Problem(hidden=hidden, loss=loss, form=form, dtype=dtype, weighted=True, n=60, p=9)
    rng, kind = np.random.default_rng(4), direction.removesuffix("-uncached")
    coordinates = (12, 4) if subset else (0, 1)
    enough = 3 * np.median(problem.twin.lengths(problem.x, np.arange(60)))
    draws = Draws(np.arange(60, dtype=np.int32), (rng.random(60) + 0.5).astype(dtype), np.ones(60, dtype), enough)
    bases, pairs = shortened(problem, rank, kind) if rank else (None, None)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"seed": 7, "epoch": 3, "replacement": False, "bases": bases}
    left_out = form != "dense" and not subset and direction != "svrg-uncached"
    without, expected = (
        problem.twin.epoch(
            kind, problem.x, 40, 0.1, 4, *coordinates, **how, draws=(draws.listed, draws.ratio, some)
        )
        for some in (0, enough)
    )  # fmt: skip
    assert np.abs(expected - without).max() > 5 * TOLERANCE[dtype]
    how = {"direction": kind, "eta": 0.1, "epoch": 3, "mu": mu, "draws": draws, "deflation": pairs}
    how |= {"cache": cache if direction != "svrg-uncached" else None, "x_snap": problem.vector(problem.x)}
    of_all = [("striped", 1), ("owned", 1), ("owned", 3), ("replicated", 1)]
    for update, threads in [("serial", 1), ("atomic", 1)] + of_all * (not subset):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(*coordinates, update, threads=threads, replacement=False, rank=rank)
        loop.run(x, 40, **how)
        wanted = expected if left_out else without
        np.testing.assert_allclose(x, wanted, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


def with_lengths(lengths, seed=0):
    importance = Importance(len(lengths), np.float64, seed)
    importance.lengths[:] = lengths
    return importance


def test_at_first_all_samples_are_alike():
    draws = Importance(7, np.float32, 3).draws(0)
    np.testing.assert_array_equal(draws.listed, np.arange(7))
    np.testing.assert_array_equal(draws.ratio, np.ones(7, np.float32))


@pytest.mark.parametrize("lengths", [np.zeros(5), np.ones(1), np.full(5, 1e308), np.r_[1e-300, np.zeros(4)]], ids=str)
def test_lengths_of_any_size(lengths):
    draws = with_lengths(lengths).draws(2)
    assert len(draws.listed) == len(lengths)
    assert ((draws.ratio > 0) & (draws.ratio <= 1 / UNIFORM)).all()


def in_numpy(lengths):
    """n p_i of all samples."""
    share = lengths.astype(np.float64) / lengths.max()
    return UNIFORM + (1 - UNIFORM) * share / share.mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 17, 10_000])
@pytest.mark.parametrize("epoch", [0, 5])
def test_the_list_against_numpy(n, epoch, dtype):
    """Places of samples 0 .. i in the list are floor(n (p_0 + .. + p_i) + offset), with one offset for all i."""
    rng = np.random.default_rng(n)
    lengths = rng.exponential(size=n).astype(dtype) * (rng.random(n) < 0.8) + dtype(1e-3)
    importance = Importance(n, dtype, 3)
    importance.lengths[:] = lengths
    listed, ratio, kept, enough = importance.draws(epoch)
    assert kept is importance.lengths
    expected = in_numpy(lengths)
    np.testing.assert_allclose(ratio, 1 / expected, rtol=1e-6)
    assert ratio.dtype == dtype
    assert enough == pytest.approx(ENOUGH * lengths.mean(dtype=np.float64))
    over = np.cumsum(np.bincount(listed, minlength=n)) - np.cumsum(expected)
    assert over.max() + 1e-9 >= 0
    assert over.max() < over.min() + 1 + 1e-9


def test_samples_are_listed_in_proportion_and_count_as_much_less():
    lengths = np.random.default_rng(1).exponential(size=50)
    p = UNIFORM / 50 + (1 - UNIFORM) * lengths / lengths.sum()
    importance, epochs = with_lengths(lengths), 4000
    times = np.array([np.bincount(importance.draws(epoch).listed, minlength=50) for epoch in range(epochs)])
    assert (times.sum(1) == 50).all()
    assert (np.abs(times - 50 * p) < 1).all()
    np.testing.assert_allclose(importance.draws(0).ratio, 1 / (50 * p), rtol=1e-12)
    np.testing.assert_allclose(times.mean(0), 50 * p, atol=5 * 0.5 / np.sqrt(epochs))  # no less varied than a coin


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_lots_leave_the_mean_as_it_is(direction):
    """Of what a sample counts; by the twin, with the kernels' lots."""
    problem, index, share = Problem(n=60, p=9), np.arange(60), np.random.default_rng(1).random(60) + 0.5
    x = problem.x + 0.3 * np.random.default_rng(2).standard_normal(len(problem.x))
    epochs, enough = 4000, 1.3
    counted = [
        problem.twin.after_lot(direction, x, problem.x, index, share, enough, draw_lots(5, epoch, 2, 60))
        for epoch in range(epochs)
    ]
    assert 0.2 < np.mean(np.equal(counted, 0)) < 0.8
    spread = np.std(counted, axis=0) / np.sqrt(epochs)
    assert (np.abs(np.mean(counted, axis=0) - share) < 5 * spread + 1e-12).all()


def test_what_is_enough():
    """A share of the mean contribution of those that have been drawn; nobody is left out before."""
    assert with_lengths(np.ones(5)).draws(0).enough == 0
    assert with_lengths([1, 1, 0.5, 0.25]).draws(1).enough == pytest.approx(ENOUGH * 0.375)


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_the_mean_of_the_direction_is_the_gradient(direction):
    """Over all places of a list and many lists, at an x that is not the snapshot; by the twin."""
    problem = Problem(n=60, p=9, weighted=True)
    x = problem.x + 0.3 * np.random.default_rng(2).standard_normal(len(problem.x))
    importance = with_lengths(np.random.default_rng(3).exponential(size=60))
    directions = []
    for epoch in range(300):
        draws = importance.draws(epoch)
        share = draws.ratio[draws.listed]
        directions.append(problem.twin.direction(direction, x, problem.x, draws.listed, share=share))
    spread = np.std(directions, axis=0) / np.sqrt(len(directions))
    assert spread.max() > 0
    assert (np.abs(np.mean(directions, axis=0) - problem.twin.gradient(x)) < 5 * spread + 1e-12).all()


def test_the_direction_varies_less():
    """Gradients of all samples after some epochs on digits; p from the lengths that the run left behind."""
    X, y = load_digits(return_X_y=True)
    network, n = Network((64, 20, 10), "relu", "softmax", np.float64), len(y)
    samples = Samples(X / 16, y.astype(np.int32))
    objective = Objective(network, samples, alpha=1e-3, threads=1, cache_bytes=0)
    execution = SharedExecution(
        objective, batch_size=10, inner_steps=n // 10, coordinates=0, block=1, update="auto", max_delay=None, seed=0,
        sampling="importance",
    )  # fmt: skip
    x = initial_parameters(network, np.random.RandomState(0))
    minimize(execution, x, Plan("sgd", 10, learning_rate=0.1, decay="linear"), Trace({}))
    _, gradients, _ = Twin((64, 20, 10), "relu", "softmax", X / 16, y).per_sample(x)
    squares = (gradients**2).sum(1)
    assert execution.lengths.min() < 1e-2 < 1 < execution.lengths.max()
    draws = with_lengths(execution.lengths).draws(0)
    assert (draws.ratio * squares).mean() < 0.6 * squares.mean()
    chance = np.minimum(draws.ratio * execution.lengths / draws.enough, 1)  # to stay in after the lot
    assert chance[draws.listed].mean() < 0.8
    assert (draws.ratio * squares / chance).mean() < 1.05 * (draws.ratio * squares).mean()


@pytest.mark.parametrize(
    ("n", "options", "chosen"),
    [
        (5000, {}, ("importance", 4, 4)),
        (4999, {}, ("replacement", 0, 1)),
        (5000, {"learning_rate_init": 0.1}, ("replacement", 0, 1)),
        (5000, {"sampling": "shuffle", "deflation": 2, "alpha_boost": 3}, ("shuffle", 2, 3)),
    ],
    ids=str,
)
def test_what_is_chosen(n, options, chosen):
    X = np.random.default_rng(0).standard_normal((n, 3))
    model = AsySVRGClassifier((2,), max_iter=1, tol=0, **options).fit(X, X[:, 0] > 0)
    assert tuple(model.history_["config"][name] for name in ("sampling", "deflation", "alpha_boost")) == chosen
