"""Who reads and writes when. There are no networks here: times and delays are worked out by hand, or by accounting."""

import itertools

import numpy as np
import pytest

from asysvrg.simulation.costs import Costs, crew
from asysvrg.simulation.engine import AllLost, DistributedEngine, Policy, SharedEngine
from asysvrg.simulation.events import Done, Read, Write
from asysvrg.simulation.times import times

ENGINES = {"shared": SharedEngine, "distributed": DistributedEngine}


def engine(architecture, workers, *, steps=40, compute=1.0, message=0.0, server=0.0, contention=0.0, policy="none",
           bound=None, speeds=None, late=None, lost=None, d=100, now=0.0):  # fmt: skip
    cost = Costs(times(compute, "compute"), times(message, "message"), times(server, "server"), 0.0, contention)
    people = crew(workers, speeds, late, lost)
    return ENGINES[architecture](cost, people, Policy(policy, bound), steps=steps, d=d, now=now, seed=[0, 0])


def run(*args, **kwargs):
    """The writes of an epoch, checked by accounting: each iteration once, delays by what was read."""
    one = engine(*args, **kwargs)
    events = list(one.events())
    writes = [event for event in events if isinstance(event, Write)]
    assert sorted(write.t for write in writes) == list(range(one.steps))
    assert [write.turn for write in writes] == list(range(one.steps))
    read, turn, begun = {}, 0, set()
    for event in events:
        if isinstance(event, Read):
            read[event.slot] = turn
        elif isinstance(event, Write):
            assert event.read == read.pop(event.slot) <= event.turn
            assert event.delay >= event.turn - event.read
            turn += 1
            begun |= {event.turn} if event.lasts else set()
        else:
            begun.remove(event.turn)
    assert not begun
    return writes, one


def test_a_worker_that_is_lost_before_the_server_hears_of_it_never_works():
    writes, one = run("distributed", 10, server=0.1, lost={9: 0.5})
    assert 9 not in {write.worker for write in writes} | one.alive | one.to_come


@pytest.mark.parametrize("architecture", ENGINES)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_equal_workers_have_a_delay_of_the_others(architecture, workers):
    writes, one = run(architecture, workers)
    assert [write.delay for write in writes[workers:]] == [workers - 1] * (40 - workers)
    assert one.now == -(-40 // workers)


def test_the_queue_of_the_server_bounds_the_updates_a_second():
    writes, one = run("distributed", 100, steps=200, server=0.1)
    assert one.now == pytest.approx(0.1 * (100 + 200))  # all ask at first; not 200 / 100 + 1 = 3 seconds
    assert max(write.delay for write in writes) == 99


def test_messages_take_time_both_ways():
    assert run("distributed", 1, steps=10, message=0.25)[1].now == pytest.approx(10 * 1.5)


def test_contention_is_that_of_the_workers_alive():
    assert run("shared", 4, contention=0.5)[1].now == pytest.approx(10 * 2.5)
    assert run("distributed", 4, contention=0.5, lost={2: 0.0, 3: 0.0})[1].now == pytest.approx(20 * 1.5)


@pytest.mark.parametrize("architecture", ENGINES)
def test_a_slow_worker_is_late(architecture):
    writes, _ = run(architecture, 4, steps=200, speeds={3: 0.1})
    slow = [write.delay for write in writes if write.worker == 3]
    assert len(slow) == pytest.approx(len(writes) / 31, abs=1)
    assert min(slow[1:-1]) >= 28
    assert max(write.delay for write in writes if write.worker != 3) <= 4


@pytest.mark.parametrize("architecture", ENGINES)
def test_workers_that_come_late_and_that_are_lost(architecture):
    writes, one = run(architecture, 3, compute=0.99, speeds=None, late={1: 5.0}, lost={2: 7.5}, server=0.01)
    assert min(write.seconds for write in writes if write.worker == 1) > 5.9
    assert max(write.seconds for write in writes if write.worker == 2) < 7.6
    assert one.alive == {0, 1}


@pytest.mark.parametrize("architecture", ENGINES)
def test_the_iteration_of_a_lost_worker_is_for_others(architecture):
    writes, one = run(architecture, 2, steps=4, lost={1: 0.5})
    assert [write.worker for write in writes] == [0] * 4
    assert one.now == 4


@pytest.mark.parametrize("architecture", ENGINES)
def test_all_workers_lost(architecture):
    with pytest.raises(AllLost, match=r"after 5\.5 virtual seconds"):
        list(engine(architecture, 2, lost={0: 3.0, 1: 5.5}).events())


MANY = [
    {"workers": workers, "compute": compute, "message": message, "server": server}
    for workers, compute, (message, server) in itertools.product(
        (1, 2, 7, 30), ("exponential:1", "pareto:1:1.5", "constant:1"), ((0, 0), (0.3, 0.2), (0, 0.2), (0.3, 0))
    )
]


@pytest.mark.parametrize("architecture", ENGINES)
@pytest.mark.parametrize("policy", ["none", "wait", "drop", "adaptive"])
def test_policies_keep_their_word(architecture, policy):
    for setting, bound in itertools.product(MANY, (0, 1, 4)):
        writes, one = run(architecture, policy=policy, bound=bound, **setting)
        delays = np.array([write.delay for write in writes])
        if policy in ("wait", "drop"):
            assert delays.max() <= bound
        for write in writes:
            most = setting["workers"] / (write.delay + 1)
            assert write.factor == (min(1.0, most) if policy == "adaptive" else 1.0)
        assert policy == "drop" or one.dropped == 0


def test_dropping_frees_the_others_of_a_slow_worker():
    _, waits = run("distributed", 10, steps=300, speeds={0: 0.1}, policy="wait", bound=12)
    writes, drops = run("distributed", 10, steps=300, speeds={0: 0.1}, policy="drop", bound=12)
    assert drops.now <= 50 < 200 < waits.now
    assert drops.dropped >= 3
    assert sum(write.worker == 0 for write in writes) <= 1  # the last one, for which nobody else has work


# ---- Reads and writes that overlap, Eq. (6). ----


def seen_by_hand(since, lasts, written_at, takes, first, d):
    """For each coordinate, whether it is read after it is written."""
    share = (np.arange(d) + 0.5) / d
    return since + lasts * share >= written_at + takes * ((share - first) % 1)


@pytest.mark.parametrize("seen", [True, False])
def test_pieces_are_the_coordinates_that_come_late(seen):
    one, rng = engine("shared", 2, d=1000), np.random.default_rng(1)
    sizes = []
    for _ in range(300):
        since, lasts, written_at, takes, first = rng.random(5) * [2, 2, 2, 2, 1]
        found = np.zeros(1000, dtype=bool)
        for begin, end in one._pieces(since, lasts, written_at, takes, first, seen=seen):
            assert not found[begin:end].any()
            found[begin:end] = True
        expected = seen_by_hand(since, lasts, written_at, takes, first, 1000) == seen
        assert (found != expected).sum() <= 3  # at the edges
        sizes.append(found.mean())
    assert 0.05 < np.mean(sizes) < 0.95


def test_what_overlaps_is_seen_in_part():
    one = engine("shared", 6, steps=300, compute="exponential:1", message=0.4, server=0.4)
    missed, arrived, open_ = 0, 0, set()
    for event in one.events():
        if isinstance(event, Read):
            assert {turn for turn, _, _ in event.without} <= open_
            missed += len(event.without)
        elif isinstance(event, Write):
            open_.add(event.turn)
            arrived += len(event.arrives)
        else:
            assert isinstance(event, Done)
            open_.remove(event.turn)
    assert missed > 50
    assert arrived > 50
