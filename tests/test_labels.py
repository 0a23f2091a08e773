"""Class weights, several labels, and labels of any type."""

import pickle

import numpy as np
import pytest
from helpers.estimators import data, equal, objective, small
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, load
from asysvrg.core.network import Network
from asysvrg.labels import weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


@pytest.mark.parametrize("names", [["0", "1", "2"], [0, 1, 2]], ids=str)
def test_weights_of_classes_of_any_type(names):
    """Text of digits is no number."""
    X, y = data(AsySVRGClassifier)
    X, y = X[y < 6], np.array(names)[y[y < 6] // 2]
    model = small(AsySVRGClassifier, class_weight={names[0]: 5.0, names[2]: 0.5}).fit(X, y)
    weight = np.select([y == names[0], y == names[2]], [5.0, 0.5], 1.0)
    assert equal(model, small(AsySVRGClassifier).fit(X, y, sample_weight=weight))


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
        (AsySVRGClassifier, {0: "x", 2: 1, 4: 1, 6: 1}, "a weight that is no number, 'x'"),
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


def test_balanced_labels_are_those_of_the_weighted_samples():
    """As with one label: rows of weight 0 are not there, rows of weight 2 are there twice."""
    X, Y = several()
    times = np.arange(len(X)) % 3
    weight = weights_of(Y.astype(float), np.arange(3), "balanced", times.astype(float))
    there = weights_of(np.repeat(Y, times, axis=0).astype(float), np.arange(3), "balanced", None)
    np.testing.assert_allclose(np.repeat(weight, times), there)
    expected = compute_sample_weight("balanced", Y)
    np.testing.assert_allclose(weights_of(Y.astype(float), np.arange(3), "balanced", None), expected)


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
    with pytest.raises(ValueError, match="y is not what y was at first, an indicator matrix"):
        model.partial_fit(X, Y[:, 0])
    assert model.fit(X, Y[:, 0]).predict(X).shape == (len(X),)


def labelled(*labels, n=120):
    return np.array([*labels] * (n // len(labels)) + [*labels[: n % len(labels)]], dtype=object)


PANDAS = pytest.importorskip("pandas")
BAD_LABELS = [
    (labelled("a", None), ValueError, r"has missing labels \(None\)"),
    (labelled(None), ValueError, r"has missing labels \(None\)"),
    (labelled("a", "b", 5), ValueError, "has labels of kinds that cannot be compared: int, str"),
    (labelled(b"a", b"b"), TypeError, "represented as bytes is not supported"),
    (labelled(b"a", b"b").astype("S"), TypeError, "represented as bytes is not supported"),
    (PANDAS.Series(labelled("a", "b", None), dtype="string"), ValueError, "has missing values"),
    (PANDAS.Series(labelled("a", "b", None), dtype="category"), ValueError, "has missing values"),
]


@pytest.mark.parametrize(("bad", "kind", "words"), BAD_LABELS)
def test_labels_that_are_none(bad, kind, words):
    X = np.random.default_rng(0).normal(size=(120, 3))
    with pytest.raises(kind, match=f"y {words}|{words}"):
        small(AsySVRGClassifier).fit(X, bad)
    if kind is ValueError:
        with pytest.raises(ValueError, match=f"y_val {words}"):
            small(AsySVRGClassifier).fit(X, labelled("a", "b"), X_val=X, y_val=bad)


@pytest.mark.parametrize(
    ("classes", "words"),
    [(["a", None], "classes has missing labels"), (["a", 1], "classes has labels of kinds"), ([], "classes is empty")],
)
def test_classes_that_are_none(classes, words):
    with pytest.raises(ValueError, match=words):
        small(AsySVRGClassifier).partial_fit(np.ones((4, 2)), ["a", "b", "a", "b"], classes=classes)


# Label smoothing.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("several", [False, True])
def test_smoothed_labels(dtype, several):
    """Without inputs, the best probabilities are the mean targets, and the least loss is their cross-entropy."""
    s, y = 0.2, np.repeat([0, 1, 2], [60, 30, 10])
    Y = (y[:, None] == np.arange(3)).astype(int) if several else y
    how = {"alpha": 0, "tol": 0, "random_state": 0, "n_jobs": 1, "dtype": dtype, "solver": "svrg"}
    model = AsySVRGClassifier((), label_smoothing=s, max_iter=300, learning_rate_init=0.5, **how)
    model.fit(np.zeros((100, 1)), Y)
    share = np.array([0.6, 0.3, 0.1])
    target = (1 - s) * share + (s / 2 if several else s / 3)
    found = model.predict_proba(np.zeros((1, 1)))[0]
    np.testing.assert_allclose(found, target, atol=1e-4)
    entropy = -(target * np.log(target)).sum() - several * ((1 - target) * np.log(1 - target)).sum()
    assert model.loss_ == pytest.approx(entropy, rel=1e-5)
    error = model.history_["epochs"][-1]["train_error"]
    assert error == pytest.approx(1 - model.score(np.zeros((100, 1)), Y))  # by the labels themselves
    plain = AsySVRGClassifier((), max_iter=300, learning_rate_init=0.5, **how).fit(np.zeros((100, 1)), Y)
    np.testing.assert_allclose(plain.predict_proba(np.zeros((1, 1)))[0], share, atol=1e-4)


def test_a_saved_model_goes_on_with_its_smoothing(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 4))
    y = X[:, :3].argmax(1)
    how = {"random_state": 0, "n_jobs": 1, "learning_rate_init": 0.1, "tol": 0, "dtype": "float64"}
    model = AsySVRGClassifier((5,), label_smoothing=0.3, **how)
    for _ in range(2):
        model.partial_fit(X, y, classes=[0, 1, 2])
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.label_smoothing == 0.3
    again.partial_fit(X, y)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert again.loss_ > 0.6  # no less than the entropy of its targets
    assert again.set_params(label_smoothing=0).partial_fit(X, y).loss_ != model.partial_fit(X, y).loss_


def test_targets_of_a_regressor_are_not_smoothed():
    X = np.linspace(0, 1, 30)[:, None]
    smooth, plain = (AsySVRGRegressor((3,), label_smoothing=s, random_state=0).fit(X, X[:, 0]) for s in (0.1, 0.0))
    np.testing.assert_array_equal(smooth.predict(X), plain.predict(X))
    with pytest.raises(ValueError, match="does not go with loss 'huber'"):
        Network((3, 1), "relu", "huber", np.float64, smoothing=0.1)
