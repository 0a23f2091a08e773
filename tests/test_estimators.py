"""The estimators beside scikit-learn's, and beside their own formulas in NumPy."""

import copy
import inspect
import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import ESTIMATORS, ROOT, data, forward, objective, python, small
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Attributes and predictions.


@pytest.mark.parametrize("hidden", [(), (8,), (5, 6, 7)], ids=str)
@pytest.mark.parametrize(("kind", "peer"), [(AsySVRGClassifier, MLPClassifier), (AsySVRGRegressor, MLPRegressor)])
def test_attributes_are_scikit_learns(kind, peer, hidden):
    X, y = data(kind)
    model = small(kind, hidden).fit(X, y)
    expected = peer(hidden_layer_sizes=hidden, max_iter=2).fit(X, y)
    assert [W.shape for W in model.coefs_] == [W.shape for W in expected.coefs_]
    assert [b.shape for b in model.intercepts_] == [b.shape for b in expected.intercepts_]
    assert (model.n_features_in_, model.n_outputs_) == (expected.n_features_in_, expected.n_outputs_)
    assert not hasattr(model, "feature_names_in_")
    assert model.predict(X).shape == expected.predict(X).shape
    if kind is AsySVRGClassifier:
        np.testing.assert_array_equal(model.classes_, expected.classes_)
        assert model.predict_proba(X).shape == expected.predict_proba(X).shape
    assert (model.n_iter_, model.stopped_, len(model.history_["epochs"])) == (3, "max_iter", 4)


