"""scikit-learn's digits: 1,347 training images of 8 x 8 pixels."""

from benchopt import BaseDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Dataset(BaseDataset):
    """Small enough for a first run."""

    name = "digits"
    requirements = ["scikit-learn"]

    def get_data(self):
        """Pixels in [0, 1]."""
        X, y = load_digits(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split((X / 16).astype("float32"), y, random_state=0, stratify=y)
        return {"X_train": X_train, "y_train": y_train, "X_test": X_test, "y_test": y_test}
