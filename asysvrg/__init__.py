"""Asynchronous mini-batch gradient descent with variance reduction (Huo & Huang, AAAI-17).

The paper's letters and the parameters' names:

    x, x~, x^   parameters in one vector; snapshot; what a thread reads       coefs_, intercepts_
    eta         learning rate                                                 learning_rate_init, decay
    b = |I_t|   mini-batch size                                               batch_size
    m           inner iterations between two snapshots                        inner_steps
    S, s        epochs                                                        max_iter
    C           weight of the l2 term                                         alpha
    B           coordinates of an update (the paper: 1,000)                   coordinates
    tau, Delta  delay of an update, its bound                                 history_, max_delay
    K           threads                                                       n_jobs
"""

from asysvrg._version import __version__
from asysvrg.accurate import ACCURATE
from asysvrg.config import show_config
from asysvrg.distributed.backend import MPI
from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.preprocessing import RobustClip
from asysvrg.simulation.events import record
from asysvrg.simulation.run import simulate
from asysvrg.store.model import load

__all__ = [
    "ACCURATE",
    "MPI",
    "AsySVRGClassifier",
    "AsySVRGRegressor",
    "RobustClip",
    "__version__",
    "load",
    "record",
    "show_config",
    "simulate",
]