def test_names_and_defaults_shared_with_scikit_learn():
    ours, theirs = (inspect.signature(kind).parameters for kind in (AsySVRGClassifier, MLPClassifier))
    assert list(ours)[:2] == list(theirs)[:2]
    for name in ("hidden_layer_sizes", "activation", "alpha", "tol", "n_iter_no_change", "random_state", "verbose"):
        assert ours[name].default == theirs[name].default
    assert inspect.signature(AsySVRGRegressor) == inspect.signature(AsySVRGClassifier)


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "outputs", "hidden", "activation"),
    [
        (AsySVRGClassifier, 2, (), "relu"),
        (AsySVRGClassifier, 5, (9,), "tanh"),
        (AsySVRGRegressor, 1, (6, 5), "logistic"),
        (AsySVRGRegressor, 3, (9,), "relu"),
    ],
)
def test_predictions_and_loss_follow_from_the_coefficients(
    kind, outputs, hidden, activation, weighted, form, dtype, n_jobs
):
    X, y = data(kind, outputs=outputs, form=form)
    weight = np.random.default_rng(5).random(len(y)) if weighted else None
    model = small(kind, hidden, activation, alpha=0.01, dtype=dtype, n_jobs=n_jobs).fit(X, y, sample_weight=weight)
    tol = 1e-12 if dtype == "float64" else 1e-5
    expected = forward(model, X)
    if kind is AsySVRGClassifier:
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=tol)
        np.testing.assert_allclose(model.predict_log_proba(X), np.log(expected), atol=100 * tol)
        labels = model.classes_[model.predict_proba(X).argmax(1)]
        np.testing.assert_array_equal(model.predict(X), labels)
        assert model.score(X, y, weight) == accuracy_score(y, labels, sample_weight=weight)
        error = 1 - model.score(X, y, weight)
    else:
        np.testing.assert_allclose(model.predict(X), expected.reshape(y.shape), atol=10 * tol)
        assert model.score(X, y, weight) == pytest.approx(r2_score(y, expected, sample_weight=weight), abs=10 * tol)
        if outputs > 1:  # of a network whose targets share one loss: their squares are summed, not averaged
            weights = np.ones(len(y)) if weight is None else weight
            centred = y - np.average(y, axis=0, weights=weights)
            error = (weights @ (expected - y) ** 2).sum() / (weights @ centred**2).sum()
        else:
            error = 1 - model.score(X, y, weight)
    assert model.coefs_[0].dtype == model.intercepts_[0].dtype == model._network.dtype == dtype
    assert model.loss_ == pytest.approx(objective(model, X, y, weight), rel=10 * tol)
    assert model.history_["epochs"][-1]["loss"] == model.loss_
    assert model.history_["epochs"][-1]["train_error"] == pytest.approx(error, abs=10 * tol)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_test_error_is_the_error_on_the_validation_set(kind):
    X, y = data(kind)
    model = small(kind, (6,)).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:].tolist())
    error = 1 - model.score(X[80:], y[80:])
    if kind is AsySVRGRegressor:  # see above
        rest = y[80:]
        error = ((model.predict(X[80:]) - rest) ** 2).sum() / ((rest - rest.mean(0)) ** 2).sum()
    assert model.history_["epochs"][-1]["test_error"] == pytest.approx(error, rel=1e-5)
    np.testing.assert_array_equal(model.coefs_[0], small(kind, (6,)).fit(X[:80], y[:80]).coefs_[0])


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_thread_is_repeatable_by_its_random_state(kind):
    X, y = data(kind)
    options = {"coordinates": 30, "sgd_epochs": 1}
    first, second, other = (small(kind, (8,), random_state=state, **options).fit(X, y) for state in (3, 3, 4))
    np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    assert (first.coefs_[0] != other.coefs_[0]).any()
    state = np.random.RandomState(3)
    np.testing.assert_array_equal(first.coefs_[0], small(kind, (8,), random_state=state, **options).fit(X, y).coefs_[0])


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_trajectory_is_the_same_for_csr_and_without_the_cache(kind, solver):
    X, y = data(kind)
    options = {"solver": solver, "dtype": "float64", "max_iter": 5}
    model = small(kind, (8,), "tanh", **options).fit(X, y)
    assert model.history_["config"]["snapshot_cache"]
    uncached = small(kind, (8,), "tanh", cache_size=0, **options).fit(X, y)
    assert not uncached.history_["config"]["snapshot_cache"]
    index64 = sparse.csr_array(X)
    index64.indices, index64.indptr = index64.indices.astype(np.int64), index64.indptr.astype(np.int64)
    rows, columns = (index[::-1] for index in np.nonzero(np.vstack([X, X])))  # each entry twice, from right to left
    starts = np.r_[0, np.cumsum(2 * (X != 0).sum(1))]
    order = np.argsort(rows % len(X), kind="stable")
    halves = X[rows[order] % len(X), columns[order]] / 2
    untidy = sparse.csr_array((halves, columns[order], starts), shape=X.shape)
    assert not untidy.has_canonical_format
    others = [small(kind, (8,), "tanh", **options).fit(form, y) for form in (sparse.csc_matrix(X), index64, untidy)]
    for other in (uncached, *others):
        losses = [[row["loss"] for row in trained.history_["epochs"]] for trained in (model, other)]
        np.testing.assert_allclose(*losses, rtol=1e-9)
        np.testing.assert_allclose(model.coefs_[0], other.coefs_[0], atol=1e-9)
        np.testing.assert_allclose(forward(model, X), forward(other, X), atol=1e-9)


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_callers_arrays_stay_as_they_are(kind, form):
    X, y = data(kind)
    weight = np.arange(len(y)) % 3.0
    X = X if form == "dense" else sparse.csr_array(X)[:, ::-1]
    before = copy.deepcopy((X, y, weight))
    small(kind, (4,), dtype="float64").fit(X, y, sample_weight=weight, X_val=X, y_val=y).predict(X)
    for now, then in zip((y, weight), before[1:], strict=True):
        np.testing.assert_array_equal(now, then)
    if form == "dense":
        np.testing.assert_array_equal(X, before[0])
    else:
        np.testing.assert_array_equal(X.indices, before[0].indices)


# Optima of convex problems, and what weights mean.

CONVEX = {"alpha": 0.1, "dtype": "float64", "tol": 0, "max_iter": 100, "inner_steps": 100, "learning_rate_init": 0.1}


@pytest.mark.parametrize("outputs", [2, 4])
def test_optimum_of_softmax_regression_is_logistic_regressions(outputs):
    X, y = data(AsySVRGClassifier, outputs=outputs)
    model = small(AsySVRGClassifier, (), **CONVEX).fit(X, y)
    # With two classes scikit-learn has one weight vector w for W_1 - W_0: |w|^2 is then 2 (|W_0|^2 + |W_1|^2).
    C = 1 / (CONVEX["alpha"] * len(y)) * (2 if outputs == 2 else 1)
    expected = LogisticRegression(C=C, tol=1e-12, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-6)
    weights = model.coefs_[0].T if outputs > 2 else model.coefs_[0].T[1:] - model.coefs_[0].T[:1]
    np.testing.assert_allclose(weights, expected.coef_, atol=1e-6)


