"""Low-rank steps: the directions that are found, and the inner loop with any of them against the NumPy twin."""

import numpy as np
import pytest
from helpers.combinations import combinations
from helpers.problems import DTYPES, TOLERANCE, Problem, shortened
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_info

from asysvrg import AsySVRGRegressor
from asysvrg.core.draws import draw_batch
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import initial_parameters
from asysvrg.core.preconditioner import EXACT, ROWS, LowRankPreconditioner
from asysvrg.core.smoothness import smoothness


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_inputs_that_are_all_0_have_no_direction(form):
    X, y = form(np.zeros((2000, 5))), np.arange(2000) % 2
    model = AsySVRGRegressor((), fit_intercept=False, deflation=2, max_iter=2, random_state=0).fit(X, y)
    assert (model.predict(X) == 0).all()


@combinations(
    hidden=[(), (7,), (19, 6)],
    dtype=DTYPES,
    form=["dense", "zeros", "csr"],
    direction=["sgd", "svrg", "svrg-uncached"],
    coordinates=[(0, 1), (9, 1), (12, 4), (24, 16)],
)
def test_shortened_steps_against_the_twin(hidden, dtype, form, direction, coordinates):
    """csrc/kernels/precondition.inc, with any U; one layer of several without."""
    problem = Problem(hidden=hidden, dtype=dtype, form=form, weighted=True, n=60, p=9)
    kind, count, block, rank = direction.removesuffix("-uncached"), *coordinates, 3
    bases, pairs = shortened(problem, rank, kind, [1] if len(hidden) > 1 else [])
    _, mu, cache = problem.snapshot(problem.x)
    how = {"replacement": False, "bases": bases}
    expected = problem.twin.epoch(kind, problem.x, 25, 0.02, 4, count, block, 7, 3, **how)
    plain = problem.twin.epoch(kind, problem.x, 25, 0.02, 4, count, block, 7, 3, replacement=False)
    assert np.abs(expected - plain).max() > 0.002
    for update in ["plain", "atomic"] if count else ["plain", "striped"]:
        x, loop = problem.vector(problem.x), problem.inner_loop(count, block, update, replacement=False, rank=rank)
        at_snapshot = {"mu": mu, "x_snap": problem.vector(problem.x), "cache": cache if direction == "svrg" else None}
        loop.run(x, 25, direction=kind, eta=0.02, epoch=3, preconditioner=pairs, **at_snapshot)
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if not count:
        v, loop = problem.vector(), problem.inner_loop(threads=2, update="plain", rank=rank)
        loop.direction(x, v, 2, direction=kind, epoch=3, preconditioner=pairs, **at_snapshot)
        expected = problem.twin.direction(kind, x, problem.x, draw_batch(7, 3, 2, 60, 4), bases)
        np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_lazy_rows_below_shortened_layers(direction):
    problem = Problem(hidden=(7, 6), form="csr", n=60, p=30, density=0.03)
    bases, pairs = shortened(problem, 3, direction, [0])
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3, bases=bases)
    loop, x = problem.inner_loop(update="striped", batch=2, rank=3, lazy_rows=True), problem.vector(problem.x)
    how = {"direction": direction, "eta": 0.1, "epoch": 3, "mu": mu, "cache": cache}
    loop.run(x, 100, preconditioner=pairs, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)
    for wrong in (shortened(problem, 3, direction)[1], None):
        with pytest.raises(ValueError, match="a rank needs a basis of each layer"):
            loop.run(x, 100, preconditioner=wrong, **how)


