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

import importlib
from typing import TYPE_CHECKING, Any

from asysvrg._version import __version__

if TYPE_CHECKING:
    from asysvrg import data, export, integrations, theory
    from asysvrg.accurate import ACCURATE
    from asysvrg.config import show_config
    from asysvrg.distributed.backend import MPI
    from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor
    from asysvrg.preprocessing import RobustClip
    from asysvrg.simulation.events import record
    from asysvrg.simulation.run import simulate
    from asysvrg.store.model import load

# Imported when they are used: scikit-learn alone takes most of a second, and `asysvrg --help` needs none of it.
_HOMES = {
    "ACCURATE": "accurate",
    "MPI": "distributed.backend",
    "AsySVRGClassifier": "estimators",
    "AsySVRGRegressor": "estimators",
    "RobustClip": "preprocessing",
    "load": "store.model",
    "record": "simulation.events",
    "show_config": "config",
    "simulate": "simulation.run",
}
_MODULES = ("data", "export", "integrations", "theory")

__all__ = [
    "ACCURATE",
    "MPI",
    "AsySVRGClassifier",
    "AsySVRGRegressor",
    "RobustClip",
    "__version__",
    "data",
    "export",
    "integrations",
    "load",
    "record",
    "show_config",
    "simulate",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"asysvrg.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'asysvrg' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"asysvrg.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
