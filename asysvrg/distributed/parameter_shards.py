"""A server beside rank 0: it keeps one range of x, which rank 0 gives it when an epoch begins, and hands it back."""

from __future__ import annotations

from typing import Any

import numpy as np

from asysvrg.core.network import aligned_zeros
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.messages import Kind, Mask, Message
from asysvrg.distributed.server import Peer, Server
from asysvrg.distributed.tasks import Farewell, Part

PATIENCE = 0.25  # seconds for which rank 0 is not answered while its epoch is not complete here


class Deputy(Server):
    """The `Server` of a rank beside rank 0, which alone decides whether the run can go on without a worker."""

    def lose(self, rank: int, why: str) -> None:
        super().lose(rank, why)
        self.failure = None


class PartUpdates:
    """m updates of a range as they arrive: each is answered with the range as it is then."""

    done = False  # rank 0 knows

    def __init__(self, server: Server, part: Part):
        self.server, self.part = server, part

    def take(self, peer: Peer, message: Message) -> None:
        part, peer.asked = self.part, message.a
        if message.kind == Kind.GRAD and not (
            message.a == part.epoch and part.apply(part.codec.arrived(message.payload), message.c, message.b)
        ):
            self.server.dropped += 1

    def offer(self, peer: Peer) -> Message | None:
        part = self.part
        if peer.asked > part.epoch:  # one that rank 0 has told the worker of, and not yet this server
            return None
        return Message(Kind.PART, Mask.X, a=part.epoch, b=part.applied, payload=(part.parameters(),))

    def lose(self, peer: Peer) -> None: ...


class RangeServer:
    """What a server other than rank 0 hears from rank 0, and says to it.

    Parameters
    ----------
    server : Deputy
        For the workers.
    size : int
        Coordinates of the range.
    dtype : dtype
    codec : Codec
        Of x and v of this range in messages.
    phase : int
        Of the work.
    """

    def __init__(self, server: Deputy, size: int, dtype: np.dtype, codec: Codec, phase: int):
        self.server, self.codec, self.phase = server, codec, phase
        self.x, self.snap = aligned_zeros((size,), dtype), aligned_zeros((size,), dtype)
        self.part: Part | None = None
        self.hand: tuple[bool, float] | None = None  # rank 0 wants the range: whether as it is; when it said so
        self.done = False
        self.carried = 0

    def hear(self, message: Message, now: float) -> None:
        """Takes rank 0's answer."""
        if message.kind == Kind.BEGIN:
            eta = float(message.payload[:8].view(np.float64)[0])
            self.x[:] = message.payload[8:].view(self.x.dtype)
            self.snap[:] = self.x
            self.part = Part(self.x, self.snap, epoch=message.a, steps=message.b, eta=eta, codec=self.codec)
            self._do(PartUpdates(self.server, self.part))
        elif message.kind == Kind.HAND:
            self.hand = bool(message.a), now
        elif message.kind == Kind.DONE:
            self.done = True
            self._do(Farewell(self.server, Message(Kind.DONE)))
        elif message.kind != Kind.WAIT:
            raise ValueError(f"a server got a message of kind {message.kind} from rank 0")

    def _do(self, job: Any) -> None:
        self.server.start(job, self.phase)

    def say(self, now: float, carried: int) -> Message | None:
        """What to say to rank 0 next, if it is time: the range when an epoch is complete.

        Parameters
        ----------
        now : float
        carried : int
            Bytes of all messages to and from workers.
        """
        if self.hand is None:
            return Message(Kind.READY)
        at_once, since = self.hand
        if not (at_once or self.part.complete):
            if now < since + PATIENCE:
                return None
            self.hand = None
            return Message(Kind.READY)
        self.hand = None
        dropped, self.server.dropped = self.server.dropped, 0
        carried, self.carried = carried - self.carried, carried
        return Message(Kind.RANGE, a=self.part.epoch, b=dropped, c=carried, payload=(self.x,))
