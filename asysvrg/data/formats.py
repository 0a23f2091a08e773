"""Readers of files and folders: IDX, CIFAR-10 binary, .npz, svmlight; `tables` has those with columns.

Each reader returns features and targets, ``(X, y)``; ``y`` is None if the file has no targets. Images stay
bytes until `finished` converts them, so that only the rows that are used take the memory of floats.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.datasets import load_svmlight_files

from asysvrg.data.download import DOWNLOADS, find_idx, short
from asysvrg.data.reading import Reading
from asysvrg.data.targets import MISSING, whole
from asysvrg.store.schema import Schema

Features: TypeAlias = Any  # np.ndarray or sparse.csr_matrix
XY: TypeAlias = tuple[Features, Any]

FORMATS = "IDX, CIFAR-10 .bin, .npz, svmlight, CSV, Parquet or Feather"
ENDINGS = (
    {".bin": "cifar", ".parquet": "parquet", ".feather": "feather"}
    | dict.fromkeys((".csv", ".tsv"), "csv")
    | dict.fromkeys((".svm", ".svmlight", ".libsvm"), "svmlight")
)
MAGIC = {b"\0\0\x08": "idx", b"PAR1": "parquet", b"ARROW1": "feather", b"\xff\xfe": "csv", b"\xfe\xff": "csv"}
TABLES = ("csv", "parquet", "feather")
CIFAR_RECORD = 1 + 3 * 32 * 32
_NUMBER = rb"[-+]?(?:nan|inf|[\d.]+(?:e[-+]?\d+)?)"
_START = rb"\s*" + _NUMBER + rb"(?:\s+qid:\d+)?"
_PAIR = rb"\s+\d+:" + _NUMBER
SVMLIGHT = re.compile(rb"^" + _START + _PAIR + rb"(?!\S)", re.M | re.I)
BLANKS = re.compile(rb"^ *" + _NUMBER + rb" +" + _NUMBER + rb"(?!\S)", re.M | re.I)
SVMLIGHT_LINE = re.compile(rb"(?:" + _START + rb"(?:" + _PAIR + rb")*)?\s*(?:#.*)?", re.S | re.I)


class Sets(NamedTuple):
    """A training set, a test set where there is one, and what a model must remember of the columns."""

    train: XY
    test: XY | None = None
    schema: Schema = Schema()


def read(path: Path, reading: Reading) -> Sets:
    """Reads a file or folder.

    Parameters
    ----------
    path : pathlib.Path
        File (gzip, bzip2 and xz files are decompressed), or folder of IDX or CIFAR-10 binary files. The name of a
        file decides its format; if the name does not, the content does.
    reading : Reading

    Returns
    -------
    Sets
        The test set is found in the folder, in the .npz file, or in the test file beside an svmlight file.

    Raises
    ------
    ValueError
        If a file is malformed, or `reading` asks for what this kind of file does not have.
    """
    if not path.is_dir():
        return read_file(path, reading, find_test=True)
    reading.refuse_all_but(path)
    names = [name.removesuffix(".gz") for name in DOWNLOADS["mnist"][1]]
    found = {name: file for name in names if (file := find_idx(path, name)) is not None}
    if found:
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)} (.gz or not)")
        images = found[names[0]], found[names[2]]
        sets = [checked(file, _idx(file, _bytes(file))) for file in images]
        return Sets(sets[0], sets[1])
    train = _batches(path, "train*.bin", "data_batch*.bin")
    if train is None:
        raise ValueError(
            f"{path} is a folder without data: expected the four IDX files of MNIST "
            f"({', '.join(names)}), or CIFAR-10's train*.bin or data_batch*.bin"
        )
    return Sets(train, _batches(path, "test*.bin"))


def _batches(folder: Path, *patterns: str) -> XY | None:
    """The samples of all CIFAR-10 files of these names; None if there is no file."""
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    if not files:
        return None
    X, y = zip(*(checked(file, _cifar(file, _bytes(file))) for file in files), strict=True)
    return np.concatenate(X), np.concatenate(y)


def opened(path: Path) -> tuple[str, bytes]:
    """The kind of a file, and its content; that of an .npz file is empty, since NumPy reads it from disk."""
    name = _uncompressed(path.name).lower()
    if name.endswith(".npz") or zipfile.is_zipfile(path):
        return "npz", b""
    raw = _bytes(path)
    return _kind(path, name, raw), raw


def read_file(path: Path, reading: Reading, *, find_test: bool = False) -> Sets:
    """Reads one file; with `find_test`, also the test file beside an svmlight file. See `read`."""
    return sets_of(path, *opened(path), reading, find_test=find_test)


def sets_of(path: Path, kind: str, raw: bytes, reading: Reading, *, find_test: bool = False) -> Sets:
    """As `read_file`, from what `opened` returned."""
    if kind in TABLES:
        X, y, schema = read_table(path, kind, raw, reading).training()
        return Sets(checked(path, (X, y)), None, schema)
    if kind == "svmlight":
        return _svmlight_sets(path, raw, reading, find_test)
    reading.refuse_all_but(path)
    if kind == "npz":
        train, test = _npz(path)
        return Sets(checked(path, train), checked(path, test) if test else None)
    return Sets(checked(path, (_idx if kind == "idx" else _cifar)(path, raw)))


def read_table(path: Path, kind: str, raw: bytes, reading: Reading) -> Any:
    """The `tables.Table` of a file of one of the kinds in TABLES."""
    from asysvrg.data import tables  # pandas takes long to import

    return tables.read(path, kind, raw, reading)


def _svmlight_sets(path: Path, raw: bytes, reading: Reading, find_test: bool) -> Sets:
    reading.refuse_all_but(path, "zero_based")
    test_file = _test_file(path) if find_test else None
    raws = {path: raw} | ({test_file: _bytes(test_file)} if test_file else {})
    sets, zero_based = _svmlight(raws, reading.zero_based)
    train, *test = (checked(*item) for item in zip(raws, sets, strict=True))
    return Sets(train, test[0] if test else None, Schema(zero_based=zero_based))


def finished(X: Features) -> Features:
    """Features as estimators take them: pixels as float32 in [0, 1], arrays C-contiguous."""
    if sparse.issparse(X):
        return X
    if X.dtype == np.uint8:
        X = np.divide(X, np.float32(255), dtype=np.float32)
    return np.ascontiguousarray(X)


def checked(path: Path, xy: XY) -> XY:
    """Returns features and targets unchanged. Raises ValueError if they do not go together, or are not finite."""
    X, y = xy
    if not all(X.shape):
        raise ValueError(f"{path}: {X.shape[0]} rows of {X.shape[1]} features; it holds no data")
    if y is not None and len(y) != X.shape[0]:
        raise ValueError(f"{path}: {X.shape[0]} rows but {len(y)} targets; they must agree")
    values = X.data if sparse.issparse(X) else X
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        at = np.argwhere(~np.isfinite(values))[0]
        if sparse.issparse(X):
            entries = X.tocoo()
            at = entries.row[at[0]], entries.col[at[0]]
        raise ValueError(
            f"{path}: the feature in row {at[0]}, column {at[1]} (from 0) is not a finite number; "
            "fill it in or drop the row"
        )
    if y is not None and y.dtype.kind == "f" and not np.isfinite(y).all():
        row = (~np.isfinite(y)).argmax()
        raise ValueError(f"{path}: the target in row {row} (from 0) is not a finite number")
    if y is not None and y.dtype.kind == "U" and np.isin(y, MISSING).any():
        row = np.isin(y, MISSING).argmax()
        raise ValueError(
            f"{path}: the target in row {row} (from 0) is {str(y[row])!r}, which stands for a missing one; drop "
            "the row, or write the label in another way"
        )
    return xy


def _uncompressed(name: str) -> str:
    """The name of a file without the ending of its compression."""
    return name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    try:
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        elif raw.startswith(b"BZh"):
            raw = bz2.decompress(raw)
        elif raw.startswith(b"\xfd7zXZ"):
            raw = lzma.decompress(raw)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as err:
        raise ValueError(f"{path} is a corrupt or truncated archive ({short(err)}); fetch it again") from None
    if not raw or raw.isspace():
        raise ValueError(f"{path} is empty; expected {FORMATS}")
    return raw


def _kind(path: Path, name: str, raw: bytes) -> str:
    if Path(name).suffix in ENDINGS:
        return ENDINGS[Path(name).suffix]
    if re.search(r"idx\d-ubyte", name):
        return "idx"
    for magic, kind in MAGIC.items():
        if raw.startswith(magic):
            return kind
    head = raw[:65536]
    if b"\0" not in head:
        if SVMLIGHT.search(head):
            return "svmlight"
        if re.search(rb"[,;\t|]", head.strip().partition(b"\n")[0]) or BLANKS.search(head):
            return "csv"
    raise ValueError(f"{path} has an unknown format; expected {FORMATS}")


def _idx_array(path: Path, raw: bytes) -> np.ndarray:
    if raw[:3] != b"\0\0\x08" or raw[3:4] not in (b"\1", b"\2", b"\3", b"\4"):
        raise ValueError(
            f"{path} is not an IDX file of bytes: it begins with {raw[:4].hex(' ')}, expected 00 00 08 "
            "and the number of dimensions"
        )
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4)]
    size = start + math.prod(shape)
    if len(raw) != size:
        fault = "truncated" if len(raw) < size else "too long"
        raise ValueError(
            f"{path} is {fault}: {len(raw)} bytes, but its header "
            f"({' x '.join(map(str, shape))}) asks for {size}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _idx(path: Path, raw: bytes) -> XY:
    images = _idx_array(path, raw)
    if images.ndim < 2:
        raise ValueError(f"{path} holds labels; give the images file beside it")
    X = images.reshape(len(images), math.prod(images.shape[1:]))
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    labels = name.replace("-images-idx3-", "-labels-idx1-")
    beside = find_idx(path.parent, labels) if labels != name else None
    if beside is None:
        return X, None
    y = _idx_array(beside, _bytes(beside))
    if y.shape != X.shape[:1]:
        raise ValueError(f"{beside} has shape {y.shape}, but {path} holds {len(X)} images; expected one label for each")
    return X, y.astype(np.int64)


def _cifar(path: Path, raw: bytes) -> XY:
    if len(raw) % CIFAR_RECORD:
        raise ValueError(
            f"{path} is not a CIFAR-10 binary file, or is truncated: {len(raw)} bytes are not a multiple "
            f"of the {CIFAR_RECORD} of a record (label, then 3 x 32 x 32 pixels)"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, CIFAR_RECORD)
    y = records[:, 0].astype(np.int64)
    if y.max() > 9:
        raise ValueError(
            f"{path} is not a CIFAR-10 binary file: record {(y > 9).argmax()} (from 0) has the label "
            f"{y[y > 9][0]}, expected 0 to 9"
        )
    return records[:, 1:], y


def _npz(path: Path) -> tuple[XY, XY | None]:
    expected = "expected an .npz file of the arrays X_train, y_train, X_test, y_test, or X and y"
    names = ("X", "y", "X_train", "y_train", "X_test", "y_test")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip archive, or truncated")
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            keys = list(file)
            held = {name: np.asarray(file[name]) for name in names if name in keys}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as err:
        raise ValueError(f"{path} cannot be read ({short(err)}); {expected}, without objects") from None
    for name, values in held.items():
        ndim, kinds, what = (2, "fiub", "numbers") if name[0] == "X" else (1, "fiubU", "numbers or text")
        if values.ndim != ndim or values.dtype.kind not in kinds:
            found = f"{values.dtype} of shape {values.shape}"
            raise ValueError(f"{path}: {name} is {found}; expected a {ndim}-D array of {what}")
        held[name] = _floats(values) if name[0] == "X" else whole(values)
    if "X" in held:
        return (held["X"], held.get("y")), None
    if "X_train" not in held or "y_train" not in held or ("X_test" in held) != ("y_test" in held):
        raise ValueError(f"{path} has the keys {', '.join(keys) or '(none)'}; {expected}")
    test = (held["X_test"], held["y_test"]) if "X_test" in held else None
    return (held["X_train"], held["y_train"]), test


def _floats(X: np.ndarray) -> np.ndarray:
    if X.dtype == np.float16:
        return X.astype(np.float32)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _test_file(path: Path) -> Path | None:
    name = _uncompressed(path.name)
    names = [f"{name}.t"]
    if "train" in name:
        names.append("test".join(name.rsplit("train", 1)))
    paths = (path.with_name(name + end) for name in names for end in ("", ".gz", ".bz2", ".xz"))
    return next((path for path in paths if path.is_file()), None)


def _svmlight(raws: dict[Path, bytes], zero_based: bool | None) -> tuple[list[XY], bool]:
    """The sets, and whether their indices start from 0: unless it is given, if there is an index 0 in any of them."""
    try:
        # One call for both, so that they agree on the number of features and on the first index.
        arrays = load_svmlight_files([io.BytesIO(raw) for raw in raws.values()], zero_based=True)
    except (ValueError, IndexError, OverflowError) as err:
        for path, raw in raws.items():
            for number, line in enumerate(raw.splitlines(), 1):
                if not SVMLIGHT_LINE.fullmatch(line):
                    text = line[:60].decode("latin-1")
                    raise ValueError(
                        f"{path}, line {number}: {text!r} is not svmlight; expected 'label index:value index:value ...'"
                    ) from None
        raise ValueError(f"{' or '.join(map(str, raws))} is not svmlight: {short(err)}") from None
    features = arrays[::2]
    has_zero = any(X.nnz and X.indices.min() == 0 for X in features)
    if zero_based is False and has_zero:
        raise ValueError(f"{' or '.join(map(str, raws))} has an index 0, though indices are to start from 1")
    zero_based = has_zero if zero_based is None else bool(zero_based)
    if not zero_based:
        features = [_without_column_0(X) for X in features]
    return [(X, whole(y)) for X, y in zip(features, arrays[1::2], strict=True)], zero_based


def _without_column_0(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """X without its first column, which is empty."""
    return sparse.csr_matrix((X.data, X.indices - 1, X.indptr), (X.shape[0], max(X.shape[1] - 1, 0)))