@pytest.mark.parametrize("boost", [1, 8])
@pytest.mark.parametrize("outputs", [1, 3])
def test_optimum_of_linear_regression_is_ridges(outputs, boost):
    X, y = data(AsySVRGRegressor, outputs=outputs)
    model = small(AsySVRGRegressor, (), alpha_boost=boost, **CONVEX).fit(X, y)
    expected = Ridge(alpha=CONVEX["alpha"] * len(y), tol=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0].T.reshape(expected.coef_.shape), expected.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercepts_[0], np.atleast_1d(expected.intercept_), atol=1e-6)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_integer_weights_are_repeated_rows(kind):
    X, y = data(kind, n=60)
    weight = np.arange(60) % 4
    weighted = small(kind, (), **CONVEX).fit(X, y, sample_weight=weight)
    repeated = small(kind, (), **CONVEX).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], atol=1e-6)
    np.testing.assert_allclose(weighted.intercepts_[0], repeated.intercepts_[0], atol=1e-6)
    unweighted = small(kind, (), **CONVEX).fit(X, y)
    assert np.abs(weighted.coefs_[0] - unweighted.coefs_[0]).max() > 1e-3


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_zero_weights_are_absent_rows(kind, form):
    X, y = data(kind, form=form)
    weight = np.random.default_rng(1).random(len(y))
    weight[::3] = 0
    keep = weight > 0
    weighted = small(kind, (7,)).fit(X, y, sample_weight=weight)
    absent = small(kind, (7,)).fit(X[keep], y[keep], sample_weight=weight[keep])
    scaled = small(kind, (7,)).fit(X[keep], y[keep], sample_weight=64 * weight[keep])
    np.testing.assert_array_equal(weighted.coefs_[0], absent.coefs_[0])
    np.testing.assert_allclose(weighted.coefs_[0], scaled.coefs_[0], atol=1e-6)


# Kinds of data.


