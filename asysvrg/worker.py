"""A worker of Algorithm 3: the state machine, and the computing behind it; no MPI."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from asysvrg._network import Network, Samples, aligned_zeros
from asysvrg._shared import InnerLoop
from asysvrg.codec import Codec
from asysvrg.messages import PIECE, Kind, Mask, Message, pack, unpack, vectors
from asysvrg.objective import save_work


def sharing(mine: dict[str, Any]) -> Generator[Message, Message, dict[str, Any]]:
    """A worker's side of an exchange: yields messages, is sent the answers, returns what rank 0 made of it."""
    blob, got, size = pack(mine), bytearray(), -1
    message = Message(Kind.BLOB, a=0, b=blob.size, payload=(blob[:PIECE],))
    while len(got) != size:
        answer = yield message
        if answer.kind == Kind.MORE:
            message = Message(Kind.BLOB, a=answer.a, b=blob.size, payload=(blob[answer.a : answer.a + PIECE],))
            continue
        if answer.kind == Kind.ANSWER and answer.a == len(got):
            got += answer.payload.tobytes()
            size = answer.b
        message = Message(Kind.READY, a=len(got))
    return unpack(np.frombuffer(got, dtype=np.uint8))


class Worker:
    """Answers the server's messages with shards of the full gradient and with directions.

    Parameters
    ----------
    network : Network
    samples : Samples
        This rank's.
    alpha : float or array
        As for `Objective`.
    batch_size : int
    seed : int
        Of all draws, the same on every rank.
    threads : int
    cache_bytes : float
        As for `Objective`; the cache is used where all of this rank's samples were swept here.
    codec : Codec
        Of x and v in messages.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: float | np.ndarray,
        batch_size: int,
        seed: int,
        threads: int,
        cache_bytes: float,
        codec: Codec,
    ):
        self.network, self.samples, self.batch_size, self.threads = network, samples, batch_size, threads
        self.codec = codec
        self.may_keep, self.cache, self.swept = save_work(network, samples, cache_bytes), None, 0
        self.loop = InnerLoop(
            network, samples, alpha=alpha, batch_size=batch_size, coordinates=0, block=1, max_delay=None, seed=seed,
            threads=threads, update="serial" if threads == 1 else "atomic",
        )  # fmt: skip
        self.snap, self.mu = network.vector(), network.vector()
        self.gradients = aligned_zeros((threads, network.size), network.dtype)
        self.v = network.vector()

    def answer(self, message: Message) -> Message | None:
        """What to send next; None when the work is done."""
        if message.kind in (Kind.DONE, Kind.STOP):
            return None
        given = vectors(message, self.network.dtype, self.codec.nbytes)
        if Mask.SNAP in given:
            self.snap[:], self.swept = given[Mask.SNAP], 0
        if Mask.MU in given:
            self.mu[:] = given[Mask.MU]
        if message.kind == Kind.SHARD:
            return self._full(message)
        if message.kind == Kind.STEP:
            return self._step(message, self.codec.received(given[Mask.X], self.snap))
        if message.kind != Kind.WAIT:
            raise ValueError(f"a worker got a message of kind {message.kind}")
        return Message(Kind.READY)

    def _full(self, message: Message) -> Message:
        rows, keep = (message.c, message.d), bool(message.mask & Mask.KEEP) and self.may_keep
        if keep and self.cache is None:
            self.cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        loss, errors = self.network.sweep(
            self.samples, self.snap, self.threads, self.gradients, self.cache if keep else None, rows=rows
        )
        with np.errstate(over="ignore", invalid="ignore"):
            np.sum(self.gradients, axis=0, out=self.v)
        count = rows[1] - rows[0]
        self.swept += count if keep else 0
        parts = self.v, np.array([loss, errors])
        return Message(Kind.FULL, a=message.a, b=message.b, c=count, payload=parts)

    def _step(self, message: Message, x: np.ndarray) -> Message:
        svrg = bool(message.mask & Mask.SVRG)
        cache = self.cache if self.swept == self.samples.size else None
        self.loop.direction(
            x,
            self.v,
            message.c,
            direction="svrg" if svrg else "sgd",
            epoch=message.a,
            mu=self.mu,
            x_snap=self.snap,
            cache=cache,
        )
        evaluated = self.batch_size * (2 if svrg and cache is None else 1)
        v = self.codec.direction(self.v, message.a)
        return Message(Kind.GRAD, a=message.a, b=message.b, c=message.c, d=evaluated, payload=(v,))
