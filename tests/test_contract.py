"""What scikit-learn's users expect of an estimator beyond fit and predict: further fits, weights, validation."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from test_estimators import ESTIMATORS, data, objective, small

from asysvrg import AsySVRGClassifier, AsySVRGRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUIET = {"tol": 0}  # no warning at max_iter


def first_classes(kind, y):
    return {"classes": np.unique(y)} if kind is AsySVRGClassifier else {}


def equal(model, other):
    return all((a == b).all() for a, b in zip(*(m.coefs_ + m.intercepts_ for m in (model, other)), strict=True))


# partial_fit.


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_epochs_one_by_one_are_a_fit(kind, form):
    X, y = data(kind, form=form)
    options = {"tol": 0, "sgd_epochs": 2, "decay": 0.5, "coordinates": 30, "learning_rate_init": 0.05}
    model = small(kind, (8,), **options)
    weight = np.arange(len(y)) % 4 / 2
    for epoch in range(5):
        assert model.partial_fit(X, y, sample_weight=weight, **first_classes(kind, y), X_val=X, y_val=y) is model
        model = pickle.loads(pickle.dumps(model))
        assert (model.n_iter_, len(model.history_["epochs"])) == (epoch + 1, epoch + 2)
    whole = small(kind, (8,), max_iter=5, **options).fit(X, y, sample_weight=weight, X_val=X, y_val=y)
    assert equal(model, whole)
    assert model.loss_ == whole.loss_
    for row, expected in zip(model.history_["epochs"], whole.history_["epochs"], strict=True):
        assert row | {"seconds": 0} == expected | {"seconds": 0}
    assert model.history_["delay_histogram"] == whole.history_["delay_histogram"]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_partial_fit_goes_on_after_a_fit(kind):
    X, y = data(kind)
    options = {"tol": 0, "learning_rate_init": 0.05}  # "auto" looks at the curvature anew
    model = small(kind, (8,), **options).fit(X, y)
    whole = small(kind, (8,), max_iter=4, **options).fit(X, y)
    assert equal(model.partial_fit(X, y), whole)
    assert model.n_iter_ == 4
    again = clone(model).fit(X, y)
    assert (again.n_iter_, len(again.history_["epochs"])) == (3, 4)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_partial_fit_on_a_stream(kind):
    X, y = data(kind, n=600)
    model = small(kind, (8,), early_stopping=True)
    for _ in range(5):
        for part in np.array_split(np.arange(600), 6):
            model.partial_fit(X[part], y[part], **first_classes(kind, y))
    assert model.n_iter_ == 30
    assert model.score(X, y) > 0.7


def test_a_part_need_not_have_every_class():
    X, y = data(AsySVRGClassifier)
    part = y == 2
    model = small(AsySVRGClassifier, class_weight={0: 3.0}).partial_fit(X[part], y[part], classes=[0, 2, 4, 6])
    assert model.classes_.tolist() == [0, 2, 4, 6]
    assert (model.predict(X[part]) == 2).mean() > 0.9


def test_roll_backs_are_remembered_between_calls():
    X, y = data(AsySVRGRegressor)
    model = small(AsySVRGRegressor, learning_rate_init=1e3)
    for _ in range(25):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.5


def test_partial_fit_refuses():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="one class only"):
        model.partial_fit(X, y, classes=[0])
    with pytest.raises(ValueError, match=r"y has labels that are not among the classes: \[6\]"):
        model.partial_fit(X, y, classes=[0, 2, 4])
    model.partial_fit(X, y, classes=[0, 2, 4, 6])
    with pytest.raises(ValueError, match=r"y has labels that are not among the classes: \[8\]"):
        model.partial_fit(X, y + 2)
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, y, classes=[0, 2])
    with pytest.raises(ValueError, match="10 features"):
        model.partial_fit(X[:, 1:], y)
    with pytest.raises(ValueError, match="needs all of y"):
        small(AsySVRGClassifier, class_weight="balanced").partial_fit(X, y, classes=[0, 2, 4, 6])
    X, y = data(AsySVRGRegressor)
    with pytest.raises(ValueError, match="y has 3 targets, not 4"):
        small(AsySVRGRegressor).partial_fit(X, y).partial_fit(X, y[:, 1:])


# warm_start.


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_warm_start(kind):
    X, y = data(kind)
    model = small(kind, (8,), warm_start=True, **QUIET).fit(X, y)
    assert equal(model, small(kind, (8,), **QUIET).fit(X, y))
    end, coefs = model.loss_, model.coefs_
    again = pickle.loads(pickle.dumps(model)).fit(X, y)
    assert again.history_["epochs"][0]["loss"] == pytest.approx(end, rel=1e-6)
    assert again.loss_ < end
    assert again.n_iter_ == 3
    model.coefs_ = [W.copy() for W in coefs]
    third = pickle.loads(pickle.dumps(model))
    third._stream += 3
    assert not equal(model.fit(X, y), third.fit(X, y))  # other mini-batches each time


def test_warm_start_refuses():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, (8,), warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start needs the classes"):
        clone(model).fit(X, y).fit(X, y + 2)
    with pytest.raises(ValueError, match=r"warm_start needs the layers of the fit before, \(11, 8, 4\)"):
        model.set_params(hidden_layer_sizes=(9,)).fit(X, y)


# class_weight.


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0, 4: 0.5}], ids=str)
def test_class_weights_are_sample_weights(class_weight):
    X, y = data(AsySVRGClassifier)
    X, y = X[y < 6], y[y < 6]
    model = small(AsySVRGClassifier, (8,), class_weight=class_weight).fit(X, y)
    weight = compute_sample_weight(class_weight, y)
    expected = small(AsySVRGClassifier, (8,)).fit(X, y, sample_weight=weight)
    for ours, theirs in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    own = np.random.default_rng(0).random(len(y))
    model.fit(X, y, sample_weight=own)
    if class_weight != "balanced":
        assert model.loss_ == pytest.approx(objective(model, X, y, own * weight), rel=1e-5)


def test_balanced_classes():
    X, y = data(AsySVRGClassifier, n=800, outputs=2)
    rare = np.flatnonzero(y == 2)
    keep = np.r_[np.flatnonzero(y == 0), rare[:15]]
    plain = small(AsySVRGClassifier, (), max_iter=30, alpha=0.1).fit(X[keep], y[keep])
    balanced = clone(plain).set_params(class_weight="balanced").fit(X[keep], y[keep])
    scores = [balanced_accuracy_score(y, model.predict(X)) for model in (plain, balanced)]
    assert scores[1] > scores[0] + 0.1


@pytest.mark.parametrize(
    ("kind", "class_weight", "words"),
    [
        (AsySVRGClassifier, {0: -1.0}, "negative"),
        (AsySVRGClassifier, {0: 0, 2: 0, 4: 0, 6: 0}, "no sample a positive weight"),
        (AsySVRGClassifier, {1: 2.0, 3: 1.0}, "not in class_weight"),
        (AsySVRGClassifier, 3, "class_weight is a dict"),
        (AsySVRGRegressor, "balanced", "class_weight is for classifiers"),
    ],
)
def test_bad_class_weights(kind, class_weight, words):
    with pytest.raises(ValueError, match=words):
        small(kind, class_weight=class_weight).fit(*data(kind))


# Several labels.


def several(n=150, p=11, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, (X @ rng.normal(size=(p, outputs)) + 0.5 * rng.normal(size=(n, outputs)) > 0).astype(int)


@pytest.mark.parametrize("hidden", [(), (8,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_several_labels(hidden, dtype):
    X, Y = several()
    weight = np.random.default_rng(1).random(len(Y))
    options = {"max_iter": 10, "alpha": 0.01, "dtype": dtype}
    model = small(AsySVRGClassifier, hidden, **options).fit(X, Y, sample_weight=weight, X_val=X, y_val=Y)
    assert (model.n_outputs_, model.classes_.tolist()) == (3, [0, 1, 2])
    probabilities = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict(X), probabilities > 0.5)
    assert model.score(X, Y) > 0.5
    row = model.history_["epochs"][-1]
    assert row["test_error"] == pytest.approx(1 - model.score(X, Y))
    assert row["train_error"] == pytest.approx(1 - model.score(X, Y, weight), rel=1e-5)
    losses = -np.log(np.where(Y == 1, probabilities, 1 - probabilities)).sum(1)
    squares = sum((W.astype(float) ** 2).sum() for W in model.coefs_)
    assert model.loss_ == pytest.approx(np.average(losses, weights=weight) + 0.005 * squares, rel=1e-4)
    same = small(AsySVRGClassifier, hidden, **options).fit(X, sparse.csr_array(Y), sample_weight=weight)
    assert equal(pickle.loads(pickle.dumps(model)), same)


def test_optimum_of_several_labels_is_that_of_each_alone():
    X, Y = several()
    options = {"alpha": 0.05, "dtype": "float64", "tol": 0, "max_iter": 100, "learning_rate_init": 0.1}
    model = small(AsySVRGClassifier, (), **options).fit(X, Y)
    for label in range(3):
        alone = LogisticRegression(C=1 / (0.05 * len(Y)), tol=1e-12, max_iter=10_000).fit(X, Y[:, label])
        np.testing.assert_allclose(model.coefs_[0][:, label], alone.coef_[0], atol=1e-6)


def test_further_fits_of_several_labels():
    X, Y = several()
    model = small(AsySVRGClassifier, (8,), class_weight="balanced", early_stopping=True).fit(X, Y)
    assert model.history_["config"]["samples"] == 135
    model = small(AsySVRGClassifier, (8,))
    for _ in range(20):
        model.partial_fit(X, Y, classes=range(3))
    assert model.score(X, Y) > 0.7
    with pytest.raises(ValueError, match="y has 2 labels, not 3"):
        model.partial_fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="y is not what it was at first"):
        model.partial_fit(X, Y[:, 0])
    assert model.fit(X, Y[:, 0]).predict(X).shape == (len(X),)


# Early stopping.


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_early_stopping_keeps_the_best_parameters(kind):
    X, y = data(kind, n=60, p=30)
    rest = slice(30, None)
    options = {"early_stopping": True, "max_iter": 300, "n_iter_no_change": 5, "alpha": 0, "tol": 1e-3}
    model = small(kind, (50,), **options).fit(X[:30], y[:30], X_val=X[rest], y_val=y[rest])
    rows = model.history_["epochs"]
    errors = [row["test_error"] for row in rows]
    assert model.stopped_ == "tol"
    if kind is AsySVRGClassifier:
        assert errors[-1] > min(errors)
        assert 1 - model.score(X[rest], y[rest]) == pytest.approx(min(errors))
    best = [row["loss"] for row in rows if row["test_error"] == min(errors)]
    assert model.loss_ == min(best)
    assert model.loss_ == pytest.approx(objective(model, X[:30], y[:30]), rel=1e-4)
    assert rows[-1]["loss"] <= model.loss_


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_a_share_is_held_out(kind, form):
    X, y = data(kind, n=200, form=form)
    model = small(kind, (8,), early_stopping=True, validation_fraction=0.25).fit(X, y, sample_weight=np.ones(200))
    assert model.history_["config"]["samples"] == 150
    assert all(row["test_error"] is not None for row in model.history_["epochs"])
    assert small(kind, (8,), early_stopping=True).fit(X, y, X_val=X, y_val=y).history_["config"]["samples"] == 200


def test_early_stopping_refuses():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(ValueError, match="test_size = 1 should be greater"):
        small(AsySVRGClassifier, early_stopping=True, validation_fraction=0.001).fit(X, y)
    weight = np.zeros(len(y))
    weight[0] = 1
    with pytest.raises(ValueError, match="every sample has weight zero"):
        small(AsySVRGClassifier, early_stopping=True).fit(X, y, sample_weight=weight)


# Weights and repetition.


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_weights_repetition_and_order_make_no_difference_to_the_last_bit(kind, form):
    X, y = data(kind, form=form)
    weight = np.arange(len(y)) % 4
    order = np.random.default_rng(0).permutation(weight.sum())
    repeated = np.repeat(np.arange(len(y)), weight)[order]
    model = small(kind, (8,)).fit(X, y, sample_weight=weight)
    assert equal(model, small(kind, (8,)).fit(X[repeated], y[repeated]))
    assert equal(small(kind, (8,)).fit(X, y), small(kind, (8,)).fit(X[::-1], y[::-1]))


def test_large_sets_are_trained_on_as_they_are():
    X, y = data(AsySVRGClassifier, n=700)
    X, y = np.vstack([X, X]), np.r_[y, y]
    assert small(AsySVRGClassifier).fit(X, y).history_["config"]["samples"] == 1400


def test_predictions_of_the_regressor_have_the_dtype_of_what_they_are_for():
    X, y = data(AsySVRGRegressor)
    frame = pd.DataFrame(X)
    for dtype in ("float32", "float64"):
        model = small(AsySVRGRegressor, dtype=dtype).fit(X, y)
        assert model.predict(X.astype(np.float32)).dtype == dtype
        assert {model.predict(other).dtype for other in (X, X.tolist(), frame, X.astype(int))} == {np.dtype("f8")}


# Bad input beyond test_estimators.py: one line each.


def with_text(X):
    X = X.astype(object)
    X[3, 1] = "red"
    return X


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": 1j}, "Complex data not supported: X"),
        ({"y": 1j}, "Complex data not supported: y"),
        ({"sample_weight": 1j}, "Complex data not supported: sample_weight"),
        ({"X_val": 1j}, "Complex data not supported: X_val"),
        ({"y_val": 1j}, "Complex data not supported: y_val"),
        ({"X": "text"}, "could not convert string to float: 'red'"),
        ({"X": 1e300}, "too large for dtype\\('float32'\\)"),
        ({"sample_weight": 1e300}, "too large for dtype\\('float32'\\)"),
        ({"X_val": 1e300}, "too large for dtype\\('float32'\\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_numbers_that_are_none_are_refused_in_one_line(kind, change, words):
    X, y = data(kind)
    arguments = {"X": X, "y": y, "sample_weight": np.ones(len(y)), "X_val": X, "y_val": y}
    for name, factor in change.items():
        arguments[name] = with_text(X) if factor == "text" else arguments[name] * factor
    with pytest.raises(ValueError, match=words) as caught:
        small(kind).fit(**arguments)
    assert "\n" not in str(caught.value)
    if "X" in change:
        with pytest.raises(ValueError, match=words) as caught:
            small(kind).fit(X, y).predict(arguments["X"])
        assert "\n" not in str(caught.value)


def test_labels_that_cannot_be_compared():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(ValueError, match="kinds that cannot be compared: NoneType, str"):
        small(AsySVRGClassifier).fit(X, np.array(["a", None], dtype=object)[y % 4 // 2])


# Frames, pipelines, metadata, callbacks.


def frames(library, X):
    return library.DataFrame({f"column {i}": X[:, i] for i in range(X.shape[1])})


@pytest.mark.parametrize("name", ["pandas", "polars"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_frames_of_any_kind(kind, name):
    library = pytest.importorskip(name)
    X, y = data(kind, outputs=2)
    frame = frames(library, X)
    target = library.Series(y) if y.ndim == 1 else frames(library, y)
    weight = library.Series(np.ones(len(y)))
    model = small(kind, (5,)).fit(frame, target, sample_weight=weight, X_val=frame, y_val=target)
    assert equal(model, small(kind, (5,)).fit(X, y))
    assert model.feature_names_in_.tolist() == list(frame.columns)
    np.testing.assert_array_equal(model.predict(frame), small(kind, (5,)).fit(X, y).predict(X))
    model.partial_fit(frame, target)
    assert model.score(frame, target) > 0


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pipelines_of_frames(kind, output):
    if output != "default":
        pytest.importorskip(output)
    X, y = data(kind)
    pipeline = make_pipeline(StandardScaler(), small(kind, (5,))).set_output(transform=output)
    expected = small(kind, (5,)).fit(StandardScaler().fit_transform(X), y)
    assert equal(pipeline.fit(X, y)[-1], expected)
    assert pipeline.predict(X).shape == y.shape
    assert hasattr(pipeline[-1], "feature_names_in_") == (output != "default")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_metadata_routing(kind):
    X, y = data(kind)
    weight = np.random.default_rng(0).random(len(y))
    rows = []
    with config_context(enable_metadata_routing=True):
        model = small(kind, (5,)).set_fit_request(sample_weight=True, X_val=True, y_val=True, callback=True)
        model.set_score_request(sample_weight=True).set_partial_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, y, sample_weight=weight, X_val=X, y_val=y, callback=rows.append)
        scaled = StandardScaler().fit_transform(X)
        expected = small(kind, (5,)).fit(scaled, y, sample_weight=weight, X_val=X, y_val=y)
        assert equal(pipeline[-1], expected)
        assert len(rows) == 4
        search = GridSearchCV(pipeline, {f"{kind.__name__.lower()}__alpha": [1e-4, 1.0]}, cv=2)
        search.fit(X, y, sample_weight=weight)
        assert equal(search.best_estimator_[-1], small(kind, (5,), alpha=search.best_estimator_[-1].alpha).fit(
            scaled, y, sample_weight=weight))  # fmt: skip


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
