"""Channels over MPI's requests, with a stand-in for MPI."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.simulation import FAKE, Visits

from asysvrg.distributed._link import ANSWER, QUESTION, Link
from asysvrg.distributed._message import HEADER
from asysvrg.distributed.protocol import Kind, Message


def server_link(comm):
    return Link(FAKE, comm, ANSWER, QUESTION)


def participant_link(comm):
    return Link(FAKE, comm, QUESTION, ANSWER)


@pytest.mark.parametrize("failing", [False, True])
def test_a_worker_that_waits_looks_round_in_time(failing, monkeypatch):
    """Also where MPI has an error in the place of an answer."""
    visits = Visits(60, failing=failing)
    link = participant_link(visits)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    link.send(0, Message(Kind.READY), question=True)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    assert link.wait(visits.pause, 0.02) == []
    assert visits.now == pytest.approx(0.02)
    [(rank, message)] = link.wait(visits.pause, 1.0)
    assert rank == 0
    assert message is None if failing else message.kind == Kind.ALIVE
    assert visits.looks == 60


def test_who_is_lost_to_mpi_is_given_up():
    """Once; it is neither listened nor sent to again, and what MPI may still write to is kept."""
    visits, sent = Visits(3, failing=True), []
    visits.Send_init = lambda *what: sent.append(what)
    link = server_link(visits)
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


def test_requests_are_made_once_and_freed():
    """One for messages of a size; but one that MPI may still use is not freed."""
    requests = Requests()
    link = participant_link(requests)
    for _ in range(3):
        link.send(0, Message(Kind.READY), question=True, last=True)
    assert requests.made == [HEADER]
    link.send(0, Message(Kind.DIRECTION, (np.ones(2),)), question=True, last=True)
    assert requests.made == [HEADER, HEADER + 16]
    assert requests.freed == 1
    requests.done = False
    link.close()
    assert requests.freed == 1
    requests.done = True
    link.close()
    assert requests.freed == 2


def test_an_answer_does_not_wait_for_the_one_before():
    """It gets a request of its own, and all of them are freed."""
    requests = Requests()
    link = server_link(requests)
    link.listen([1])
    for done in (True, False, True):
        requests.done = done
        link.send(1, Message(Kind.WAIT))
    link.close()
    assert len(requests.made) == requests.freed == 3


def test_a_question_that_does_not_leave_is_a_lost_server(monkeypatch):
    requests, now = Requests(), iter(range(0, 1000, 10))
    link = participant_link(requests)
    link.send(0, Message(Kind.READY), question=True)
    requests.done = False
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: next(now))
    link.send(0, Message(Kind.READY), question=True)
    assert link.poll() == [(0, None)]
    assert len(requests.made) == 2


@pytest.mark.parametrize(("sleeps", "pauses"), [(True, 40), (False, 20)])
@pytest.mark.parametrize("make", [server_link, participant_link])
def test_looks_of_who_waits(make, sleeps, pauses, monkeypatch):
    """Two at first, and after each pause; one after a sleep."""
    visits = Visits(42, sleeps=sleeps)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    link = make(visits)
    link.listen([1])
    assert link.wait(visits.pause, 1.0)
    assert visits.looks == 42
    assert visits.now == pytest.approx(pauses * 1e-3)
