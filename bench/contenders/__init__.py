"""Who trains the paper's MNIST network in `peers.py`: one file a family, each with a dict CONTENDERS of runs."""
