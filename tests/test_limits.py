"""`max_time` and Ctrl-C: both hold for a whole fit, whatever it is doing, and leave a model."""

import os
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
from helpers.estimators import data, equal, objective, small
from sklearn.base import BaseEstimator
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, RobustClip
from asysvrg.core.control import OutOfTime, last_moment, out_of_time, seconds_left, time_limit
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.smoothness import smoothness

pytestmark = pytest.mark.filterwarnings("ignore:training interrupted")

# max_time.


@pytest.fixture(scope="module")
def long():
    """Samples, labels and sizes of layers: a look at all samples takes about two seconds, a full gradient six."""
    X = np.random.default_rng(0).normal(size=(40_000, 200)).astype(np.float32)
    return X, (X[:, 0] > 0) + 0, (1000, 1000)


def kept(model, X):
    """Asserts that the model is a whole one; returns its rows."""
    assert model.stopped_ == "max_time"
    rows = model.history_["epochs"]
    assert all(np.isfinite([row["loss"], row["train_error"]]).all() for row in rows)
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.predict(X[:5])).all()
    assert len(rows) == model.n_iter_ + 1
    return rows


@contextmanager
def at_most(seconds):
    """Asserts that the block takes less than so many seconds of processor time, to which other programs add nothing."""
    start, began = time.process_time(), time.monotonic()
    yield
    assert time.process_time() - start < seconds
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AsySVRGClassifier, {"max_time": 0}),
        (AsySVRGClassifier, {"max_time": 0.5, "solver": "svrg"}),
        (AsySVRGClassifier, {"max_time": 0.2, "learning_rate_init": 0.01, "deflation": 2}),
        (AsySVRGClassifier, {"max_time": 0.2, "n_models": 3, "n_jobs": 2, "early_stopping": False}),
        (AsySVRGRegressor, {"max_time": 0.2, "execution": "shared", "n_jobs": 2}),
    ],
    ids=str,
)
def test_the_time_before_the_first_epoch_counts(long, kind, options):
    X, y, sizes = long
    options = {"n_jobs": 1, "random_state": 0} | options
    with at_most(options["n_jobs"] * (1.5 * options["max_time"] + 1.5)):
        model = kind(sizes, **options).fit(X, y)
    rows = kept(model, X)
    assert rows[-1]["partial"]
    if model.n_iter_ == 0 and model.n_models == 1:
        assert model.loss_ == rows[0]["loss"]
        assert 0.2 < model.loss_ < 2


def test_partial_fit_ends_in_time_and_goes_on(long):
    X, y, sizes = long
    model = AsySVRGClassifier(sizes, n_jobs=1, max_time=0.1, random_state=0)
    for _ in range(2):
        with at_most(1.65):
            model.partial_fit(X, y, classes=[0, 1])
        kept(model, X)


def test_a_small_fit_has_time_for_whole_sums():
    X, y = data(AsySVRGClassifier)
    for _ in range(5):  # a tenth of a second: other programs may take it
        model = small(AsySVRGClassifier, (8,), max_time=0, learning_rate_init="auto").fit(X, y)
        (row,) = kept(model, X)
        if not row["partial"]:
            break
    assert not row["partial"]
    assert model.loss_ == pytest.approx(objective(model, X, y), rel=1e-5)
    never = small(AsySVRGClassifier, (8,), max_time=np.inf).fit(X, y)
    assert equal(never, small(AsySVRGClassifier, (8,)).fit(X, y))


def late(*given):
    """Initial parameters, when a limit of no time is over."""
    time.sleep(0.25)
    return initial_parameters(*given)


def test_a_run_that_had_no_time_to_start_is_resumed_from_the_start(tmp_path, long):
    X, y, sizes = long[0][:300], long[1][:300], (20,)
    how = {"n_jobs": 1, "random_state": 0, "max_iter": 1}
    with time_limit(-1):  # of the test: the fit has its own
        rows = AsySVRGClassifier(sizes, **how).fit(X, y).history_["epochs"]
    cut = AsySVRGClassifier(sizes, checkpoint_dir=tmp_path, max_time=0, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "asysvrg.training.initial_parameters", lambda *given: time.sleep(0.3) or initial_parameters(*given)
        )
        kept(cut.fit(X, y), X)
    assert not os.listdir(tmp_path)
    resumed = AsySVRGClassifier(sizes, checkpoint_dir=tmp_path, resume=True, **how).fit(X, y)
    assert [row["loss"] for row in resumed.history_["epochs"]] == [row["loss"] for row in rows]
    resumed.set_params(max_time=0, max_iter=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "asysvrg.training.initial_parameters", lambda *given: time.sleep(0.3) or initial_parameters(*given)
        )
        kept(resumed.fit(X, y), X)
    assert (resumed.n_iter_, resumed.loss_) == (1, rows[-1]["loss"])


