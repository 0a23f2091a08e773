"""Distributed runs that lose workers or the server; the short form of `make test-faults`."""

import random
import re
import signal

import pytest
from fault_campaign import Campaign, Fault

FEW = 2  # workers where their number does not matter: each is a process that imports for a second

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]


@pytest.fixture(scope="module")
def campaign(mpi, tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("faults"), epochs=8, steps=1500, workers=FEW)


@pytest.mark.parametrize(
    ("servers", "faults"),
    [
        (2, (Fault(-1, 0, 2), Fault(1, 0.03, 4, signal.SIGSTOP), Fault(2, 0.01, 5))),
        pytest.param(1, (Fault(1, 0.02, 2), Fault(2, 0.02, 4, signal.SIGSTOP)), marks=pytest.mark.full),
        pytest.param(2, (Fault(-1, 0, 2), Fault(1, 0.03, 4), Fault(2, 0.01, 5)), marks=pytest.mark.full),
    ],
    ids=["two killed, one stopped, of two servers", "one killed, one stopped", "three killed, of two servers"],
)
def test_workers_lost(campaign, servers, faults):
    run = campaign.watch(campaign.new_folder(), *faults, servers=servers)
    campaign.must_be_complete(run)
    assert not run.wrong, run
    assert run.checked > 3
    assert run.rows[-1]["workers"] == 4 - len(faults)
    events = [event for row in run.rows for event in row["events"]]
    assert sum("was lost" in event for event in events) == len(faults) + sum("is back" in event for event in events)
    assert all(any(f"worker {fault.rank} was lost" in event for event in events) for fault in faults)


def test_server_lost(campaign):
    run = campaign.lose_server(random.Random(0), workers=FEW)
    assert not run.wrong, run
    assert run.checked > 3


def test_another_server_lost(campaign, full):
    """Rank 1 is killed; with --full, the run goes on from its checkpoint with one server."""
    folder = campaign.new_folder()
    first = campaign.watch(folder, Fault(2, 0.02, 1), servers=2, workers=FEW)
    assert first.code == 3
    assert re.search(
        r"error: (rank \d: )?rank 1, a server, was lost: .*; --resume goes on from the last checkpoint", first.said
    )
    assert not first.wrong, first
    assert first.since_fault < 20
    if not full:
        return
    run = campaign.watch(folder, resume=True, workers=FEW)
    campaign.must_be_complete(run)
    assert not run.wrong, run
    assert run.rows[0]["workers"] == FEW


def test_all_workers_lost(campaign):
    run = campaign.watch(
        campaign.new_folder(), *(Fault(1, 0.02 * rank, rank) for rank in range(1, FEW + 1)), workers=FEW
    )
    assert run.code == 3
    assert not run.wrong, run
    assert "all workers were lost" in run.said
    assert run.since_fault < 20