@pytest.mark.parametrize(
    "names", [["no", "yes"], [True, False], [-1, 1], [0.0, 1.0], ["cat", "dog", "eel"], np.array(["b", "a"], dtype="O")]
)
def test_labels_of_any_kind(names):
    X, y = data(AsySVRGClassifier, outputs=len(names))
    names = np.asarray(names)
    model = small(AsySVRGClassifier, (8,), max_iter=40).fit(X, names[y // 2], X_val=X, y_val=names[y // 2])
    np.testing.assert_array_equal(model.classes_, np.unique(names))
    assert model.predict(X).dtype == names.dtype
    assert model.score(X, names[y // 2]) > 0.9
    assert model.history_["epochs"][-1]["test_error"] == pytest.approx(1 - model.score(X, names[y // 2]))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_frames(kind):
    X, y = data(kind, outputs=2)
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])
    target = pd.Series(y) if y.ndim == 1 else pd.DataFrame(y)
    model = small(kind, (5,)).fit(frame, target, X_val=frame, y_val=target)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    np.testing.assert_array_equal(model.coefs_[0], small(kind, (5,)).fit(X, y).coefs_[0])
    with pytest.warns(UserWarning, match="feature names"):
        np.testing.assert_array_equal(model.predict(frame.to_numpy(copy=True)), model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns=str.upper))


def test_a_column_of_labels_is_taken_for_labels():
    X, y = data(AsySVRGClassifier)
    with pytest.warns(UserWarning, match="column-vector"):
        model = small(AsySVRGClassifier, (5,)).fit(X, y[:, None], X_val=X, y_val=y[:, None])
    assert model.predict(X).shape == y.shape
    assert model.history_["epochs"][-1]["test_error"] == pytest.approx(1 - model.score(X, y))


def test_numbers_from_numpy_are_numbers():
    X, y = data(AsySVRGClassifier)
    options = {
        "hidden_layer_sizes": np.array([5, 4]), "max_iter": np.int64(2), "alpha": np.float32(0.5), "dtype": np.float64,
        "batch_size": np.int32(7), "inner_steps": np.int64(9), "coordinates": np.int64(20),
    }  # fmt: skip
    model = AsySVRGClassifier(n_jobs=np.int64(1), random_state=0, **options).fit(X, y)
    config = json.loads(json.dumps(model.history_))["config"]
    assert config["hidden_layer_sizes"] == [5, 4]
    for name in ("max_iter", "alpha", "batch_size", "inner_steps", "coordinates"):
        assert config[name] == options[name]
    assert config["dtype"] == "float64"


def test_history_says_what_was_chosen():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, (8,), n_jobs=2, execution="shared", batch_size=1000).fit(X, y)
    config = model.history_["config"]
    assert set(model.get_params()) < set(config)
    assert (config["threads"], config["update"], config["batch_size"], config["inner_steps"]) == (2, "striped", 120, 1)
    assert (config["samples"], config["widths"], config["parameters"]) == (120, [11, 8, 4], 12 * 8 + 9 * 4)
    assert config["skips_zeros"] is False
    for coordinates, update in ((9, "atomic"), ("lines:9", "striped")):
        subset = small(AsySVRGClassifier, n_jobs=2, coordinates=coordinates).fit(X, y)
        assert subset.history_["config"]["update"] == update
    config = small(AsySVRGClassifier).fit(X * (X > 1), y).history_["config"]
    assert (config["threads"], config["update"], config["skips_zeros"]) == (1, "plain", True)
    assert config["inner_steps"] == -(-config["samples"] // 10)
    environment = model.history_["environment"]
    assert environment["asysvrg"] == asysvrg.__version__
    assert {"python", "numpy", "scipy", "processor", "cores", "openmp", "simd"} <= set(environment)


# Being one of scikit-learn's.


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_clone_and_parameters(kind):
    X, y = data(kind)
    model = kind((3, 4), "tanh", alpha=0.5, n_jobs=1, max_iter=2).fit(X, y)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coefs_")
    with pytest.raises(NotFittedError):
        twin.predict(X)
    assert twin.set_params(alpha=0.25).alpha == 0.25
    with pytest.raises(ValueError, match="nonsense"):
        twin.set_params(nonsense=1)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parameters_set_after_fit_do_not_change_the_fitted_model(kind):
    X, y = data(kind)
    model = small(kind, (8,), "tanh", dtype="float64").fit(X, y)
    before = model.predict(X)
    model.set_params(dtype="float32", activation="relu", hidden_layer_sizes=(), solver="sgd")
    np.testing.assert_array_equal(model.predict(X), before)


def test_an_estimator_whose_fit_failed_is_not_fitted():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, dtype="float32")
    with pytest.raises(ValueError, match=r"not finite at the initial parameters.*, or use dtype='float64'"):
        model.fit(X * 1e30, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(ValueError, match=r"not finite at the initial parameters.*give a smaller alpha$"):
        model.set_params(dtype="float64").fit(X * 1e200, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pickles_and_copies_predict_the_same(kind, dtype):
    X, y = data(kind)
    model = small(kind, (9, 3), dtype=dtype).fit(X, y)
    model.set_params(activation="tanh")  # not what was fitted
    expected = model.predict(X)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(X), expected)
        np.testing.assert_array_equal(other.coefs_[1], model.coefs_[1])
        assert (other.loss_, other.history_) == (model.loss_, model.history_)
        np.testing.assert_array_equal(other.fit(X, y).coefs_[0], clone(model).fit(X, y).coefs_[0])
    unfitted = pickle.loads(pickle.dumps(kind(alpha=0.5)))
    assert unfitted.alpha == 0.5


def test_coefficients_may_be_edited():
    X, y = data(AsySVRGRegressor)
    model = small(AsySVRGRegressor, ()).fit(X, y)
    model.intercepts_[0][:] += 1
    np.testing.assert_allclose(model.predict(X), forward(model, X), atol=1e-5)


def test_a_pickle_is_read_by_another_process(tmp_path):
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, (9,)).fit(X, y)
    (tmp_path / "model").write_bytes(pickle.dumps((model, X, model.predict_proba(X))))
    result = python(
        """
        import pickle, sys
        model, X, expected = pickle.load(open(sys.argv[1], "rb"))
        print((model.predict_proba(X) == expected).all())
        """,
        str(tmp_path / "model"),
    )
    assert result.stdout == "True\n", result.stderr


@pytest.mark.slow
def test_in_a_pipeline_and_a_parallel_grid_search(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)  # for joblib's workers
    X, y = data(AsySVRGClassifier, n=200)
    pipeline = make_pipeline(StandardScaler(with_mean=False), small(AsySVRGClassifier, (8,), max_iter=20))
    search = GridSearchCV(pipeline, {"asysvrgclassifier__alpha": [1e-4, 30.0]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_params_ == {"asysvrgclassifier__alpha": 1e-4}
    assert search.best_score_ > 0.6
    expected = clone(pipeline).fit(X, y)
    np.testing.assert_array_equal(search.predict(X), expected.predict(X))


@parametrize_with_checks(
    [kind(max_iter=5, n_jobs=1, dtype=dtype) for kind in ESTIMATORS for dtype in ("float32", "float64")]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# Stops and warnings, as far as they are the estimator's.


class Halt(KeyboardInterrupt):
    """What a signal handler may raise."""


def test_an_interrupt_warns_keeps_the_best_model_and_is_passed_on():
    X, y = data(AsySVRGClassifier)

    def interrupt(row):
        if row["epoch"] == 3:
            raise Halt

    model = small(AsySVRGClassifier, (8,), solver="sgd", learning_rate_init=2.0, max_iter=9)
    with (
        pytest.warns(UserWarning, match="interrupted in epoch 4; the best model is kept") as caught,
        pytest.raises(Halt),
    ):
        model.fit(X, y, callback=interrupt)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    losses = [row["loss"] for row in model.history_["epochs"]]
    assert (model.stopped_, model.n_iter_, len(losses)) == ("interrupted", 3, 4)
    assert model.loss_ == min(losses)
    assert model.loss_ == pytest.approx(objective(model, X, y), rel=1e-5)


def test_partial_fit_begins_with_four_epochs_of_sgd():
    X, y = data(AsySVRGRegressor)
    model = AsySVRGRegressor((4,), random_state=0, inner_steps=5)
    for _ in range(6):
        model.partial_fit(X, y)
    rows = model.history_["epochs"]
    assert [row["direction"] for row in rows if row["direction"]] == ["sgd"] * 4 + ["svrg"] * 2


def test_the_warning_of_a_roll_back_points_at_the_caller():
    X, y = data(AsySVRGRegressor)
    with pytest.warns(ConvergenceWarning, match="half the learning rate") as caught:
        small(AsySVRGRegressor, learning_rate_init=1e3, tol=0).fit(X, y)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_iter": 2}, "max_iter"),
        ({"max_iter": 1000}, "tol"),
        ({"target_loss": 1.0, "max_iter": 1000}, "target_loss"),
        ({"max_time": 0.05, "max_iter": 10**6, "tol": 0}, "max_time"),
    ],
    ids=str,
)
def test_stops(options, reason):
    X, y = data(AsySVRGClassifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(AsySVRGClassifier, (8,), alpha=0.01, **options).fit(X, y)
    assert model.stopped_ == reason
    if reason == "target_loss":
        losses = [row["loss"] for row in model.history_["epochs"]]
        assert losses[-1] <= 1 < losses[-2]


def test_no_warning_at_max_iter_where_no_tol_was_asked_for():
    X, y = data(AsySVRGClassifier)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert small(AsySVRGClassifier, tol=0).fit(X, y).stopped_ == "max_iter"
    assert not caught


def test_verbose_says_a_line_an_epoch_where_there_is_no_terminal(capsys):
    X, y = data(AsySVRGClassifier)
    small(AsySVRGClassifier, verbose=True).fit(X, y, X_val=X, y_val=y)
    lines = capsys.readouterr().err.splitlines()[-4:]  # the plan comes first
    assert [line.split(":")[0] for line in lines] == [f"epoch {s}/3" for s in range(4)]
    assert all("loss" in line and "train error" in line and "test error" in line for line in lines)
    small(AsySVRGClassifier).fit(X, y)
    assert capsys.readouterr() == ("", "")


def test_digits_are_learnt():
    X, y = load_digits(return_X_y=True)
    model = AsySVRGClassifier(max_iter=20, tol=0, random_state=0).fit(X[:1200] / 16, y[:1200])
    assert model.score(X[1200:] / 16, y[1200:]) > 0.9
