"""Requests of MPI, with a stand-in for MPI."""

from types import SimpleNamespace

import numpy as np
import pytest
from asysvrg.distributed._link import ServerLink, WorkerLink
from asysvrg.distributed._message import HEADER, Message
from helpers.simulation import FAKE, Visits

from asysvrg.distributed.messages import Kind, Lost


@pytest.mark.parametrize("failing", [False, True])
def test_a_worker_that_waits_looks_round_in_time(failing, monkeypatch):
    """Also where MPI has an error in the place of an answer."""
    visits = Visits(60, failing=failing)
    link = WorkerLink(FAKE, visits, 0)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    link.ask(Message(Kind.READY), 1, 0)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    assert link.wait(visits.pause, 0.02) is None
    assert visits.now == pytest.approx(0.02)
    if failing:
        with pytest.raises(Lost, match="it is gone"):
            link.wait(visits.pause, 1.0)
    else:
        assert link.wait(visits.pause, 1.0).kind == Kind.ALIVE
    assert visits.looks == 60


def test_a_server_gives_up_whom_mpi_gives_up():
    """Once; it neither listens nor sends to that rank again, and what MPI may still write to is kept."""
    visits, sent = Visits(3, failing=True), []
    visits.Send_init = lambda *what: sent.append(what)
    link = ServerLink(FAKE, visits)
    link.listen([1])
    assert [link.poll() for _ in range(5)] == [[], [], [(1, None)], [], []]
    link.send(1, Message(Kind.WAIT))
    link.listen([1])
    assert link.poll() == sent == []


class Requests:
    """In the place of MPI's communicator and of all its requests, which are done or are not."""

    def __init__(self):
        self.made, self.freed, self.done = [], 0, True

    def make(self, what, rank, tag):
        self.made.append(what[1])
        return self

    Send_init = Recv_init = make

    def Start(self): ...

    def Test(self):
        return self.done

    def Free(self):
        self.freed += 1


def test_requests_are_made_once_and_given_back():
    """One for messages of a size; but not one that MPI may still be at."""
    requests = Requests()
    link = WorkerLink(FAKE, requests, 0)
    for _ in range(3):
        link.post(Message(Kind.READY), 1, 0)
    assert requests.made == [HEADER]
    link.post(Message(Kind.GRAD, payload=(np.ones(2),)), 1, 0)
    assert requests.made == [HEADER, HEADER + 16]
    assert requests.freed == 1
    requests.done = False
    link.close()
    assert requests.freed == 1
    requests.done = True
    link.close()
    assert requests.freed == 2


def test_a_server_gives_its_requests_back():
    """Also one of a message that was not on its way yet when the next one was to be sent."""
    requests = Requests()
    link = ServerLink(FAKE, requests)
    link.listen([1])
    for done in (True, False, True):
        requests.done = done
        link.send(1, Message(Kind.WAIT))
    link.close()
    assert len(requests.made) == requests.freed == 3


@pytest.mark.parametrize(("sleeps", "pauses"), [(True, 40), (False, 20)])
@pytest.mark.parametrize("end", ["server", "worker"])
def test_looks_of_who_waits(end, sleeps, pauses, monkeypatch):
    """Two at first, and after each pause; one after a sleep."""
    visits = Visits(42, sleeps=sleeps)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    if end == "server":
        link = ServerLink(FAKE, visits)
        link.listen([1])
    else:
        link = WorkerLink(FAKE, visits, 0)
        link.ask(Message(Kind.READY), 0, 0)
    assert link.wait(visits.pause, 1.0)
    assert visits.looks == 42
    assert visits.now == pytest.approx(pauses * 1e-3)
