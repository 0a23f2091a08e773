"""Damaged files of every format: an answer or one line of ValueError, never a crash.

Short here; `make fuzz` goes on for ASYSVRG_FUZZ_SECONDS (600), shared out among the formats.
"""

import gzip
import io
import os
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import asysvrg
from asysvrg.data.datasets import load_file


def idx(array):
    kind = {"uint8": 8}[array.dtype.name]
    return bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def model_file(folder):
    X = np.random.default_rng(0).random((30, 3))
    model = asysvrg.AsySVRGClassifier((2,), max_iter=1, random_state=0, n_jobs=1).fit(X, np.arange(30) % 2)
    model.save(folder / "good.npz")
    return (folder / "good.npz").read_bytes()


def binary(kind):
    """A table of pandas; empty where pyarrow is missing."""
    buffer = io.BytesIO()
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1, 1.5], "y": ["u", "v", "u"]})
    try:
        getattr(frame, f"to_{kind}")(buffer)
    except ImportError:
        return b""
    return buffer.getvalue()


IMAGES = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
FILES = {
    "images-idx3-ubyte": idx(IMAGES),
    "images-idx3-ubyte.gz": gzip.compress(idx(IMAGES), mtime=0),
    "batch.bin": bytes(range(256)) * 24 + bytes(2 * 3073 - 256 * 24),
    "data.npz": npz(X=np.ones((4, 2)), y=np.array([0, 1, 0, 1])),
    "data.svm": b"1 1:0.5 3:2\n-1 2:1e-3\n1 1:1 # note\n",
    "data.csv": b'a,"b c",target\n1,2.5,yes\n-3,4e2,no\n5,6,yes\n',
    "data.tsv": "größe\ty\n1,5\tü\n2,5\tv\n".encode("utf-16"),
    "data.txt": b"1 2.5 01\n-3 4e2 02\n5 NA 01\n",
    "data.parquet": binary("parquet"),
    "data.feather": binary("feather"),
}

SECONDS = float(os.environ.get("ASYSVRG_FUZZ_SECONDS", 0)) / (len(FILES) + 2)  # each

position = st.integers(0, 2**16)
edit = st.one_of(
    st.tuples(st.just("set"), position, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("insert"), position, st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("insert"), position, st.text(max_size=10).map(str.encode)),
    st.tuples(st.just("delete"), position, st.integers(1, 64)),
    st.tuples(st.just("cut"), position, st.just(None)),
)


def damaged(content, edits):
    content = bytearray(content)
    for kind, at, what in edits:
        at %= len(content) + 1
        if kind == "set":
            content[at : at + len(what)] = what
        elif kind == "insert":
            content[at:at] = what
        elif kind == "delete":
            del content[at : at + what]
        else:
            del content[at:]
    return bytes(content)


def try_out(read, path, content):
    """Runs examples of damage until time is up."""
    deadline = time.monotonic() + SECONDS

    def once(edits):
        path.write_bytes(damaged(content, edits))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", message=".* not text in UTF-8")
                read(path)
        except (ValueError, OSError) as error:
            message = str(error)
        else:
            return
        assert message
        assert "\n" not in message

    number = 0
    while number == 0 or time.monotonic() < deadline:
        usual = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        usual(seed(number)(given(st.lists(edit, min_size=1, max_size=6))(once)))()
        number += 1


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("name", FILES)
def test_damaged_data(tmp_path, name):
    if name.startswith("images"):
        labels = idx(np.arange(5, dtype=np.uint8))
        (tmp_path / "images-idx1-ubyte").write_bytes(labels)
        (tmp_path / "labels-idx1-ubyte").write_bytes(labels)
    try_out(load_file, tmp_path / name, FILES[name])


@pytest.mark.timeout(SECONDS + 300)
def test_damaged_model(tmp_path):
    try_out(asysvrg.load, tmp_path / "model.npz", model_file(tmp_path))


@pytest.mark.timeout(SECONDS + 300)
def test_damaged_checkpoint(tmp_path):
    X = np.random.default_rng(0).random((30, 3))
    how = {"hidden_layer_sizes": (2,), "random_state": 0, "n_jobs": 1, "checkpoint_dir": tmp_path / "run"}
    asysvrg.AsySVRGClassifier(max_iter=1, **how).fit(X, np.arange(30) % 2)
    (file,) = (tmp_path / "run").iterdir()

    def resume(path):
        asysvrg.AsySVRGClassifier(max_iter=1, resume=True, **how).fit(X, np.arange(30) % 2)

    try_out(resume, file, file.read_bytes())
