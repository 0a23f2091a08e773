"""X, y and weights: what is refused, and what makes no difference."""

import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, equal, small
from scipy import sparse
from sklearn.exceptions import NotFittedError

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, inputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def spoilt(values, bad, at=(3, 2)):
    values = np.array(values, dtype=float)
    values[at] = bad
    return values


def split(y, fraction, X=None, weight=None, seed=0, **how):
    X = np.arange(len(y), dtype=float)[:, None] if X is None else X
    return inputs.hold_out(X, y, weight, fraction, np.random.RandomState(seed), **how)


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_share_of_each_class_is_held_out(form, labels):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1000, 500, 4, 1])).astype(np.int32)
    if not labels:
        y = y[:, None].astype(float)
    X, weight = form(np.arange(1505.0)[:, None]), np.arange(1505) + 1.0
    kept, held = split(y, 0.1, X, weight)
    whole = np.concatenate([kept[2], held[2]])
    np.testing.assert_array_equal(np.sort(whole), weight)
    for X_part, y_part, w in (kept, held):
        at = w.astype(int) - 1
        assert (np.diff(at) > 0).all()  # in the order they were in
        np.testing.assert_array_equal(np.ravel(X_part.todense() if sparse.issparse(X_part) else X_part), at)
        np.testing.assert_array_equal(y_part, y[at])
    if labels:
        np.testing.assert_array_equal(np.bincount(held[1], minlength=4), [100, 50, 0, 0])
    else:
        assert len(held[1]) == 151
    assert not np.array_equal(inputs.hold_out(X, y, weight, 0.1, np.random.RandomState(1))[1][2], held[2])


@pytest.mark.parametrize("classes", [3, 40_000])  # as many as int16 can name, and more
def test_every_class_keeps_a_sample(classes):
    y = np.tile(np.arange(classes, dtype=np.int32), 2)
    kept, held = split(y, 0.99)
    for part in (kept, held):
        np.testing.assert_array_equal(np.bincount(part[1]), np.ones(classes))
    assert split(y, 0.1) is None
    assert split(np.zeros((1, 1)), 0.5) is None
    assert [len(part[1]) for part in split(np.zeros((5, 1)), 0.99)] == [1, 4]


@pytest.mark.parametrize("counts", [[2, 1], [2, 2, 2], [40, 3, 1, 1], [1, 0, 4], [3] * 1000])
def test_an_exact_share_is_held_out_wherever_a_class_can_give_samples(counts):
    y = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    kept, held = split(y, 0.1, exact=True)
    assert len(held[1]) == pytest.approx(max(0.1 * len(y), 1), abs=1)
    assert set(kept[1]) == set(y)
    assert split(np.arange(5, dtype=np.int32), 0.5, exact=True) is None


def test_each_label_keeps_a_sample_with_it_and_one_without():
    y = np.zeros((40, 4))
    y[7, 0], y[20:22, 1], y[:, 2], y[9, 2] = 1, 1, 1, 0
    for seed in range(20):
        kept, held = split(y, 0.5, seed=seed, indicators=True)
        assert len(held[1]) == 20
        assert kept[1].any(axis=0).tolist() == [True, True, True, False]
        assert not kept[1].all(axis=0).any()
    assert len(split(np.eye(2), 0.5, indicators=True)[1][1]) == 1


X, LABELS = data(AsySVRGClassifier)

_, TARGETS = data(AsySVRGRegressor)

INDICATORS = np.stack([LABELS > 2, LABELS < 5], axis=1).astype(int)
Y = {AsySVRGClassifier: LABELS, AsySVRGRegressor: TARGETS}


