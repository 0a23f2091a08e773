"""scikit-learn estimators: words outside, the paper's letters inside."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from asysvrg import threads
from asysvrg._network import Network, Samples, aligned_zeros
from asysvrg.epochs import Outcome
from asysvrg.settings import check
from asysvrg.trace import Trace
from asysvrg.training import train

_PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer; ``()`` for none: softmax or linear regression.
    activation : {"relu", "tanh", "logistic", "identity"}, default="relu"
        Of the hidden layers.
    alpha : float, default=1e-4
        The paper's C: the objective is mean loss + alpha / 2 * sum of squared weights; biases are free.
    solver : {"svrg", "sgd"}, default="svrg"
        Direction of an update: variance-reduced (Eq. 5), or the plain stochastic gradient.
    batch_size : int, default=10
        Samples in a mini-batch, drawn with replacement.
    learning_rate_init : float, default=0.05
        eta of SVRG, constant; alpha of eta_s = alpha / (1 + s)^decay in epochs of SGD.
    decay : float, default=0.0
        beta of the same schedule.
    max_iter : int, default=50
        Epochs, of inner_steps updates each.
    inner_steps : int, default=None
        m, updates between two snapshots; None for one pass, ceil(n / batch_size).
    sgd_epochs : int, default=0
        Epochs of SGD before SVRG takes over (the paper's SGD_SVRG); counted in max_iter.
    coordinates : "all" or int, default="all"
        Coordinates that an update touches: all, or a random subset of so many (B).
    block : int or "line", default=1
        With a subset: coordinates drawn together, aligned. 1 for single ones, as in the paper; "line" for those of a
        cache line (16 in float32, 8 in float64), which is faster with several threads. Each coordinate's probability
        is the same.
    update : {"auto", "serial", "atomic", "striped"}, default="auto"
        Memory mode. "atomic": a compare-and-swap for each coordinate, no locks. "striped": vector stores under a lock
        for every 1,024 coordinates, for updates of all coordinates. "serial": plain stores, for one thread. "auto":
        "serial" with one thread, "striped" for all coordinates, "atomic" for subsets. No mode loses an update.
    max_delay : int, default=None
        Delta of Assumption 4: an update computed from an x that more than so many updates have missed is computed
        again from a fresh x before it is applied. None for no bound.
    cache_size : float, default=1024
        Megabytes that the snapshot's per-sample activations and deltas may take. When they would take more, or with 0,
        every inner iteration of SVRG passes through the network twice. Results are the same up to rounding.
    tol : float, default=1e-4
        Stop when the loss has not fallen by tol in n_iter_no_change epochs; 0 to go on to max_iter.
    n_iter_no_change : int, default=10
        See tol.
    target_loss : float, default=None
        Stop when the objective is at most this.
    max_time : float, default=None
        Seconds (of wall-clock time) after which to stop, in the middle of an epoch if need be.
    n_jobs : int, default=None
        Threads. None or -1 for every core this process may use.
    random_state : int, RandomState instance or None, default=None
        Start and draws. With one thread it determines the result; with more, threads' timing has a say, too.
    verbose : bool, default=False
        Progress bar (plain lines where the output is no terminal).
    dtype : {"float32", "float64"} or dtype, default="float32"
        Of parameters and arithmetic; X is converted to it once.
"""

_ATTRIBUTES = """
    coefs_ : list of ndarray
        Weights of each layer, shape (inputs, outputs).
    intercepts_ : list of ndarray
        Biases of each layer.
    history_ : dict
        The trace: "config", "environment", "epochs" (a row an epoch, see `asysvrg.trace.Trace`),
        "delay_histogram".
    loss_ : float
        Objective at the fitted parameters.
    n_iter_ : int
        Epochs carried out.
    stopped_ : str
        Why the run ended: "max_iter", "tol", "target_loss", "max_time", "callback" or "interrupted".
    n_outputs_ : int
        Units of the output layer.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had names
"""


