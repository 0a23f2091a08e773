"""Named data sets, and files in the usual formats."""

from asysvrg.data.datasets import NAMES, Dataset, load, load_file, load_to_predict

__all__ = ["NAMES", "Dataset", "load", "load_file", "load_to_predict"]
