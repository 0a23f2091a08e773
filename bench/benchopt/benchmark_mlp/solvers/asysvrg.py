"""This package, with its automatic learning rate. A run of n epochs starts anew: the rate may fall to 0 in them."""

from benchopt import BaseSolver

from asysvrg import AsySVRGClassifier


class Solver(BaseSolver):
    """AsySVRG."""

    name = "asysvrg"
    requirements = ["pip::asysvrg"]
    sampling_strategy = "iteration"
    parameters = {"solver": ["sgd", "svrg"]}

    def set_objective(self, X, y, widths, C):
        """What the benchmark minimises."""
        self.X, self.y, self.widths, self.C = X, y, widths, C

    def run(self, n_iter):
        """So many epochs."""
        options = {"solver": self.solver, "alpha": self.C, "tol": 0, "early_stopping": False, "random_state": 0}
        model = AsySVRGClassifier(self.widths[1:-1], max_iter=max(n_iter, 1), max_time=None if n_iter else 0, **options)
        self.model = model.fit(self.X, self.y)

    def get_result(self):
        """Weights and biases."""
        return {"layers": list(zip(self.model.coefs_, self.model.intercepts_, strict=True))}