class _AsySVRG(BaseEstimator):
    """What the classifier and the regressor share: settings, fit, raw predictions."""

    _loss: str

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        alpha=1e-4,
        solver="svrg",
        batch_size=10,
        learning_rate_init=0.05,
        decay=0.0,
        max_iter=50,
        inner_steps=None,
        sgd_epochs=0,
        coordinates="all",
        block=1,
        update="auto",
        max_delay=None,
        cache_size=1024,
        tol=1e-4,
        n_iter_no_change=10,
        target_loss=None,
        max_time=None,
        n_jobs=None,
        random_state=None,
        verbose=False,
        dtype="float32",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.solver = solver
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.decay = decay
        self.max_iter = max_iter
        self.inner_steps = inner_steps
        self.sgd_epochs = sgd_epochs
        self.coordinates = coordinates
        self.block = block
        self.update = update
        self.max_delay = max_delay
        self.cache_size = cache_size
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.target_loss = target_loss
        self.max_time = max_time
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.dtype = dtype

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.non_deterministic = self.n_jobs != 1
        return tags

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, callback=None):
        """Trains the network.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Converted to `dtype` once; used as it is when it already has that type (C order, or CSR).
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or real targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Not negative. The objective is normalised by their sum; weight 0 is as good as absent.
        X_val, y_val : as X and y, default=None
            Validation set: its error goes into each row of `history_`.
        callback : callable, default=None
            Called with every new row of `history_["epochs"]`; a true answer stops the run.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that cannot be trained on, before any thread starts.
        """
        settings = check(self)
        X, y = self._validate(X, y)
        weight = self._weights(sample_weight, X)
        y = self._encode(y)
        if weight is not None and (weight == 0).any():
            keep = np.flatnonzero(weight)
            X, y, weight = X[keep], y[keep], weight[keep]
        if weight is not None:
            weight *= len(weight) / weight.sum(dtype=np.float64)
        widths = (X.shape[1], *settings.hidden, self.n_outputs_)
        network = Network(widths, settings.activation, self._loss, settings.dtype)
        outcome, trace = train(
            settings,
            network,
            Samples(X, y, weight),
            config={name: _plain(value) for name, value in self.get_params().items()},
            validation=self._validation(X_val, y_val),
            random_state=check_random_state(self.random_state),
            callback=callback,
            verbose=self.verbose,
        )
        self._finish(network, outcome, trace)
        return self

    def _finish(self, network: Network, outcome: Outcome, trace: Trace) -> None:
        rows = trace.epochs
        self._network = network
        layers = network.layers(outcome.x)
        self.coefs_ = [weights for weights, _ in layers]
        self.intercepts_ = [biases for _, biases in layers]
        self.history_ = trace.as_dict()
        self.n_iter_, self.stopped_ = outcome.epochs, outcome.reason
        self.loss_ = rows[-1]["loss"]
        if outcome.reason == "interrupted":
            self.loss_ = min(row["loss"] for row in rows)
            warnings.warn(
                f"training interrupted in epoch {outcome.epochs + 1}; the best model is kept",
                stacklevel=3,
            )
        elif outcome.reason == "max_iter" and self.tol > 0:
            warnings.warn(
                f"max_iter={self.max_iter} epochs were over before the loss stopped falling by tol={self.tol}",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X, dtype=np.dtype(self.dtype), ensure_non_negative=True, copy=True)
        if not weight.any():
            raise ValueError("sample_weight is zero for every sample; at least one must be positive")
        return weight

    def _validate(self, X: Any, y: Any) -> tuple[Any, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=np.dtype(self.dtype),
            order="C",
            multi_output=True,
            y_numeric=False,
        )
        return _canonical(X), y

    def _validation(self, X_val: Any, y_val: Any) -> Samples | None:
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            raise ValueError("X_val and y_val are given together or not at all")
        X = self._check_X(X_val, self.dtype)
        y = self._encode_known(y_val)
        if len(y) != X.shape[0]:
            raise ValueError(f"X_val has {X.shape[0]} samples, y_val has {len(y)}")
        return Samples(X, y)

    def _check_X(self, X: Any, dtype: Any) -> Any:
        return _canonical(validate_data(self, X, accept_sparse="csr", dtype=np.dtype(dtype), order="C", reset=False))

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "coefs_")
        network = self._network
        samples = Samples(self._check_X(X, network.dtype))
        # A copy for each call: what comes out of a pickle is not aligned as the kernels want it.
        x = aligned_zeros((network.size,), network.dtype)
        for into, values in zip(network.layers(x), zip(self.coefs_, self.intercepts_, strict=True), strict=True):
            into[0][:], into[1][:] = values
        outputs = aligned_zeros((samples.size, self.n_outputs_), network.dtype)
        with threads.one_blas_thread():
            network.sweep(samples, x, threads.count(self.n_jobs), outputs=outputs)
        return outputs


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def _canonical(X: Any) -> Any:
    """CSR with sorted indices and no duplicates, as the kernels need it; never changes the caller's matrix."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class AsySVRGClassifier(ClassifierMixin, _AsySVRG):
    __doc__ = f"""Neural network classifier trained by asynchronous variance-reduced gradient descent.

    Shared-AsySVRG, Algorithm 1 of Huo & Huang, "Asynchronous Mini-Batch Gradient Descent with Variance Reduction for
    Non-Convex Optimization" (AAAI-17): threads update one parameter vector without waiting for each other. Softmax
    cross-entropy over an output unit for each class, two classes included.
{_PARAMETERS}
    Attributes
    ----------
    classes_ : ndarray
        Class labels, sorted.{_ATTRIBUTES}
    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from asysvrg import AsySVRGClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> AsySVRGClassifier(max_iter=20, tol=0, random_state=0).fit(X / 16, y).score(X / 16, y) > 0.98
    True
    """

    _loss = "softmax"

    def _encode(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only ({self.classes_[0]!r}); at least two are needed")
        self.n_outputs_ = len(self.classes_)
        return encoded.astype(np.int32)

    def _encode_known(self, y: Any) -> np.ndarray:
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y_val"))
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y_val has labels that y has not: {unknown[:5].tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int32)

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the fitted dtype
        """
        return self._outputs(X)

    def predict_log_proba(self, X):
        """Logarithm of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def predict(self, X):
        """Most probable class of each sample.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        most_probable = self._outputs(X).argmax(axis=1)
        return self.classes_[most_probable]


