"""What threads may not change: no update lost, draws, delays within bounds, and the floor of convergence."""

import numpy as np
import pytest
from asysvrg.core.inner import InnerLoop, atomic_adds, draw_batch, draw_blocks
from asysvrg.core.network import Network, Samples, aligned_zeros
from conftest import Problem
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from asysvrg import AsySVRGClassifier
from asysvrg.core import inner

THREADS = [1, 2, 4, 8, 16]


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_concurrent_atomic_adds_are_all_there(dtype):
    x = aligned_zeros((1,), dtype)
    atomic_adds(Network((1, 1), "relu", "squared", dtype), x, 16 * 10**6, 16)
    assert x[0] == 16 * 10**6  # below 2^24: exact in float32, too


def drift(dtype, threads, update, coordinates, block, steps=3000):
    """Inner iterations whose direction is the constant mu: the inputs are zero, and so are outputs and targets."""
    network = Network((37, 91), "relu", "squared", dtype)  # odd: every second row of float32 begins within a word
    samples = Samples(np.zeros((5, 37), dtype), np.zeros((5, 91), dtype))
    loop = InnerLoop(
        network, samples, alpha=0.0, batch_size=1, coordinates=coordinates, block=block, update=update,
        max_delay=None, seed=3, threads=threads,
    )  # fmt: skip
    mu, x, x_snap = (aligned_zeros((network.size,), dtype) for _ in range(3))
    mu[: 37 * 91] = -(2.0 ** np.arange(-4, 4)[np.arange(37 * 91) % 8])
    delays = loop.run(x, steps, direction="svrg", eta=0.5, epoch=1, mu=mu, x_snap=x_snap)
    assert (delays >= 0).all()
    return x, mu


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("update", "coordinates", "block"),
    [(update, 0, 1) for update in ("atomic", "striped", "owned", "replicated")]
    + [("atomic", 200, 1), ("atomic", 200, 16), ("striped", 200, 16)],
)
def test_no_update_is_lost(dtype, threads, update, coordinates, block):
    steps = 3000
    x, mu = drift(dtype, threads, update, coordinates, block, steps)
    counts = np.full(len(x), steps)
    if coordinates:
        counts[:] = 0
        for t in range(steps):
            k = (draw_blocks(3, 1, t, len(x), coordinates, block)[:, None] * block + np.arange(block)).ravel()
            counts[k[k < len(x)]] += 1
    np.testing.assert_array_equal(x, -0.5 * mu * counts)  # powers of two: exact


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("update", ["atomic", "striped", "owned"])
def test_no_row_put_off_is_lost(dtype, threads, update):
    """As above, with sparse inputs: samples of weight zero have no gradient, but their columns' rows are touched."""
    X = sparse.random_array((50, 400), density=0.01, format="csr", dtype=dtype, rng=0)
    network = Network((400, 90), "relu", "squared", dtype)
    samples = Samples(X, np.zeros((50, 90), dtype), np.zeros(50, dtype))
    loop = InnerLoop(
        network, samples, alpha=0.0, batch_size=2, coordinates=0, block=1, update=update,
        max_delay=None, seed=3, threads=threads,
    )  # fmt: skip
    assert loop.puts_off
    mu, x, x_snap = (aligned_zeros((network.size,), dtype) for _ in range(3))
    mu[:] = -(2.0 ** np.arange(-4, 4)[np.arange(network.size) % 8])
    for epoch in range(3):
        delays = loop.run(x, 1000, direction="svrg", eta=0.5, epoch=epoch, mu=mu, x_snap=x_snap)
        assert (delays >= 0).all()
        np.testing.assert_array_equal(x, -0.5 * mu * 1000 * (epoch + 1))


