"""Tables with named columns, read by pandas: CSV and its relatives, Parquet, Feather."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from asysvrg.core.warn import warn
from asysvrg.data.download import short
from asysvrg.data.reading import Reading
from asysvrg.data.targets import MISSING, parsed, whole
from asysvrg.store.schema import Schema

CHUNK = 2**20  # bytes
SAMPLE_BYTES, SAMPLE_ROWS = 2**18, 100  # of a text, which show its delimiter and its header
DELIMITERS = ",;\t| "
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
FALLBACK = "cp1252"  # of text that is not UTF-8: what Excel writes in western Europe and America
ALSO_MISSING = ("?", "missing")  # beside pandas' own: NA, nan, null, None, an empty cell, ...
SHOWN = 20  # names or rows in a message
INSTALL = 'reading it needs pyarrow: pip install "asysvrg[parquet]"'


class Target(NamedTuple):
    """The target of a table: its column, and what that holds."""

    column: int
    values: pd.Series


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Attributes
    ----------
    path : Path
    frame : DataFrame
        Without the target, and with the numbers of the columns in the place of their names.
    names : list of str, or None
        Of all columns; None for a text without a header.
    target : Target or None
    decimal : {".", ","}
    """

    path: Path
    frame: pd.DataFrame
    names: list[str] | None
    target: Target | None
    decimal: str = "."

    def training(self) -> tuple[np.ndarray, np.ndarray | None, Schema]:
        """Features, target and schema."""
        columns = list(self.frame)
        if not columns or not len(self.frame):
            raise ValueError(
                f"{self.path}: {len(columns)} feature columns and {len(self.frame)} rows of data; expected at least "
                "one of each"
            )
        if self.names is not None:
            self._refuse_bad_names(self.names)
        y = None if self.target is None else self._targets(self.target)
        return self._features(columns), y, self._schema(columns)

    def _schema(self, columns: Sequence[int]) -> Schema:
        column = None if self.target is None else self.target.column
        if self.names is None:
            return Schema(None, column)
        return Schema(tuple(self.names[each] for each in columns), None if column is None else self.names[column])

    def to_predict(self, schema: Schema, width: int) -> np.ndarray:
        """The features that a model takes: by name where both have names, else by position."""
        if self.names is not None and schema.names is not None:
            return self._features(self._by_name(self.names, schema.names, schema.target))
        columns = list(self.frame)
        if schema.names is not None:
            warn(f"{self.path} has no header: its columns are taken in the order of the training file's")
        if self.target is None and len(columns) == width + 1:
            columns.remove(self._target_by_schema(schema))
        if len(columns) != width:
            raise ValueError(f"{self.path} has {len(columns)} features; the model was trained on {width}")
        return self._features(columns)

    def _by_name(self, names: Sequence[str], model: tuple[str, ...], target: str | int | None) -> list[int]:
        """The columns of the model's features, from the names here, and the model's names and target."""
        wanted = set(model)
        popped = None if self.target is None else names[self.target.column]
        held = [name for name in names if name in wanted and name != popped]
        missing = sorted(wanted.difference(held), key=model.index)
        if missing:
            raise ValueError(f"{self.path} lacks columns that the model was trained on: {listed(missing)}")
        if len(held) > len(model):
            raise ValueError(f"{self.path} has a column twice: {listed(_twice(held))}")
        known = {*wanted, target, popped}
        others = [name or "(no name)" for name in names if name not in known]
        if others:
            warn(f"{self.path}: the model was not trained on {listed(others)}; left out")
        at = {name: column for column, name in enumerate(names)}
        return [at[name] for name in model]

    def _target_by_schema(self, schema: Schema) -> int:
        """Which one of the columns, one too many, is the target."""
        if self.names is not None and isinstance(schema.target, str) and schema.target in self.names:
            return self.names.index(schema.target)
        if isinstance(schema.target, int) and schema.target < len(self.frame.columns):
            return schema.target
        last = self.frame.columns[-1]
        warn(f"{self.path}: the last column, {self._name(last)!r}, is taken for the target, and left out")
        return last

    def _name(self, column: int) -> str:
        return str(column) if self.names is None else self.names[column]

    def _refuse_bad_names(self, names: list[str]) -> None:
        if "" in names:
            raise ValueError(
                f"{self.path}: the header leaves column {names.index('')} (from 0) without a name; name it, "
                "or leave a table's index out (pandas: to_csv(..., index=False))"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{self.path}: the header names a column twice: {listed(_twice(names))}")

    def _features(self, columns: Sequence[int]) -> np.ndarray:
        part = self.frame if list(self.frame) == columns else self.frame[columns]
        if all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in part.dtypes):
            X = np.ascontiguousarray(part.to_numpy(_common(part.dtypes)))
            if not np.isnan(X).any():
                return X
        values = [self._numbers(column) for column in columns]
        return np.stack(values, axis=1).astype(_common([value.dtype for value in values]), copy=False)

    def _numbers(self, column: int) -> np.ndarray:
        """A column of numbers or truth values. ValueError names another one, and says what to do."""
        series, name = self.frame[column], self._name(column)
        if series.isna().any():
            raise ValueError(
                f"{self.path}: column {name!r} has no value in {_rows(series.isna())}; fill it in "
                "(scikit-learn: SimpleImputer) or drop the row"
            )
        if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_complex_dtype(series):
            return series.to_numpy()
        is_text = series.map(lambda value: isinstance(value, str)).to_numpy(bool)
        if series.dtype == object and not is_text.any():  # truth values, decimals, whole numbers beyond int64
            numbers = pd.to_numeric(series, errors="coerce")
            if numbers.notna().all():
                return numbers.to_numpy(np.float64)
        is_word = is_text & ~series.map(_is_number, na_action="ignore").to_numpy(bool) if is_text.any() else is_text
        row, what = int(is_word.argmax()), "text" if is_text.any() else "value"
        remedy = "encode it first (scikit-learn: OneHotEncoder in a ColumnTransformer)"
        if is_word[row] and self.decimal == "." and _is_number(series[row], ","):
            remedy = "with decimal commas: decimal=',' (--decimal ,)"
        raise ValueError(
            f"{self.path}: column {name!r} holds the {what} {str(series[row])[:80]!r} in row {row} (from 0), but "
            f"features must be numbers; {remedy}"
        )

    def _targets(self, target: Target) -> np.ndarray:
        series, name = target.values, self._name(target.column)
        missing = series.isna()
        if missing.any():
            raise ValueError(
                f"{self.path}: the target {name!r} is missing in {_rows(missing)}; fill it in or drop the rows "
                "(an empty cell, NA, nan, null, None and ? stand for a missing one)"
            )
        if isinstance(series.dtype, pd.CategoricalDtype):
            series = series.astype(series.cat.categories.dtype)
        y = series.to_numpy()
        if pd.api.types.is_bool_dtype(series) or pd.api.types.is_float_dtype(series):
            return whole(y.astype(bool if pd.api.types.is_bool_dtype(series) else np.float64))
        if pd.api.types.is_integer_dtype(series):
            return whole(y.astype(np.uint64 if pd.api.types.is_unsigned_integer_dtype(series) else np.int64))
        if all(isinstance(value, str) for value in y):
            return np.array(y.tolist())
        raise ValueError(f"{self.path}: the target {name!r} holds {series.dtype}; expected numbers or text")


