"""What scikit-learn's users expect of an estimator beyond fit and predict: further fits, weights, validation."""

import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import ESTIMATORS, data, equal, objective, small
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asysvrg import AsySVRGClassifier, AsySVRGRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUIET = {"tol": 0}  # no warning at max_iter


def first_classes(kind, y):
    return {"classes": np.unique(y)} if kind is AsySVRGClassifier else {}


# partial_fit.


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_epochs_one_by_one_are_a_fit(kind, form):
    X, y = data(kind, form=form)
    options = {"tol": 0, "solver": "svrg", "sgd_epochs": 2, "decay": 0.5, "coordinates": 30, "learning_rate_init": 0.05}
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
    assert model.loss_ == best[-1]  # of the last one of several
    assert model.loss_ == pytest.approx(objective(model, X[:30], y[:30]), rel=1e-4)
    assert rows[-1]["loss"] <= model.loss_


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_a_share_is_held_out(kind, form):
    X, y = data(kind, n=200, form=form)
    model = small(kind, (8,), early_stopping=True, validation_fraction=0.25).fit(X, y, sample_weight=np.ones(200))
    assert model.history_["config"]["samples"] == pytest.approx(150, abs=4)  # a class's share is rounded
    assert all(row["validation_error"] is not None and row["test_error"] is None for row in model.history_["epochs"])
    assert small(kind, (8,), early_stopping=True).fit(X, y, X_val=X, y_val=y).history_["config"]["samples"] == 200


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_automatic_early_stopping_is_for_many_samples(kind):
    X, y = data(kind, n=10_000, p=3)
    options = {"max_iter": 4, "random_state": None}
    model = small(kind, (2,), **options).fit(X, y)
    config, rows = model.history_["config"], model.history_["epochs"]
    assert (config["early_stopping"], config["samples"]) == (True, pytest.approx(9000, abs=2))
    assert config["plan"]["early_stopping"] == "10,000 samples, at least 10,000"
    best = min(row["validation_error"] for row in rows)
    assert best < rows[0]["validation_error"]
    noise = (best * (1 - best) / 4000) ** 0.5 if kind is AsySVRGClassifier else best * (2 / 4000) ** 0.5
    kept = [row for row in rows if row["validation_error"] <= best + noise][-1]
    assert model.loss_ == pytest.approx(kept["loss"], rel=0.1)  # which may be that of some samples
    with_set = small(kind, (2,), **options).fit(X, y, X_val=X[:99], y_val=y[:99]).history_
    assert (with_set["config"]["early_stopping"], with_set["config"]["samples"]) == (True, 10_000)
    assert with_set["epochs"][-1]["validation_error"] == with_set["epochs"][-1]["test_error"]
    for off in ({"early_stopping": False}, {"target_loss": -1.0}, {"cache_size": 0.1}):
        found = small(kind, (2,), **options | off).fit(X, y).history_["config"]
        assert (found["early_stopping"], found["samples"]) == (False, 10_000)
    few = small(kind, (2,), **options).fit(X[1:], y[1:], X_val=X[:99], y_val=y[:99]).history_
    assert not few["config"]["early_stopping"]
    assert few["epochs"][-1]["validation_error"] is None
    assert few["epochs"][-1]["test_error"] is not None


def test_automatic_early_stopping_takes_any_classes():
    """Rare classes stay in the training set; where all are rare nothing is held out."""
    X = np.random.default_rng(0).normal(size=(10_000, 2))
    y = np.arange(10_000) % 2
    y[:3] = 2, 3, 3
    model = small(AsySVRGClassifier, (2,), max_iter=1).fit(X, y)
    assert model.history_["config"]["samples"] == 9000
    model = small(AsySVRGClassifier, (), max_iter=1, inner_steps=1).fit(X, np.arange(10_000) // 4)
    assert model.history_["config"]["samples"] == 10_000
    assert "cannot be held out" in model.history_["config"]["plan"]["early_stopping"]
    several = np.stack([y == 1, X[:, 0] > 0, X[:, 1] > 3.5], axis=1).astype(int)
    model = small(AsySVRGClassifier, (2,), max_iter=1).fit(X, several)
    assert model.history_["config"]["samples"] == 9000
    weight = np.ones(10_000)
    weight[5:] = 0  # these are no samples
    model = small(AsySVRGClassifier, (2,), max_iter=1).fit(X, y, sample_weight=weight)
    assert model.history_["config"]["samples"] == 5


def test_early_stopping_of_few_and_rare():
    """It does not depend on luck whether samples can be held out."""
    X, y = data(AsySVRGClassifier)
    stopping = small(AsySVRGClassifier, (), early_stopping=True, max_iter=2)
    few = clone(stopping).set_params(validation_fraction=0.001).fit(X, y)
    assert few.history_["config"]["samples"] == 119
    for seed in range(10):  # 3 of 4 samples have a class of their own
        model = clone(stopping).set_params(random_state=seed).fit(X[:4], ["a", "a", "b", "c"])
        assert (model.history_["config"]["samples"], model.classes_.tolist()) == (3, ["a", "b", "c"])
    rows = np.r_[np.flatnonzero(y == y[0])[:3], np.flatnonzero(y != y[0])[:2]]
    weight = np.zeros(len(y))
    weight[rows] = 1
    some, alone = clone(stopping).fit(X, y, sample_weight=weight), clone(stopping).fit(X[rows], y[rows])
    assert some.history_["config"]["samples"] == alone.history_["config"]["samples"] == 4
    np.testing.assert_array_equal(some.classes_, np.unique(y))
    bagged = BaggingClassifier(stopping, n_estimators=10, max_samples=5, random_state=0).fit(X, y % 4 // 2)
    assert bagged.score(X, y % 4 // 2) > 0.4


def test_early_stopping_refuses():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(ValueError, match=r"early_stopping=True: validation_fraction=0\.1 of 4 samples cannot be held"):
        small(AsySVRGClassifier, early_stopping=True).fit(X[:4], ["a", "b", "c", "d"])
    weight = np.zeros(len(y))
    weight[0] = 1
    with pytest.raises(ValueError, match="of 1 samples cannot be held out"):
        small(AsySVRGClassifier, early_stopping=True).fit(X, y, sample_weight=weight)


def test_predictions_of_the_regressor_have_the_dtype_of_what_they_are_for():
    X, y = data(AsySVRGRegressor)
    frame = pd.DataFrame(X)
    for dtype in ("float32", "float64"):
        model = small(AsySVRGRegressor, dtype=dtype).fit(X, y)
        assert model.predict(X.astype(np.float32)).dtype == dtype
        assert {model.predict(other).dtype for other in (X, X.tolist(), frame, X.astype(int))} == {np.dtype("f8")}


# Frames, pipelines, metadata.


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
