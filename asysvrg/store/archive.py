"""One file of arrays and plain values: .npz, versioned, written atomically, with nothing in it that could run."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.store.files import replacing

Content = tuple[dict[str, Any], dict[str, np.ndarray]]


def write(
    path: str | os.PathLike[str], kind: str, version: int, values: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Writes an archive; what was there before stays until all of the new one is on the disk.

    Parameters
    ----------
    path : path
        Taken as it is: no ending is added.
    kind, version : str, int
        What `read` will ask for.
    values : dict
        What JSON can hold.
    arrays : dict of ndarray
        Of numbers.
    """
    text = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)
    with replacing(path) as file:
        np.savez(file, format=np.array(kind), version=np.array(version), values=text, **arrays)


def read(path: str | os.PathLike[str], kind: str, version: int, arrays: tuple[str, ...]) -> Content:
    """Reads what `write` wrote.

    Parameters
    ----------
    path : path
    kind, version : str, int
        As written; other versions are refused.
    arrays : tuple of str
        Names of the arrays that must be there.

    Returns
    -------
    values : dict
    arrays : dict of ndarray

    Raises
    ------
    ValueError
        If the file is anything else, damaged or of another version.
    OSError
        If it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file of format {kind!r}")
    with path.open("rb") as opened:
        try:
            held = _held(opened, ("format", "version", "values", *arrays))
        except Exception as error:  # zipfile, zlib and NumPy's reader have a dozen kinds for damaged files
            raise ValueError(
                f"{path} cannot be read ({_short(error)}); expected a file of format {kind!r}, complete"
            ) from None
    found = held["format"].tolist()
    if found != kind:
        raise ValueError(f"{path} is of format {str(found)[:40]!r}; expected {kind!r}")
    number = held["version"].tolist()
    if not isinstance(number, int) or number != version:
        newer = "; a newer asysvrg may read it" if isinstance(number, int) and number > version else ""
        raise ValueError(f"{path} is of version {str(number)[:40]} of the format; this asysvrg reads {version}{newer}")
    try:
        values = json.loads(held["values"].tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({_short(error)})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged (its values are no JSON object)")
    return values, {name: held[name] for name in arrays}


def _held(opened: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(opened):
        raise ValueError("no zip archive, or truncated")
    opened.seek(0)
    with np.load(opened, allow_pickle=False) as file:
        missing = [name for name in names if name not in file.files]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        held = {name: file[name] for name in names}
    for name, array in held.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
            raise ValueError(f"{name} is no array of numbers or text")
    return held


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
