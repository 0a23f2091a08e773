"""Readers of files and folders: IDX, CIFAR-10 binary, .npz, svmlight, CSV.

Each reader returns features and targets, ``(X, y)``; ``y`` is None if the file has no targets. Images stay
bytes until `finished` converts them, so that only the rows that are used take the memory of floats.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import math
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_svmlight_files

from asysvrg.data.download import DOWNLOADS, find_idx, short

Features = np.ndarray | sparse.csr_matrix
XY = tuple[Features, np.ndarray | None]

FORMATS = "IDX, CIFAR-10 .bin, .npz, svmlight or CSV"
ENDINGS = {".bin": "cifar", ".csv": "csv", ".tsv": "csv"} | dict.fromkeys((".svm", ".svmlight", ".libsvm"), "svmlight")
CIFAR_RECORD = 1 + 3 * 32 * 32
MISSING = ("na", "n/a", "null", "none", "missing")
_NUMBER = rb"[-+]?(?:nan|inf|[\d.]+(?:e[-+]?\d+)?)"
_START = rb"\s*" + _NUMBER + rb"(?:\s+qid:\d+)?"
_PAIR = rb"\s+\d+:" + _NUMBER
SVMLIGHT = re.compile(rb"^" + _START + _PAIR + rb"(?!\S)", re.M | re.I)
SVMLIGHT_LINE = re.compile(rb"(?:" + _START + rb"(?:" + _PAIR + rb")*)?\s*(?:#.*)?", re.S | re.I)


def read(path: Path, target: str | int | bool | None = None) -> tuple[XY, XY | None]:
    """Read the training set and, where there is one, the test set of a file or folder.

    Parameters
    ----------
    path : pathlib.Path
        File (gzip and bzip2 files are decompressed), or folder of IDX or CIFAR-10 binary files. The
        name of a file decides its format; if the name does not, the content does.
    target : str, int or False, default=None
        Name or index (from 0) of a CSV file's target column; None means the last, False none.

    Returns
    -------
    train : tuple (X, y)
        Training set.
    test : tuple (X, y), or None
        Test set, found in the folder, in the .npz file, or in the test file beside an svmlight file.

    Raises
    ------
    ValueError
        If a file is malformed, or `target` is given for anything but a CSV file.
    """
    if not path.is_dir():
        return read_file(path, target, find_test=True)
    _refuse(target, path)
    names = [name.removesuffix(".gz") for name in DOWNLOADS["mnist"][1]]
    found = [find_idx(path, name) for name in names]
    if any(found):
        missing = [name for name, file in zip(names, found, strict=True) if file is None]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)} (.gz or not)")
        return tuple(_checked(file, _idx(file, _bytes(file))) for file in (found[0], found[2]))
    sets = []
    for patterns in (("train*.bin", "data_batch*.bin"), ("test*.bin",)):
        files = sorted(file for pattern in patterns for file in path.glob(pattern))
        batches = [_checked(file, _cifar(file, _bytes(file))) for file in files]
        sets.append(tuple(map(np.concatenate, zip(*batches, strict=True))) if batches else None)
    if sets[0] is None:
        raise ValueError(
            f"{path} is a folder without data: expected the four IDX files of MNIST "
            f"({', '.join(names)}), or CIFAR-10's train*.bin or data_batch*.bin"
        )
    return sets[0], sets[1]


def read_file(path: Path, target: str | int | bool | None = None, *, find_test: bool = False) -> tuple[XY, XY | None]:
    """Read one file; with `find_test`, also the test file beside an svmlight file. See `read`."""
    name = _uncompressed(path.name).lower()
    if name.endswith(".npz") or zipfile.is_zipfile(path):
        _refuse(target, path)
        train, test = _npz(path)
        return _checked(path, train), _checked(path, test) if test else None
    raw = _bytes(path)
    kind = _kind(path, name, raw)
    if kind == "csv":
        return _checked(path, _csv(path, raw, target)), None
    _refuse(target, path)
    if kind == "svmlight":
        test_file = _test_file(path) if find_test else None
        raws = {path: raw} | ({test_file: _bytes(test_file)} if test_file else {})
        sets = [_checked(*item) for item in zip(raws, _svmlight(raws), strict=True)]
        return sets[0], sets[1] if test_file else None
    return _checked(path, (_idx if kind == "idx" else _cifar)(path, raw)), None


def finished(X: Features) -> Features:
    """Features as estimators take them: pixels as float32 in [0, 1], arrays C-contiguous."""
    if sparse.issparse(X):
        return X
    if X.dtype == np.uint8:
        X = np.divide(X, np.float32(255), dtype=np.float32)
    return np.ascontiguousarray(X)


def _refuse(target: object, path: Path) -> None:
    if target is not None:
        raise ValueError(f"target is {target!r}, but {path} is not a CSV file, so there is no column to choose")


def _checked(path: Path, xy: XY) -> XY:
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
    return xy


def _uncompressed(name: str) -> str:
    """The name of a file without the ending of its compression."""
    return name.removesuffix(".gz").removesuffix(".bz2")


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    try:
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        elif raw.startswith(b"BZh"):
            raw = bz2.decompress(raw)
    except (OSError, EOFError, ValueError, zlib.error) as err:
        raise ValueError(f"{path} is a corrupt or truncated archive ({short(err)}); fetch it again") from None
    if not raw or raw.isspace():
        raise ValueError(f"{path} is empty; expected {FORMATS}")
    return raw


def _first_line(raw: bytes) -> bytes:
    return raw[:65536].lstrip().partition(b"\n")[0]


def _kind(path: Path, name: str, raw: bytes) -> str:
    if Path(name).suffix in ENDINGS:
        return ENDINGS[Path(name).suffix]
    if re.search(r"idx\d-ubyte", name) or raw.startswith(b"\0\0\x08"):
        return "idx"
    head = raw[:65536]
    if b"\0" not in head:
        if SVMLIGHT.search(head):
            return "svmlight"
        if re.search(rb"[,;\t]", _first_line(raw)):
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
        held[name] = _floats(values) if name[0] == "X" else integers(values)
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


def integers(y: np.ndarray) -> np.ndarray:
    """Convert integer targets to int64; return others unchanged."""
    return y.astype(np.int64) if y.dtype.kind in "iu" else y


def _test_file(path: Path) -> Path | None:
    name = _uncompressed(path.name)
    names = [f"{name}.t"]
    if "train" in name:
        names.append("test".join(name.rsplit("train", 1)))
    paths = (path.with_name(name + end) for name in names for end in ("", ".gz", ".bz2"))
    return next((path for path in paths if path.is_file()), None)


def _svmlight(raws: dict[Path, bytes]) -> list[XY]:
    try:
        # One call for both, so that they agree on the number of features and on the first index.
        arrays = load_svmlight_files([io.BytesIO(raw) for raw in raws.values()])
    except (ValueError, IndexError, OverflowError) as err:
        for path, raw in raws.items():
            for number, line in enumerate(raw.splitlines(), 1):
                if not SVMLIGHT_LINE.fullmatch(line):
                    text = line[:60].decode("latin-1")
                    raise ValueError(
                        f"{path}, line {number}: {text!r} is not svmlight; expected 'label index:value index:value ...'"
                    ) from None
        raise ValueError(f"{' or '.join(map(str, raws))} is not svmlight: {short(err)}") from None
    sets = []
    for X, y in zip(arrays[::2], arrays[1::2], strict=True):
        whole = np.isfinite(y).all() and (y == np.rint(y)).all() and (np.abs(y) < 2**53).all()
        sets.append((X, y.astype(np.int64) if whole else y))
    return sets


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _has_header(rows: list[list[str]]) -> bool:
    if not any(map(_is_number, rows[0])):
        return True
    # Some names may be numbers (a pandas table without names), so a single word above a number
    # will do, if it is none of those that stand for a missing number.
    return any(
        re.match(r"[^\W\d]", above)
        and not _is_number(above)
        and above.strip().lower() not in MISSING
        and _is_number(below)
        for above, below in zip(rows[0], rows[-1], strict=True)
    )


def _rows(path: Path, raw: bytes) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows of a CSV file, blank lines left out."""
    delimiter = max(",;\t", key=_first_line(raw).decode("latin-1").count)
    text = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
    width = None
    try:
        for row in reader:
            if row in ([], [""]):
                continue
            width = width or len(row)
            if len(row) != width:
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} fields, but the lines before have "
                    f"{width}; each line needs as many"
                )
            yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as err:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({short(err)})") from None


