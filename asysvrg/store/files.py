"""Files that are written completely or not at all, and hashes of arrays."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from asysvrg.core import system

TEMPORARY = ".{}.*.tmp"  # names of the temporary files of a file with this name
SHOWN = 50  # characters of that name in them: the whole name may leave no room for more


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file for writing, and rename it to `path` once its content is on disk.

    After an exception, kill -9 or a loss of power, `path` has either the old content or the new one. It keeps its
    permissions, and a link stays a link. Each call has a temporary file of its own, which it holds to the end.
    An OSError names `path`, not the temporary file. Raises ValueError if `path` is a device or a pipe.
    """
    given, path = os.fspath(path), Path(os.path.realpath(path))
    if path.exists() and not (path.is_file() or path.is_dir()):  # which would be gone
        raise ValueError(f"{given} is a device or a pipe; a file is expected")
    file: BinaryIO | None = None
    temporary = path  # until there is one
    with _errors_name(given):
        try:  # already while the file is made: a signal may come at any moment
            while file is None:
                temporary = path.with_name(f".{path.name[:SHOWN]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
                file = open(temporary, "xb")  # noqa: SIM115
                system.hold(file)
                if not temporary.exists():  # another process took it for an abandoned one before it was held
                    file.close()
                    file = None
            yield file
            file.flush()
            os.fsync(file.fileno())
            system.close_to_rename(file)
            if path.exists():
                shutil.copymode(path, temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                if file is not None:
                    file.close()
            with suppress(OSError):
                if temporary != path:
                    temporary.unlink()
            raise
        system.write_names(path.parent)


@contextmanager
def _errors_name(path: str) -> Iterator[None]:
    """Has errors of the system name a file, and not the temporary one, or none: a full disk has no name."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and not str(error.filename).endswith(".tmp")):
            raise
        raise OSError(error.errno, error.strerror, path) from None


def clear_abandoned(path: Path) -> None:
    """Removes temporary files of `replacing` for this path whose processes were killed."""
    for temporary in path.parent.glob(TEMPORARY.format(glob.escape(path.name[:SHOWN]))):
        system.remove_abandoned(temporary)


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write JSON to a file; if that fails, the old file stays."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def digest(array: Any) -> str:
    """Hash of an array's dtype, shape and bytes, or of the three arrays of a CSR matrix."""
    code = hashlib.blake2b(digest_size=16)
    for values in [array.data, array.indices, array.indptr] if hasattr(array, "indptr") else [array]:
        if values is not None:
            values = np.ascontiguousarray(values)
            if values.dtype.kind == "i":
                values = values.astype(np.int64, copy=False)  # SciPy chooses the dtype of indices by their size
            code.update(f"{values.dtype} {values.shape}".encode())
            code.update(values.reshape(-1).view(np.uint8).data)
    return code.hexdigest()
