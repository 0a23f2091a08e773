"""The distributed server beside the barest loop over MPI that does the same. See README.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

from asysvrg.distributed import launch

RANKS = Path(__file__).parent / "server_ranks.py"


@pytest.fixture(scope="module")
def mpi():
    try:
        return launch.find()
    except ValueError as error:
        pytest.skip(str(error))


def job(mpi, ranks, *options):
    """Runs so many ranks; returns what rank 0 found."""
    flags = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"] if mpi.kind == "Open MPI" else []
    done = subprocess.run(
        [mpi.path, *flags, "-n", str(ranks), sys.executable, "-m", "mpi4py", RANKS, *map(str, options)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("wait", ["sleep", "yield"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_rate(benchmark, mpi, workers, wait):
    """Workers that compute nothing: what the server can take."""
    result = benchmark.pedantic(lambda: job(mpi, 1 + workers, "--wait", wait), rounds=1)
    benchmark.extra_info.update(mpi=mpi.kind, environment=ENVIRONMENT, **result)


@pytest.mark.parametrize("workers", [4, 8])
def test_overhead(benchmark, mpi, workers):
    """Three milliseconds of CPU a direction: what all ranks together need besides."""
    options = "--compute", 3000, "--steps", 800, "--rounds", 3
    result = benchmark.pedantic(lambda: job(mpi, 1 + workers, *options), rounds=1)
    benchmark.extra_info.update(mpi=mpi.kind, environment=ENVIRONMENT, **result)


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_servers(benchmark, mpi, servers):
    """A million parameters: CPU of each server for an update, by how many they are divided among."""
    options = "--servers", servers, "--hidden", 2415, "--steps", 800, "--rounds", 3
    result = benchmark.pedantic(lambda: job(mpi, servers + 2, *options), rounds=1)
    benchmark.extra_info.update(mpi=mpi.kind, environment=ENVIRONMENT, **result)
