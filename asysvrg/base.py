"""What the estimators share: parameters, fits of all kinds, raw predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from asysvrg import inputs
from asysvrg.callbacks import CallbackSupportMixin, Hooks, with_callbacks
from asysvrg.core import cpu
from asysvrg.core.network import BLOCK_ROWS, Network, Samples, aligned_zeros
from asysvrg.core.trace import joined
from asysvrg.distributed import script
from asysvrg.distributed.backend import MPI
from asysvrg.distributed.sharding import Sharding
from asysvrg.settings import Settings, check
from asysvrg.store.model import Persistent
from asysvrg.training import Start, train

Callback = Callable[[dict[str, Any], np.ndarray], Any]


class _AsySVRG(Persistent, CallbackSupportMixin, BaseEstimator):
    """A network and its training; what outputs and targets mean is left to the classifier and the regressor."""

    _loss: str
    _stream, _factor = 0, 1.0  # for another run to go on with; see `training.Start`

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        alpha=1e-4,
        alpha_boost=None,
        solver="svrg",
        batch_size=20,
        sampling=None,
        learning_rate_init="auto",
        decay=0.0,
        max_iter=12,
        inner_steps=None,
        sgd_epochs=None,
        deflation=None,
        coordinates="all",
        block=1,
        update="auto",
        max_delay=None,
        late="wait",
        cache_size=1024,
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping=False,
        validation_fraction=0.1,
        target_loss=None,
        max_time=None,
        checkpoint_dir=None,
        resume=False,
        class_weight=None,
        warm_start=False,
        n_jobs=None,
        backend="threads",
        wait="sleep",
        compress=None,
        servers=1,
        random_state=None,
        verbose=False,
        dtype="float32",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.alpha_boost = alpha_boost
        self.solver = solver
        self.batch_size = batch_size
        self.sampling = sampling
        self.learning_rate_init = learning_rate_init
        self.decay = decay
        self.max_iter = max_iter
        self.inner_steps = inner_steps
        self.sgd_epochs = sgd_epochs
        self.deflation = deflation
        self.coordinates = coordinates
        self.block = block
        self.update = update
        self.max_delay = max_delay
        self.late = late
        self.cache_size = cache_size
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.target_loss = target_loss
        self.max_time = max_time
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.backend = backend
        self.wait = wait
        self.compress = compress
        self.servers = servers
        self.random_state = random_state
        self.verbose = verbose
        self.dtype = dtype

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.non_deterministic = self.n_jobs != 1
        return tags

    @with_callbacks
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
            Called with every new row of `history_["epochs"]`; a true answer stops the run. scikit-learn's callbacks
            (`set_callbacks`, from 1.9 on) are called at the same time.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that cannot be trained on, before any thread starts.
        """
        with script.open_session(self.backend == "mpi") as team:
            inputs.refuse_complex(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
            settings, before = check(self), self._before() if self.warm_start else None
            given = {"X": X, "y": y, "metadata": {} if sample_weight is None else {"sample_weight": sample_weight}}
            X, y = self._validate(X, y, reset=True)
            y = self._encode(y, partial(script.all_labels, team))
            weight = self._weights(sample_weight, X, y)
            network = self._new_network(settings)
            start = None if before is None else self._again(before, network)
            random_state = script.agreed_random_state(team, check_random_state(self.random_state))
            validation = self._validation(X_val, y_val)
            needs_all = "class_weight='balanced'" if self.class_weight == "balanced" else None
            if settings.early_stopping and validation is None:
                (X, y, weight), held_out = inputs.hold_out(X, y, weight, settings.validation_fraction, random_state)
                validation = inputs.prepared(*held_out)
                needs_all = "early_stopping without X_val"
            samples, placement = self._placed(team, settings, network, (X, y, weight), needs_all)
            self._stream = 0 if start is None else start.stream
            hooks = Hooks(self, settings.max_iter, **given)
            told = None if callback is None else lambda row, x: callback(row)
            if hooks.active:
                told = self._with_hooks(hooks, callback, network)
            self._train(settings, network, samples, validation, random_state, told, start, team, placement)
            hooks.end()
        return self

    def _placed(
        self, team: Any, settings: Settings, network: Network, data: tuple[Any, ...], needs_all: str | None
    ) -> tuple[Samples, Sharding | None]:
        """Samples to train on, and where the others are."""
        samples, (_, y, weight) = inputs.prepared(*data), data
        mass = float(len(y) if weight is None else weight.sum(dtype=np.float64))
        mpi = MPI(servers=settings.servers, compress=settings.compress, wait=settings.wait, late=settings.late)
        return script.agreed_samples(
            team, mpi, network, samples, mass, alpha=settings.alpha, threads=settings.threads, needs_all=needs_all
        )

    def _with_hooks(self, hooks: Hooks, callback: Callable[..., Any] | None, network: Network) -> Callback:
        def both(row: dict[str, Any], x: np.ndarray) -> bool:
            def fitted() -> dict[str, Any]:
                coefs, intercepts = zip(*network.layers(x), strict=True)
                return {
                    "_network": network,
                    "coefs_": list(coefs),
                    "intercepts_": list(intercepts),
                    "n_iter_": row["epoch"],
                    "loss_": row["loss"],
                }

            stop = callback is not None and bool(callback(row))
            return hooks.row(row["epoch"], fitted) or stop

        return both

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, classes: Any) -> Any:
        with script.open_session(self.backend == "mpi") as team:
            inputs.refuse_complex(X=X, y=y, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
            first = not hasattr(self, "coefs_")
            settings = check(self)
            if settings.decay == "linear":
                raise ValueError(
                    "decay='linear' falls to 0 in the last epoch, and partial_fit does not know which that is: "
                    "give decay a number"
                )
            X, y = self._validate(X, y, reset=first)
            y = self._encode_part(y, classes)
            weight = self._weights(sample_weight, X, y)
            validation = self._validation(X_val, y_val)
            if first:
                network, start, earlier, self._stream = self._new_network(settings), None, None, 0
            else:
                network, earlier = self._network, self.history_
                start = Start(self._vector(), self.n_iter_, self._stream, self._factor)
            epochs = 0 if start is None else start.epoch
            # The caller decides when to stop, and what to keep.
            settings = replace(
                settings,
                max_iter=epochs + 1,
                tol=0.0,
                early_stopping=False,
                target_loss=-np.inf,
                checkpoint_dir=None,
                resume=False,
            )
            random_state = script.agreed_random_state(team, check_random_state(self.random_state))
            samples, placement = self._placed(team, settings, network, (X, y, weight), None)
            self._train(settings, network, samples, validation, random_state, None, start, team, placement)
        if earlier is not None:
            self.history_ = joined(earlier, self.history_)

    def _new_network(self, settings: Settings) -> Network:
        widths = (self.n_features_in_, *settings.hidden, self.n_outputs_)
        return Network(widths, settings.activation, self._loss, settings.dtype)

    def _before(self) -> tuple[Any, ...] | None:
        """What a warm start needs of the fit before, if there was one."""
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

    def _train(
        self,
        settings: Settings,
        network: Network,
        samples: Samples,
        validation: Samples | None,
        random_state: np.random.RandomState,
        callback: Callback | None,
        start: Start | None,
        team: Any,
        placement: Sharding | None,
    ) -> None:
        with cpu.one_blas_thread():
            outcome, trace = train(
                settings,
                network,
                samples,
                config={name: _plain(value) for name, value in self.get_params().items()},
                validation=validation,
                random_state=random_state,
                callback=callback,
                verbose=self.verbose and (team is None or team.rank == 0),
                start=start,
                team=team,
                placement=placement,
            )
        self._network = network
        self._set_layers(outcome.x)
        self.history_ = trace.as_dict()
        self.n_iter_, self.stopped_, self.loss_ = outcome.epochs, outcome.reason, outcome.loss
        self._factor = outcome.factor * (1.0 if start is None else start.factor)
        if outcome.reason == "interrupted":
            warnings.warn(
                f"training interrupted in epoch {outcome.epochs + 1}; the best model is kept",
                stacklevel=4,
            )

    def _set_layers(self, x: np.ndarray) -> None:
        layers = self._network.layers(x)
        self.coefs_ = [weights for weights, _ in layers]
        self.intercepts_ = [biases for _, biases in layers]

    def _vector(self) -> np.ndarray:
        """The parameters as one vector: a copy, since what comes out of a pickle is not aligned as the kernels want."""
        network = self._network
        x = network.vector()
        for into, values in zip(network.layers(x), zip(self.coefs_, self.intercepts_, strict=True), strict=True):
            into[0][:], into[1][:] = values
        return x

    def _weights(self, sample_weight: Any, X: Any, y: np.ndarray) -> np.ndarray | None:
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, X, dtype=np.dtype(self.dtype), ensure_non_negative=True, copy=True
            )
            if not weight.any():
                raise ValueError("sample_weight is zero for every sample; at least one must be positive")
        if self.class_weight is not None:
            of_class = self._class_weights(y, weight)
            weight = of_class if weight is None else weight * of_class
            if not weight.any():
                raise ValueError("class_weight and sample_weight leave no sample a positive weight")
        return weight

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            dtype=np.dtype(self.dtype if reset else self._network.dtype),
            order="C",
            multi_output=True,
            y_numeric=False,
        )
        return inputs.canonical(X), y

    def _validation(self, X_val: Any, y_val: Any) -> Samples | None:
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            raise ValueError("X_val and y_val are given together or not at all")
        X = self._check_X(X_val, self.dtype)
        y = self._encode_known(y_val, "y_val")
        if len(y) != X.shape[0]:
            raise ValueError(f"X_val has {X.shape[0]} samples, y_val has {len(y)}")
        return Samples(X, y)

    def _check_X(self, X: Any, dtype: Any) -> Any:
        inputs.refuse_complex(X=X)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.dtype(dtype), order="C", reset=False)
        return inputs.canonical(X)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "coefs_")
        network = self._network
        X = self._check_X(X, network.dtype)
        n = X.shape[0]
        if n < BLOCK_ROWS and isinstance(X, np.ndarray):  # of fewer rows BLAS adds up the products in another order
            X = np.concatenate([X, np.zeros((BLOCK_ROWS - n, X.shape[1]), X.dtype)])
        samples = Samples(X)
        outputs = aligned_zeros((samples.size, self.n_outputs_), network.dtype)
        with cpu.one_blas_thread():
            network.sweep(samples, self._vector(), cpu.count(self.n_jobs), outputs=outputs)
        return outputs[:n]


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (int, float, str, type(None))) else str(value)
