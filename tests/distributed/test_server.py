"""The server: silence, returns, failures, stages (helpers/simulation.py)."""

import numpy as np
import pytest
from helpers.simulation import Accountant, Network, accountants, updates

from asysvrg.distributed import protocol
from asysvrg.distributed.exchange import Exchange
from asysvrg.distributed.protocol import Kind, Lost, Message, RankError, Stage
from asysvrg.distributed.server import Farewell, Group

# ---- Losses. ----


def test_silence_and_return():
    network, groups = accountants(2, 500, speeds={1: 0.01, 2: 0.01}, faults=[(0.3, 2, "stopped"), (2.5, 2, "up")])
    network.run(updates(network, groups, np.zeros(500), 500))
    assert network.server.events == ["worker 2 was lost: silent for 1 s", "worker 2 is back"]
    assert len(network.server.live) == 2


def test_a_process_that_ended_is_noticed_before_silence_is():
    dead = set()
    network = Network({1: Accountant(9), 2: Accountant(9)}, ended=dead.__contains__)
    network.server.lost_after = 1000.0
    network.server.group([Group(9, (1, 2))])
    network.at(0.0, network.change, 2, "dead")
    network.at(0.0, dead.add, 2)
    network.run(updates(network, [Group(9, (1, 2))], np.zeros(9), 9), until=5)
    network.run(updates(network, [Group(9, (1, 2))], np.zeros(9), 9))
    assert network.server.events == ["worker 2 was lost: its process ended"]


def test_all_workers_lost():
    network, groups = accountants(3, 500, faults=[(0.1 * rank, rank, "dead") for rank in (1, 2, 3)])
    with pytest.raises(Lost, match="all workers were lost"):
        network.run(updates(network, groups, np.zeros(500), 500))


def test_samples_lost_with_their_only_holder():
    network = Network({1: Accountant(500), 2: Accountant(500)}, faults=[(0.1, 2, "dead")])
    groups = [Group(10, (1,)), Group(10, (2,))]
    network.server.group(groups)
    with pytest.raises(Lost, match=r"worker 2 was lost .*samples that no other rank has"):
        network.run(updates(network, groups, np.zeros(500), 500))


def test_samples_lost_before_the_groups_are_known():
    network = Network({1: Accountant(9), 2: Accountant(9)})
    network.server.lose(2, "a test")
    network.server.group([Group(10, (1,)), Group(10, (2,))])
    with pytest.raises(Lost, match="samples that no other rank has were lost with rank 2"):
        network.run(updates(network, [Group(10, (1,)), Group(10, (2,))], np.zeros(9), 9))


@pytest.mark.parametrize(("error", "kind"), [(ValueError(), ValueError), (KeyError(), RankError)])
def test_a_failure_of_a_rank_names_it(error, kind):
    network, _ = accountants(2, 9)
    network.at(0.0, network.ask, 2, protocol.failed(Kind.FAIL, error, "no such file"), 0.0)
    with pytest.raises(kind, match=r"^rank 2: no such file$"):
        network.run(Exchange(network.server, {}, dict.popitem))
    message = protocol.failed(Kind.STOP, error, "rank 2: no such file")
    network.server.start(Farewell(network.server, message, at_any_stage=True), Stage.RANKS)
    network.at(0.1, network.ask, 1, protocol.ready(), 0.0)
    network.drain(1)
    assert Kind.STOP in network.sent


def test_a_rank_that_begins_the_next_fit_is_kept_for_it():
    network, _ = accountants(2, 9, run=3)
    network.drain(0.1)
    network.server.receive(1, Message(Kind.BLOB, np.arange(3, dtype=np.uint8), run=4, stage=1, seq=50), 0.1)
    assert [peer.rank for peer in network.server.live] == [2]
    assert network.server.ahead[1].payload.tolist() == [0, 1, 2]
    assert not network.server.events
    network.ask(2, Message(Kind.READY, run=2), 0.0)
    network.drain(0.1)
    assert network.sent[-1] == Kind.STOP


def test_workers_that_have_taken_rank_0_for_lost_end_its_run():
    """They are in their next fit, while rank 0 has an epoch to do."""
    network, groups = accountants(2, 9, run=3)
    for rank in (1, 2):
        ahead = Message(Kind.BLOB, np.arange(3, dtype=np.uint8), run=4, stage=1, seq=500)
        network.at(0.01 * rank, network.server.receive, rank, ahead, 0.0)
    with pytest.raises(Lost, match=r"all workers were lost, the last one, rank 2 \(it has begun its next fit\)"):
        network.run(updates(network, groups, np.zeros(9), 10**6))
    assert sorted(network.server.ahead) == [1, 2]


def test_a_question_answered_by_wait_is_not_answered_again_in_its_stage():
    """A worker is ahead, is told to wait, and its next question is on the way when its stage begins."""
    network, groups = accountants(1, 9)
    server, sent = network.server, []
    server.send = lambda rank, message: sent.append(message.kind)
    server.receive(1, Message(Kind.READY, stage=Stage.EPOCHS, seq=1), 0.0)
    assert sent == []
    server.tick(1.0)
    assert sent == [Kind.WAIT]
    server.start(updates(network, groups, np.zeros(9), 9), Stage.EPOCHS)
    assert sent == [Kind.WAIT]
    server.receive(1, Message(Kind.READY, stage=Stage.EPOCHS, seq=2), 1.0)
    assert len(sent) == 2
    server.start(updates(network, groups, np.zeros(9), 9), Stage.EPOCHS)
    assert len(sent) == 2
    assert server.peers[1].held is None


def test_farewell_reaches_whoever_is_there():
    network, groups = accountants(4, 30, faults=[(0.0, 4, "dead")])
    network.run(updates(network, groups, np.zeros(30), 30))
    network.run(Farewell(network.server, Message(Kind.DONE)))
    assert network.sent.count(Kind.DONE) >= 3
    for rank in (1, 2, 3):
        network.ask(rank, Message(Kind.BYE), 0.0)
    network.drain()
    assert not network.server.live
    assert network.server.events == ["worker 4 was lost: silent for 6 s"]
