"""Readers: round trips, and each kind of bad file."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
from helpers.files import IMAGES, LABELS, ONES, RNG, SVMLIGHT, idx, records, write, write_idx_folder
from scipy import sparse

from asysvrg import data

pytestmark = pytest.mark.filterwarnings("error")


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
    "text for missing": ({"X": ONES, "y": np.array(["a", "nan", "b", "a"])}, "target in row 1 .* is 'nan'"),
    "None as text": ({"X": ONES, "y": np.array(["a", "b", "b", None]).astype(str)}, "target in row 3 .* is 'None'"),
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
        ("a.xz", "a.t.xz"),
        ("train.train", "train.test"),
    ],
)
def test_svmlight_sibling_is_the_test_set(tmp_path, train, test):
    for wide, narrow in ((train, test), (test, train)):
        for name, content in ((wide, SVMLIGHT), (narrow, "1 1:4\n-1 2:5\n")):
            raw = content.encode()
            pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(name[-3:], bytes)
            write(tmp_path, name, pack(raw))
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


def test_target_is_for_csv_alone(tmp_path):
    npz = tmp_path / "a.npz"
    np.savez(npz, X=ONES, y=ONES[:, 0])
    for source in (npz, write(tmp_path, "a", SVMLIGHT), write_idx_folder(tmp_path / "i"), "iris"):
        with pytest.raises(ValueError, match="target is 'y', but"):
            data.load(source, target="y")