@pytest.mark.parametrize(
    ("form", "hidden"), [("dense", 1100), ("dense", 3300), ("zeros", 1100), ("csr", 1100)]
)  # of the second, W_0 is read where it is
@pytest.mark.parametrize(
    ("update", "coordinates"),
    [(update, (0, 1)) for update in ("striped", "owned", "atomic", "replicated")]
    + [("atomic", (999, 16)), ("striped", (999, 16))],
)
def test_every_update_is_that_of_its_mini_batch(form, hidden, update, coordinates):
    """At a rate next to nothing all x^ are x_0, so that the sum of all updates is the twin's in any order.

    Rows are wider than a stripe, and mini-batches than a word of marks.
    """
    problem, eta, steps = Problem(hidden=(hidden,), form=form, n=100, density=0.2), 1e-9, 32
    expected = problem.twin.epoch("sgd", problem.x, steps, eta, 70, *coordinates, seed=7, epoch=3) - problem.x
    assert np.abs(expected / eta).max() > 1
    for threads in THREADS:
        x = problem.vector(problem.x)
        loop = problem.inner_loop(*coordinates, update, threads, batch=70)
        loop.run(x, steps, direction="sgd", eta=eta, epoch=3)
        np.testing.assert_allclose((x - problem.x) / eta, expected / eta, atol=2e-4)


def test_locks_are_refused_for_single_coordinates():
    with pytest.raises(ValueError, match="all coordinates"):
        Problem().inner_loop(10, update="striped")


def test_plain_stores_are_refused_for_more_than_one_thread():
    with pytest.raises(ValueError, match="loses updates"):
        Problem().inner_loop(update="serial", threads=2)


@pytest.mark.parametrize("coordinates", [0, 30])
def test_one_thread_is_bit_repeatable_and_never_late(coordinates):
    problem = Problem()
    _, mu, cache = problem.snapshot(problem.x)
    results = []
    for _ in range(2):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(coordinates)
        delays = loop.run(x, 200, direction="svrg", eta=0.1, epoch=0, mu=mu, cache=cache)
        results.append(x)
        assert (delays == 0).all()
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("threads", [2, 5])
def test_sweeps_are_bit_repeatable_for_a_number_of_threads(threads):
    problem = Problem(dtype=np.float32, n=1000)
    first, second = problem.snapshot(problem.x, threads), problem.snapshot(problem.x, threads)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("threads", [2, 4, 16])
@pytest.mark.parametrize("max_delay", [0, 1, 3])
@pytest.mark.parametrize(("coordinates", "update"), [(0, "striped"), (0, "atomic"), (0, "replicated"), (40, "atomic")])
def test_max_delay_bounds_the_delay_of_every_update(threads, max_delay, coordinates, update):
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


def test_a_deadline_in_the_past_leaves_x_alone():
    problem = Problem()
    _, mu, cache = problem.snapshot(problem.x)
    x = problem.vector(problem.x)
    delays = problem.inner_loop(threads=1).run(
        x, 50, direction="svrg", eta=0.1, epoch=0, mu=mu, cache=cache, deadline=0
    )
    assert (delays == -1).all()
    np.testing.assert_array_equal(x, problem.x)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def optimum(digits):
    """Of the same objective: mean loss + 0.05 / 2 |W|^2."""
    X, y = digits
    model = LogisticRegression(C=1 / (0.05 * len(X)), tol=1e-12, max_iter=10_000).fit(X, y)
    return model.coef_, model.predict_proba(X)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    "coordinates",
    [
        {"coordinates": "all"},
        {"coordinates": 64},
        {"coordinates": 64, "block": "line"},
        {"coordinates": 64, "block": "line", "update": "atomic"},
        {"coordinates": "all", "update": "atomic"},
        {"coordinates": "all", "update": "owned"},
        {"coordinates": "all", "update": "replicated"},
        {"coordinates": "all", "sparse": True},
        {"coordinates": "all", "sampling": "importance"},
    ],
    ids=["all", "singles", "lines", "lines-atomic", "all-atomic", "all-owned", "replicated", "put-off", "importance"],
)
def test_floor_of_a_strongly_convex_problem_is_the_same_for_any_number_of_threads(
    digits, optimum, coordinates, threads, monkeypatch
):
    X, y = digits
    if "sparse" in coordinates:
        monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
        X, coordinates = sparse.csr_array(X), {"coordinates": "all"}
    model = AsySVRGClassifier(
        (), alpha=0.05, dtype="float64", max_iter=80, inner_steps=1000, tol=0, n_jobs=threads, random_state=0,
        learning_rate_init=0.2 if coordinates["coordinates"] == "all" else 1.0, **coordinates,
    ).fit(X, y)  # fmt: skip
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