@pytest.mark.parametrize(
    "loop", [{}, {"update": "striped"}, {"execution": "lockstep", "threads": 2, "parts": 2}], ids=str
)
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("hidden", [(), (7, 6)], ids=str)
def test_shortened_steps_with_a_large_l2_term(hidden, same, loop):
    """One thread keeps the first layer's shortening apart, which must shrink with the weights, but not the bias."""
    alpha = np.array([1.0, *np.random.default_rng(3).random(8 + len(hidden))])
    alpha[:9] = 1.0 if same else alpha[:9]
    problem = Problem(hidden=hidden, form="zeros", n=60, p=9, alpha=alpha)
    bases, pairs = shortened(problem, 3, "svrg")
    _, mu, cache = problem.snapshot(problem.x)
    rates = np.linspace(0.08, 0.02, 200)
    expected = problem.twin.epoch("svrg", problem.x, 200, rates, 4, 0, 1, seed=7, epoch=3, bases=bases)
    x, loop = problem.vector(problem.x), problem.inner_loop(rank=3, **loop)
    for _ in range(2):  # nothing is left of the first time
        x[:] = problem.x
        loop.run(x, 200, direction="svrg", eta=rates, epoch=3, mu=mu, cache=cache, preconditioner=pairs)
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)


def far_from_centred(n=ROWS, p=12, form="dense", weighted=False, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = (3 + rng.standard_normal((n, p)) * np.linspace(0.3, 1, p)).astype(dtype)
    y = rng.integers(3, size=n).astype(np.int32)
    weight = None
    if weighted:
        weight = rng.random(n).astype(dtype)
        weight /= weight.mean()
    return Network((p, 9, 3), "relu", "softmax", dtype), Samples(sparse.csr_array(X) if form == "csr" else X, y, weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
def test_directions_are_the_leading_eigenvectors(form, weighted, dtype):
    """U U' by NumPy's eigenvalues of the second moments, both layers."""
    network, samples = far_from_centred(form=form, weighted=weighted, dtype=dtype)
    x = initial_parameters(network, np.random.RandomState(0))
    preconditioner = LowRankPreconditioner(network, samples, 2, 0)
    assert not preconditioner.bases[1].any()
    preconditioner.update(x, 0)
    X = samples.X.toarray() if form == "csr" else samples.X
    weight = np.ones(samples.size) if samples.weight is None else samples.weight
    (W, b), _ = network.layers(x)
    for inputs, U in zip((X, np.maximum(X @ W + b, 0)), preconditioner.bases, strict=True):
        augmented = np.column_stack([np.ones(len(inputs)), inputs]).astype(np.float64)
        M = augmented.T @ (weight[:, None] * augmented)
        values, vectors = np.linalg.eigh(M)
        values, leading = values[::-1], vectors[:, ::-1][:, :2]
        lowest = max(values[2], values.mean())
        expected = (leading * np.maximum(1 - lowest / values[:2], 0)) @ leading.T
        np.testing.assert_allclose(U @ U.T, expected, atol=1e-3)
        assert np.linalg.norm(expected) > 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("n", [ROWS, 80])
def test_directions_among_many_inputs_shorten_as_much_as_eigenvectors(n, form, dtype):
    """Where they come from an iteration that ends early: along none is P M P much longer than with all exact."""
    p, rank, rng = 2 * EXACT, 3, np.random.default_rng(0)
    X = (rng.standard_normal((n, p)) * 0.8 ** np.arange(p)).astype(dtype)
    samples = Samples(sparse.csr_array(X) if form == "csr" else X, np.zeros(n, np.int32))
    U = LowRankPreconditioner(Network((p, 3), "relu", "softmax", dtype), samples, rank, 0).bases[0].astype(np.float64)
    augmented = np.column_stack([np.ones(n), X]).astype(np.float64)
    M = augmented.T @ augmented
    values = np.linalg.eigvalsh(M)[::-1]
    assert 0 < np.linalg.eigvalsh(U @ U.T).max() < 1
    P = np.eye(1 + p) - U @ U.T
    assert np.linalg.eigvals(P @ M).real.max() < 1.1 * values[rank] < 0.9 * values[0]


@pytest.mark.parametrize(("n", "p", "rank"), [(1, 3, 8), (2, 1, 8), (50, 4, 8), (ROWS + 30, 3, 1)])
def test_fewer_samples_or_inputs_than_directions(n, p, rank):
    network, samples = far_from_centred(n, p)
    x = initial_parameters(network, np.random.RandomState(0))
    preconditioner = LowRankPreconditioner(network, samples, rank, 0)
    preconditioner.update(x, 0)
    for U in preconditioner.bases:
        values = np.linalg.eigvalsh(U @ U.T)
        assert -1e-9 < values.min() <= values.max() < 1
    v = preconditioner.apply(x)
    assert 0 < v @ x <= x @ x


@pytest.mark.parametrize("size", [1e-25, 1e25, np.inf])
def test_inputs_of_any_size(size):
    _, samples = far_from_centred(dtype=np.float32)
    X, network = samples.X * np.float32(size), Network((12, 3), "relu", "softmax", np.float32)
    preconditioner = LowRankPreconditioner(network, Samples(X, samples.y), 2, 0)
    values = np.linalg.eigvalsh(preconditioner.bases[0] @ preconditioner.bases[0].T)
    assert (values.max() > 0.5) == np.isfinite(size)


def test_bases_above_the_first_layer_are_computed_less_and_less_often():
    """But at once where there are none yet, and once an epoch."""
    network, samples = far_from_centred()
    preconditioner, again = LowRankPreconditioner(network, samples, 2, 0), []
    for epoch in range(20):
        before = preconditioner.hidden.copy()
        preconditioner.update(initial_parameters(network, np.random.RandomState(epoch)), epoch)
        if (preconditioner.hidden != before).any():
            again.append(epoch)
    assert again == [0, 1, 4, 16]
    late = LowRankPreconditioner(network, samples, 2, 0)
    late.update(initial_parameters(network, np.random.RandomState(16)), 19)
    np.testing.assert_array_equal(late.hidden, preconditioner.hidden)


def test_the_curvature_is_smaller_by_the_mean_of_the_inputs():
    network, samples = far_from_centred()
    x = initial_parameters(network, np.random.RandomState(0))
    preconditioner = LowRankPreconditioner(network, samples, 4, 0)
    preconditioner.update(x, 0)
    how = (network, samples, np.float64(1e-3), x, 50, 0)
    assert smoothness(*how, preconditioner) < 0.2 * smoothness(*how)


def test_blas_has_one_thread_before_the_kernels_start(monkeypatch):
    """Threads that BLAS once used go on looking for work for a while, on the cores that are to train."""
    seen, take = [], LowRankPreconditioner._set_basis

    def looked(self, inputs, basis):
        seen.extend(info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas")
        take(self, inputs, basis)

    monkeypatch.setattr(LowRankPreconditioner, "_set_basis", looked)
    X = np.random.default_rng(0).standard_normal((300, 20))
    AsySVRGRegressor((5,), deflation=2, max_iter=1, n_jobs=2).fit(X, X[:, 0])
    assert set(seen) == {1}


@pytest.mark.parametrize("threads", [1, 4])
def test_the_minimum_is_that_of_plain_steps_and_is_reached_sooner(threads):
    """Least squares with one large input: plain steps are far from the floor at the largest rate they bear."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((400, 12)) * np.r_[10, np.ones(11)]
    y = X @ np.linspace(-1, 1, 12) + rng.standard_normal(400)
    norms, model = {}, AsySVRGRegressor((), dtype="float64", batch_size=10, max_iter=40, tol=0, n_jobs=threads)
    for rank, rate in ((0, 0.004), (2, 0.05)):
        model.set_params(learning_rate_init=rate, deflation=rank, random_state=0).fit(X, y)
        assert model.history_["config"]["deflation"] == rank
        assert not any(row.get("rolled_back") for row in model.history_["epochs"])
        norms[rank] = model.history_["epochs"][-1]["gradient_norm_squared"] ** 0.5
    assert norms[2] < 1e-10 < 1e-4 < norms[0]
    expected = Ridge(1e-4 * len(X)).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0].ravel(), expected.coef_, atol=1e-8)
    with pytest.warns(ConvergenceWarning, match="half the learning rate"):
        model.set_params(deflation=0).fit(X, y)
