"""MNIST, all or a part of its training images."""

from benchopt import BaseDataset

from asysvrg.data import load


class Dataset(BaseDataset):
    """From the folder that ASYSVRG_DATA_HOME names, or downloaded; left out where it cannot be had."""

    name = "mnist"
    requirements = ["pip::asysvrg"]
    parameters = {"train_size": [10_000, 60_000]}

    def get_data(self):
        """Pixels in [0, 1]; where there are none, why, for the objective's `skip`."""
        try:
            sets = load("mnist", train_size=self.train_size)
        except OSError as error:
            return {"missing": str(error)}
        return {"X_train": sets.X_train, "y_train": sets.y_train, "X_test": sets.X_test, "y_test": sets.y_test}
