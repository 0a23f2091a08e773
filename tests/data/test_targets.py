"""Which targets are classes, and which are amounts."""

import numpy as np
import pytest

from asysvrg.data import targets


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.array([1, 2], np.uint8), np.int64),
        (np.array([1.0, -2.0]), np.int64),
        (np.array([1.0, -2.0], np.float16), np.int64),
        (np.array([1.0, 2.5], np.float32), np.float64),
        (np.array([1.0, np.nan]), np.float64),
        (np.array([1.0, 2.0**53]), np.float64),
        (np.array([True, False]), np.bool_),
        (np.array(["1", "2"]), np.dtype("<U1")),
    ],
)
def test_whole_numbers_are_integers(given, dtype):
    found = targets.whole(given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, given)


def test_both_targets_are_of_one_kind():
    whole, real, text = np.array([1, 2]), np.array([0.5]), np.array(["u"])
    assert [y.dtype.kind for y in targets.alike("a", whole, real)] == ["f", "f"]
    assert [y.dtype.kind for y in targets.alike("a", whole, whole)] == ["i", "i"]
    assert targets.alike("a", text, text) == (text, text)
    with pytest.raises(ValueError, match=r"a: the targets of the training set are int64, of the test set <U1"):
        targets.alike("a", whole, text)


def test_task():
    assert targets.task_of(np.array([0.5, 1.0])) == "regression"
    assert targets.task_of(np.array(["u", "v"])) == "classification"
    assert targets.task_of(np.arange(50)) == "classification"  # few classes, however few samples each
    with pytest.raises(ValueError, match=r"51 different values in 51 rows.*--task regression takes them as amounts"):
        targets.task_of(np.arange(51))
    with pytest.raises(ValueError, match=r"51 different values.*rows, as many as a list of prices or names: --task c"):
        targets.task_of(np.arange(51).astype(str))
    with pytest.raises(ValueError, match=r"names \('inf' is no number\): --task c"):
        targets.task_of(np.array([*np.arange(51).astype(str), "inf"]))
    with pytest.warns(UserWarning, match=r"51 whole numbers are taken as classes; --task regression"):
        assert targets.task_of(np.arange(510) % 51) == "classification"


def test_text_as_amounts():
    assert targets.for_task(np.array(["01", "2.5"]), "regression").tolist() == [1, 2.5]
    for word in ("1_1", "x", ""):
        with pytest.raises(ValueError, match=f"text '{word}'; regression needs numbers"):
            targets.for_task(np.array(["1", word]), "regression")
    with pytest.raises(ValueError, match=r"2\.5 in row 1 \(from 0\) is fractional"):
        targets.for_task(np.array([1, 2.5]), "classification")


def test_numbers_beyond_int64_are_identifiers():
    """As in text. int64 would make negative ones of them."""
    y = np.array([1, 2**63 + 5], dtype=np.uint64)
    assert targets.whole(y).tolist() == ["1", str(2**63 + 5)]
    assert targets.whole(y[:1]).dtype == np.int64
    assert targets.whole(y[:0]).dtype == np.int64
    np.testing.assert_array_equal(targets.for_task(targets.whole(y), "regression"), y.astype(float))
