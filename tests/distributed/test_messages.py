"""Messages, blobs, systematic draws, and how a rank waits."""

import numpy as np
import pytest
from asysvrg.distributed._message import HEADER, Buffer, Message

from asysvrg.distributed.messages import Backoff, Kind, Mask, pack, systematic, unpack, vectors

# ---- Pieces. ----


def test_systematic_draws():
    shares = np.array([9, 1, 5])
    counts = np.array([np.bincount(systematic(s, shares, 200), minlength=3) for s in np.linspace(0, 1, 50, False)])
    np.testing.assert_allclose(counts / 200, np.broadcast_to(shares / 15, counts.shape), atol=0.02)
    first = [systematic(s, shares, 1)[0] for s in (np.arange(3000) + 0.5) / 3000]
    np.testing.assert_allclose(np.bincount(first) / 3000, shares / 15, atol=1e-3)
    assert (systematic(0.999999, [1.0], 50) == 0).all()


def test_messages_come_out_as_they_went_in():
    array = np.zeros(1000, np.uint8)
    buffer = Buffer(array)
    x, v = np.arange(5.0), np.ones(5)
    message = Message(Kind.STEP, Mask.X | Mask.SNAP, 3, 70_000, 12, -1, 2**40, 7, 8, (x, v))
    size = buffer.write(message)
    assert size == HEADER + 80
    found = buffer.read()
    for name in ("kind", "mask", "phase", "run", "seq", "a", "b", "c", "d"):
        assert getattr(found, name) == getattr(message, name)
    given = vectors(found, np.dtype(float), 40)
    assert (given[Mask.X].view(float) == x).all()
    assert (given[Mask.SNAP] == v).all()
    array[0] += 1
    with pytest.raises(ValueError, match="protocol version 2, expected 1"):
        buffer.read()
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        buffer.write(message.carrying((np.zeros(200),)))
    with pytest.raises(ValueError, match="less than a header"):
        Buffer(np.zeros(HEADER - 1, np.uint8))


def test_a_message_changes_its_stamp_or_its_payload():
    message = Message(Kind.GRAD, Mask.X, 1, 2, 3, 4, 5, 6, 7, (np.ones(3),))
    stamped, carrying = message.stamped(10, -1, 30), message.carrying(())
    names = "kind", "mask", "a", "b", "c", "d"
    assert [getattr(stamped, name) for name in names] == [getattr(carrying, name) for name in names]
    assert (stamped.phase, stamped.run, stamped.seq, stamped.payload) == (10, -1, 30, message.payload)
    assert (carrying.phase, carrying.run, carrying.seq, carrying.payload) == (1, 2, 3, ())
    answer = message.answered(Kind.FULL, 8, ())
    assert [getattr(answer, name) for name in names] == [Kind.FULL, 0, 4, 5, 6, 8]


def test_a_vector_may_lie_where_it_is_sent_from():
    array = np.zeros(HEADER + 24, np.uint8)
    buffer = Buffer(array)
    v = buffer.vector(3, np.dtype(float))
    v[:] = 1, 2, 3
    assert buffer.write(Message(Kind.GRAD, run=-1, payload=(v,))) == HEADER + 24
    assert buffer.read().run == -1
    assert (array[HEADER:].view(float) == v).all()
    assert buffer.write(Message(Kind.GRAD, payload=(np.ones(2),))) == HEADER + 16  # another, over it
    assert v.tolist() == [1, 1, 3]
    assert (buffer.read().payload.view(float) == 1).all()


def test_blobs():
    value = {"n": 3, "inf": float("inf"), "words": ["a", None], "array": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = unpack(pack(value))
    assert (found.pop("array") == value.pop("array")).all()
    assert found == value
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(pack({"bad": np.array([print], dtype=object)}))


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

    monkeypatch.setattr("asysvrg.distributed.messages.time.monotonic", lambda: now[0])
    monkeypatch.setattr("asysvrg.distributed.messages.time.sleep", passes(slept))
    monkeypatch.setattr("asysvrg.distributed.messages.os.sched_yield", passes(offered))
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
