"""scikit-learn estimators: words outside, the paper's letters inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import _check_partial_fit_first_call

from asysvrg import labels
from asysvrg.base import _AsySVRG

_PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer; ``()`` for none: softmax or linear regression.
    activation : {"relu", "tanh", "logistic", "identity"}, default="relu"
        Of the hidden layers.
    alpha : float, default=1e-4
        The paper's C: the objective is mean loss + alpha / 2 * sum of squared weights; biases are free.
    alpha_boost : float, default=None
        At least 1: in the first epoch updates take alpha so many times, half as many times in each further one, and at
        last once. Weights that start at random come down sooner to where alpha wants them; the objective, and what is
        recorded of it, is that of alpha itself. None for 4 with learning_rate_init="auto" and 5,000 samples or more,
        else 1, as in the paper.
    solver : {"svrg", "sgd"}, default="svrg"
        Direction of an update: variance-reduced (Eq. 5), or the plain stochastic gradient.
    batch_size : int, default=20
        Samples in a mini-batch.
    sampling : {"replacement", "shuffle", "importance"}, default=None
        How mini-batches are drawn. "replacement": independently of each other (Assumption 1 of the paper). "shuffle":
        in a random order of all samples, another one in each pass, which takes fewer passes to the same training loss.
        "importance": the same, of a list that each epoch makes anew, in which samples whose gradients were longer
        stand more often and count as much less; in the first epoch all are alike. From the second on, where input has
        zeros and all coordinates are updated, samples that turn out to count little are left out by lot, or count as
        much more. Not with backend="mpi". None for "importance" with learning_rate_init="auto" and 5,000 samples or
        more, else "replacement".
    learning_rate_init : float or "auto", default="auto"
        eta of SVRG, constant; alpha of eta_s = alpha / (1 + s)^decay in epochs of SGD. "auto": from the curvature of
        mini-batches at the start, larger while the loss falls, in inputs and targets that are scaled inside where they
        are far from 1; the objective is the same, and so are the meanings of `coefs_` and `alpha`.
    decay : float or "linear", default=0.0
        beta of the same schedule. "linear": instead, a straight line from alpha to 0 at the end of the epochs of SGD.
    max_iter : int, default=12
        Epochs, of inner_steps updates each.
    inner_steps : int, default=None
        m, updates between two snapshots; None for one pass, ceil(n / batch_size), and with learning_rate_init="auto"
        for at least 25.
    sgd_epochs : int, default=None
        Epochs of SGD before SVRG takes over (the paper's SGD_SVRG); counted in max_iter. None for 2 with
        learning_rate_init="auto", else 0.
    deflation : int, default=None
        Leading principal directions of each layer's input along which steps are shortened to what the next one allows,
        so that the learning rate can be several times as large where the input is not centred; 0 for the paper's steps.
        What alpha does along these directions takes as much longer, which is seen where the last digits count.
        None for 4 with learning_rate_init="auto" and 5,000 samples or more of dense input, else 0. Where a mini-batch
        of sparse input leaves most columns out, the first layer goes without; with backend="mpi" all do.
    coordinates : "all" or int, default="all"
        Coordinates that an update touches: all, or a random subset of so many (B).
    block : int or "line", default=1
        With a subset: coordinates drawn together, aligned. 1 for single ones, as in the paper; "line" for those of a
        cache line (16 in float32, 8 in float64), which is faster with several threads. Each coordinate's probability
        is the same.
    update : {"auto", "serial", "atomic", "striped", "owned", "replicated"}, default="auto"
        Memory mode. "atomic": a compare-and-swap for each coordinate, no locks. "striped": vector stores under a lock
        for each block of a subset (block > 1), or for every 1,024 of all coordinates. "owned": threads divide each
        update of all coordinates and meet twice in it; none is late, and results are bit-repeatable for a number of
        threads. "replicated": each thread updates all coordinates of a replica, and exchanges it with the others' part
        by part; faster than "owned" at rates well below the largest that one thread bears, above them divergent.
        "serial": plain stores, for one thread. "auto": "serial" with one thread; "atomic" for subsets of
        single coordinates, and "striped" for those of blocks; for all coordinates "owned" with 80 non-zero inputs a
        sample or more, and else "striped". No mode loses an update.
    max_delay : int, default=None
        Delta of Assumption 4: an update computed from an x that more than so many updates have missed is computed
        again from a fresh x before it is applied. None for no bound.
    late : {"wait", "drop"}, default="wait"
        With max_delay and backend="mpi": whether directions that are in time wait for those that would else be too
        late (none is lost), or those that are too late are dropped and computed again.
    cache_size : float, default=1024
        Megabytes that may be taken to save work: for the non-zeros of a dense X with many zeros, then for the
        snapshot's per-sample activations and deltas. Where the latter would take more, or with 0, every inner
        iteration of SVRG passes through the network twice. Results are the same up to rounding.
    tol : float, default=1e-4
        Stop when the loss has not fallen by tol in n_iter_no_change epochs; 0 to go on to max_iter.
    n_iter_no_change : int, default=10
        See tol.
    early_stopping : bool, default=False
        Look at the validation score instead of the loss: stop when it has not risen by tol in n_iter_no_change epochs,
        and keep the parameters with which it was highest. The validation set is `X_val, y_val` of `fit`, or else
        validation_fraction of the samples, which are then not trained on.
    validation_fraction : float, default=0.1
        See early_stopping.
    target_loss : float, default=None
        Stop when the objective is at most this.
    max_time : float, default=None
        Seconds (of wall-clock time) after which to stop, in the middle of an epoch if need be.
    checkpoint_dir : path, default=None
        Folder in which the state is kept after every epoch, for `resume`. It is made where it is not there yet, and
        belongs to one run at a time.
    resume : bool, default=False
        Go on from the checkpoint in `checkpoint_dir`; start where the folder is empty. With one thread, and
        `random_state` an int or as it was, the result is that of a run without interruption, bit for bit.
        A checkpoint of other data, another network or another method is refused; limits (max_iter, tol, target_loss,
        max_time) and n_jobs may be others. max_time counts from the resumption.
    class_weight : dict or "balanced", default=None
        Of classes, multiplied into the samples' weights: a dict {label: weight}, or "balanced" for weights by which
        all classes weigh the same. Classifier only.
    warm_start : bool, default=False
        Whether another `fit` goes on from the parameters of the one before.
    n_jobs : int, default=None
        Threads. -1 for every core this process may use (by affinity and cgroup quota). None for the same, or for one
        thread where there is too little work for more (mini-batch x parameters below 500,000, or below 40,000 where
        `update` is "owned"; x share of non-zeros in sparse input). With backend="mpi", of each rank; None for one.
    backend : {"threads", "mpi"}, default="threads"
        "threads": Shared-AsySVRG, the threads of this process on one vector (Algorithm 1). "mpi": Distributed-AsySVRG
        (Algorithms 2 and 3); every rank of an MPI job calls `fit`, rank 0 serves and all others work. Each gives all
        samples, or each gives its own; every rank ends with the fitted model. Callbacks, progress and checkpoints are
        rank 0's. Needs ``asysvrg[mpi]``.
    wait : {"sleep", "yield", "spin"}, default="sleep"
        How ranks wait for messages: giving way to other processes for a fifth of a millisecond, then asleep; always
        giving way; or keeping the core.
    compress : "float16", default=None
        With backend="mpi": parameters and directions in half precision on the wire, about half the bytes in float32
        and a quarter in float64. Parameters go as the difference to the snapshot, and what rounding leaves out of a
        direction is added to the next one, so that the floor of convergence stays where it is; snapshots and full
        gradients stay exact. It costs the server time, hence pays on slow links only (docs/cluster.md).
    servers : int, default=1
        With backend="mpi": ranks 0 to servers - 1 each keep and update a range of the parameters, all others work, one
        at least. What a worker reads is then consistent within each range only, and the delays in the trace are those
        of the first one. For networks so large that one server, or its link, is busy all the time (docs/cluster.md).
        Not with max_delay.
    random_state : int, RandomState instance or None, default=None
        Start and draws. With one thread, or with `update` "owned" and a number of threads, it determines the result;
        else threads' timing has a say, too.
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
        The trace: "config", "environment", "epochs" (a row an epoch, see `asysvrg.core.trace.Trace`),
        "delay_histogram".
    loss_ : float
        Objective at the fitted parameters.
    n_iter_ : int
        Epochs carried out, those of `partial_fit` included.
    stopped_ : str
        Why the run ended: "max_iter", "tol", "target_loss", "max_time", "callback" or "interrupted".
    n_outputs_ : int
        Units of the output layer.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had names
"""


