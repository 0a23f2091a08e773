"""The objective: losses of some samples that stand for all."""

import numpy as np
import pytest
from helpers.problems import Problem

from asysvrg.core.objective import EVALUATED, Objective


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
