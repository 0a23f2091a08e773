"""The objective: losses of some samples that stand for all."""

import numpy as np
import pytest
from helpers.problems import Problem

from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import EVALUATED, Objective, constant_error


@pytest.mark.parametrize("loss", ["softmax", "squared_error"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_of_all_samples_is_that_of_the_snapshot(loss, weighted):
    problem = Problem(loss=loss, weighted=weighted)
    objective = Objective(problem.network, problem.samples, alpha=0.1, threads=2, unit=3.0)
    whole = objective.snapshot(problem.x, keep_cache=False)
    for samples in (0, 300, 10_000):
        found = objective.evaluated(problem.x, samples)
        assert (found.loss, found.error) == pytest.approx((whole.loss, whole.error), rel=1e-12)
        assert found.gradient_norm_squared is None
        np.testing.assert_array_equal(found.x, problem.x)


@pytest.mark.parametrize("loss", ["softmax", "squared_error"])
def test_some_samples_evenly_spread_stand_for_all(loss):
    """Samples sorted by label: blocks from one end only would be far off."""
    n = 16 * EVALUATED
    problem = Problem(loss=loss, weighted=True, n=n, p=4)
    samples, order = problem.samples, np.argsort(problem.samples.y if loss == "softmax" else problem.samples.y[:, 0])
    samples = type(samples)(samples.X[order], samples.y[order], samples.weight[order])
    objective = Objective(problem.network, samples, alpha=0.1, threads=1)
    whole, part = objective.snapshot(problem.x, keep_cache=False), objective.evaluated(problem.x, 4 * EVALUATED - 5)
    assert part.loss == pytest.approx(whole.loss, rel=0.1)
    assert part.error == pytest.approx(whole.error, rel=0.1)
    assert part.loss != whole.loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "binary", "squared_error"])
def test_error_of_the_best_constant(loss, weighted):
    """That of a network whose weights are 0 and whose biases say what most samples are, or their mean."""
    rng = np.random.default_rng(0)
    weight = rng.random(60)
    weight = weight / weight.mean() if weighted else None
    usual, y = np.array([0, 1, 0]), (rng.random((60, 3)) < [0.1, 0.8, 0.3]).astype(float)
    if loss == "softmax":
        usual, y = np.array([0, 1, 0]), np.array([0] * 20 + [1] * 28 + [2] * 12, dtype=np.int32)
    elif loss == "squared_error":
        usual = np.average(y, axis=0, weights=weight)
    network, samples = Network((2, 3), "relu", loss, np.float64), Samples(rng.random((60, 2)), y, weight)
    x = np.zeros(9)
    network.layers(x)[0][1][:] = usual - (0.5 if loss == "binary" else 0)
    error, value = Objective(network, samples, alpha=0.0, threads=1).on_others(network.vector(x), samples)
    assert constant_error(network, samples) == pytest.approx(error, rel=1e-12)
    assert 0.1 < error <= 1 + 1e-12
    assert value > 0
