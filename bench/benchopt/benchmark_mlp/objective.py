"""Mean loss + C / 2 |W|^2 of a classifying network: softmax cross-entropy, rectified linear units, free biases."""

import itertools

import numpy as np
from benchopt import BaseObjective
from scipy.special import log_softmax


class Objective(BaseObjective):
    """Solvers return the network's parameters: a list of (W, b) with W of shape (inputs, outputs) of each layer."""

    name = "MLP"
    min_benchopt_version = "1.6"
    requirements = ["numpy", "scipy"]
    parameters = {"hidden": [(100,)], "C": [1e-4]}

    def skip(self, missing=None, **data):
        """A data set that cannot be had here says why."""
        return missing is not None, missing

    def set_data(self, X_train, y_train, X_test, y_test):
        """float32 features; classes 0, 1, ... as int64."""
        self.X_train, self.y_train, self.X_test, self.y_test = X_train, y_train, X_test, y_test

    def get_objective(self):
        """What solvers are given."""
        widths = (self.X_train.shape[1], *self.hidden, int(self.y_train.max()) + 1)
        return {"X": self.X_train, "y": self.y_train, "widths": widths, "C": self.C}

    def evaluate_result(self, layers):
        """The objective, and the shares of wrong classes."""
        train, test = (_logits(layers, X) for X in (self.X_train, self.X_test))
        losses = -log_softmax(train, axis=1)[np.arange(len(train)), self.y_train]
        squares = sum(float((W.astype(np.float64) ** 2).sum()) for W, _ in layers)
        return {
            "value": float(losses.mean()) + self.C / 2 * squares,
            "train_error": float((train.argmax(axis=1) != self.y_train).mean()),
            "test_error": float((test.argmax(axis=1) != self.y_test).mean()),
        }

    def get_one_result(self):
        """For benchopt's own tests."""
        widths = self.get_objective()["widths"]
        return {"layers": [(np.zeros((a, b)), np.zeros(b)) for a, b in itertools.pairwise(widths)]}


def _logits(layers, X):
    X = X.astype(np.float64)
    for number, (W, b) in enumerate(layers):
        X = (np.maximum(X, 0) if number else X) @ W.astype(np.float64) + b
    return X
