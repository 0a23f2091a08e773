"""Full passes: losses, gradients and outputs of all samples, against the NumPy twin."""

import numpy as np
import pytest
from helpers.problems import DTYPES, TOLERANCE, Problem, each_problem
from scipy import special

from asysvrg.core.network import Network, Samples, aligned_zeros


@pytest.mark.parametrize("rows", [1, 16, 37])
@pytest.mark.parametrize("classes", [2, 10, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_any_sums(dtype, classes, rows):
    """Samples are the sums: from next to each other to further apart than any exponential has numbers for."""
    network = Network((classes, classes), "relu", "softmax", dtype)
    x = network.vector(np.r_[np.eye(classes).ravel(), np.zeros(classes)])
    rng = np.random.default_rng(0)
    spread = rng.choice([1e-3, 1, 10, 80, 1000], size=(rows, 1))
    sums = (spread * rng.standard_normal((rows, classes))).astype(dtype)
    labels = rng.integers(classes, size=rows, dtype=np.int32)
    found = aligned_zeros((rows, classes), dtype)
    loss, errors = network.sweep(Samples(sums, labels), x, 1, outputs=found)
    below = (sums - sums.max(1, keepdims=True)).astype(np.float64)  # what rounds first
    expected = special.softmax(below, axis=1)
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=1e-37)
    losses = -special.log_softmax(below, axis=1)[np.arange(rows), labels]
    assert loss == pytest.approx(losses.sum(), rel=4 * float(np.finfo(dtype).eps))
    assert errors == np.count_nonzero(expected.argmax(1) != labels)
    sums[rows // 2, 0] = np.nan
    network.sweep(Samples(sums), x, 1, outputs=found)
    np.testing.assert_array_equal(np.isnan(found).all(1), np.arange(rows) == rows // 2)
    np.testing.assert_array_equal(np.isnan(found).any(1), np.arange(rows) == rows // 2)


@each_problem(dtype=DTYPES, threads=[1, 3])
def test_sweep_against_the_twin(setting, dtype, threads):
    problem = Problem(**setting, dtype=dtype)
    network, n = problem.network, problem.samples.size
    values, gradients, outputs = problem.twin.per_sample(problem.x)
    computed = aligned_zeros((n, outputs.shape[1]), dtype)
    parts = aligned_zeros((threads, network.size), dtype)
    parts.fill(np.nan)  # a sweep overwrites them
    loss, errors = network.sweep(problem.samples, problem.x, threads, parts, outputs=computed)
    tol = TOLERANCE[dtype]
    assert loss == pytest.approx(values.sum(), rel=tol)
    np.testing.assert_allclose(parts.sum(0), gradients.sum(0), rtol=tol, atol=100 * tol)
    np.testing.assert_allclose(computed, outputs, rtol=tol, atol=10 * tol)
    weight = problem.samples.weight
    weight = np.ones(n) if weight is None else weight
    if network.loss == "softmax":
        expected = (weight * (outputs.argmax(1) != problem.samples.y)).sum()
    elif network.loss == "binary":
        expected = (weight * ((outputs > 0.5) != problem.samples.y).any(1)).sum()
    else:
        expected = (weight * ((outputs - problem.samples.y) ** 2).sum(1)).sum()
    assert errors == pytest.approx(expected, rel=10 * tol)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_sweeps_depend_on_the_number_of_parts_alone(parts):
    problem = Problem(dtype=np.float32, n=1000)
    results = []
    for threads in (1, 2, 3, 8):
        gradients = aligned_zeros((parts, problem.network.size), np.float32)
        sums = problem.network.sweep(problem.samples, problem.x, threads, gradients, parts=parts)
        results.append((*sums, gradients))
    for other in results[1:]:
        assert other[:2] == results[0][:2]
        np.testing.assert_array_equal(other[2], results[0][2])
