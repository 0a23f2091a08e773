"""update="replicated" (csrc/replica.h): threads that iterate on replicas of x, and exchange it part by part."""

import signal
import threading
import time

import numpy as np
import pytest
from conftest import Problem
from scipy import sparse
from test_kernels import TOLERANCE, shortened
from test_team import at_snapshot

from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.core import inner

RANK, STEPS = 3, 600


def constant(dtype, form, threads, hidden=(90,)):
    """A loop in which every direction is P mu, whatever x is: samples have no weight. And what it is given."""
    how = {"dtype": dtype, "form": form, "loss": "squared", "weighted": True, "alpha": 0.0}
    problem = Problem(hidden, n=50, p=31, outputs=9, density=0.3, **how)
    problem.samples.weight[:] = 0
    network, mu = problem.network, problem.vector(np.random.default_rng(0).standard_normal(problem.network.size))
    bases, _ = shortened(problem, RANK, "svrg")
    layers = zip(bases, network.layers(mu), strict=True)
    pairs = [(U, (U.T @ np.vstack([b, W])).astype(dtype)) for U, (W, b) in layers]
    step = problem.twin.direction("svrg", problem.x, problem.x, [0], bases, mu=mu)
    loop = problem.inner_loop(update="replicated", threads=threads, rank=RANK)
    how = {"direction": "svrg", "eta": 0.01, "mu": mu, "x_snap": network.vector(), "deflation": pairs}
    return network, loop, how, step


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hidden", [(), (90,), (20, 300)], ids=str)
@pytest.mark.parametrize("parts", [1, 3, 12])
def test_no_shortened_update_is_lost(monkeypatch, parts, hidden, dtype, form, threads):
    """Each is P mu, of which a replica keeps U U' mu of the first layer apart; parts end within layers."""
    monkeypatch.setattr(inner, "EXCHANGED", 1e9)
    monkeypatch.setattr(inner, "MOST_PARTS", parts)
    network, loop, how, step = constant(dtype, form, threads, hidden)
    start = network.vector(np.random.default_rng(1).standard_normal(network.size))
    x = network.vector(start)
    for epoch in range(2):  # nothing is left of the first time
        delays = loop.run(x, STEPS, epoch=epoch, **how)
        assert (delays >= 0).all()
        expected = start - 0.01 * STEPS * (epoch + 1) * step
        np.testing.assert_allclose(x, expected, atol=TOLERANCE[dtype] * abs(expected).max())


def test_a_deadline_leaves_whole_iterations():
    network, loop, how, step = constant(np.float64, "zeros", 3)
    x, steps = network.vector(), 10**6
    delays = loop.run(x, steps, epoch=0, deadline=time.monotonic() + 0.3, **how)
    done = np.count_nonzero(delays >= 0)
    assert 0 < done < steps
    np.testing.assert_allclose(x, -0.01 * done * step, rtol=1e-9, atol=1e-9 * abs(x).max())


def test_ctrl_c_keeps_what_was_done():
    network, loop, how, step = constant(np.float64, "zeros", 3)
    x = network.vector()
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(x, 10**7, epoch=0, **how)
    assert time.monotonic() - began < 2
    done = np.median(x / step / -0.01)
    assert done > 10
    np.testing.assert_allclose(x, -0.01 * round(done) * step, rtol=1e-8, atol=1e-9 * abs(x).max())


def test_delays_are_those_of_two_rounds_of_parts(monkeypatch):
    """An update is in x after a round of its thread's exchanges, and in another replica after a round of that one's."""
    problem = Problem(hidden=(200,), form="zeros", n=500, p=60)
    monkeypatch.setattr(inner, "EXCHANGED", 1e9)
    means = []
    for parts in (1, 4, 12):
        monkeypatch.setattr(inner, "MOST_PARTS", parts)
        loop, x = problem.inner_loop(update="replicated", threads=2, batch=10), problem.vector(problem.x)
        delays = loop.run(x, 4000, eta=1e-3, epoch=0, **at_snapshot(problem, "svrg"))
        assert delays.min() == 0  # of the update that was claimed first, whichever iteration's that is
        means.append(delays.mean())
    assert 0 < means[0] < means[1] < means[2] < 200
    alone = problem.inner_loop(update="replicated", threads=1)
    assert (alone.run(x, 100, eta=1e-3, epoch=0, **at_snapshot(problem, "svrg")) == 0).all()


def test_vectors_that_others_need_later_may_be_replicas():
    problem = Problem(hidden=(19, 6), form="zeros")
    how, results = at_snapshot(problem, "svrg"), []
    for spare in ((), [problem.vector(np.full(problem.network.size, np.nan)) for _ in range(3)]):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(update="replicated", threads=2, spare=spare)
        loop.run(x, 100, eta=1e-9, epoch=0, **how)
        results.append((x - problem.x) / 1e-9)
    np.testing.assert_allclose(*results, atol=1e-3)
    assert np.isfinite(spare[0]).all()
    assert np.isnan(spare[1]).all()  # one thread has a replica of the loop's own


def test_subsets_of_coordinates_are_refused():
    with pytest.raises(ValueError, match="update='replicated' is for updates of all coordinates"):
        Problem().inner_loop(10, update="replicated")


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_estimators_take_it(form, threads):
    """With many zeros and with few non-zeros, whose rows are not put off here; the trace says what was done."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 60)) * (rng.random((400, 60)) < 0.1)
    y = (X[:, :20] @ rng.standard_normal((20, 3))).argmax(1)
    X = sparse.csr_array(X) if form == "csr" else X
    model = AsySVRGClassifier(
        (10,), update="replicated", batch_size=2, max_iter=40, learning_rate_init=0.1, n_jobs=threads, random_state=0
    ).fit(X, y)
    assert model.history_["config"]["update"] == "replicated"
    assert model.history_["config"]["threads"] == threads
    assert model.score(X, y) > 0.9
    assert (model.history_["epochs"][-1]["delay"]["max"] > 0) == (threads > 1)


@pytest.mark.parametrize("threads", [2, 8])
def test_the_minimum_is_that_of_plain_steps(threads):
    """Shortened steps in several replicas: the floor is rounding's."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((400, 12)) * np.r_[10, np.ones(11)]
    y = X @ np.linspace(-1, 1, 12) + rng.standard_normal(400)
    model = AsySVRGRegressor(
        (), dtype="float64", batch_size=10, max_iter=60, tol=0, n_jobs=threads, update="replicated", deflation=2,
        learning_rate_init=0.02, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert model.history_["epochs"][-1]["gradient_norm_squared"] ** 0.5 < 1e-10
