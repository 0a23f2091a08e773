"""Loaders: round trips, real sets where they are at hand, downloads, and each kind of bad input."""

import bz2
import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from asysvrg import data
from asysvrg.data import download

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 4, 3), dtype=np.uint8)
LABELS = np.arange(50, dtype=np.uint8) % 5


def idx(array, magic=b"\0\0\x08"):
    return magic + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


def write_idx_folder(folder, *, end=".gz", n_train=40):
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(n_train)), ("t10k", slice(n_train, None))):
        for kind, values in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            raw = idx(values[rows])
            path = folder / f"{part}-{kind}-ubyte{end}"
            path.write_bytes(gzip.compress(raw) if end == ".gz" else raw)
    return folder


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def records(n, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return np.c_[np.arange(n, dtype=np.uint8) % 10, pixels].astype(np.uint8)


@pytest.fixture
def real():
    folder = os.environ.get("ASYSVRG_DATA_HOME")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ASYSVRG_DATA_HOME names no folder of real data")
    return Path(folder)


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


# IDX


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_folder(tmp_path, end):
    d = data.load(write_idx_folder(tmp_path / "set", end=end))
    assert d.name == "set"
    assert d.X_train.dtype == np.float32
    assert d.X_train.flags.c_contiguous
    assert np.array_equal(d.X_train, (IMAGES[:40].reshape(40, 12) / 255).astype(np.float32))
    assert np.array_equal(d.X_test, (IMAGES[40:].reshape(10, 12) / 255).astype(np.float32))
    assert d.y_train.dtype == np.int64
    assert np.array_equal(np.r_[d.y_train, d.y_test], LABELS)


def test_idx_file_takes_the_labels_beside_it(tmp_path):
    folder = write_idx_folder(tmp_path)
    X, y = data.load_file(folder / "train-images-idx3-ubyte.gz")
    assert X.shape == (40, 12)
    assert X.max() <= 1
    assert np.array_equal(y, LABELS[:40])
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert data.load_file(folder / "train-images-idx3-ubyte.gz")[1] is None
    with pytest.raises(ValueError, match="no targets"):
        data.load(folder / "train-images-idx3-ubyte.gz")


def test_idx_dotted_names(tmp_path):
    images = write(tmp_path, "train-images.idx3-ubyte", idx(IMAGES))
    write(tmp_path, "train-labels.idx1-ubyte", idx(LABELS))
    assert np.array_equal(data.load_file(images)[1], LABELS)


def test_idx_of_rows(tmp_path):
    X, y = data.load_file(write(tmp_path, "a", idx(IMAGES[:, 0])))
    assert np.array_equal(X, (IMAGES[:, 0] / 255).astype(np.float32))
    assert y is None


BAD_IDX = {
    "magic": (idx(IMAGES, b"\0\0\x0d"), "begins with 00 00 0d 03, expected 00 00 08"),
    "truncated": (idx(IMAGES)[:-1], r"truncated: 615 bytes.*50 x 4 x 3.*616"),
    "header cut short": (idx(IMAGES)[:9], "truncated"),
    "too long": (idx(IMAGES) + b"\1", "too long"),
    "no images": (idx(IMAGES[:0]), "holds 0 images"),
    "labels": (idx(LABELS), "holds labels"),
    "empty": (b"", "is empty"),
    "not gzip after all": (b"\x1f\x8b rubbish", "corrupt or truncated archive"),
    "gzip cut short": (gzip.compress(idx(IMAGES))[:-20], "corrupt or truncated archive"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx(tmp_path, case):
    content, message = BAD_IDX[case]
    path = write(tmp_path, "x-images-idx3-ubyte", content)
    write(tmp_path, "x-labels-idx1-ubyte", idx(LABELS))
    with pytest.raises(ValueError, match=message) as error:
        data.load_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_idx_counts_differ(tmp_path):
    path = write(tmp_path, "x-images-idx3-ubyte", idx(IMAGES))
    write(tmp_path, "x-labels-idx1-ubyte", idx(LABELS[:-1]))
    with pytest.raises(ValueError, match=r"x-labels.*\(49,\).*holds 50 images"):
        data.load_file(path)


def test_idx_folder_lacks_a_file(tmp_path):
    (write_idx_folder(tmp_path) / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="lacks t10k-labels-idx1-ubyte"):
        data.load(tmp_path)


def test_folder_without_data(tmp_path):
    with pytest.raises(ValueError, match="folder without data"):
        data.load(tmp_path)
    with pytest.raises(ValueError, match="is a folder; give one file"):
        data.load_file(tmp_path)


# CIFAR-10


def test_cifar_folder(tmp_path):
    batches = [records(n, n) for n in (12, 7, 5)]
    for name, batch in zip(("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"), batches, strict=True):
        write(tmp_path, name, batch.tobytes())
    d = data.load(tmp_path)
    train = np.concatenate(batches[:2])
    assert np.array_equal(d.X_train, (train[:, 1:] / 255).astype(np.float32))
    assert np.array_equal(d.y_train, train[:, 0])
    assert np.array_equal(d.X_test, (batches[2][:, 1:] / 255).astype(np.float32))
    assert d.X_train.flags.c_contiguous
    assert d.X_test.flags.c_contiguous
    assert d.X_train.dtype == np.float32
    assert d.y_train.dtype == np.int64


def test_cifar_file(tmp_path):
    path = write(tmp_path, "train.bin", records(50, 0).tobytes())
    X, y = data.load_file(path)
    assert X.flags.c_contiguous
    assert X.shape == (50, 3072)
    assert y.tolist() == [*range(10)] * 5
    assert sorted(data.load(tmp_path).y_test) == list(range(10))


def test_bad_cifar(tmp_path):
    raw = records(3, 0)
    with pytest.raises(ValueError, match="9218 bytes are not a multiple of the 3073"):
        data.load_file(write(tmp_path, "a.bin", raw.tobytes()[:-1]))
    raw[:2, 0] = 9, 10
    with pytest.raises(ValueError, match=r"record 1 .* label 10, expected 0 to 9"):
        data.load_file(write(tmp_path, "a.bin", raw.tobytes()))


# npz


def test_npz_with_a_test_set(tmp_path):
    path = tmp_path / "a.npz"
    X = RNG.standard_normal((9, 3)).astype(np.float32)
    y = np.arange(9, dtype=np.int32) % 3
    np.savez(path, X_train=X[:6], y_train=y[:6], X_test=X[6:], y_test=y[6:])
    d = data.load(path)
    assert np.array_equal(d.X_train, X[:6])
    assert np.array_equal(d.X_test, X[6:])
    assert np.array_equal(d.y_test, y[6:])
    assert d.y_test.dtype == np.int64
    assert d.X_train.dtype == np.float32
    assert np.array_equal(data.load_file(path)[0], X[6:])


def test_npz_of_one_set(tmp_path):
    path = tmp_path / "a.npz"
    X = np.asfortranarray(np.arange(30).reshape(10, 3))
    np.savez(path, X=X, y=np.array(["a", "b"] * 5))
    d = data.load(path)
    assert d.X_train.shape == (8, 3)
    assert d.X_train.dtype == np.float64
    assert sorted(d.y_test) == ["a", "b"]
    loaded = data.load_file(path)[0]
    assert loaded.flags.c_contiguous
    assert np.array_equal(loaded, X)


def test_npz_without_targets(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((4, 2), np.float16))
    X, y = data.load_file(path)
    assert y is None
    assert X.dtype == np.float32
    with pytest.raises(ValueError, match=r"no targets.*key y"):
        data.load(path)


ONES = np.ones((4, 2))
BAD_NPZ = {
    "no keys": ({}, r"has the keys \(none\); expected"),
    "other keys": ({"a": ONES}, "has the keys a; expected"),
    "no y_train": ({"X_train": ONES}, "has the keys X_train; expected"),
    "no y_test": (
        {"X_train": ONES, "y_train": ONES[:, 0], "X_test": ONES},
        "has the keys X_train, y_train, X_test; expected",
    ),
    "objects": ({"X": ONES, "y": np.array([1, None, 2, 3])}, "Object arrays.*without objects"),
    "counts": ({"X": ONES, "y": np.ones(3)}, "4 rows but 3 targets"),
    "1-D X": ({"X": np.ones(4), "y": np.ones(4)}, r"X is float64 of shape \(4,\).*2-D"),
    "text X": ({"X": np.array([["a"]]), "y": np.ones(1)}, "X is <U1.*2-D array of numbers"),
    "2-D y": ({"X": ONES, "y": ONES}, r"y is float64 of shape \(4, 2\).*1-D"),
    "no rows": ({"X": ONES[:0], "y": np.ones(0)}, "0 rows of 2 features"),
    "no columns": ({"X": ONES[:, :0], "y": np.ones(4)}, "4 rows of 0 features"),
    "nan": ({"X": np.array([[1, 2, np.nan], [3, 4, 5]]), "y": np.ones(2)}, "row 0, column 2"),
    "inf y": ({"X": ONES, "y": np.array([1, 2, np.inf, 3])}, "target in row 2"),
    "columns differ": (
        {"X_train": ONES, "y_train": ONES[:, 0], "X_test": ONES[:, :1], "y_test": ONES[:, 0]},
        "2 features in the training set but 1 in the test set",
    ),
    "nan in test": (
        {"X_train": ONES, "y_train": ONES[:, 0], "X_test": ONES * np.nan, "y_test": ONES[:, 0]},
        "row 0, column 0",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz(tmp_path, case):
    arrays, message = BAD_NPZ[case]
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        data.load(path)
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_npz_that_is_none(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, X=ONES, y=ONES[:, 0])
    raw = whole.read_bytes()
    flipped = bytearray(raw)
    flipped[raw.index(ONES.tobytes())] ^= 1
    np.save(tmp_path / "a.npy", ONES)
    npy = (tmp_path / "a.npy").read_bytes()
    for content in (b"", b"rubbish", raw[: len(raw) // 2], bytes(flipped), npy):
        with pytest.raises(ValueError, match=r"cannot be read.*expected an .npz"):
            data.load(write(tmp_path, "a.npz", content))


# svmlight

SVMLIGHT = "# a comment\n+1 1:0.5 3:2 # another\n-1 2:1e-3\n\n-1 3:7\n+1 1:1\n"
DENSE = [[0.5, 0, 2], [0, 1e-3, 0], [0, 0, 7], [1, 0, 0]]


@pytest.mark.parametrize("name", ["a", "a.txt", "a.svm", "a.gz", "a.bz2"])
def test_svmlight(tmp_path, name):
    raw = SVMLIGHT.encode()
    pack = {"a.gz": gzip.compress, "a.bz2": bz2.compress}.get(name, bytes)
    X, y = data.load_file(write(tmp_path, name, pack(raw)))
    assert sparse.issparse(X)
    assert X.format == "csr"
    assert X.dtype == np.float64
    assert X.toarray().tolist() == DENSE
    assert y.tolist() == [1, -1, -1, 1]
    assert y.dtype == np.int64


def test_svmlight_targets_that_are_no_integers(tmp_path):
    y = data.load_file(write(tmp_path, "a", "1.5 1:1\n2 1:2\n"))[1]
    assert y.tolist() == [1.5, 2]
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("a.txt.train", "a.txt.test"),
        ("train.svm", "test.svm"),
        ("a1a", "a1a.t"),
        ("a", "a.t.gz"),
        ("train.train", "train.test"),
    ],
)
def test_svmlight_sibling_is_the_test_set(tmp_path, train, test):
    for wide, narrow in ((train, test), (test, train)):
        for name, content in ((wide, SVMLIGHT), (narrow, "1 1:4\n-1 2:5\n")):
            raw = content.encode()
            write(tmp_path, name, gzip.compress(raw) if name.endswith(".gz") else raw)
        d = data.load(tmp_path / train)
        assert d.X_train.shape[1] == d.X_test.shape[1] == 3
        assert (len(d.y_train), len(d.y_test)) == ((4, 2) if wide == train else (2, 4))
        assert data.load_file(tmp_path / narrow)[0].shape == (2, 2)


def test_svmlight_siblings_agree_on_the_first_index(tmp_path):
    path = write(tmp_path, "a", "1 0:1 2:1\n")
    write(tmp_path, "a.t", "1 1:1\n")
    assert data.load(path).X_test.toarray().tolist() == [[0, 1, 0]]


def test_svmlight_without_sibling_is_split(tmp_path):
    d = data.load(write(tmp_path, "a", "".join(f"{i % 2} 1:{i} 2:1\n" for i in range(10))))
    assert d.X_train.shape == (8, 2)
    assert d.X_test.shape == (2, 2)
    assert d.X_train.format == d.X_test.format == "csr"
    assert sorted(d.y_test) == [0, 1]


BAD_SVMLIGHT = {
    "no pair": ("1 1:2\n-1 rubbish\n", "line 2: '-1 rubbish'"),
    "no value": ("1 1:2\n-1 2:\n", "line 2: '-1 2:'"),
    "no label": ("a 1:2\n", "line 1: 'a 1:2'"),
    "negative index": ("1 -1:2\n", "line 1"),
    "unsorted": ("1 3:2 1:1\n", "sorted"),
    "huge index": ("1 99999999999:2\n", "too large"),
    "nan": ("1 1:2 2:3\n2 2:nan\n", "row 1, column 1"),
    "inf label": ("inf 1:2\n", "target in row 0"),
    "empty": ("\n", "is empty"),
    "comments": ("# 1:2\n", "0 rows"),
}


@pytest.mark.parametrize("case", BAD_SVMLIGHT)
def test_bad_svmlight(tmp_path, case):
    content, message = BAD_SVMLIGHT[case]
    path = write(tmp_path, "a.svm", content)
    with pytest.raises(ValueError, match=message) as error:
        data.load_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_svmlight_sibling_is_named(tmp_path):
    path = write(tmp_path, "a", SVMLIGHT)
    write(tmp_path, "a.t", "1 1:1\n1 x\n")
    with pytest.raises(ValueError, match=r"a\.t, line 2"):
        data.load(path)


# CSV


@pytest.mark.parametrize(
    ("content", "y"),
    [
        ("1,2,0\n3,4.5,1\n", [0, 1]),
        ("1,2,0.5\n3,4.5,1\n", [0.5, 1]),
        ("1,2,setosa\n3,4.5,virginica\n", ["setosa", "virginica"]),
        ("a,b,y\n1,2,0\n3,4.5,1\n", [0, 1]),
        ("a,b,y\r\n1,2,u\r\n\r\n3,4.5,v\r\n", ["u", "v"]),
        ("0,1,target\n1,2,0\n3,4.5,1\n", [0, 1]),
        ('"a, x";b;y\n1;2;0\n3;4.5;1\n', [0, 1]),
        ("\ufeffa\tb\ty\n1\t2\t0\n3\t4.5\t1", [0, 1]),
    ],
)
def test_csv(tmp_path, content, y):
    for path in (write(tmp_path, "a.csv", content), write(tmp_path, "a.data", content)):
        X, target = data.load_file(path)
        assert X.tolist() == [[1, 2], [3, 4.5]]
        assert X.dtype == np.float64
        assert X.flags.c_contiguous
        assert X.flags.writeable
        assert target.tolist() == y
        assert target.dtype.kind == {int: "i", float: "f", str: "U"}[type(y[0])]


@pytest.mark.parametrize("target", ["b", 1, "1", np.int64(1)])
def test_csv_target(tmp_path, target):
    path = write(tmp_path, "a.csv.gz", gzip.compress(b"a,b,c\n1,x,2\n3,z,4\n"))
    X, y = data.load_file(path, target)
    assert X.tolist() == [[1, 2], [3, 4]]
    assert y.tolist() == ["x", "z"]


def test_csv_without_targets(tmp_path):
    path = write(tmp_path, "a.csv", "a,b\n1,2\n3,4\n")
    X, y = data.load_file(path, False)
    assert X.tolist() == [[1, 2], [3, 4]]
    assert y is None


def test_csv_is_split_by_text_classes(tmp_path):
    path = write(tmp_path, "a.csv", "".join(f"{i},{'uv'[i % 2]}\n" for i in range(20)))
    d = data.load(path, target=1)
    assert sorted(d.y_test) == ["u", "u", "v", "v"]
    assert all("uv"[int(x) % 2] == y for x, y in zip(d.X_train[:, 0], d.y_train, strict=True))


BAD_CSV = {
    "text": ("a,colour,y\n1,red,0\n", None, "line 2: column 'colour' holds the text 'red'.*Column"),
    "text without header": ("1,red,0\n2,blue,1\n", None, "line 1: column '1' holds the text"),
    "missing marker": ("1,NA,0\n2,3,1\n", None, "line 1: column '1' holds the text 'NA'"),
    "text beyond the target": ("y,a,b\n0,1,2\n1,2,x\n", "y", "line 3: column 'b'"),
    "text after the target": ("y,a,b\n0,x,2\n", "y", "line 2: column 'a'"),
    "empty cell": ("a,b,y\n1,2,0\n3,,1\n", None, "line 3: column 'b' is empty"),
    "empty target": ("a,b,y\n1,2,0\n3,4,\n", None, "line 3: the target 'y' is empty"),
    "nan": ("a,b,y\n1,2,0\n3,nan,1\n", None, "row 1, column 1"),
    "nan target": ("a,y\n1,2\n3,nan\n", None, "target in row 1"),
    "ragged": ("a,b,y\n1,2,0\n3,4\n", None, "line 3: 2 fields.*3"),
    "header alone": ("a,b,y\n", None, "0 rows of data"),
    "one column": ("1\n2\n", None, "0 feature columns"),
    "nameless column": (",a,y\n0,1,2\n", None, r"column 0 \(from 0\) without a name"),
    "unknown target": ("a,b,y\n1,2,0\n", "z", "target 'z'.*columns a, b, y"),
    "target twice": ("a,y,y\n1,2,0\n", "y", "target 'y'"),
    "target index": ("a,b,y\n1,2,0\n", 3, "target 3.*0 to 2"),
    "negative target": ("a,b,y\n1,2,0\n", -1, "target -1.*0 to 2"),
    "named without header": ("1,2,0\n2,3,1\n", "y", "target 'y'.*no header"),
    "not UTF-8": (b"a,y\n\xff,1\n", None, "UTF-8"),
    "open quote": ('"', None, "is empty"),
    "empty": ("", None, "is empty"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    content, target, message = BAD_CSV[case]
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(ValueError, match=message) as error:
        data.load(path, target=target)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_target_is_for_csv_alone(tmp_path):
    npz = tmp_path / "a.npz"
    np.savez(npz, X=ONES, y=ONES[:, 0])
    for source in (npz, write(tmp_path, "a", SVMLIGHT), write_idx_folder(tmp_path / "i"), "iris"):
        with pytest.raises(ValueError, match="target is 'y', but"):
            data.load(source, target="y")


# Names and places


@pytest.mark.parametrize("content", [b"some words\n", b"\x89PNG\0\0", b"1 2 3\n"])
def test_unknown_format(tmp_path, content):
    with pytest.raises(ValueError, match=r"no known format; expected IDX, .*svmlight or CSV"):
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
    monkeypatch.setattr(download, "DOWNLOADS", {"mnist": ("http://127.0.0.1:1/", FILES)})
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


# Downloads

FILES = dict.fromkeys(download.DOWNLOADS["mnist"][1], "0" * 32)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    folder = write_idx_folder(tmp_path / "served")
    md5 = {name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() for name in FILES}
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setattr(download, "DOWNLOADS", {"mnist": (address, md5)})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folder
        httpd.shutdown()
        thread.join()


def test_download(server, tmp_path):
    home = tmp_path / "home"
    d = data.load("mnist", data_home=home)
    assert d.name == "mnist"
    assert np.array_equal(d.y_train, LABELS[:40])
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted(FILES)
    for path in server.iterdir():
        path.unlink()
    assert np.array_equal(data.load("mnist", data_home=home).X_train, d.X_train)


def test_download_fetches_only_what_is_missing(server, tmp_path):
    home = tmp_path / "home"
    own = gzip.compress(idx(LABELS[:40][::-1]))  # not of the md5 asked of a download
    (home / "mnist").mkdir(parents=True)
    write(home / "mnist", "train-labels-idx1-ubyte.gz", own)
    assert np.array_equal(data.load("mnist", data_home=home).y_train, LABELS[:40][::-1])


def test_download_goes_to_the_cache_folder(server, tmp_path, monkeypatch):
    import pooch

    monkeypatch.delenv("ASYSVRG_DATA_HOME", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    assert len(data.load("mnist").y_test) == 10
    assert len(list((tmp_path / "cache" / "asysvrg" / "mnist").iterdir())) == 4


def test_download_with_a_wrong_checksum(server, tmp_path):
    write(server, "train-labels-idx1-ubyte.gz", b"something else")
    with pytest.raises(OSError, match=r"train-labels-idx1-ubyte.gz.*hash") as error:
        data.load("mnist", data_home=tmp_path / "home")
    assert str(tmp_path / "home" / "mnist") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "home" / "mnist" / "train-labels-idx1-ubyte.gz").exists()


def test_download_that_is_not_there(server, tmp_path):
    (server / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(OSError, match=r"could not download .*t10k-images.*404.*by hand"):
        data.load("mnist", data_home=tmp_path / "home")


def test_download_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "DOWNLOADS", {"mnist": ("http://127.0.0.1:1/", FILES)})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(OSError, match=r"could not download .*by hand") as error:
        data.load("mnist", data_home=tmp_path)
    assert str(tmp_path / "mnist") in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__


# Real data


def test_real_mnist(real):
    real_path(real, "mnist")
    d = data.load("mnist", data_home=real)
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


def test_real_cifar10(real):
    d = data.load(real_path(real, "cifar10"), train_size=100)
    assert d.X_train.shape == (100, 3072)
    assert d.X_test.shape == (4000, 3072)
    assert d.y_test[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_real_cifar10_features(real):
    real_path(real, "cifar10-features.npz")
    d = data.load("cifar10-features", data_home=real)
    assert d.X_train.shape == (20000, 384)
    assert d.X_test.shape == (4000, 384)
    assert d.X_train.dtype == np.float32
    assert set(d.y_train) == set(range(10))


def test_real_svmlight(real):
    folder = real_path(real, "svmlight")
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