def _csv(path: Path, raw: bytes, target: str | int | bool | None) -> XY:
    first = [row for _, row in itertools.islice(_rows(path, raw), 2)]
    if not first:
        raise ValueError(f"{path} is empty; expected lines of numbers and a target")
    width, header = len(first[0]), _has_header(first)
    names = [cell.strip() for cell in first[0]] if header else list(map(str, range(width)))
    if "" in names:
        raise ValueError(
            f"{path}: the header leaves column {names.index('')} (from 0) without a name; name it, "
            "or leave a table's index out (pandas: to_csv(..., index=False))"
        )
    column = _column(path, names, target, header)
    values, targets = array("d"), []
    for line, row in itertools.islice(_rows(path, raw), int(header), None):
        if column is not None:
            targets.append(row.pop(column).strip())
            if not targets[-1]:
                raise ValueError(f"{path}, line {line}: the target {names[column]!r} is empty")
        try:
            values.extend(map(float, row))
        except ValueError:
            at, cell = next((i, cell) for i, cell in enumerate(row) if not _is_number(cell))
            name = names[at + (column is not None and at >= column)]
            if not cell.strip():
                raise ValueError(f"{path}, line {line}: column {name!r} is empty; fill it in or drop the row") from None
            raise ValueError(
                f"{path}, line {line}: column {name!r} holds the text {cell!r}, but features must "
                "be numbers; encode it first (scikit-learn: OneHotEncoder in a ColumnTransformer)"
            ) from None
    n_features = width - (column is not None)
    if not values:
        raise ValueError(
            f"{path}: {n_features} feature columns and {len(targets)} rows of data; expected at least one of each"
        )
    return np.frombuffer(values).reshape(-1, n_features), _parsed(targets) if targets else None


def _column(path: Path, names: list[str], target: str | int | bool | None, header: bool) -> int | None:
    if target is False:
        return None
    if target is None:
        return len(names) - 1
    if header and names.count(target) == 1:
        return names.index(target)
    if not (header and target in names) and str(target).isdecimal() and int(target) < len(names):
        return int(target)
    columns = f"the columns {', '.join(names[:20])}" if header else "no header"
    raise ValueError(
        f"{path}: target {target!r} is not one column; the file has {columns}, and takes an index "
        f"from 0 to {len(names) - 1}"
    )


def _parsed(targets: list[str]) -> np.ndarray:
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        try:
            return np.array(list(map(kind, targets)), dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(targets)
