"""Messages, and their form in a buffer."""

import numpy as np
import pytest

from asysvrg.distributed import protocol
from asysvrg.distributed._message import HEADER, Buffer
from asysvrg.distributed.protocol import Flag, Kind, Message

FIELDS = (
    "stage", "run", "seq", "epoch", "version", "iteration", "evaluated", "sweep", "shard", "first", "last", "offset",
    "total",
)  # fmt: skip


def test_messages_come_out_as_they_went_in():
    array = np.zeros(1000, np.uint8)
    buffer = Buffer(array)
    x, v = np.arange(5.0), np.ones(5)
    numbers = dict(zip(FIELDS, (9, -1, *range(2**40, 2**40 + 11)), strict=True)) | {"l2_factor": 1.5}
    message = Message(Kind.STEP, (x, v), Flag.SNAPSHOT | Flag.SVRG, **numbers)
    size = buffer.write(message)
    assert size == HEADER + 80
    found = buffer.read()
    for name in ("kind", "flags", *numbers):
        assert getattr(found, name) == getattr(message, name), name
    assert (found.payload[:40].view(float) == x).all()
    snapshot, mu = protocol.new_vectors(found, np.dtype(float), 40)
    assert (snapshot == v).all()
    assert mu is None
    array[0] += 1
    with pytest.raises(ValueError, match="protocol version 3, expected 2"):
        buffer.read()
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        buffer.write(Message(Kind.STEP, (np.zeros(200),)))
    with pytest.raises(ValueError, match="less than a header"):
        Buffer(np.zeros(HEADER - 1, np.uint8))


def test_a_detached_message_outlives_its_buffer():
    array = np.zeros(1000, np.uint8)
    Buffer(array).write(protocol.piece(np.arange(9, dtype=np.uint8), 2))
    message = Buffer(array).read()
    message.stamp(3, -1, 30)
    message.detach()
    array[:] = 0
    assert (message.stage, message.run, message.seq, message.offset, message.total) == (3, -1, 30, 2, 9)
    assert message.payload.tolist() == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("kind", [ValueError, protocol.Lost, protocol.RankError, KeyError])
def test_errors_are_raised_again_by_their_kind(kind):
    message = protocol.failed(Kind.STOP, kind(), "so it is")
    error = protocol.error_in(Message(Kind.STOP, message.payload[0]), "rank 3: ")
    assert type(error) is (protocol.RankError if kind is KeyError else kind)
    assert str(error) == "rank 3: so it is"


def test_a_vector_may_lie_where_it_is_sent_from():
    array = np.zeros(HEADER + 24, np.uint8)
    buffer = Buffer(array)
    v = buffer.vector(3, np.dtype(float))
    v[:] = 1, 2, 3
    assert buffer.write(Message(Kind.DIRECTION, (v,), run=-1)) == HEADER + 24
    assert buffer.read().run == -1
    assert (array[HEADER:].view(float) == v).all()
    assert buffer.write(Message(Kind.DIRECTION, (np.ones(2),))) == HEADER + 16  # another, over it
    assert v.tolist() == [1, 1, 3]
    assert (buffer.read().payload.view(float) == 1).all()
