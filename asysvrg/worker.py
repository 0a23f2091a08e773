"""A worker of Algorithm 3: the state machine, and the computing behind it; no MPI."""

from __future__ import annotations

import numpy as np

from asysvrg._network import Network, Samples, aligned_zeros
from asysvrg._shared import InnerLoop
from asysvrg.messages import DONE, FULL, GRAD, KEEP, MU, READY, SHARD, SNAP, STEP, STOP, SVRG, WAIT, Message, X, vectors


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
        As for `Objective`: the cache is used where all of this rank's samples were swept here.
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
    ):
        self.network, self.samples, self.batch_size, self.threads = network, samples, batch_size, threads
        self.loop = InnerLoop(
            network, samples, alpha=alpha, batch_size=batch_size, coordinates=0, block=1, max_delay=None, seed=seed,
            threads=threads, update="serial" if threads == 1 else "atomic",
        )  # fmt: skip
        self.snap, self.mu = self._vector(), self._vector()
        self.gradients = aligned_zeros((threads, network.size), network.dtype)
        self.v = self._vector()
        needed = samples.size * network.cache_width * network.dtype.itemsize
        self.may_keep, self.cache, self.swept = needed <= cache_bytes, None, 0

    def _vector(self) -> np.ndarray:
        return aligned_zeros((self.network.size,), self.network.dtype)

    def answer(self, message: Message) -> Message | None:
        """What to send next; None when the work is done."""
        if message.kind in (DONE, STOP):
            return None
        given = vectors(message, self.network.dtype)
        if SNAP in given:
            self.snap[:], self.swept = given[SNAP], 0
        if MU in given:
            self.mu[:] = given[MU]
        if message.kind == SHARD:
            return self._full(message)
        if message.kind == STEP:
            return self._step(message, given[X])
        if message.kind != WAIT:
            raise ValueError(f"a worker got a message of kind {message.kind}")
        return Message(READY)

    def _full(self, message: Message) -> Message:
        rows, keep = (message.c, message.d), bool(message.mask & KEEP) and self.may_keep
        if keep and self.cache is None:
            self.cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        loss, errors = self.network.sweep(
            self.samples, self.snap, self.threads, self.gradients, self.cache if keep else None, rows=rows
        )
        with np.errstate(over="ignore", invalid="ignore"):
            np.sum(self.gradients, axis=0, out=self.v)
        count = rows[1] - rows[0]
        self.swept += count if keep else 0
        parts = np.array([loss, errors]), self.v
        return Message(FULL, a=message.a, b=message.b, c=count, payload=parts)

    def _step(self, message: Message, x: np.ndarray) -> Message:
        svrg = bool(message.mask & SVRG)
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
        return Message(GRAD, a=message.a, b=message.b, c=message.c, d=evaluated, payload=(self.v,))