def read(path: Path, kind: str, raw: bytes, reading: Reading) -> Table:
    """Reads a table; `kind` is "csv", "parquet" or "feather"."""
    if kind == "csv":
        return _text(path, raw, reading)
    reading.refuse_all_but(path, "target")
    try:
        from pyarrow import feather, parquet  # an extra

        table = (parquet if kind == "parquet" else feather).read_table(io.BytesIO(raw))
        table.validate(full=True)  # pandas would follow damaged offsets out of memory
        frame = table.to_pandas()
    except ImportError:
        raise ValueError(f"{path} is a {kind.capitalize()} file; {INSTALL}") from None
    except MemoryError as error:  # a damaged length looks like a huge table
        raise ValueError(f"{path} needs more memory than there is, or is damaged ({short(error)})") from None
    except Exception as error:  # pyarrow has types of its own
        raise ValueError(f"{path} is no {kind.capitalize()} file, or is damaged ({short(error)})") from None
    names = [str(name) for name in frame.columns]
    frame.columns, frame.index = range(len(names)), range(len(frame))
    column = _target(path, names, len(names), reading.target)
    return Table(path, frame, names, None if column is None else Target(column, frame.pop(column)))


def _text(path: Path, raw: bytes, reading: Reading) -> Table:
    reading.refuse_all_but(path, "target", "delimiter", "decimal", "encoding")
    encoding = _encoding(path, raw, reading.encoding)
    raw = _without_comment_mark(raw, encoding)
    delimiter, first = _first_rows(path, raw, encoding, reading)
    header = _has_header(first, delimiter)
    width, names = len(first[0]), None
    if header:
        names = [name.strip() for name in first[0]]
        names[0] = names[0].lstrip("#")
        if len(first) > 1 and len(first[1]) == width + 1:
            raise ValueError(
                f"{path}: the header names {width} columns, but the rows have {width + 1}; name all of them, or leave "
                "the rows' names out (R: write.csv(..., row.names=FALSE))"
            )
    column = _target(path, names, width, reading.target)
    options: dict[str, Any] = {
        "sep": r"\s+" if delimiter == " " else delimiter,
        "header": 0 if header else None,
        "names": range(width),
        "index_col": False,
        "dtype": {} if column is None else {column: str},  # text stays as it is written: 01 is not 1
        "decimal": reading.decimal,
        "encoding": encoding,
        "na_values": list(ALSO_MISSING),
        "skipinitialspace": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # `_numbers` says more
            frame = pd.read_csv(io.BytesIO(raw), **options)
    except MemoryError:
        raise
    except Exception as error:  # of pandas, of codecs, of numbers that are too large
        raise ValueError(f"{path} is not a table of {width} columns ({short(error)})") from None
    target = None if column is None else Target(column, _parsed(frame.pop(column), reading.decimal))
    return Table(path, frame, names, target, reading.decimal)


def _parsed(labels: pd.Series, decimal: str) -> pd.Series:
    """Labels as numbers where all their text is numbers; unchanged where some are missing."""
    if labels.isna().any():
        return labels
    found = parsed(labels.tolist(), decimal)
    return pd.Series(found.astype(object) if found.dtype.kind == "U" else found)


def _encoding(path: Path, raw: bytes, given: str | None) -> str:
    for mark, encoding in BOMS.items():
        if raw.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder(given or "utf-8")()
    try:
        for first in range(0, len(raw), CHUNK):  # the whole text would take as much memory again
            decoder.decode(raw[first : first + CHUNK], final=first + CHUNK >= len(raw))
    except UnicodeDecodeError as error:
        if given is not None:
            raise ValueError(f"{path} is not text in {given} ({short(error)}); give another encoding") from None
        try:
            raw.decode(FALLBACK)
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not text in UTF-8 or {FALLBACK}: --encoding names another one") from None
        warn(f"{path} is not text in UTF-8; read as {FALLBACK}, unless encoding (--encoding) names another one")
        return FALLBACK
    return given or "utf-8"


def _without_comment_mark(raw: bytes, encoding: str) -> bytes:
    """Without the "# " in front of a header that numpy.savetxt wrote; a byte order mark stays."""
    order = next((mark for mark in BOMS if raw.startswith(mark)), b"")
    of_order = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    name = codecs.lookup(encoding).name
    mark = "# ".encode(of_order.get(order, "utf-8" if name == "utf-8-sig" else name))
    rest = raw[len(order) :]
    return order + rest[len(mark) :] if rest.startswith(mark) else raw


def _first_rows(path: Path, raw: bytes, encoding: str, reading: Reading) -> tuple[str, list[list[str]]]:
    """The delimiter, and the first rows."""
    size = SAMPLE_BYTES
    while raw.count(b"\n", 0, size) <= 2 and size < len(raw):  # rows may be long
        size *= 2
    lines = list(io.StringIO(raw[:size].decode(encoding, errors="ignore"), newline=None))
    if len(raw) > size:
        lines = lines[:-1] or lines
    found = {}
    for delimiter in DELIMITERS.replace(reading.decimal, "") if reading.delimiter is None else reading.delimiter:
        rows = _split(lines, delimiter)
        numbers = sum(_may_be_number(cell, delimiter) for row in rows for cell in row)
        cells = sum(map(len, rows))
        widths = {len(row) for row in rows[1:] or rows}
        is_table = len(widths) == 1 and max(widths) > 1 and len(rows[0]) in (max(widths), max(widths) - 1)
        # The first one of equals wins. A broken table has the delimiter that its first line has most of.
        found[delimiter] = (is_table, numbers / cells if is_table else len(rows[0]) if rows else 0), rows
    delimiter = max(found, key=lambda each: found[each][0])
    rows = found[delimiter][1]
    if not rows:
        raise ValueError(f"{path} is empty; expected lines of numbers and a target")
    return delimiter, rows


def _split(lines: list[str], delimiter: str) -> list[list[str]]:
    """Rows of text, blank lines left out."""
    if delimiter == " ":
        lines = [line.strip() for line in lines]
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
            if row not in ([], [""]):
                rows.append(row)
            if len(rows) == SAMPLE_ROWS:
                break
    except csv.Error:  # a field that never ends, which pandas will say
        pass
    return rows


def _has_header(rows: list[list[str]], delimiter: str) -> bool:
    first, last = rows[0], rows[-1]
    if not any(_may_be_number(cell, delimiter) for cell in first):
        return True
    # Some names may be numbers (a pandas table without names), so a single word above a number
    # will do, if it is none of those that stand for a missing number.
    return any(
        re.match(r"[^\W\d]", above)
        and not _may_be_number(above, delimiter)
        and above.strip().lower() not in {word.lower() for word in (*MISSING, *ALSO_MISSING)}
        and _may_be_number(below, delimiter)
        for above, below in zip(first, last, strict=False)
    )


def _may_be_number(cell: str, delimiter: str) -> bool:
    """Whether a cell is a number, with a decimal comma if need be."""
    return _is_number(cell) or (delimiter != "," and _is_number(cell, ","))


def _is_number(cell: Any, decimal: str = ".") -> bool:
    if not isinstance(cell, str):
        return False
    try:
        float(cell if decimal == "." else cell.replace(".", "_").replace(decimal, "."))
    except ValueError:
        return False
    return "_" not in cell


def _target(path: Path, names: list[str] | None, width: int, target: str | int | bool | None) -> int | None:
    """The target's column."""
    if target is False:
        return None
    if target is None:
        return width - 1
    if names is not None and isinstance(target, str) and names.count(target) == 1:
        return names.index(target)
    if (names is None or target not in names) and str(target).isdecimal() and int(target) < width:
        return int(target)
    columns = "no header" if names is None else f"the columns {listed(names)}"
    raise ValueError(
        f"{path}: target {target!r} is not one column; the file has {columns}, and takes an index from 0 to {width - 1}"
    )


def _common(dtypes: Iterable[np.dtype]) -> type[np.floating]:
    return np.float32 if all(dtype == np.float32 for dtype in dtypes) else np.float64


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _rows(chosen: pd.Series) -> str:
    """Which rows, for a message."""
    rows = np.flatnonzero(chosen)
    return f"row{'s' if len(rows) > 1 else ''} {listed(list(map(str, rows)))} (from 0)"