class AsySVRGClassifier(ClassifierMixin, _AsySVRG):
    __doc__ = f"""Neural network classifier trained by asynchronous variance-reduced gradient descent.

    Shared-AsySVRG, Algorithm 1 of Huo & Huang, "Asynchronous Mini-Batch Gradient Descent with Variance Reduction for
    Non-Convex Optimization" (AAAI-17): threads update one parameter vector without waiting for each other. Softmax
    cross-entropy over an output unit for each class, two classes included. Where y is an indicator matrix (a column for
    each label, 1 where a sample has it), the logistic loss of each label, summed.
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
    >>> AsySVRGClassifier(random_state=0).fit(X, y).score(X, y) > 0.98
    True
    """

    _loss = "softmax"

    def partial_fit(self, X, y, classes=None, sample_weight=None, X_val=None, y_val=None):
        """One epoch from the parameters reached so far; from random ones at first.

        `early_stopping`, `tol` and `target_loss` have no say here: the caller decides when to stop.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
        classes : array-like, default=None
            All labels; needed at the first call only.
        X_val, y_val : as for `fit`

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, X_val, y_val, classes)
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _encode(self, y: Any, union: Any = None) -> np.ndarray:
        self._loss = "binary" if labels.are_several(y) else "softmax"
        self.classes_ = np.arange(y.shape[1]) if self._loss == "binary" else labels.classes_of(y, union)
        self.n_outputs_ = len(self.classes_)
        return self._encode_known(y, "y")

    def _encode_part(self, y: Any, classes: Any) -> np.ndarray:
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all of y: give partial_fit a dict of weights instead")
        if not hasattr(self, "coefs_"):
            self.__dict__.pop("classes_", None)  # of a fit that failed
        if _check_partial_fit_first_call(self, classes):
            self.classes_ = labels.classes_of(self.classes_)
            self.n_outputs_ = len(self.classes_)
            self._loss = "binary" if labels.are_several(y) else "softmax"
        return self._encode_known(y, "y")

    def _encode_known(self, y: Any, name: str) -> np.ndarray:
        if self._loss == "binary":
            return labels.indicators(y, self.classes_, np.dtype(self.dtype), name)
        return labels.encode(y, self.classes_, name)

    def _class_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        return labels.weights_of(y, self.classes_, self.class_weight, weight)

    def predict_proba(self, X):
        """Probability of each class; of several labels, that of having each.

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
        """Most probable class of each sample; of several labels, those more probable than not.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        outputs = self._outputs(X)
        if self._network.loss == "binary":
            return (outputs > 0.5).astype(np.int64)
        return self.classes_[outputs.argmax(axis=1)]


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
    >>> model = AsySVRGRegressor((), random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.99
    True
    """

    _loss = "squared"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """One epoch from the parameters reached so far; from random ones at first.

        `early_stopping`, `tol` and `target_loss` have no say here: the caller decides when to stop.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val : as for `fit`

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, X_val, y_val, None)
        return self

    def _encode(self, y: Any, union: Any = None) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=np.dtype(self.dtype), input_name="y")
        self._flat = y.ndim == 1
        y = np.ascontiguousarray(y.reshape(len(y), -1))
        self.n_outputs_ = y.shape[1]
        return y

    def _encode_part(self, y: Any, classes: Any) -> np.ndarray:
        return self._encode_known(y, "y") if hasattr(self, "coefs_") else self._encode(y)

    def _encode_known(self, y: Any, name: str) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=np.dtype(self.dtype), input_name=name)
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"{name} has {y.shape[1]} targets, not {self.n_outputs_} as at first")
        return np.ascontiguousarray(y)

    def _class_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        raise ValueError(f"class_weight is for classifiers; got {self.class_weight!r}")

    def predict(self, X):
        """Predicted targets.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), of X's dtype or the fitted one, the longer of both
        """
        outputs = self._outputs(X)
        given = getattr(X, "dtype", np.float64)  # of frames and lists: numbers as Python has them
        if given == np.float64 or not isinstance(given, np.dtype) or given.kind not in "bf":
            outputs = outputs.astype(np.float64, copy=False)
        return outputs.ravel() if self._flat else outputs
