"""How a rank waits: with stand-ins for MPI and for the clock."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.simulation import FAKE, Visits

from asysvrg.distributed._link import ANSWER, QUESTION, Link
from asysvrg.distributed._message import Message
from asysvrg.distributed.endpoint import TICK, Backoff, Endpoint
from asysvrg.distributed.protocol import Kind
from asysvrg.distributed.server import Server


def test_a_server_that_waits_looks_round_in_time(monkeypatch):
    visits, ticks = Visits(5, 6, 400), []
    endpoint = Endpoint.__new__(Endpoint)
    endpoint.link, endpoint.server, endpoint.next_tick = (
        Link(FAKE, visits, ANSWER, QUESTION),
        Server([1], None, 0.0),
        0.02,
    )
    endpoint.looked = 0.0
    endpoint.link.listen([1])
    monkeypatch.setattr(endpoint.server, "tick", ticks.append)
    monkeypatch.setattr("asysvrg.distributed.endpoint.time.monotonic", lambda: visits.now)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    while visits.left:
        endpoint.wait(visits)
    assert visits.came_after == [5, 6, 400]
    assert endpoint.server.peers[1].heard == visits.now
    steps = np.diff([0.0, *ticks])
    assert len(ticks) == 4
    assert steps[0] == pytest.approx(0.02)
    assert steps[1:] == pytest.approx(TICK, abs=1.1e-3)


def test_silence_while_this_rank_was_away_does_not_count(monkeypatch):
    """All ranks were paused for half a minute, say. Silence while this one looked does."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("asysvrg.distributed.endpoint.time.monotonic", lambda: clock.now)
    link = SimpleNamespace(poll=list, listen=lambda ranks: None)
    endpoint = Endpoint(link, Server([1, 2], None, 0.0), range(1, 3))
    for rank in (1, 2):
        endpoint.server.receive(rank, Message(Kind.ALIVE), 0.0)
    clock.now = 9.0
    endpoint.look()
    clock.now = 40.0
    endpoint.look()
    assert len(endpoint.server.live) == 2
    while clock.now < 51.0:
        clock.now += 0.5
        endpoint.look()
    assert not endpoint.server.live


@pytest.mark.parametrize("wait", ["sleep", "yield", "spin"])
def test_backoff(wait, monkeypatch):
    """Time passes while the core is given or offered; 20 microseconds at an offer."""
    now, slept, offered = [0.0], [], []

    def passes(log):
        def wait(seconds=20e-6):
            log.append(seconds)
            now[0] += seconds

        return wait

    def message(after):
        slept.clear()
        offered.clear()
        backoff.reset()
        end = now[0] + after
        for _ in range(10_000):
            if now[0] < end:
                before = len(slept)
                assert bool(backoff.pause()) == (len(slept) > before)
        backoff.came()
        return bool(slept)

    monkeypatch.setattr("asysvrg.distributed.endpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr("asysvrg.distributed.endpoint.time.sleep", passes(slept))
    monkeypatch.setattr("asysvrg.core.system.offer_core", passes(offered))
    backoff = Backoff(wait)
    assert message(after=0.1) == (wait == "sleep")
    if wait != "sleep":
        assert bool(offered) == (wait == "yield")
        return
    assert slept[0] == 50e-6
    assert max(slept) == 1e-3
    assert message(after=0.1)
    assert not offered  # messages take long
    for _ in range(100):
        short = message(after=100e-6)
    assert not short  # they do not any more
    assert message(after=1e-3)
    assert 150e-6 < sum(offered) < 250e-6
