"""What server and workers say to each other: one buffer a message (`_message`), a header, then vectors or a blob.

A worker asks, the server answers; each has at most one message under way to the other. `ALIVE` alone has no answer.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from asysvrg.distributed._message import Message

PIECE = 2**19  # bytes of a blob in a message
PATIENCE, LONG = 200e-6, 1e-3  # seconds


class Stage(IntEnum):
    """What the ranks of a fit do together, in this order; a fit may leave stages out, but all its ranks the same ones.

    Every message says to which stage it belongs.
    """

    RANKS = 1  # exchange: version, machine and process of every rank
    LABELS = 2  # exchange: the class labels
    RANDOM_STATE = 3  # exchange: rank 0's random state
    SAMPLES = 4  # exchange: who has which samples
    ROWS = 5  # exchange: samples that rank 0 gives to the workers
    PLAN = 6  # exchange: rank 0's choices
    WORKERS = 7  # exchange: what the workers can do
    EPOCHS = 8  # the servers send tasks, the workers answer
    OUTCOME = 9  # exchange: the result


class Kind:
    """What a message says."""

    # From a worker: life; nothing to deliver; a piece of a blob; a gradient sum; a direction; an error; the last word.
    ALIVE, READY, BLOB, FULL, GRAD, FAIL, BYE = range(1, 8)
    # From another server to rank 0: its range of x.
    RANGE = 8
    # From the server: ask again; the next piece, please; a piece of a blob; a shard to sweep; a direction to compute;
    # the end of the work; the end of everything, with a reason.
    WAIT, MORE, ANSWER, SHARD, STEP, DONE, STOP = range(16, 23)
    # From rank 0 to another server: an epoch begins; the range of x, please. From that server to a worker: its range.
    BEGIN, HAND, PART = range(23, 26)


class Mask:
    """Which vectors follow a header, in this order; and how to compute: variance-reduced, keeping what is computed."""

    X, SNAP, MU, SVRG, KEEP = 1, 2, 4, 8, 16


class Lost(ConnectionError):
    """A server is gone, or all workers are."""

    rank = -1  # of the server, where this rank has missed it itself


class RankError(RuntimeError):
    """Another rank could not go on; says which one, and why."""


def vectors(message: Message, dtype: np.dtype, x_bytes: int) -> dict[int, np.ndarray]:
    """The vectors behind a header, by their bits; x as so many bytes, which a codec reads."""
    mask, payload = message.mask, message.payload
    at = x_bytes if mask & Mask.X else 0
    given = {Mask.X: payload[:at]}
    if mask & (Mask.SNAP | Mask.MU):
        bits = [bit for bit in (Mask.SNAP, Mask.MU) if mask & bit]
        given |= zip(bits, payload[at:].view(dtype).reshape(len(bits), -1), strict=True)
    return given


_ERRORS = (RankError, ValueError, Lost)  # what one rank raises and others raise again; all that is neither is the first


def stop(reason: str, error: type[BaseException] = RankError, kind: int = Kind.STOP) -> Message:
    """STOP, or FAIL, with a reason."""
    text = np.frombuffer(reason.encode(), dtype=np.uint8)[:4096]
    number = next((i for i, known in enumerate(_ERRORS) if issubclass(error, known)), 0)
    return Message(kind, a=number, payload=(text,))


def reason(message: Message, prefix: str = "") -> Exception:
    """The error that `stop` put into a message."""
    return _ERRORS[message.a](prefix + message.payload.tobytes().decode(errors="replace"))


def ranges_of(size: int, itemsize: int, servers: int) -> list[slice]:
    """The coordinates of each server: about as many for all, from a cache line's start each.

    Raises
    ------
    ValueError
        Where there are fewer cache lines than servers.
    """
    line = 64 // itemsize
    if size < servers * line:
        raise ValueError(f"servers={servers} for {size} parameters: take at most {max(size // line, 1)}")
    cuts = [*(size * i // servers // line * line for i in range(servers)), size]
    return [slice(*cut) for cut in itertools.pairwise(cuts)]


def piece(blob: np.ndarray, offset: int) -> Message:
    """The piece of an answer that starts at `offset`."""
    return Message(Kind.ANSWER, a=offset, b=blob.size, payload=(blob[offset : offset + PIECE],))


def pack(value: dict[str, Any]) -> np.ndarray:
    """A dict of arrays of numbers and of what JSON can hold, as bytes that are read without pickle."""
    file = io.BytesIO()
    arrays = {name: array for name, array in value.items() if isinstance(array, np.ndarray)}
    plain = {name: other for name, other in value.items() if name not in arrays}
    np.savez(file, **{"json ": np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)}, **arrays)
    return np.frombuffer(file.getbuffer(), dtype=np.uint8)


def unpack(blob: np.ndarray) -> dict[str, Any]:
    """The inverse of `pack`."""
    with np.load(io.BytesIO(blob.tobytes()), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("json ").tobytes()) | arrays


class Backoff:
    """How to wait for a message: "sleep" gives the core away, "yield" offers it, "spin" keeps it.

    A sleep takes at least 100 microseconds, whatever was asked for, and two ranks that sleep in turns lose several of
    them for a message. So "sleep" offers the core for a while before it gives it away, unless messages took long
    lately: for 50 microseconds at first, up to a millisecond.
    """

    def __init__(self, wait: str):
        pauses: dict[str, Callable[[], bool | None]]
        pauses = {"sleep": self._pause, "yield": os.sched_yield, "spin": self._spin}
        self.pause = pauses[wait]  # says whether it slept
        self.usual, self.patience = 0.0, PATIENCE  # seconds that a message took; for which the core is offered
        self.reset()

    def reset(self) -> None:
        """A wait begins."""
        self.since, self.sleep = time.monotonic(), 50e-6

    def came(self) -> None:
        """What was waited for has come; the next wait begins."""
        now = time.monotonic()
        self.usual = usual = self.usual + (now - self.since - self.usual) / 8
        self.patience = PATIENCE if usual < LONG else 0
        self.since, self.sleep = now, 50e-6

    def _spin(self) -> None:
        pass

    def _pause(self) -> bool:
        if time.monotonic() < self.since + self.patience:
            os.sched_yield()
            return False
        time.sleep(self.sleep)
        self.sleep = min(self.sleep * 1.5, 1e-3)
        return True


def systematic(start: float, shares: Sequence[float], count: int) -> np.ndarray:
    """`count` numbers, i with probability shares[i], spread evenly: any stretch holds about its share of each.

    A Kronecker sequence; over a uniform `start`, each single number has exactly these probabilities.
    """
    points = (start + np.arange(count) * 0.6180339887498949) % 1.0
    ends = np.cumsum(shares) / np.sum(shares)
    return np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)
