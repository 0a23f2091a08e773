"""Programs on real ranks."""

import json
import sys
import textwrap

import pytest
from helpers.mpi_jobs import START, mpiexec, run


@pytest.fixture
def ranks(mpi, tmp_path):
    """Runs a program on so many ranks; returns what each told."""

    def go(program, count, *, timeout=100, code=0):
        path = tmp_path / "program.py"
        path.write_text(START + textwrap.dedent(program))
        done = run([*mpiexec(mpi, count), sys.executable, path], tmp_path, timeout)
        assert done.code == code, str(done)
        assert not done.left
        return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(count)]

    return go
