"""Threads that do not wait for each other: no update lost, delays within bounds, the same floor; and what is chosen."""

import functools

import numpy as np
import pytest
from helpers.problems import Problem
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from asysvrg import AsySVRGClassifier, plan
from asysvrg.core.draws import draw_blocks
from asysvrg.core.inner import InnerLoop, atomic_adds
from asysvrg.core.network import Network, Samples, aligned_zeros

THREADS = [1, 2, 4, 8, 16]
MODES = {
    "atomic": {"execution": "shared", "update": "atomic"},
    "striped": {"execution": "shared", "update": "striped"},
    "lockstep": {"execution": "lockstep", "update": "plain", "parts": 4},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_concurrent_atomic_adds_are_all_there(dtype):
    x = aligned_zeros((1,), dtype)
    atomic_adds(Network((1, 1), "relu", "squared_error", dtype), x, 16 * 10**6, 16)
    assert x[0] == 16 * 10**6  # below 2^24: exact in float32, too


def drift(dtype, threads, mode, coordinates, block, steps=3000, **more):
    """Inner iterations whose direction is the constant mu: the inputs are zero, and so are outputs and targets."""
    network = Network((37, 91), "relu", "squared_error", dtype)  # odd: every second row of float32 begins within a word
    samples = Samples(np.zeros((5, 37), dtype), np.zeros((5, 91), dtype))
    loop = InnerLoop(
        network, samples, alpha=0.0, batch_size=1, coordinates=coordinates, block=block, seed=3, threads=threads,
        **mode, **more,
    )  # fmt: skip
    mu, x, x_snap = (aligned_zeros((network.size,), dtype) for _ in range(3))
    mu[: 37 * 91] = -(2.0 ** np.arange(-4, 4)[np.arange(37 * 91) % 8])
    delays = loop.run(x, steps, direction="svrg", eta=0.5, epoch=1, mu=mu, x_snap=x_snap)
    assert (delays >= 0).all()
    return x, mu, delays


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("mode", "coordinates", "block"),
    [(mode, 0, 1) for mode in MODES] + [("atomic", 200, 1), ("atomic", 200, 16), ("striped", 200, 16)],
)
def test_no_update_is_lost(dtype, threads, mode, coordinates, block):
    steps = 3000
    x, mu, _ = drift(dtype, threads, MODES[mode], coordinates, block, steps)
    counts = np.full(len(x), steps)
    if coordinates:
        counts[:] = 0
        for t in range(steps):
            k = (draw_blocks(3, 1, t, len(x), coordinates, block)[:, None] * block + np.arange(block)).ravel()
            counts[k[k < len(x)]] += 1
    np.testing.assert_array_equal(x, -0.5 * mu * counts)  # powers of two: exact


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("mode", ["atomic", "striped"])
def test_late_steps_are_shorter(threads, mode):
    """A step of delay tau is min(1, threads / (tau + 1)) of its rate; every update counts once with its own delay."""
    x, mu, delays = drift(np.float64, threads, MODES[mode], 0, 1, adaptive=True)
    shares = np.minimum(1, threads / (delays + 1.0))
    np.testing.assert_allclose(x, -0.5 * mu * shares.sum(), rtol=1e-12)
    assert threads == 1 or delays.max() > 0


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODES)
def test_no_lazy_row_is_lost(dtype, threads, mode):
    """As above, with sparse inputs: samples of weight zero have no gradient, but their columns' rows are touched."""
    X = sparse.random_array((50, 400), density=0.01, format="csr", dtype=dtype, rng=0)
    network = Network((400, 90), "relu", "squared_error", dtype)
    samples = Samples(X, np.zeros((50, 90), dtype), np.zeros(50, dtype))
    loop = InnerLoop(
        network, samples, alpha=0.0, batch_size=2, seed=3, threads=threads, lazy_rows=True, **MODES[mode]
    )  # fmt: skip
    mu, x, x_snap = (aligned_zeros((network.size,), dtype) for _ in range(3))
    mu[:] = -(2.0 ** np.arange(-4, 4)[np.arange(network.size) % 8])
    for epoch in range(3):
        delays = loop.run(x, 1000, direction="svrg", eta=0.5, epoch=epoch, mu=mu, x_snap=x_snap)
        assert (delays >= 0).all()
        np.testing.assert_array_equal(x, -0.5 * mu * 1000 * (epoch + 1))


@functools.cache
def updated(form, hidden, steps, *coordinates):
    """A problem, and the sum of the twin's updates divided by eta, at a rate next to nothing."""
    problem, eta = Problem(hidden=(hidden,), form=form, n=100, density=0.2), 1e-9
    updates = problem.twin.epoch("sgd", problem.x, steps, eta, 70, *coordinates, seed=7, epoch=3) - problem.x
    assert np.abs(updates / eta).max() > 0.5
    return problem, eta, updates / eta


