"""`asysvrg launch --hosts` over TCP between network namespaces, and the loss of a rank, a link, a machine."""

import os
import signal
import sys
import time

import pytest
from fault_campaign import training_of
from helpers.locks import alone
from helpers.mpi_jobs import Running, wait_for

from asysvrg.distributed import hosts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]

WORKERS = 3


@pytest.fixture
def cluster():
    with alone("cluster"):
        if lacks := hosts.why_not():
            pytest.skip(lacks)
        with hosts.Cluster(WORKERS + 1) as cluster:
            yield cluster


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        pytest.param("rank", 0, "worker 2 was lost", marks=pytest.mark.full),
        pytest.param("link", 0, "worker 2 was lost", marks=pytest.mark.full),
        ("machine", 3, "the same command with --resume"),
    ],
)
def test_survives(cluster, mpi, tmp_path, fault, code, said):
    way = cluster.way(mpi.kind, tmp_path, WORKERS + 1)
    options = ["-n", WORKERS, "--hosts", way.hosts, "--mpiexec-args", " ".join(way.extra)]
    training = training_of(tmp_path, epochs=12 if code == 0 else 500, steps=600)
    argv = [sys.executable, "-m", "asysvrg", "launch", *options, *training, "--checkpoint-dir", tmp_path / "run"]
    command = cluster.command(0, *map(str, argv))
    with Running(command, tmp_path, ASYSVRG_LOST_AFTER="3", **way.variables) as running:
        wait_for((tmp_path / "run" / "checkpoint.npz").exists)
        time.sleep(0.2)
        if fault == "rank":
            os.kill(running.ranks()[2], signal.SIGKILL)
        elif fault == "link":
            hosts.sh(f"ip -n {hosts.SWITCH} link set p2 down")
        else:
            cluster.kill(2)
        done = running.wait(60)
    assert done.code == code, done
    assert said in done.out + done.err, done


def test_one_cluster_at_a_time(cluster):
    assert hosts.why_not() == "another process has an emulated cluster"
