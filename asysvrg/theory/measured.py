"""L of Assumption 3, measured at a fitted model."""

from __future__ import annotations

from typing import Any

import numpy as np

from asysvrg import inputs
from asysvrg.core import cpu
from asysvrg.core.objective import Objective
from asysvrg.core.smoothness import largest_eigenvalue, smoothness
from asysvrg.theory.checks import check_count

CLOSE = 1e-6  # the change of L in a step of the power iteration at which it ends


def smoothness_of(
    model: Any, X: Any, y: Any, *, sample_weight: Any = None, batch_size: int | None = None, random_state: int = 0
) -> float:
    """L around the parameters of a fitted model: of its whole objective, or of mini-batches.

    Power iteration on differences of gradients, in double precision. Where the Hessian is not the same everywhere (all
    but linear regression with squared errors) it is the L of this place, and Assumption 3 may need a larger one.

    Parameters
    ----------
    model : AsySVRGClassifier or AsySVRGRegressor
        Fitted, with one network.
    X, y, sample_weight : as for `fit`
        The samples of the objective.
    batch_size : int, default=None
        None: L of the whole objective. A number: the mean over up to twelve random mini-batches of that size of their
        L; 1 for the functions f_i, whose L Assumption 3 speaks of, too.
    random_state : int, default=0
        Of the mini-batches, and of where the iteration starts.

    Returns
    -------
    float
    """
    if not hasattr(model, "coefs_"):
        raise ValueError(f"smoothness_of needs a fitted model: call fit first; got {model!r}")
    if hasattr(model, "estimators_"):
        raise ValueError("smoothness_of takes one network: give it one of model.estimators_")
    if batch_size is not None:
        check_count(batch_size=batch_size)
    given = model._network
    network = given.changed(dtype=np.float64)
    X, y = model._check_X(X, np.float64), model._encode_known(y, "y")
    if len(y) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} samples, y has {len(y)}")
    if network.loss != "softmax":
        center = model._center()
        y = y.astype(np.float64) - (0.0 if center is None else center)
    samples = inputs.prepared(*inputs.counted(X, y, model._weights(sample_weight, X, y)))
    x = network.vector(model._vector())
    with cpu.one_blas_thread():
        if batch_size is not None:
            return smoothness(network, samples, model.alpha, x, batch_size, random_state)
        objective = Objective(network, samples, alpha=model.alpha, threads=1)
        start = np.random.default_rng(random_state).standard_normal(network.size)
        return largest_eigenvalue(objective, x, start, close=CLOSE)
