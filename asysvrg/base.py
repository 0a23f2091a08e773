"""What the classifier and the regressor share of training: `fit` and `partial_fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from asysvrg import ensemble, inputs, precision
from asysvrg.callbacks import Callback, CallbackSupportMixin, Hooks, with_callbacks
from asysvrg.core import cpu
from asysvrg.core.control import time_limit
from asysvrg.core.loop import Outcome
from asysvrg.core.network import KIND_OF_LOSS, Network, Samples
from asysvrg.core.trace import Trace, joined
from asysvrg.core.warn import warn
from asysvrg.distributed import script
from asysvrg.distributed.backend import MPI
from asysvrg.job import Before, Job, Start, recentred, same_network
from asysvrg.kinds import plain
from asysvrg.method import Choice, chosen_by_validation, held_out, one_epoch
from asysvrg.parameters import Parameters
from asysvrg.plan import Plan
from asysvrg.prediction import FORMS, Predicting
from asysvrg.preprocessing import RobustClip
from asysvrg.settings import Settings, check, is_distributed
from asysvrg.store.model import Persistent
from asysvrg.training import prepare, train

Pair = tuple[Any, Any]  # X and y
SAME = "widths", "activation", "loss", "intercepts", "dtype"  # of the network that `partial_fit` goes on with
CONTEXT = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}  # of scikit-learn, which ends callbacks by them
LEAST_SCALED = 100  # samples from which `partial_fit` takes quartiles


class _AsySVRG(Parameters, Persistent, Predicting, CallbackSupportMixin, BaseEstimator):
    """A network and its training. The subclasses say what outputs and targets mean."""

    _loss: str
    _stream, _factor = 0, 1.0  # for a run that goes on from this one; see `job.Start`
    _looks = True  # whether X is new, and not what another estimator has looked at

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        waits = self.execution != "shared" and self.update in ("auto", "plain") and self.max_delay is None
        waits = waits and not self.delay_adaptive
        tags.non_deterministic = not waits or self.coordinates != "all" or self.backend != "threads"
        return tags

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None, callback: Callback = None
    ) -> Self:
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
            (`set_callbacks`, from 1.9 on) are called at the same time, with `n_models` by each network for itself.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters or data that cannot be trained on, before any thread starts.
        KeyboardInterrupt
            After Ctrl-C, so that a search that has called `fit` ends, too. From the first row of `history_` on, the
            estimator is then fitted: it has the best parameters so far, by the loss or, with early stopping, the
            validation error, and `stopped_` is "interrupted".
        """
        return self._fit(X, y, sample_weight, X_val, y_val, callback)

    @with_callbacks  # type: ignore[untyped-decorator]
    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None,
        callback: Callback = None, test: Pair = (None, None), simulation: Any = None,
    ) -> Self:  # fmt: skip
        """`fit`. Rows of the trace have the error on `test`, a pair (X, y), in the place of that on `X_val`.

        With a `simulation` virtual workers train.
        """
        if not isinstance(self.n_models, Integral) or self.n_models != 1:
            return self._fit_several(X, y, sample_weight, X_val, y_val, callback, test)
        is_real = is_distributed(self.backend) and simulation is None
        with script.open_session(is_real) as session, self._checked(session) as settings:
            with self._all_or_nothing():
                job = self._prepare(session, settings, X, y, sample_weight, X_val, y_val, test=test)
                metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
                told = {"X": X, "y": y, "metadata": metadata}
                hooks = Hooks(self, job.network, job.center, self.max_iter, callback, **told)
                row = hooks.row if hooks.active else None
                outcome, trace = train(job, row, simulation)
                self._set_fitted(job, outcome, trace)
            hooks.end(interrupted=outcome.reason == "interrupted")
        _pass_on(outcome)
        return self

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """A fit that is refused, or ends with an error, leaves the model as it was: labels belong to their weights."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            before |= {name: value for name, value in vars(self).items() if name in CONTEXT}
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    @contextmanager
    def _checked(self, session: Any) -> Iterator[Settings]:
        """The checked parameters. Their `max_time` limits what is done inside; of several ranks, rank 0 watches it."""
        settings = check(self)
        limit = math.inf if session is not None and session.rank else settings.max_time
        with time_limit(limit), cpu.one_blas_thread(), np.errstate(under="ignore"):
            yield settings

    def _fit_several(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, callback: Callback, test: Pair
    ) -> Self:
        """`fit` where there is more than one network."""
        inputs.refuse_malformed(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
        inputs.refuse_missing(y=y, y_val=y_val)
        with self._all_or_nothing():
            fitted, interrupt = self._train_several(X, y, sample_weight, X_val, y_val, callback, test)
            ensemble.take_over(self, fitted)
        if interrupt is not None:
            self.stopped_ = "interrupted"
            warn(f"training interrupted; the best models of {len(fitted)} network(s) are kept")
            raise interrupt
        return self

    def _train_several(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, callback: Callback, test: Pair
    ) -> tuple[list[Any], KeyboardInterrupt | None]:
        """Trains the networks, which share one converted X. Returns those that are fitted, and Ctrl-C if it came."""
        settings = check(self)
        end = time.monotonic() + settings.max_time
        with time_limit(settings.max_time):
            X, y = self._validate(X, y, reset=True)
            others = ((X_val, "X_val"), (test[0], "X_test"))
            X_val, X_test = (None if other is None else self._check_other(other, name) for other, name in others)
        members, told = ensemble.members_of(self), ensemble.Told(callback, settings)
        at_once = ensemble.networks_at_once(self)

        def train(number: int, member: Any) -> None:
            if self.max_time is not None:
                turns = math.ceil((len(members) - number) / at_once)  # of this member and those after it
                member.set_params(max_time=max(0.0, end - time.monotonic()) / turns)
            member._fit(X, y, sample_weight, X_val, y_val, told.of(number), (X_test, test[1]))

        return ensemble.train_all(members, train, at_once)

    def _plan(self, X: Any, y: Any) -> Plan:
        """The plan of `fit` with these arguments, of the samples of this rank."""
        with self._checked(None) as settings:
            job = self._prepare(None, settings, X, y, None, None, None)
            return prepare(job).plan

    def _prepare(
        self, session: Any, settings: Settings, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, *,
        test: Pair = (None, None), partial: bool = False, classes: Any = None,
    ) -> Job:  # fmt: skip
        """Checks what `fit` or `partial_fit` was given, and agrees on it with the other ranks of a distributed fit."""
        inputs.refuse_malformed(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
        inputs.refuse_missing(y=y, y_val=y_val)
        goes_on = partial and hasattr(self, "coefs_")
        before = self._before() if self.warm_start and not partial else None
        X, y = self._validate(X, y, reset=not goes_on)
        if partial and not goes_on and self.scale is not None and X.shape[0] < LEAST_SCALED:
            raise ValueError(
                f"scale={self.scale!r} takes the quartiles of the first samples, of which there are {X.shape[0]}: give "
                f"partial_fit {LEAST_SCALED} at first, or put a fitted RobustClip before it"
            )
        if partial:
            settings = one_epoch(settings, self.n_iter_ if goes_on else 0)
            y = self._encode_part(y, classes)
            if goes_on:
                if several := len(getattr(self, "estimators_", [])):
                    told = f"partial_fit goes on with one network, and the fit before has {several}"
                    raise ValueError(f"{told}: call it of a clone of this estimator")
                same_network("partial_fit", self._network, self._new_network(settings), *SAME)
        else:
            y = self._encode(y, lambda labels: script.all_labels(session, labels))
        weight = self._weights(sample_weight, X, y)
        X, y, weight = inputs.counted(X, y, weight)
        network = self._network.changed(smoothing=settings.label_smoothing) if goes_on else self._new_network(settings)
        random_state = script.agreed_random_state(session, check_random_state(settings.random_state))
        center, y = self._centred(session, y, network, goes_on)
        if goes_on:
            x = recentred(self._vector(), self._center(), center, self.n_outputs_)
            start = Start(x, self.n_iter_, self._stream, self._factor)
        else:
            start = self._start(before, network, center)
        validation = self._others(X_val, y_val, "X_val", "y_val", center)
        tested = self._others(*test, "X_test", "y_test", center)
        needs_all = "class_weight='balanced'" if self.class_weight == "balanced" else None
        early_stopping, obstacle = None, ""
        if settings.early_stopping:
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
        if session is not None:
            settings = replace(settings, threads=cpu.team(settings.threads))
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
        return Job(
            settings=settings,
            network=network,
            samples=samples,
            center=center,
            placement=placement,
            early_stopping=early_stopping,
            validation=validation if early_stopping[0] else None,
            test=tested,
            random_state=random_state,
            start=start,
            session=session,
            config=self._config(),
            verbose=bool(settings.verbose) and (session is None or session.rank == 0),
        )

    def _held_out(
        self, settings: Settings, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.random.RandomState
    ) -> tuple[Choice, tuple[Any, ...], Samples | None]:
        """Holds out samples to choose the parameters by, if possible: whether and why; the other samples; these."""
        if not isinstance(self.random_state, Integral):  # a warm start, or a resumed run, must hold out the same ones
            state = np.random.RandomState(0)
        exact, indicators = settings.early_stopping != "auto", self._loss == "binary"
        fraction = held_out(settings, len(y))
        parts = inputs.hold_out(X, y, weight, fraction, state, exact=exact, indicators=indicators)
        if parts is not None:
            return chosen_by_validation(settings, len(y)), parts[0], inputs.prepared(*parts[1])
        why = f"validation_fraction={settings.validation_fraction} of {len(y):,} samples cannot be held out"
        if exact:
            raise ValueError(
                f"early_stopping=True: {why}, as training needs a sample of each class: give X_val and y_val, "
                "more samples of positive weight, or early_stopping=False"
            )
        return (False, why), (X, y, weight), None

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, classes: Any) -> None:
        with script.open_session(is_distributed(self.backend)) as session, self._checked(session) as settings:
            if settings.n_models != 1:
                raise ValueError(f"partial_fit trains one network; got n_models={settings.n_models}")
            with self._all_or_nothing():
                job = self._prepare(session, settings, X, y, sample_weight, X_val, y_val, partial=True, classes=classes)
                earlier = None if job.start.x is None else self.history_
                outcome, trace = train(job)
                self._set_fitted(job, outcome, trace)
        if earlier is not None:
            self.history_ = joined(earlier, self.history_)
        _pass_on(outcome)

    def _new_network(self, settings: Settings) -> Network:
        widths = (self.n_features_in_, *settings.hidden_layer_sizes, self.n_outputs_)
        more = {"smoothing": settings.label_smoothing, "intercepts": settings.fit_intercept}
        return Network(widths, settings.activation, self._loss, settings.dtype, **more)

    def _before(self) -> Before | None:
        """What a warm start needs of the last fit; None if there was none."""
        if not hasattr(self, "coefs_"):
            return None
        ensemble.check_count(self)
        x, center, classes = self._vector(), self._center(), getattr(self, "classes_", None)
        return Before(x, center, self._network, classes, self._stream + self.n_iter_)

    def _start(self, before: Before | None, network: Network, center: np.ndarray | None) -> Start:
        """Where `fit` starts: afresh, or with the parameters of the fit before."""
        if before is None:
            return Start()
        before.check(network, getattr(self, "classes_", None))
        x = recentred(network.vector(before.x), before.center, center, self.n_outputs_)
        return Start(x, stream=before.stream)

    def _centred(
        self, session: Any, y: np.ndarray, network: Network, goes_on: bool
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """The center of the targets, of all ranks, and the targets less it, in the fitted dtype. Labels stay."""
        if KIND_OF_LOSS[network.loss] != "reals":
            return None, y
        moments = precision.moments(y)
        center = script.agreed_center(session, moments)
        if not (network.intercepts and precision.is_centred(network.loss) and network.dtype == np.float32):
            center = None
        before = self._center() if goes_on else None
        center = center if before is None else before
        if network.dtype == np.float32:
            precision.look_at_targets(moments["mean"], moments["variance"], center)
        return center, precision.centred(y, center, network.dtype, "y")

    def _set_fitted(self, job: Job, outcome: Outcome, trace: Trace) -> None:
        """The attributes of the fitted model."""
        self.__dict__.pop("estimators_", None)
        self._network = job.network
        self.coefs_, self.intercepts_ = precision.layers_of(self._network, outcome.x, job.center)
        self.history_ = trace.as_dict()
        self.n_iter_, self.stopped_, self.loss_ = outcome.epochs, outcome.reason, outcome.loss
        self._stream, self._factor = job.start.stream, outcome.factor
        if outcome.reason == "interrupted" and self._looks:  # several networks warn once
            warn(f"training interrupted in epoch {outcome.epochs + 1}; the best model is kept")

    def _config(self) -> dict[str, Any]:
        """The parameters for the trace, as JSON can hold them. The options of `MPI` are listed beside the others."""
        given = self.get_params(deep=False)
        if is_distributed(self.backend):
            given |= asdict(MPI() if self.backend == "mpi" else self.backend) | {"backend": "mpi"}
        return {name: _plain(value) for name, value in given.items()}

    def _weights(self, sample_weight: Any, X: Any, y: np.ndarray) -> np.ndarray | None:
        of_class = None if self.class_weight is None else lambda weight: self._class_weights(y, weight)
        return inputs.weights(sample_weight, X, of_class)

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        dtype, given = np.dtype(self.dtype if reset else self._network.dtype), X
        if reset:
            self.__dict__.pop("scaler_", None)
            if self.scale is not None:
                self.scaler_ = RobustClip()
        how = FORMS | {"dtype": self._dtypes(dtype)}
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is said by the check
            X, y = validate_data(self, X, y, reset=reset, multi_output=True, y_numeric=False, **how)
        if reset and self.scale is not None:
            self.scaler_.fit(X)
        elif reset and dtype == np.float32 and self._looks:
            precision.look_at(given, getattr(self, "feature_names_in_", None))
        return self._scaled(inputs.canonical(X), dtype), y

    def _check_other(self, X: Any, name: str) -> Any:
        """X of a validation or a test set, checked. Errors name it: those of scikit-learn speak of X."""
        try:
            return self._check_X(X, self.dtype)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}: {error}") from None

    def _others(self, X: Any, y: Any, X_name: str, y_name: str, center: np.ndarray | None) -> Samples | None:
        """Samples beside those to train on."""
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError(f"{X_name} and {y_name} are given together or not at all")
        X, y = self._check_other(X, X_name), self._encode_known(y, y_name)
        if len(y) != X.shape[0]:
            raise ValueError(f"{X_name} has {X.shape[0]} samples, {y_name} has {len(y)}")
        if KIND_OF_LOSS[self._loss] == "reals":
            y = precision.centred(y, center, X.dtype, y_name)
        return Samples(X, y)


def _pass_on(outcome: Outcome) -> None:
    """Raises what interrupted a run, on each rank: a grid search that called `fit` is to end, too."""
    if outcome.reason == "interrupted":
        raise outcome.interrupt or KeyboardInterrupt


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    value = plain(value)
    if isinstance(value, np.random.RandomState):  # its text has an address
        return "RandomState"
    return value if isinstance(value, (int, float, str, type(None))) else str(value)
