"""scikit-learn's callbacks."""

import pickle

import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, equal, small
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asysvrg import AsySVRGClassifier, AsySVRGRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder:
    """A callback by scikit-learn's protocol."""

    def __init__(self, stop_after=None):
        self.calls, self.scores, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.calls.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y, **metadata))
        return len(self.scores) == self.stop_after


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_scikit_learns_callbacks(kind):
    pytest.importorskip("sklearn.callback")
    X, y = data(kind, outputs=1 if kind is AsySVRGRegressor else 3)
    recorder, rows = Recorder(), []
    model = small(kind, (5,)).set_callbacks(recorder).fit(X, y, sample_weight=np.ones(len(y)), callback=rows.append)
    assert recorder.calls == ["setup", "begin fit", *3 * ["begin epoch", "end epoch"], "end fit", "teardown"]
    assert [1 - score for score in recorder.scores[:3]] == pytest.approx(
        [row["train_error"] for row in model.history_["epochs"][1:]], rel=1e-5
    )
    assert recorder.scores[3] == model.score(X, y)
    assert rows == model.history_["epochs"]
    assert equal(model, small(kind, (5,)).fit(X, y))
    stopped = small(kind, (5,)).set_callbacks(Recorder(stop_after=2)).fit(X, y)
    assert (stopped.n_iter_, stopped.stopped_) == (2, "callback")


def test_scikit_learns_own_callbacks(capsys):
    callbacks = pytest.importorskip("sklearn.callback")
    X, y = data(AsySVRGClassifier)
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), small(AsySVRGClassifier, (5,)).set_callbacks(monitor)).fit(X, y)
    assert len(pipeline[-1].history_["epochs"]) == 4
    assert pickle.loads(pickle.dumps(pipeline)).score(X, y) == pipeline.score(X, y)


def test_an_interrupted_epoch_and_fit_have_an_end():
    pytest.importorskip("sklearn.callback")
    X, y = data(AsySVRGClassifier)
    recorder, model = Recorder(), small(AsySVRGClassifier, (5,))

    def press(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        model.set_callbacks(recorder).fit(X, y, sample_weight=np.ones(len(y)), callback=press)
    assert recorder.calls == ["setup", "begin fit", "begin epoch", "end epoch", "end fit", "teardown"]
    assert recorder.scores == 2 * [model.score(X, y)]


def test_a_fit_that_fails_tears_them_down():
    pytest.importorskip("sklearn.callback")
    X, y = data(AsySVRGClassifier)
    recorder = Recorder()
    model = small(AsySVRGClassifier, (5,)).set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, y, callback=lambda row: 1 / 0)
    assert recorder.calls[-1] == "teardown"
    assert not [name for name in vars(model) if name.startswith("_callback") or name.endswith("teardown")]


def test_what_a_callback_keeps_does_not_change():
    pytest.importorskip("sklearn.callback")
    X, y = data(AsySVRGRegressor)
    kept = []

    class Keeper(Recorder):
        def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
            kept.append((fitted_estimator, [W.copy() for W in fitted_estimator.coefs_]))

    small(AsySVRGRegressor, (5,), dtype="float64", learning_rate_init=0.01).set_callbacks(Keeper()).fit(X, y)
    for estimator, then in kept:
        assert all(map(np.array_equal, estimator.coefs_, then))
