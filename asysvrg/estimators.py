"""The estimators: what targets and outputs of the network mean in classification and in regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import _check_partial_fit_first_call

from asysvrg import labels
from asysvrg.base import _AsySVRG
from asysvrg.kinds import documented
from asysvrg.parameters import Parameters

_ATTRIBUTES = """
    coefs_ : list of ndarray
        Weights of each layer, shape (inputs, outputs).
    intercepts_ : list of ndarray
        Biases of each layer. Where targets are farther from zero than 1,000 standard deviations and `dtype` is
        float32, the last ones are float64, and predictions, too.
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
    __doc__ = f"""Neural network classifier trained by mini-batch gradient descent, plain or variance-reduced.

    By default one thread runs plain SGD with a learning rate that it finds. With solver="svrg", execution="shared" and
    several threads it is Shared-AsySVRG, Algorithm 1 of Huo & Huang, "Asynchronous Mini-Batch Gradient Descent with
    Variance Reduction for Non-Convex Optimization" (AAAI-17): threads update one parameter vector without waiting for
    each other. The loss is softmax cross-entropy, with one output for each class, also for two classes. If y is an
    indicator matrix (a column for each label, 1 where a sample has it), the loss is the sum of the labels' logistic
    losses.

{documented(Parameters)}

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

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Trains one epoch: from random parameters at first, then from those reached so far.

        `early_stopping`, `tol`, `target_loss`, `checkpoint_dir` and `resume` are ignored: the caller decides when to
        stop and what to keep. Without a `solver` the epochs are those of SVRG at a constant rate. With
        learning_rate_init="auto" the first four are of SGD.

        Parameters
        ----------
        X, y : as for `fit`
            The samples of this call.
        classes : array-like, default=None
            All labels. Needed at the first call only.
        sample_weight : as for `fit`
            Of these samples.
        X_val, y_val : as for `fit`
            A validation set. The row of `history_` then has its error.

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, X_val, y_val, classes)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _encode(self, y: Any, union: Any = None) -> np.ndarray:
        self._loss = "binary" if labels.is_indicator_matrix(y) else "softmax"
        self.classes_ = np.arange(y.shape[1]) if self._loss == "binary" else labels.classes_of(y, union)
        self.n_outputs_ = len(self.classes_)
        return self._encode_known(y, "y")

    def _encode_part(self, y: Any, classes: Any) -> np.ndarray:
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all of y: give partial_fit a dict of weights instead")
        if not hasattr(self, "coefs_"):
            self.__dict__.pop("classes_", None)  # left by a fit that failed
        if classes is not None and np.ndim(classes) == 1:
            if not len(classes):
                raise ValueError("classes is empty; all labels are expected at the first call of partial_fit")
            labels.check_comparable(np.asarray(list(classes), dtype=object), "classes")
        if _check_partial_fit_first_call(self, classes):
            self.classes_ = labels.classes_of(self.classes_, name="classes")
            self.n_outputs_ = len(self.classes_)
            self._loss = "binary" if labels.is_indicator_matrix(y) else "softmax"
        return self._encode_known(y, "y")

    def _encode_known(self, y: Any, name: str) -> np.ndarray:
        if self._loss == "binary":
            return labels.indicators(y, self.classes_, np.dtype(self.dtype), name)
        return labels.encode(y, self.classes_, name)

    def _class_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        return labels.weights_of(y, self.classes_, self.class_weight, weight)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class; for an indicator matrix, of each label.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the fitted dtype
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithm of `predict_proba`, finite also where a probability is too small for its dtype.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the fitted dtype; float64 where that cannot hold them
        """
        logs = [
            -np.logaddexp(0, -sums) if self._network.loss == "binary" else log_softmax(sums, axis=1)
            for sums in self._each(X, sums=True)
        ]
        return logs[0] if len(logs) == 1 else logsumexp(logs, axis=0) - np.log(len(logs)).astype(logs[0].dtype)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class of each sample; for an indicator matrix, the labels that are more probable than not.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_labels)
        """
        outputs = self._outputs(X)
        if self._network.loss == "binary":
            return (outputs > 0.5).astype(np.int64)
        return self.classes_[outputs.argmax(axis=1)]


class AsySVRGRegressor(RegressorMixin, _AsySVRG):
    __doc__ = f"""Neural network regressor trained by mini-batch gradient descent, plain or variance-reduced.

    It trains as `AsySVRGClassifier` does, for one or several real targets. By default the loss of a sample is half the
    sum of its squared residuals.

{documented(Parameters)}

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

    @property
    def _loss(self) -> str:  # type: ignore[override]
        return str(self.loss)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Trains one epoch, as `AsySVRGClassifier.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val : as for `fit`
            The samples of this call, their weights, and a validation set.

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, X_val, y_val, None)
        return self

    def _encode(self, y: Any, union: Any = None) -> np.ndarray:
        y = self._targets(y, "y")
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self.n_outputs_ = y.shape[1]
        return y

    def _targets(self, y: Any, name: str) -> np.ndarray:
        y = check_array(y, ensure_2d=False, dtype=(np.float64, np.float32), input_name=name)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"loss='poisson' needs targets that are not negative; {name} has {y.min():g}")
        return y

    def _encode_part(self, y: Any, classes: Any) -> np.ndarray:
        return self._encode_known(y, "y") if hasattr(self, "coefs_") else self._encode(y)

    def _encode_known(self, y: Any, name: str) -> np.ndarray:
        y = self._targets(y, name)
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(f"{name} has {y.shape[1]} targets, not {self.n_outputs_} as at first")
        return y

    def _class_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        raise ValueError(f"class_weight is for classifiers; got {self.class_weight!r}")

    def predict(self, X: Any) -> np.ndarray:
        """Predicted targets.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), in the wider one of X's dtype and the fitted dtype;
            float64 where the last of `intercepts_` are, or where the fitted dtype cannot hold them
        """
        outputs = self._outputs(X)
        given = getattr(X, "dtype", np.float64)  # frames and lists count as float64
        if not isinstance(given, np.dtype) or given == np.float64 or given.kind not in "bf":
            outputs = outputs.astype(np.float64, copy=False)
        return outputs.ravel() if self._flat else outputs
