"""The estimate of the smoothness that the automatic learning rate is made of."""

import numpy as np
import pytest
from scipy import sparse

from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import initial_parameters
from asysvrg.core.smoothness import smoothness


def test_smoothness_is_the_largest_eigenvalue_of_a_batch():
    """L of Assumption 3.

    Linear regression, every sample the same row: the Hessian is (a, 1)(a, 1)' + alpha on the weights.
    """
    row = np.array([1.0, 2.0, -1.0])
    network = Network((3, 1), "relu", "squared_error", np.float64)
    samples = Samples(np.tile(row, (10, 1)), np.ones((10, 1)))
    x = initial_parameters(network, np.random.RandomState(0))
    hessian = np.outer([*row, 1], [*row, 1]) + np.diag([0.5, 0.5, 0.5, 0])
    found = smoothness(network, samples, 0.5, x, 4, seed=0)
    assert found == pytest.approx(np.linalg.eigvalsh(hessian).max(), rel=1e-3)


def test_smoothness_of_a_flat_objective_is_positive():
    network = Network((3, 1), "relu", "squared_error", np.float32)
    samples = Samples(np.zeros((10, 3), np.float32), np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    assert smoothness(network, samples, 0.0, initial_parameters(network, np.random.RandomState(0)), 4, seed=0) == 1.0


def test_columns_without_an_entry_do_not_count():
    """Sparse samples: the eigenvalue is that of the columns that a batch has, as of the same samples dense."""
    rng = np.random.default_rng(0)
    X, y = sparse.random(200, 300, 0.01, format="csr", random_state=0), rng.integers(4, size=200).astype(np.int32)
    network = Network((300, 6, 4), "relu", "softmax", np.float64)
    x = initial_parameters(network, np.random.RandomState(0))
    alpha = np.full(301, 1e-3)
    kept, of_all = (smoothness(network, Samples(form, y), alpha, x, 50, seed=0) for form in (X, X.toarray()))
    assert kept == pytest.approx(of_all, rel=0.05)  # power iteration starts at other vectors