@pytest.mark.parametrize(
    ("form", "hidden", "steps"), [("dense", 1100, 32), ("dense", 3300, 16), ("zeros", 1100, 32), ("csr", 1100, 32)]
)  # of the second, W_0 is read where it is
@pytest.mark.parametrize(
    ("mode", "coordinates"),
    [(mode, (0, 1)) for mode in MODES] + [("atomic", (999, 16)), ("striped", (999, 16))],
)
def test_every_update_is_that_of_its_mini_batch(form, hidden, steps, mode, coordinates):
    """At a rate next to nothing all x^ are x_0, so that the sum of all updates is the twin's in any order.

    Rows are wider than a stripe, and mini-batches than a word of marks.
    """
    problem, eta, expected = updated(form, hidden, steps, *coordinates)
    for threads in THREADS if hidden < 2000 else (2, 16):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(*coordinates, threads=threads, batch=70, **MODES[mode])
        loop.run(x, steps, direction="sgd", eta=eta, epoch=3)
        np.testing.assert_allclose((x - problem.x) / eta, expected, atol=2e-4)


def test_locks_are_refused_for_single_coordinates():
    with pytest.raises(ValueError, match="single ones take 'atomic'"):
        Problem().inner_loop(10, update="striped")


def test_plain_stores_are_refused_for_more_than_one_thread():
    with pytest.raises(ValueError, match="loses updates"):
        Problem().inner_loop(update="plain", threads=2).run(Problem().x, 1, direction="sgd", eta=0.1, epoch=0)


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("max_delay", [0, 1, 3])
@pytest.mark.parametrize(("coordinates", "update"), [(0, "striped"), (0, "atomic"), (40, "atomic")])
def test_max_delay_bounds_the_delay_of_every_update(threads, max_delay, coordinates, update):
    """Assumption 4: the x^ of an update lacks at most max_delay earlier updates, J(t) of Eq. (6)."""
    problem = Problem(hidden=(30,), n=500)
    _, mu, cache = problem.snapshot(problem.x)
    x = problem.vector(problem.x)
    loop = problem.inner_loop(coordinates, update=update, threads=threads, max_delay=max_delay)
    delays = loop.run(x, 2000, direction="svrg", eta=0.01, epoch=0, mu=mu, cache=cache)
    assert delays.min() == 0
    assert delays.max() <= max_delay


def test_delays_are_seen_when_threads_share_an_epoch():
    """With more threads than one, some updates do come between a read and its own update."""
    problem = Problem(hidden=(200,), n=500)
    _, mu, cache = problem.snapshot(problem.x)
    delays = problem.inner_loop(threads=4, update="striped").run(
        problem.vector(problem.x), 3000, direction="svrg", eta=0.01, epoch=0, mu=mu, cache=cache
    )
    assert 0 < delays.mean() < 50
    assert (delays >= 0).all()


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def optimum(digits):
    """Of the same objective: mean loss + 0.05 / 2 |W|^2."""
    X, y = digits
    model = LogisticRegression(C=1 / (0.05 * len(X)), tol=1e-10, solver="newton-cg", max_iter=1000).fit(X, y)
    return model.coef_, model.predict_proba(X)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    "coordinates",
    [
        {"coordinates": "all"},
        {"coordinates": 64},
        {"coordinates": "lines:64"},
        {"coordinates": "lines:64", "update": "atomic"},
        {"coordinates": "all", "update": "atomic"},
        {"coordinates": "all", "execution": "lockstep"},
        {"coordinates": "all", "sparse": True},
        {"coordinates": "all", "sampling": "importance"},
    ],
    ids=["all", "singles", "lines", "lines-atomic", "all-atomic", "lockstep", "lazy", "importance"],
)
def test_floor_of_a_strongly_convex_problem_is_the_same_for_any_number_of_threads(
    digits, optimum, coordinates, threads, monkeypatch
):
    X, y = digits
    if "sparse" in coordinates:
        monkeypatch.setattr(plan, "LAZY", np.inf)
        X, coordinates = sparse.csr_array(X), {"coordinates": "all"}
    model = AsySVRGClassifier(
        (), alpha=0.05, dtype="float64", max_iter=80, inner_steps=1000, tol=0, n_jobs=threads, random_state=0,
        learning_rate_init=0.2 if coordinates["coordinates"] == "all" else 1.0, **coordinates,
    ).fit(X, y, callback=lambda row: row["gradient_norm_squared"] < 1e-20)  # fmt: skip
    assert model.history_["epochs"][-1]["gradient_norm_squared"] < 1e-20
    weights, probabilities = optimum
    np.testing.assert_allclose(model.coefs_[0].T, weights, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), probabilities, atol=1e-6)


@pytest.mark.slow
def test_floor_of_a_network_at_16_threads_is_within_ten_times_the_serial_one(digits):
    X, y = digits
    norms = []
    for threads in (1, 16):
        model = AsySVRGClassifier(
            (12,), "tanh", alpha=0.05, dtype="float64", max_iter=900, tol=0, n_jobs=threads, random_state=0,
            learning_rate_init=0.1, batch_size=10,
        ).fit(X, y)  # fmt: skip
        norms.append(min(row["gradient_norm_squared"] for row in model.history_["epochs"]) ** 0.5)
    assert norms[0] < 1e-12
    assert norms[1] < 10 * norms[0]