def test_what_few_samples_say_does_not_choose(monkeypatch):
    """The best epoch by the whole validation set is kept, though a few samples of it look better after the last one."""
    X, y = data(AsySVRGClassifier, n=400)
    y[:: 400 // 2] = 99  # what a glimpse at this many samples would see

    def slow(row):
        if row["epoch"] == 2:
            time.sleep(0.4)

    how = {"early_stopping": True, "max_iter": 50, "tol": 0, "inner_steps": 50, "learning_rate_init": 0.1}
    model = small(AsySVRGClassifier, (8,), max_time=0.3, **how).fit(X, y, X_val=X, y_val=y, callback=slow)
    rows = kept(model, X)
    whole = small(AsySVRGClassifier, (8,), **how | {"max_iter": len(rows) - 1})
    assert model.score(X, y) == pytest.approx(1 - min(row["validation_error"] for row in rows if not row["partial"]))
    assert whole.fit(X, y, X_val=X, y_val=y).score(X, y) >= model.score(X, y)


def test_a_callback_may_predict_and_fit_when_the_time_is_over():
    X, y = data(AsySVRGClassifier)
    other, found = small(AsySVRGClassifier).fit(X, y), []

    def look(row):
        time.sleep(0.3)
        found.append((other.predict(X).size, small(AsySVRGClassifier).fit(X, y).stopped_))

    kept(small(AsySVRGClassifier, max_time=0).fit(X, y, callback=look), X)
    assert found == [(len(y), "max_iter")]


def test_a_time_limit_is_the_threads_own_and_ends():
    assert (seconds_left(), last_moment(), out_of_time()) == (np.inf, np.inf, False)
    with time_limit(60):
        assert 59 < seconds_left() <= 60
        with time_limit(-1):
            assert seconds_left() == 0
            assert out_of_time()
        assert not out_of_time()
        assert 64 < last_moment() - time.monotonic() < 67
    assert (seconds_left(), last_moment(), out_of_time()) == (np.inf, np.inf, False)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_glimpse_is_of_samples_from_everywhere(weighted):
    """The labels are sorted; some of each are seen."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5000, 4)).astype(np.float32), np.sort(rng.integers(3, size=5000)).astype(np.int32)
    weight = (2 * rng.random(5000)).astype(np.float32) if weighted else None
    network = Network((4, 3), "relu", "softmax", np.float32)
    problem = Objective(network, Samples(X, y, weight), alpha=1e-3, threads=2)
    x = initial_parameters(network, np.random.RandomState(0))
    whole = problem.snapshot(x, keep_cache=False)
    with time_limit(-1):
        for few in (problem.snapshot(x, keep_cache=False), problem.evaluated(x, 0), problem.evaluated(x, 2000)):
            assert few.loss == pytest.approx(whole.loss, rel=0.1)
            assert few.loss != whole.loss
            assert few.error == pytest.approx(whole.error, abs=0.05)
            assert few.gradient_norm_squared is None
        assert problem.on_others(x, problem.samples)[0] == few.error
        with pytest.raises(OutOfTime):
            problem.gradient(x)
        with pytest.raises(OutOfTime):
            smoothness(network, problem.samples, 1e-3, x, 20, seed=0)
        assert network.outputs(problem.samples, x, 1).shape == (5000, 3)


def test_robust_clip_takes_some_rows_when_the_time_is_over():
    X = np.random.default_rng(0).normal(size=(9000, 3)) * [1, 10, 100]
    whole = RobustClip().fit(X)
    with time_limit(-1):
        some = RobustClip().fit(X)
    np.testing.assert_allclose(some.scale_, whole.scale_, rtol=0.15)
    assert (some.scale_ != whole.scale_).all()


# Ctrl-C.


@pytest.mark.parametrize("search", ["grid", "cross_val_score", "bagging", "pipeline", "several"])
def test_ctrl_c_ends_whatever_has_called_fit(search):
    """One Ctrl-C: there is no other fit after the one that it interrupts."""
    X, y = data(AsySVRGClassifier)
    fits = []

    class Counted(AsySVRGClassifier):
        def fit(self, X, y, **options):
            fits.append(self)
            return super().fit(X, y, callback=press, **options)

    def press(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    model = small(Counted, max_iter=1000, tol=0)
    caller = {
        "grid": lambda: GridSearchCV(model, {"alpha": [1e-4, 1e-3]}, cv=2).fit(X, y),
        "cross_val_score": lambda: cross_val_score(model, X, y, cv=3),
        "bagging": lambda: BaggingClassifier(model, 3).fit(X, y),
        "pipeline": lambda: make_pipeline(StandardScaler(), model).fit(X, y),
        "several": lambda: model.set_params(n_models=2).fit(X, y),
    }[search]
    with pytest.raises(KeyboardInterrupt):
        caller()
    assert len(fits) == 1
    assert (fits[0].stopped_, fits[0].predict(X[:3]).size) == ("interrupted", 3)


def test_ctrl_c_in_partial_fit():
    X, y = data(AsySVRGRegressor)
    model = small(AsySVRGRegressor).partial_fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asysvrg.core.threaded.ThreadedExecution.inner", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, y)
    assert (model.stopped_, model.n_iter_, len(model.history_["epochs"])) == ("interrupted", 1, 2)
    assert model.partial_fit(X, y).n_iter_ == 2


def test_an_interrupted_fit_of_several_networks_is_a_model():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, n_models=3, max_iter=1000, tol=0)

    def press(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, callback=press)
    assert (model.stopped_, len(model.estimators_), model.n_iter_) == ("interrupted", 1, 3)
    assert isinstance(model, BaseEstimator)
    assert model.predict_proba(X).shape == (len(y), 4)