@pytest.mark.usefixtures("no_training")
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": spoilt(X, np.nan)}, "NaN"),
        ({"X": spoilt(X, np.inf)}, "infinity"),
        ({"X": spoilt(X, 1e300)}, "too large for dtype\\('float32'\\)"),
        ({"X": sparse.csr_array(spoilt(X, np.nan))}, "NaN"),
        ({"X": X[:0]}, "0 sample"),
        ({"X": X[:, :0]}, "0 feature"),
        ({"X": X[:, 0]}, "Expected 2D array, got 1D array"),
        ({"X": X[:-1]}, "inconsistent numbers of samples"),
        ({"sample_weight": -np.ones(len(X))}, "Negative"),
        ({"sample_weight": np.zeros(len(X))}, "zero for every sample|at least one non-zero"),
        ({"sample_weight": np.full(len(X), np.nan)}, "NaN"),
        ({"sample_weight": np.ones(3)}, "shape"),
        ({"X_val": X}, "X_val and y_val are given together"),
        ({"y_val": LABELS}, "X_val and y_val are given together"),
        ({"X_val": X[:5], "y_val": LABELS[:4]}, "5 samples, y_val has 4"),
        ({"X_val": X[:5, 1:], "y_val": LABELS[:5]}, "10 features"),
        ({"X_val": spoilt(X, np.nan), "y_val": LABELS}, "X_val: Input X contains NaN"),
        ({"X_val": X[0], "y_val": LABELS[:1]}, "X_val: Expected 2D array"),
    ],
)
def test_bad_data(kind, change, words):
    arguments = {"X": X, "y": Y[kind]} | change
    if kind is AsySVRGRegressor and np.ndim(change.get("y_val")) and "X_val" in change:
        arguments["y_val"] = TARGETS[: len(change["y_val"])]
    with pytest.raises(ValueError, match=words):
        small(kind).fit(**arguments)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (AsySVRGClassifier, {"y": np.zeros(len(X), int)}, "one class only"),
        (AsySVRGClassifier, {"y": np.linspace(0, 1, len(X))}, "continuous"),
        (AsySVRGClassifier, {"y": np.stack([LABELS, LABELS], axis=1)}, "y has 2 columns of type int64; .* 0 and 1$"),
        (
            AsySVRGClassifier,
            {"y": INDICATORS.astype(object)},
            r"y has 2 columns of type object; .*: give y\.astype\(int\)$",
        ),
        (AsySVRGClassifier, {"y": INDICATORS.astype(str)}, "y has 2 columns of type <U21; .* the numbers 0 and 1$"),
        (
            AsySVRGClassifier,
            {"y": INDICATORS, "X_val": X, "y_val": INDICATORS.astype(object)},
            r"y_val has 2 columns of type object; .*: give y_val\.astype\(int\)$",
        ),
        (AsySVRGClassifier, {"y": spoilt(LABELS, np.nan, 4)}, "NaN"),
        (
            AsySVRGClassifier,
            {"X_val": X, "y_val": LABELS + 2},
            r"y_val has labels that are not among the classes: \[8\]",
        ),
        (
            AsySVRGClassifier,
            {"X_val": X, "y_val": LABELS.astype(str)},
            "y_val has labels that are not among the classes",
        ),
        (AsySVRGClassifier, {"X_val": X, "y_val": np.stack([LABELS, LABELS], axis=1)}, "y_val has 2 columns"),
        (AsySVRGRegressor, {"y": spoilt(TARGETS, np.nan)}, "y contains NaN"),
        (AsySVRGRegressor, {"y": np.full(len(X), "a")}, "could not convert"),
        (AsySVRGRegressor, {"X_val": X, "y_val": TARGETS[:, 1:]}, "y_val has 3 targets, not 4"),
        (AsySVRGRegressor, {"X_val": X, "y_val": spoilt(TARGETS, np.inf)}, "y_val contains infinity"),
    ],
)
def test_bad_targets(kind, change, words):
    with pytest.raises(ValueError, match=words):
        small(kind).fit(**{"X": X, "y": Y[kind]} | change)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_bad_data_for_predict(kind):
    model = small(kind).fit(X, Y[kind])
    for bad, words in ((X[:, 1:], "10 features"), (spoilt(X, np.nan), "NaN"), (X[0], "2D")):
        with pytest.raises(ValueError, match=words):
            model.predict(bad)
    with pytest.raises(NotFittedError):
        kind().predict(X)


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


# Numbers that are none, or too large.


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
        ({"sample_weight": 1e307}, "the sum of sample_weight is infinite"),
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


@pytest.mark.parametrize(
    ("part", "at", "value", "words"),
    [
        ("indices", 0, 10**6, "its indices go from"),
        ("indices", 5, -1, "its indices go from -1"),
        ("indptr", -1, 10**6, "indptr does not rise"),
        ("indptr", 3, 0, "indptr does not rise"),
        ("indptr", 0, 1, "indptr does not rise"),
    ],
)
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_indices_outside_of_a_sparse_matrix_are_refused(kind, form, part, at, value, words):
    """SciPy or the kernels would read other memory."""
    X, y = data(kind)
    X = np.random.default_rng(0).random((len(y), 4))
    good, bad = form(X), form(X)
    getattr(bad, part)[at] = value
    with pytest.raises(ValueError, match=words):
        small(kind).fit(bad, y)
    with pytest.raises(ValueError, match=words):
        small(kind).fit(good, y).predict(bad)
