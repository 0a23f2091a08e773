"""A solver for benchopt's public benchmark of l2 logistic regression: copy it into its folder solvers/.

That benchmark minimises sum log(1 + exp(-y x'w)) + lmbd / 2 |w|^2. Two softmax outputs with the weights (-w / 2, w / 2)
have the same logistic loss and half the l2 term, hence the factor 2 in alpha.
"""

import numpy as np
from benchopt import BaseSolver

from asysvrg import AsySVRGClassifier


class Solver(BaseSolver):
    """AsySVRG without hidden layers."""

    name = "asysvrg"
    requirements = ["pip::asysvrg"]
    sampling_strategy = "callback"
    parameters = {"solver": ["svrg", "lsvrg"]}

    def set_objective(self, X, y, lmbd, fit_intercept=False):
        """What the benchmark minimises; some of its versions have an intercept."""
        self.X, self.y, self.alpha, self.fit_intercept = X, y, 2 * lmbd / X.shape[0], fit_intercept

    def run(self, callback):
        """An epoch for each call."""
        options = {"solver": self.solver, "alpha": self.alpha, "alpha_boost": 1, "fit_intercept": self.fit_intercept}
        self.model = AsySVRGClassifier((), **options, dtype="float64", random_state=0)
        while callback():
            self.model.partial_fit(self.X, self.y, classes=[-1, 1])

    def get_result(self):
        """The difference of the two outputs' weights, and biases; zeros before the first epoch."""
        if not hasattr(self.model, "coefs_"):
            return {"beta": np.zeros(self.X.shape[1] + self.fit_intercept)}
        weights = self.model.coefs_[0]
        if self.fit_intercept:
            weights = np.vstack([weights, self.model.intercepts_[0]])
        return {"beta": weights[:, 1] - weights[:, 0]}
