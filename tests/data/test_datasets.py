"""Data sets by name or path: splits, sizes, places; real sets where they are at hand."""

import numpy as np
import pytest
from helpers.files import IMAGES, LABELS, ONES, SVMLIGHT, write, write_idx_folder

from asysvrg import data
from asysvrg.data import download

pytestmark = pytest.mark.filterwarnings("error")


def real_path(folder, name):
    if not (folder / name).exists():
        pytest.skip(f"ASYSVRG_DATA_HOME holds no {name}")
    return folder / name


# Bundled sets and splits


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "kind"),
    [
        ("digits", (1797, 64), np.float32, "i"),
        ("breast-cancer", (569, 30), np.float64, "i"),
        ("wine", (178, 13), np.float64, "i"),
        ("iris", (150, 4), np.float64, "i"),
        ("diabetes", (442, 10), np.float64, "f"),
    ],
)
def test_bundled_sets(name, shape, dtype, kind):
    d = data.load(name)
    n_test = -(-shape[0] // 5)
    assert d.name == name
    assert d.X_train.shape == (shape[0] - n_test, shape[1])
    assert d.X_test.shape == (n_test, shape[1])
    assert d.y_train.shape == (shape[0] - n_test,)
    assert d.y_test.shape == (n_test,)
    assert d.X_train.dtype == d.X_test.dtype == dtype
    assert d.X_train.flags.c_contiguous
    assert d.X_train.flags.writeable
    assert d.y_train.dtype == (np.int64 if kind == "i" else np.float64)


def test_digits_is_the_default_and_lies_in_0_1():
    d = data.load()
    assert d.name == "digits"
    assert (d.X_train.min(), d.X_train.max()) == (0, 1)


def test_split_is_stratified_and_has_every_row_once():
    d = data.load("iris", seed=3)
    assert np.bincount(d.y_train).tolist() == [40, 40, 40]
    assert np.bincount(d.y_test).tolist() == [10, 10, 10]
    whole = data.load("iris", test_size=0)
    assert whole.X_test is None
    assert whole.y_test is None
    both = np.r_[np.c_[d.X_train, d.y_train], np.c_[d.X_test, d.y_test]]
    rows = np.c_[whole.X_train, whole.y_train]
    assert sorted(map(tuple, both)) == sorted(map(tuple, rows))


def test_split_depends_on_the_seed_alone():
    first, again, other = (data.load("iris", seed=seed).X_test for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sizes_without_a_test_set_of_its_own():
    d = data.load("iris", train_size=30, test_size=15)
    assert np.bincount(d.y_train).tolist() == [10, 10, 10]
    assert np.bincount(d.y_test).tolist() == [5, 5, 5]
    d = data.load("iris", train_size=9, test_size=0)
    assert np.bincount(d.y_train).tolist() == [3, 3, 3]
    assert d.X_test is None
    assert len(data.load("iris", test_size=149).y_train) == 1
    assert sorted(data.load("iris", test_size=3).y_test) == [0, 1, 2]


@pytest.mark.parametrize("y", [range(10), [0] * 9 + [1]])
def test_rare_classes_are_split_without_stratifying(tmp_path, y):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.arange(20.0).reshape(10, 2), y=y)
    d = data.load(path)
    assert sorted([*d.y_train, *d.y_test]) == list(y)
    assert len(d.y_test) == 2


@pytest.mark.parametrize("sizes", [{}, {"train_size": 4}, {"train_size": 3, "test_size": 17}])
@pytest.mark.parametrize("counts", [[10, 9, 1], [16, 2, 2]])
def test_what_is_tested_has_been_trained_on(tmp_path, counts, sizes):
    """The training set has each class: one row is never in the test set alone."""
    path = tmp_path / "a.npz"
    y = np.repeat(["a", "b", "c"], counts)
    np.savez(path, X=np.arange(20.0)[:, None], y=y)
    for seed in range(20):
        d = data.load(path, seed=seed, **sizes)
        assert set(d.y_train) >= set(d.y_test)
        rows = np.concatenate([d.X_train, d.X_test]).ravel().astype(int)
        assert len(set(rows)) == len(rows)
        np.testing.assert_array_equal(y[rows], np.concatenate([d.y_train, d.y_test]))


def test_classes_of_two_are_stratified(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.arange(8.0).reshape(4, 2), y=[0, 0, 1, 1])
    for seed in range(8):
        assert sorted(data.load(path, test_size=2, seed=seed).y_test) == [0, 1]


@pytest.mark.parametrize(
    ("sizes", "given", "available"),
    [
        ({"train_size": 0}, "train_size is 0", "1 to 120"),
        ({"train_size": -1}, "train_size is -1", "1 to 120"),
        ({"train_size": 121}, "train_size is 121", "1 to 120"),
        ({"train_size": 0.5}, "train_size is 0.5", "1 to 120"),
        ({"test_size": -1}, "test_size is -1", "0 to 149"),
        ({"test_size": 150}, "test_size is 150", "0 to 149"),
        ({"train_size": 100, "test_size": 51}, "train_size is 100", "1 to 99"),
    ],
)
def test_sizes_that_are_not_there(sizes, given, available):
    with pytest.raises(ValueError, match=rf"^{given}, .* from {available}$"):
        data.load("iris", **sizes)


def test_sizes_with_a_test_set_of_its_own(tmp_path):
    folder = write_idx_folder(tmp_path / "set")
    d = data.load(folder, train_size=7, test_size=3)
    pixels = (IMAGES.reshape(len(IMAGES), 12) / 255).astype(np.float32)
    rows = [np.flatnonzero((pixels == x).all(1))[0] for x in d.X_train]
    assert len(set(rows)) == 7
    assert max(rows) < 40
    assert np.array_equal(d.y_train, LABELS[rows])
    held = [np.flatnonzero((pixels == x).all(1))[0] for x in d.X_test]
    assert len(set(held)) == 3
    assert min(held) >= 40
    assert np.array_equal(d.y_test, LABELS[held])
    assert np.array_equal(data.load(folder, train_size=7).X_train, d.X_train)
    assert not np.array_equal(data.load(folder, train_size=7, seed=1).X_train, d.X_train)
    assert data.load(folder, test_size=0).X_test is None
    for sizes in ({"train_size": 41}, {"train_size": 0}):
        with pytest.raises(ValueError, match=r"whole number from 1 to 40$"):
            data.load(folder, **sizes)
    for sizes in ({"test_size": 11}, {"test_size": -1}):
        with pytest.raises(ValueError, match=r"whole number from 0 to 10$"):
            data.load(folder, **sizes)


def test_one_row_cannot_be_split(tmp_path):
    path = write(tmp_path, "a.csv", "1,2,0\n")
    with pytest.raises(ValueError, match=r"one row.*test_size=0"):
        data.load(path)
    assert data.load(path, test_size=0).X_train.tolist() == [[1, 2]]


# Names and places


@pytest.mark.parametrize("content", [b"some words\n", b"\x89PNG\0\0", b"1 word\n"])
def test_unknown_format(tmp_path, content):
    with pytest.raises(ValueError, match=r"unknown format; expected IDX, .*svmlight, CSV, Parquet or Feather"):
        data.load(write(tmp_path, "a", content))


@pytest.mark.parametrize(
    ("name", "meant"), [("mnsit", "mnist"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist")]
)
def test_unknown_name(name, meant):
    with pytest.raises(FileNotFoundError, match=f"{name!r}; did you mean {meant}"):
        data.load(name)


def test_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "heart_scale", SVMLIGHT)
    for call in (data.load, data.load_file):
        with pytest.raises(FileNotFoundError, match="did you mean heart_scale"):
            call(tmp_path / "heart_scael")
    with pytest.raises(FileNotFoundError, match="did you mean digits"):
        data.load(tmp_path / "nowhere" / "digit")
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'digits'$"):
        data.load_file("digits")


def test_data_home_comes_before_the_environment(tmp_path, monkeypatch):
    write_idx_folder(tmp_path / "given" / "mnist", n_train=30)
    write_idx_folder(tmp_path / "environment" / "mnist", n_train=40, end="")
    files = dict.fromkeys(download.DOWNLOADS["mnist"][1], "0" * 32)
    monkeypatch.setattr(download, "DOWNLOADS", {"mnist": ("http://127.0.0.1:1/", files)})
    monkeypatch.setenv("ASYSVRG_DATA_HOME", str(tmp_path / "environment"))
    assert len(data.load("mnist", data_home=tmp_path / "given").y_train) == 30
    assert len(data.load("mnist").y_train) == 40


def test_cifar10_features_from_home(tmp_path):
    with pytest.raises(FileNotFoundError, match="no public address") as error:
        data.load("cifar10-features", data_home=tmp_path)
    assert str(tmp_path / "cifar10-features.npz") in str(error.value)
    np.savez(
        tmp_path / "cifar10-features.npz",
        X_train=ONES,
        y_train=[0, 1, 2, 3],
        X_test=ONES,
        y_test=[3, 2, 1, 0],
    )
    d = data.load("cifar10-features", data_home=tmp_path)
    assert d.name == "cifar10-features"
    assert d.y_test.tolist() == [3, 2, 1, 0]


# Real data


def test_real_mnist(data_home):
    real_path(data_home, "mnist")
    d = data.load("mnist", data_home=data_home)
    assert d.X_train.shape == (60000, 784)
    assert d.X_test.shape == (10000, 784)
    assert d.X_train.dtype == np.float32
    assert d.X_train.max() == 1
    assert d.X_train.min() == 0
    assert d.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert d.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(d.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


def test_real_cifar10(data_home):
    d = data.load(real_path(data_home, "cifar10"), train_size=100)
    assert d.X_train.shape == (100, 3072)
    assert d.X_test.shape == (4000, 3072)
    assert d.y_test[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_real_cifar10_features(data_home):
    real_path(data_home, "cifar10-features.npz")
    d = data.load("cifar10-features", data_home=data_home)
    assert d.X_train.shape == (20000, 384)
    assert d.X_test.shape == (4000, 384)
    assert d.X_train.dtype == np.float32
    assert set(d.y_train) == set(range(10))


def test_real_svmlight(data_home):
    folder = real_path(data_home, "svmlight")
    d = data.load(folder / "agaricus.txt.train")
    assert d.X_train.shape == (6513, 126)
    assert d.X_test.shape == (1611, 126)
    assert set(d.y_train) == {0, 1}
    assert d.y_train.dtype == np.int64
    X, y = data.load_file(folder / "heart_scale")
    assert X.shape == (270, 13)
    assert set(y) == {-1, 1}
    d = data.load(folder / "a1a", test_size=105)
    assert d.X_train.shape[0] == 1500
    assert d.X_train.format == "csr"
