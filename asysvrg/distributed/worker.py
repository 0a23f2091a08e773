"""A worker of Algorithm 3: the state machine, and the computing behind it; no MPI."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from asysvrg.core.inner import InnerLoop
from asysvrg.core.network import Network, Samples, aligned_zeros
from asysvrg.core.schedule import l2_factor
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.messages import PIECE, Kind, Mask, Message, pack, unpack, vectors

NEW = Mask.SNAP | Mask.MU


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
    """Answers the servers' messages with shards of the full gradient and with directions.

    A direction is computed when rank 0 has said which, and all other servers have answered the one before with their
    ranges of x: when it arrives at rank 0, the one before has arrived everywhere.

    Parameters
    ----------
    network : Network
    samples : Samples
        This rank's.
    alpha : float or array
        As for `Objective`.
    alpha_boost : float, default=1
        As for `Schedule`.
    batch_size : int
    sampling : {"replacement", "shuffle"}
        As for `SharedExecution`.
    seed : int
        Of all draws, the same on every rank.
    threads : int
    may_keep : bool
        Whether memory allows the snapshot's cache.
    codecs : sequence of Codec
        Of x and v in messages to and from each server.
    ranges : sequence of slice, optional
        Each server's coordinates.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: float | np.ndarray,
        alpha_boost: float = 1.0,
        batch_size: int,
        sampling: str = "replacement",
        seed: int,
        threads: int,
        may_keep: bool,
        codecs: Sequence[Codec],
        ranges: Sequence[slice] = (slice(None),),
    ):
        self.network, self.samples, self.batch_size, self.threads = network, samples, batch_size, threads
        self.codecs, self.ranges, self.alpha_boost = codecs, ranges, alpha_boost
        self.step: tuple[Message, np.ndarray] | None = None  # from rank 0, to be carried out, with its range of x
        # From the other servers, in their order; None from one that has been asked.
        self.parts: list[Message | None] = [Message(Kind.PART, a=-1) for _ in ranges[1:]]
        self.may_keep = may_keep
        self.cache, self.known, self.keeps = None, np.zeros(samples.size, dtype=np.int32), False
        self.loop = InnerLoop(
            network, samples, alpha=alpha, batch_size=batch_size, seed=seed, threads=threads, execution="shared",
            update="plain", replacement=sampling == "replacement",
        )  # fmt: skip
        self.snap, self.mu = network.vector(), network.vector()
        self.gradients = aligned_zeros((threads, network.size), network.dtype)
        self.v = network.vector()
        self.x = network.vector() if self.parts else None

    def answer(self, message: Message, rank: int = 0) -> dict[int, Message] | None:
        """What to send next, by server; None when the work is done.

        Parameters
        ----------
        message : Message
            Of a server; valid until this gives something to send to it.
        rank : int, default=0
            That server's.
        """
        if rank:
            return self._of_another(message, rank)
        kind, mask = message.kind, message.mask
        if mask & NEW:
            given = vectors(message, self.network.dtype, self.codecs[0].nbytes)
            if mask & Mask.SNAP:
                self.snap[:] = given[Mask.SNAP]
                self.known[:], self.keeps = 0, False
            if mask & Mask.MU:
                self.mu[:] = given[Mask.MU]
        if kind == Kind.STEP:
            given, size = message.payload, self.codecs[0].nbytes
            if given.size != size:  # else the same array as the last time, where codecs know it
                given = given[:size]
            if not self.parts:
                return self._step(message, given)
            self.step = message, given
            return self._next()
        if kind == Kind.SHARD:
            return {0: self._full(message)}
        if kind in (Kind.DONE, Kind.STOP):
            return None
        if kind != Kind.WAIT:
            raise ValueError(f"a worker got a message of kind {kind}")
        return {0: Message(Kind.READY)}

    def _of_another(self, message: Message, rank: int) -> dict[int, Message]:
        """What a server other than rank 0 answered."""
        if message.kind == Kind.WAIT:
            return {rank: self._wish()}
        if message.kind == Kind.DONE:  # which rank 0 is about to say, too
            waits, self.step = self.step is not None, None
            return {0: Message(Kind.READY)} if waits else {}
        self.parts[rank - 1] = message
        return self._next()

    def _wish(self) -> Message:
        """For a range of x, not of an older epoch than rank 0's."""
        return Message(Kind.READY, a=-1 if self.step is None else self.step[0].a)

    def _next(self) -> dict[int, Message]:
        """The direction, if all is there that it takes."""
        if self.step is None:
            return {}
        step, given = self.step
        questions = self._ask_again(step.a)
        if questions or None in self.parts:
            return questions
        self.step = None
        return self._step(step, given)

    def _ask_again(self, epoch: int) -> dict[int, Message]:
        """For ranges of x of an older epoch.

        One of a newer epoch will do: that epoch has begun without this worker, and drops what it delivers.
        """
        old = [rank for rank, part in enumerate(self.parts, 1) if part is not None and part.a < epoch]
        for rank in old:
            self.parts[rank - 1] = None
        return {rank: self._wish() for rank in old}

    def _x(self, given: np.ndarray) -> np.ndarray:
        """x^: each range as its server had it when it answered."""
        codes = given, *(part.payload for part in self.parts)
        for code, codec, where in zip(codes, self.codecs, self.ranges, strict=True):
            self.x[where] = codec.received(code, self.snap[where])
        return self.x

    def _full(self, message: Message) -> Message:
        rows = message.c, message.d
        self.keeps = bool(message.mask & Mask.KEEP) and self.may_keep
        cache = self._cache() if self.keeps else None
        loss, errors = self.network.sweep(self.samples, self.snap, self.threads, self.gradients, cache, rows=rows)
        with np.errstate(over="ignore", invalid="ignore"):
            np.sum(self.gradients, axis=0, out=self.v)
        self.known[slice(*rows)] = cache is not None
        parts = self.v, np.array([loss, errors])
        return Message(Kind.FULL, a=message.a, b=message.b, c=rows[1] - rows[0], payload=parts)

    def _cache(self) -> np.ndarray:
        """Of each sample at x~, where `known`: from the sweep over this rank's shards, and from earlier draws."""
        if self.cache is None:
            self.cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        return self.cache

    def _direction(self, x: np.ndarray, epoch: int, t: int, svrg: bool) -> int:
        """v of draw t; returns the sample gradients that it took."""
        return self.batch_size + self.loop.direction(
            x,
            self.v,
            t,
            direction="svrg" if svrg else "sgd",
            epoch=epoch,
            l2_factor=l2_factor(epoch, self.alpha_boost),
            mu=self.mu,
            x_snap=self.snap,
            cache=self._cache() if svrg and self.keeps else None,
            known=self.known,
        )

    def _step(self, message: Message, given: np.ndarray) -> dict[int, Message]:
        epoch, t, parts = message.a, message.c, self.parts
        x = self._x(given) if parts else self.codecs[0].received(given, self.snap)
        d = self._direction(x, epoch, t, bool(message.mask & Mask.SVRG))
        if not parts:  # v itself, which may lie in a message already
            code = self.codecs[0].direction(self.v, epoch)
            return {0: message.answered(Kind.GRAD, d, (code,))}
        self.parts = [None] * len(parts)
        codes = [codec.direction(self.v[where], epoch) for codec, where in zip(self.codecs, self.ranges, strict=True)]
        return {
            rank: Message(Kind.GRAD, a=epoch, b=base.b, c=t, d=d, payload=(code,))
            for rank, (base, code) in enumerate(zip((message, *parts), codes, strict=True))
        }
