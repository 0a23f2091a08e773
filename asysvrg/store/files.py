"""Files that are written whole or not at all, and fingerprints of arrays."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write in, which takes the place of `path` once all of it is on the disk, and not before.

    Whatever happens on the way, kill -9 and loss of power included, `path` is either what it was or what was written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes JSON by way of a temporary file, so that a failure leaves what was there."""
    with replacing(path) as file:
        for piece in json.JSONEncoder(indent=1).iterencode(content):
            file.write(piece.encode())


def digest(array: np.ndarray | None) -> str:
    """Hash of an array's type, shape and bytes; of a CSR matrix's three arrays."""
    code = hashlib.blake2b(digest_size=16)
    parts = [array.data, array.indices, array.indptr] if hasattr(array, "indptr") else [array]
    for part in parts:
        if part is not None:
            part = np.ascontiguousarray(part)
            if part.dtype.kind == "i":
                part = part.astype(np.int64, copy=False)  # SciPy chooses the type of its indices by their size
            code.update(f"{part.dtype} {part.shape}".encode())
            code.update(part.reshape(-1).view(np.uint8))
    return code.hexdigest()
