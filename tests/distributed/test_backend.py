"""The options of distributed training."""

import inspect

import numpy as np
import pytest

from asysvrg import MPI
from asysvrg.kinds import entries


def test_defaults_and_documentation():
    assert MPI() == MPI(servers=1, compress=None, wait="sleep", late="wait")
    assert list(inspect.signature(MPI).parameters) == list(entries(MPI))
    assert all(f"\n    {name} : " in MPI.__doc__ for name in entries(MPI))
    assert type(MPI(servers=np.int64(2)).servers) is int
    with pytest.raises(AttributeError):
        MPI().servers = 2


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"servers": 0}, ValueError, "servers == 0, must be >= 1"),
        ({"servers": 1.5}, TypeError, "servers"),
        ({"compress": "zip"}, ValueError, "compress is one of None, float16; got 'zip'"),
        ({"wait": "long"}, ValueError, "wait is one of sleep, yield, spin; got 'long'"),
        ({"late": "never"}, ValueError, "late is one of wait, drop; got 'never'"),
    ],
    ids=str,
)
def test_what_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        MPI(**given)
