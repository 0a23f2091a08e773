"""scikit-learn's MLPClassifier, one pass over the samples a step."""

from benchopt import BaseSolver
from sklearn.neural_network import MLPClassifier


class Solver(BaseSolver):
    """MLPClassifier."""

    name = "sklearn"
    requirements = ["scikit-learn"]
    sampling_strategy = "callback"
    parameters = {"solver, rate": [("adam", 1e-3), ("sgd", 0.1)], "batch": [50]}

    def set_objective(self, X, y, widths, C):
        """What the benchmark minimises. scikit-learn divides its alpha by the mini-batch's size."""
        self.X, self.y, self.widths = X, y, widths
        self.model = MLPClassifier(
            widths[1:-1], solver=self.solver, alpha=C * self.batch, batch_size=self.batch,
            learning_rate_init=self.rate, random_state=0,
        )  # fmt: skip
        self.classes = list(range(widths[-1]))

    def run(self, callback):
        """A pass for each call."""
        self.model.partial_fit(self.X[: self.batch], self.y[: self.batch], classes=self.classes)  # makes parameters
        while callback():
            self.model.partial_fit(self.X, self.y)

    def get_result(self):
        """Weights and biases. Of two classes scikit-learn has one output."""
        layers = list(zip(self.model.coefs_, self.model.intercepts_, strict=True))
        return {"layers": layers}

    def skip(self, X, y, widths, C):
        """Two classes have one output there, with another l2 term."""
        return widths[-1] == 2, "of two classes scikit-learn has one output"
