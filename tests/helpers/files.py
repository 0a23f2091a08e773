"""Files of data."""

import gzip
import re
import struct

import numpy as np

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


ONES = np.ones((4, 2))

SVMLIGHT = "# a comment\n+1 1:0.5 3:2 # another\n-1 2:1e-3\n\n-1 3:7\n+1 1:1\n"


def named(value):
    """An id of arguments, some of which are functions that write files: the same in each process."""
    return re.sub(r"<function ([^ ]+) at 0x\w+>", r"\1", str(value))
