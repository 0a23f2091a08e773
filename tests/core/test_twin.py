"""The NumPy twin (helpers/twin.py) against finite differences."""

import numpy as np
import pytest
from helpers.problems import Problem, each_problem


@each_problem()
def test_gradient_of_the_twin_by_finite_differences(setting):
    problem = Problem(**setting, n=40, p=6)
    x, step = np.array(problem.x), 1e-6
    gradient = problem.twin.gradient(x)
    rng = np.random.default_rng(1)
    for k in rng.choice(len(x), size=min(12, len(x)), replace=False):
        e = step * (np.arange(len(x)) == k)
        slope = (problem.twin.loss(x + e) - problem.twin.loss(x - e)) / (2 * step)
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)
    index, share = rng.integers(40, size=9), rng.random(9)
    each = problem.twin.per_sample(x, index)[1]
    np.testing.assert_allclose(problem.twin.mean_gradient(x, index, share), share @ each / 9, rtol=1e-10, atol=1e-13)
