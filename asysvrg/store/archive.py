"""One file of arrays and JSON values: a versioned .npz archive, written atomically. Reading it runs no code."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.store.files import replacing


def write(
    path: str | os.PathLike[str], kind: str, version: int, values: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write an archive. An older file at `path` stays until all of the new one is on disk.

    Parameters
    ----------
    path : path
        Name of the file; no ending is added.
    kind, version : str, int
        Format of the file, which `read` checks.
    values : dict
        Values that JSON can represent.
    arrays : dict of ndarray
        Arrays of numbers.
    """
    text = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)
    with replacing(path) as file:
        try:
            np.savez(file, format=np.array(kind), version=np.array(version), values=text, **dict[str, Any](arrays))
        except ValueError as error:  # zipfile cannot close an archive in which Ctrl-C came while an array was written
            raise (error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error) from None


def read(
    path: str | os.PathLike[str], kind: str, version: int, arrays: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an archive that `write` wrote.

    Parameters
    ----------
    path : path
    kind, version : str, int
        Expected format.
    arrays : tuple of str
        Names of the expected arrays.

    Returns
    -------
    values : dict
    arrays : dict of ndarray

    Raises
    ------
    ValueError
        If the file has another format or version, or is damaged.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file of format {kind!r}")
    with path.open("rb") as opened:
        try:
            content = _content(opened, ("format", "version", "values", *arrays))
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen types for damaged files
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise ValueError(f"{path} cannot be read ({reason}); expected a whole file of format {kind!r}") from None
    found, number = content["format"].tolist(), content["version"].tolist()
    if found != kind:
        raise ValueError(f"{path} has format {str(found)[:40]!r}; expected {kind!r}")
    if not isinstance(number, int) or number != version:
        newer = "; a newer asysvrg may read it" if isinstance(number, int) and number > version else ""
        raise ValueError(f"{path} has version {str(number)[:40]} of the format; this asysvrg reads {version}{newer}")
    try:
        values = json.loads(content["values"].tobytes())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged (its values are not a JSON object)")
    return values, {name: content[name] for name in arrays}


def _content(opened: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(opened):
        raise ValueError("not a zip archive, or truncated")
    opened.seek(0)
    with np.load(opened, allow_pickle=False) as file:
        missing = [name for name in names if name not in file.files]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        content = {name: file[name] for name in names}
    for name, array in content.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
            raise ValueError(f"{name} is not an array of numbers or text")
    return content
