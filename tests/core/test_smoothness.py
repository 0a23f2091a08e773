"""The estimate of the smoothness that the automatic learning rate is made of."""

import numpy as np
import pytest
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