class AsySVRGRegressor(RegressorMixin, _AsySVRG):
    __doc__ = f"""Neural network regressor trained by asynchronous variance-reduced gradient descent.

    As `AsySVRGClassifier`, for one or several real targets: loss 1/2 sum of squared residuals, linear outputs.
{_PARAMETERS}
    Attributes
    ----------{_ATTRIBUTES}
    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from asysvrg import AsySVRGRegressor
    >>> X, y = make_regression(500, 5, random_state=0)
    >>> model = AsySVRGRegressor((), max_iter=20, tol=0, learning_rate_init=0.05, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.99
    True
    """

    _loss = "squared"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encode(self, y: Any) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=np.dtype(self.dtype), input_name="y")
        self._flat = y.ndim == 1
        y = np.ascontiguousarray(y.reshape(len(y), -1))
        self.n_outputs_ = y.shape[1]
        return y

    def _encode_known(self, y: Any) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=np.dtype(self.dtype), input_name="y_val").reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"y_val has {y.shape[1]} targets, y has {self.n_outputs_}")
        return np.ascontiguousarray(y)

    def predict(self, X):
        """Predicted targets.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), of the fitted dtype
        """
        outputs = self._outputs(X)
        return outputs.ravel() if self._flat else outputs


Callback = Callable[[dict[str, Any]], Any]
