"""What the classifier and the regressor share of training: `fit` and `partial_fit`."""

from __future__ import annotations

from dataclasses import asdict, replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from asysvrg import ensemble, inputs
from asysvrg.callbacks import CallbackSupportMixin, Hooks, with_callbacks
from asysvrg.core import cpu
from asysvrg.core.loop import Outcome
from asysvrg.core.network import Network, Samples
from asysvrg.core.trace import Trace, joined
from asysvrg.core.warn import warn
from asysvrg.distributed import script
from asysvrg.distributed.backend import MPI
from asysvrg.method import Choice, chosen_by_validation, held_out
from asysvrg.parameters import Parameters, Settings, check, is_distributed
from asysvrg.plan import Plan
from asysvrg.prediction import FORMS, Predicting
from asysvrg.preprocessing import RobustClip
from asysvrg.store.model import Persistent
from asysvrg.training import Start, prepare, train


class _AsySVRG(Parameters, Persistent, Predicting, CallbackSupportMixin, BaseEstimator):
    """A network and its training. The subclasses say what outputs and targets mean."""

    _loss: str
    _stream, _factor = 0, 1.0  # for a run that goes on from this one; see `training.Start`

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        waits = self.execution != "shared" and self.update in ("auto", "plain") and self.max_delay is None
        tags.non_deterministic = not waits or self.coordinates != "all" or self.backend != "threads"
        return tags

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, callback=None):
        """Trains the network.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Converted to `dtype` once. It is not copied where it has that type and is in C order or CSR.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or real targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Not negative. The objective is divided by their sum. A sample of weight 0 is left out.
        X_val, y_val : as X and y, default=None
            Validation set, which `early_stopping` chooses by. Each row of `history_` has its error.
        callback : callable, default=None
            Called with every new row of `history_["epochs"]`. A true answer stops the run. scikit-learn's callbacks
            (`set_callbacks`, from 1.9 on) are called at the same time.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters or data that cannot be trained on, before any thread starts.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, callback)

    @with_callbacks
    def _fit(self, X, y, sample_weight=None, X_val=None, y_val=None, callback=None, test=(None, None), simulation=None):
        """`fit`. Rows of the trace have the error on `test`, a pair (X, y), in the place of that on `X_val`.

        With a `simulation` virtual workers train.
        """
        if self.n_models != 1:
            return self._fit_several(X, y, sample_weight, X_val, y_val, callback, test)
        is_real = is_distributed(self.backend) and simulation is None
        with script.open_session(is_real) as session, cpu.one_blas_thread():
            job = self._prepare(session, X, y, sample_weight, X_val, y_val, test=test) | {"simulation": simulation}
            metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
            hooks = Hooks(self, job["network"], self.max_iter, callback, X=X, y=y, metadata=metadata)
            self._set_fitted(job, *train(**job, callback=hooks.row if hooks.active else None))
            hooks.end()
        return self

    def _fit_several(self, X, y, sample_weight, X_val, y_val, callback, test):
        """`fit` where there is more than one network. They share one converted X."""
        inputs.refuse_complex(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
        check(self)
        X, y = self._validate(X, y, reset=True)
        X_val, X_test = (None if other is None else self._check_X(other, self.dtype) for other in (X_val, test[0]))
        test = X_test, test[1]
        members, told = ensemble.members_of(self), callback and ensemble.Told(callback)

        def train(number: int, member: Any) -> None:
            member._fit(X, y, sample_weight, X_val, y_val, told and told.of(number), test)

        ensemble.take_over(self, ensemble.train_all(members, train, ensemble.networks_at_once(self)))
        return self

    def _plan(self, X: Any, y: Any) -> Plan:
        """The plan of `fit` with these arguments, of the samples of this rank."""
        job = self._prepare(None, X, y, None, None, None)
        return prepare(job["settings"], job["network"], job["samples"], job["early_stopping"]).plan

    def _prepare(
        self, session, X, y, sample_weight, X_val, y_val, *, test=(None, None), partial=False, classes=None
    ) -> dict[str, Any]:
        """Checks what `fit` or `partial_fit` was given, and agrees on it with the other ranks of a distributed fit.

        Returns the arguments of `train`.
        """
        inputs.refuse_complex(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
        settings = check(self)
        goes_on = partial and hasattr(self, "coefs_")
        before = self._before() if self.warm_start and not partial else None
        X, y = self._validate(X, y, reset=not goes_on)
        if partial:
            settings = _one_epoch(settings, self.n_iter_ if goes_on else 0)
            y = self._encode_part(y, classes)
        else:
            y = self._encode(y, lambda labels: script.all_labels(session, labels))
        weight = self._weights(sample_weight, X, y)
        if goes_on:
            network = self._network.smoothed(settings.label_smoothing)
            start = Start(self._vector(), self.n_iter_, self._stream, self._factor)
        else:
            network = self._new_network(settings)
            start = Start() if before is None else self._again(before, network)
        random_state = script.agreed_random_state(session, check_random_state(self.random_state))
        validation, tested = self._others(X_val, y_val, "X_val", "y_val"), self._others(*test, "X_test", "y_test")
        needs_all = "class_weight='balanced'" if self.class_weight == "balanced" else None
        X, y, weight = inputs.counted(X, y, weight)
        early_stopping, obstacle = None, ""
        if settings.early_stopping == "auto":
            obstacle = script.why_not_hold_out(session, validation is not None, X, y, weight)
        if validation is None:
            copied = inputs.size_of(X)
            early_stopping = chosen_by_validation(settings, len(y), copied, obstacle)
            if early_stopping[0]:
                early_stopping, (X, y, weight), validation = self._held_out(settings, X, y, weight, random_state)
            if early_stopping[0]:
                needs_all = "early_stopping without X_val"
                settings = replace(settings, cache_bytes=max(settings.cache_bytes - copied, 0.0))
        elif tested is None:
            tested = validation
        samples, placement = script.agreed_samples(
            session,
            settings.backend,
            network,
            inputs.prepared(X, y, weight),
            float(len(y) if weight is None else weight.sum(dtype=np.float64)),
            alpha=settings.alpha,
            threads=settings.threads,
            needs_all=needs_all,
        )
        n = samples.size if placement is None else placement.n
        early_stopping = early_stopping or chosen_by_validation(settings, n)
        return {
            "settings": settings,
            "network": network,
            "samples": samples,
            "placement": placement,
            "early_stopping": early_stopping,
            "validation": validation if early_stopping[0] else None,
            "test": tested,
            "random_state": random_state,
            "start": start,
            "session": session,
            "config": self._config(),
            "verbose": self.verbose and (session is None or session.rank == 0),
        }

    def _held_out(
        self, settings: Settings, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.random.RandomState
    ) -> tuple[Choice, tuple[Any, ...], Samples | None]:
        """Holds out samples to choose the parameters by, if possible: whether and why; the other samples; these."""
        if not isinstance(self.random_state, Integral):  # a warm start, or a resumed run, must hold out the same ones
            state = np.random.RandomState(0)
        parts = inputs.hold_out(X, y, weight, held_out(settings, len(y)), state)
        if parts is not None:
            return chosen_by_validation(settings, len(y)), parts[0], inputs.prepared(*parts[1])
        why = f"validation_fraction={settings.validation_fraction} of {len(y):,} samples cannot be held out"
        if settings.early_stopping != "auto":
            raise ValueError(f"{why}: give another fraction, or X_val and y_val")
        return (False, why), (X, y, weight), None

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, classes: Any) -> None:
        if self.n_models != 1:
            raise ValueError(f"partial_fit trains one network; got n_models={self.n_models!r}")
        with script.open_session(is_distributed(self.backend)) as session, cpu.one_blas_thread():
            job = self._prepare(session, X, y, sample_weight, X_val, y_val, partial=True, classes=classes)
            earlier = None if job["start"].x is None else self.history_
            self._set_fitted(job, *train(**job, callback=None))
        if earlier is not None:
            self.history_ = joined(earlier, self.history_)

    def _new_network(self, settings: Settings) -> Network:
        widths = (self.n_features_in_, *settings.hidden_layer_sizes, self.n_outputs_)
        return Network(widths, settings.activation, self._loss, settings.dtype, smoothing=settings.label_smoothing)

    def _before(self) -> tuple[Any, ...] | None:
        """What a warm start needs of the last fit; None if there was none."""
        if not hasattr(self, "coefs_"):
            return None
        return self._vector(), self._network.widths, getattr(self, "classes_", None), self._stream + self.n_iter_

    def _again(self, before: tuple[Any, ...], network: Network) -> Start:
        values, widths, classes, stream = before
        if not np.array_equal(getattr(self, "classes_", None), classes):
            raise ValueError(f"warm_start needs the classes of the fit before, {classes}; y has {self.classes_}")
        if network.widths != widths:
            raise ValueError(f"warm_start needs the layers of the fit before, {widths}; got {network.widths}")
        return Start(network.vector(values), stream=stream)

    def _set_fitted(self, job: dict[str, Any], outcome: Outcome, trace: Trace) -> None:
        """The attributes of the fitted model."""
        self.__dict__.pop("estimators_", None)
        self._network = job["network"]
        layers = self._network.layers(outcome.x)
        self.coefs_ = [weights for weights, _ in layers]
        self.intercepts_ = [biases for _, biases in layers]
        self.history_ = trace.as_dict()
        self.n_iter_, self.stopped_, self.loss_ = outcome.epochs, outcome.reason, outcome.loss
        self._stream, self._factor = job["start"].stream, outcome.factor * job["start"].factor
        if outcome.reason == "interrupted":
            warn(f"training interrupted in epoch {outcome.epochs + 1}; the best model is kept")

    def _config(self) -> dict[str, Any]:
        """The parameters for the trace, as JSON can hold them. The options of `MPI` are listed beside the others."""
        given = self.get_params(deep=False)
        if is_distributed(self.backend):
            given |= asdict(MPI() if self.backend == "mpi" else self.backend) | {"backend": "mpi"}
        return {name: _plain(value) for name, value in given.items()}

    def _weights(self, sample_weight: Any, X: Any, y: np.ndarray) -> np.ndarray | None:
        weight = None
        if sample_weight is not None:
            how = {"dtype": np.dtype(self.dtype), "ensure_non_negative": True, "copy": True}
            weight = _check_sample_weight(sample_weight, X, **how)
            if not weight.any():
                raise ValueError("sample_weight is zero for every sample; at least one must be positive")
        if self.class_weight is not None:
            of_class = self._class_weights(y, weight)
            weight = of_class if weight is None else weight * of_class
            if not weight.any():
                raise ValueError("class_weight and sample_weight leave no sample a positive weight")
        return weight

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        dtype = np.dtype(self.dtype if reset else self._network.dtype)
        X, y = validate_data(self, X, y, reset=reset, dtype=dtype, multi_output=True, y_numeric=False, **FORMS)
        if reset:
            self.__dict__.pop("scaler_", None)
            if self.scale is not None:
                self.scaler_ = RobustClip().fit(X)
        return self._scaled(inputs.canonical(X)), y

    def _others(self, X: Any, y: Any, X_name: str, y_name: str) -> Samples | None:
        """Samples beside those to train on."""
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError(f"{X_name} and {y_name} are given together or not at all")
        X, y = self._check_X(X, self.dtype), self._encode_known(y, y_name)
        if len(y) != X.shape[0]:
            raise ValueError(f"{X_name} has {X.shape[0]} samples, {y_name} has {len(y)}")
        return Samples(X, y)


def _one_epoch(settings: Settings, epoch: int) -> Settings:
    """For `partial_fit`: the caller decides when to stop and what to keep. Nobody knows which epoch is the last."""
    if settings.decay == "linear":
        raise ValueError(
            "decay='linear' falls to 0 in the last epoch, and partial_fit does not know which that is: "
            "give decay a number"
        )
    off = {"tol": 0.0, "early_stopping": False, "target_loss": -np.inf, "checkpoint_dir": None, "resume": False}
    method = {"solver": settings.solver or "svrg", "decay": settings.decay or 0.0}
    return replace(settings, max_iter=epoch + 1, **method, **off)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (int, float, str, type(None))) else str(value)
