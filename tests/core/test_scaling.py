"""The scaling of inputs and targets inside an estimator."""

import numpy as np
import pytest
from scipy import sparse

from asysvrg.core.blocks import BLOCK
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.scaling import _moments, choose


def table(form, outputs=3, n=60, p=6):
    """Columns of very different size; targets far from zero."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * 10.0 ** np.arange(-1, p - 1)
    if form == "dense":
        X += 10.0 ** np.arange(p)
    else:
        X = sparse.csr_array(X * (rng.random((n, p)) < 0.5))
    return X, 300 * rng.normal(size=(n, outputs)) + 5000


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)], ids=str)
@pytest.mark.parametrize("loss", ["softmax", "squared_error"])
def test_scaling_changes_the_variables_and_not_the_objective(form, hidden, loss):
    X, y = table(form)
    if loss == "softmax":
        y = (np.arange(60) % 3).astype(np.int32)
    network = Network((6, *hidden, 3), "tanh", loss, np.float64)
    scaling = choose(X, y, 0.01)
    assert scaling.scale is not None
    x = initial_parameters(network, np.random.RandomState(1))
    inside = Objective(
        network, Samples(scaling.inputs(X), scaling.targets(y)), alpha=scaling.l2(0.01, network), threads=1,
        unit=scaling.target_scale**2,
    )  # fmt: skip
    outside = Objective(network, Samples(X, y), alpha=0.01, threads=1)
    raw = scaling.unscaled(network, x)
    assert not np.allclose(raw, x)
    assert inside.snapshot(x, keep_cache=False).loss == pytest.approx(outside.snapshot(raw, keep_cache=False).loss)
    np.testing.assert_allclose(scaling.scaled(network, raw), x, atol=1e-7)


def test_usual_data_are_left_alone():
    X = np.random.default_rng(0).random((50, 4))
    scaling = choose(X, X[:, :1], 1e-4)
    assert scaling.inputs(X) is X
    assert scaling.targets(X) is X
    assert scaling.target_scale == 1


def test_scales_stop_where_the_l2_term_rules():
    """A column of size 1e-9 gets an l2 weight that a learning rate can live with."""
    X, y = np.random.default_rng(0).normal(size=(50, 2)) * [100, 1e-9], np.zeros((50, 1))
    scaling = choose(X, y, 1e-4)
    assert scaling.l2(1e-4, Network((2, 1), "relu", "squared_error", np.float64)).max() <= 1.0001


def test_moments_in_blocks():
    """The data have several blocks. Columns are far from 0, differ in the first block, or are constant."""
    rng = np.random.default_rng(0)
    n = 2 * BLOCK // 5 + 7
    X = rng.normal(size=(n, 5)) * [1, 1e3, 1e-3, 1, 0] + [0, 1e6, 3, 0, 0.1]
    X[: BLOCK // 5, 3] += 1e3
    for dtype in (np.float32, np.float64):
        typed = X.astype(dtype)
        mean, variance = _moments(typed)
        np.testing.assert_allclose(mean, typed.mean(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(variance[:4], typed.var(axis=0, dtype=np.float64)[:4], rtol=1e-8)
        assert variance[4] < 1e-30
    assert _moments(np.array([[1e200], [-1e200]]))[1] == np.inf
