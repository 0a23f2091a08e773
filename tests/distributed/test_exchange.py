"""Exchanges of dicts in a simulated network (helpers/simulation.py)."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.simulation import Network

from asysvrg.distributed import protocol
from asysvrg.distributed.exchange import Exchange, pack, take_part, unpack
from asysvrg.distributed.protocol import PIECE, RankError, Stage


class Sharer:
    """A worker that takes part in exchanges, one after another."""

    def __init__(self, network, rank, values):
        self.network, self.rank, self.values, self.got = network, rank, iter(values), []
        self.talk = take_part(next(self.values))
        next(self.talk)
        self.started = False

    def answer(self, message):
        if not self.started:  # the READY that Network sends first stands for nothing here
            self.started = True
        try:
            return self.talk.send(message)
        except StopIteration as end:
            self.got.append(end.value)
        following = next(self.values, None)
        if following is None:
            return None
        self.network.stage[self.rank] += 1
        self.talk = take_part(following)
        return next(self.talk)


@pytest.mark.parametrize("seed", range(10))
def test_exchange(seed):
    """Blobs of several pieces, ranks that are ahead of others, one that dies on the way."""
    rng = np.random.default_rng(seed)
    big = {rank: rng.random(3 * PIECE // 8 + rank) for rank in range(1, 5)}
    faults = [(rng.uniform(0, 0.5), 4, "dead")]
    network = Network(dict.fromkeys(range(1, 5)), seed, capacity=PIECE + 200, faults=faults, stage=Stage.RANKS)
    network.workers = {
        rank: Sharer(network, rank, [{"big": big[rank], "n": rank}, {"n": 10 * rank}]) for rank in range(1, 5)
    }
    seen = []

    def combine(given):
        seen.append(sorted(given))
        for rank in given:
            assert rank == 0 or (given[rank]["big"] == big[rank]).all()
        return {"sum": sum(one["n"] for one in given.values()), "big": big[2]}

    first = network.run(Exchange(network.server, {"n": 100}, combine), Stage.RANKS)
    task = Exchange(network.server, {"n": 1000}, lambda given: {k: {"for": k} for k in given}, own=True)
    network.run(task, Stage.LABELS)
    network.drain(1)
    assert seen in ([[0, 1, 2, 3, 4]], [[0, 1, 2, 3]])
    for rank in (1, 2, 3):
        answer, own = network.workers[rank].got
        assert answer["sum"] == first.answer["sum"]
        assert (answer["big"] == big[2]).all()
        assert own == {"for": rank}
    assert task.answer == {"for": 0}


def test_blobs():
    value = {"n": 3, "inf": float("inf"), "words": ["a", None], "array": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = unpack(pack(value).tobytes())
    assert (found.pop("array") == value.pop("array")).all()
    assert found == value
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(pack({"bad": np.array([print], dtype=object)}).tobytes())


@pytest.mark.parametrize(("here", "there"), [(Stage.LABELS, Stage.RANDOM_STATE), (Stage.RANDOM_STATE, Stage.LABELS)])
@pytest.mark.parametrize("ahead", [False, True])
def test_ranks_at_different_stages_end_with_an_error_that_names_both(here, there, ahead):
    """The other rank's message may be there before rank 0 begins its exchange."""
    network = Network({1: SimpleNamespace(answer=lambda message: protocol.ready())}, stage=there)
    if ahead:
        network.drain(1)
    with pytest.raises(RankError, match=f"^rank 1 is at stage {there.name}, rank 0 at stage {here.name}$"):
        network.run(Exchange(network.server, {}, lambda given: given[0]), here)


def test_a_rank_that_computes_while_rank_0_exchanges_is_an_error():
    network = Network({1: SimpleNamespace(answer=lambda message: protocol.ready())})
    with pytest.raises(RankError, match=r"^rank 1 is at stage EPOCHS, rank 0 at stage WORKERS$"):
        network.run(Exchange(network.server, {}, lambda given: given[0]), Stage.WORKERS)
