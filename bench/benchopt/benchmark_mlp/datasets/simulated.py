"""Gaussian features; classes by a random network."""

import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """Needs no files."""

    name = "simulated"
    requirements = ["numpy"]
    parameters = {"n_samples, n_features": [(1_000, 20)]}

    def get_data(self):
        """Half as many test samples as training samples."""
        rng = np.random.default_rng(0)
        count = self.n_samples + self.n_samples // 2
        X = rng.standard_normal((count, self.n_features)).astype("float32")
        hidden = np.maximum(X @ rng.standard_normal((self.n_features, 10)), 0)
        y = (hidden @ rng.standard_normal((10, 5))).argmax(axis=1)
        n = self.n_samples
        return {"X_train": X[:n], "y_train": y[:n], "X_test": X[n:], "y_test": y[n:]}
