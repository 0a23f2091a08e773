"""The server's wait for messages, with a stand-in for MPI."""

import numpy as np
import pytest
from asysvrg.distributed._link import ServerLink
from helpers.simulation import FAKE, Visits

from asysvrg.distributed.endpoint import TICK, Desk
from asysvrg.distributed.server import Server


def test_a_server_that_waits_looks_round_in_time(monkeypatch):
    visits, ticks = Visits(5, 6, 400), []
    desk = Desk.__new__(Desk)
    desk.link, desk.server, desk.next_tick = ServerLink(FAKE, visits), Server([1], None, 0.0), 0.02
    desk.link.listen([1])
    monkeypatch.setattr(desk.server, "tick", ticks.append)
    monkeypatch.setattr("asysvrg.distributed.endpoint.time.monotonic", lambda: visits.now)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    while visits.left:
        desk.wait(visits)
    assert visits.came_after == [5, 6, 400]
    assert desk.server.peers[1].heard == visits.now
    steps = np.diff([0.0, *ticks])
    assert len(ticks) == 4
    assert steps[0] == pytest.approx(0.02)
    assert steps[1:] == pytest.approx(TICK, abs=1.1e-3)
