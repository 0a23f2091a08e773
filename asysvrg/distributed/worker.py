"""A worker of Algorithm 3: the state machine, and the computing behind it. There is no MPI here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asysvrg.core.inner import InnerLoop
from asysvrg.core.network import Network, Samples, aligned_zeros
from asysvrg.distributed import protocol
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.protocol import SHARD, STEP, SVRG, Flag, Kind, Message


class Worker:
    """Answers the servers' messages with gradients of data shards and with directions.

    With several servers, a direction is computed when rank 0 has named the iteration and all other servers have
    answered the direction before with their shards of x. So when a direction arrives at rank 0, the one before has
    arrived everywhere.

    Parameters
    ----------
    alpha : float or array
        As for `Objective`.
    seed : int
        Of all mini-batches, the same on every rank.
    may_keep : bool
        Whether memory allows the snapshot's cache.
    codecs, shards : sequence of Codec, sequence of slice
        Of x and v in messages to and from each server; the coordinates of each server.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: float | np.ndarray,
        batch_size: int,
        sampling: str = "replacement",
        seed: int,
        threads: int,
        may_keep: bool,
        codecs: Sequence[Codec],
        shards: Sequence[slice] = (slice(None),),
    ):
        self.network, self.samples, self.batch_size, self.threads = network, samples, batch_size, threads
        self.may_keep = may_keep
        self.cache: np.ndarray | None = None
        self.known, self.keeps = np.zeros(samples.size, dtype=np.int32), False
        self.loop = InnerLoop(
            network, samples, alpha=alpha, batch_size=batch_size, seed=seed, threads=threads, execution="shared",
            update="plain", replacement=sampling == "replacement",
        )  # fmt: skip
        self.gradients = aligned_zeros((threads, network.size), network.dtype)
        self.snapshot, self.mu = network.vector(), network.vector()
        self.step: Message | None = None  # from rank 0: the iteration to compute
        self.divide(network.vector(), codecs, shards)

    def divide(self, v: np.ndarray, codecs: Sequence[Codec], shards: Sequence[slice]) -> None:
        """Sets the vector in which directions are computed, and how x and v are divided among servers."""
        self.codecs, self.slices, self.v = codecs, shards, v
        self.v_shards = [v[where] for where in shards]
        self.x = aligned_zeros((0 if len(shards) == 1 else v.size,), v.dtype)  # of several servers: all shards of x^
        # The answers of servers 1, 2, ...; None from one that has been asked and has not answered yet.
        self.others: list[Message | None] = [protocol.parameters(-1, 0, v[:0]) for _ in shards[1:]]

    def answer(self, message: Message, rank: int = 0) -> dict[int, Message] | None:
        """What to send next to which server; None if the work is done.

        The message of a server is valid until this method returns something to send to it.
        """
        kind = message.kind
        if kind in (STEP, SHARD):
            self._take_vectors(message)
            if kind == STEP:
                self.step = message
                return self._next()
            return {0: self._shard_gradient(message)}
        if rank:
            return self._of_another(message, rank)
        if kind in (Kind.DONE, Kind.STOP):
            return None
        if kind != Kind.WAIT:
            raise ValueError(f"a worker got a message of kind {Kind(kind).name} from rank 0")
        return {0: protocol.ready()}

    def _take_vectors(self, message: Message) -> None:
        """A new snapshot, a new mu."""
        if message.flags & protocol.VECTORS:
            x_bytes = self.codecs[0].nbytes if message.kind == STEP else 0
            snapshot, mu = protocol.new_vectors(message, self.network.dtype, x_bytes)
            if snapshot is not None:
                self.snapshot[:] = snapshot
                self.known[:], self.keeps = 0, False
            if mu is not None:
                self.mu[:] = mu

    def _of_another(self, message: Message, rank: int) -> dict[int, Message]:
        """A server other than rank 0 has answered."""
        if message.kind == Kind.WAIT:
            return {rank: self._request()}
        if message.kind == Kind.DONE:  # rank 0 is about to say so, too
            asked, self.step = self.step is not None, None
            return {0: protocol.ready()} if asked else {}
        self.others[rank - 1] = message
        return self._next()

    def _request(self) -> Message:
        """Asks for parameters, not of an older epoch than rank 0's."""
        return protocol.ready(epoch=-1 if self.step is None else self.step.epoch)

    def _next(self) -> dict[int, Message]:
        """The direction, if everything is there that it takes.

        Another server's shard of x may be of an older epoch than rank 0's: ask for it again. It may be of a newer one:
        then that epoch has begun without this worker, and the direction will be dropped.
        """
        step = self.step
        if step is None:
            return {}
        others: list[Message] = []
        if self.others:
            old = [rank for rank, other in enumerate(self.others, 1) if other is not None and other.epoch < step.epoch]
            for rank in old:
                self.others[rank - 1] = None
            others = [other for other in self.others if other is not None]
            if len(others) < len(self.others):
                return {rank: self._request() for rank in old}
        self.step = None
        return self._directions(step, others)

    def _directions(self, step: Message, others: Sequence[Message]) -> dict[int, Message]:
        """The direction of an iteration, a shard for each server, from what rank 0 and the others have sent."""
        epoch, iteration = step.epoch, step.iteration
        evaluated = self._compute(self._x(step, others), step)
        if not others:
            code = self.codecs[0].direction(self.v, epoch)  # v itself may lie in the message already
            return {0: protocol.direction(epoch, step.version, iteration, evaluated, code)}
        answers = {
            rank: protocol.direction(epoch, base.version, iteration, evaluated, codec.direction(v, epoch))
            for rank, (base, codec, v) in enumerate(zip((step, *others), self.codecs, self.v_shards, strict=True))
        }
        self.others = [None] * len(others)
        return answers

    def _x(self, step: Message, others: Sequence[Message]) -> np.ndarray:
        """x^: each shard as its server had it when it answered."""
        codec = self.codecs[0]
        code = step.payload if step.payload.size == codec.nbytes else step.payload[: codec.nbytes]
        if not others:
            return codec.received(code, self.snapshot)
        codes = code, *(other.payload for other in others)
        for code, codec, where in zip(codes, self.codecs, self.slices, strict=True):
            self.x[where] = codec.received(code, self.snapshot[where])
        return self.x

    def _compute(self, x: np.ndarray, step: Message) -> int:
        """Computes v of an iteration at x. Returns the number of sample gradients that it took."""
        svrg = bool(step.flags & SVRG)
        return self.batch_size + self.loop.direction(
            x,
            self.v,
            step.iteration,
            direction="svrg" if svrg else "sgd",
            epoch=step.epoch,
            l2_factor=step.l2_factor,
            mu=self.mu,
            x_snap=self.snapshot,
            cache=self._cache() if svrg and self.keeps else None,
            known=self.known,
        )

    def _shard_gradient(self, task: Message) -> Message:
        rows = task.first, task.last
        self.keeps = bool(task.flags & Flag.CACHE) and self.may_keep
        cache = self._cache() if self.keeps else None
        loss, errors = self.network.sweep(self.samples, self.snapshot, self.threads, self.gradients, cache, rows=rows)
        with np.errstate(over="ignore", invalid="ignore"):
            np.sum(self.gradients, axis=0, out=self.v)
        self.known[slice(*rows)] = cache is not None
        return protocol.shard_gradient(task, self.v, loss, errors)

    def _cache(self) -> np.ndarray:
        """Terms of each sample at x~, where `known`: from this rank's data shards, and from earlier iterations."""
        if self.cache is None:
            self.cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        return self.cache
