"""What servers and participants say to each other: stages, kinds of messages, and a constructor for each kind.

Rank 0 is the coordinator, all other ranks are participants: workers and, beside rank 0, other shard servers. A
participant asks a question, the server answers it. At most one message is under way in each direction. `ALIVE` alone
is not answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import IntEnum, IntFlag

import numpy as np

from asysvrg.distributed._message import Message as Message

PIECE = 2**19  # bytes of a blob in one message


class Stage(IntEnum):
    """What the ranks of a fit do together, in this order. All ranks of a fit go through the same stages.

    Each message carries the stage of its sender.
    """

    RANKS = 1  # exchange: version, machine and process of every rank
    LABELS = 2  # exchange: the class labels
    RANDOM_STATE = 3  # exchange: rank 0's random state
    CENTER = 4  # exchange: the center of the targets
    ALIKE = 5  # exchange: whether all ranks have the same samples, where some may be held out
    SAMPLES = 6  # exchange: who has which samples
    ROWS = 7  # exchange: samples that rank 0 gives to the workers
    PLAN = 8  # exchange: rank 0's choices
    WORKERS = 9  # exchange: what the workers can do
    EPOCHS = 10  # the servers give tasks, the workers answer
    OUTCOME = 11  # exchange: the result


class Kind(IntEnum):
    """What a message says. A function below makes each kind that has fields."""

    # From a participant: a sign of life; ready for more; ...; it cannot go on; it has left the fit.
    ALIVE, READY, BLOB, GRADIENT, DIRECTION, FAIL, BYE = range(1, 8)
    # From a server: ask again; ...; the epochs are over; the fit is over, because of an error.
    WAIT, SHARD, STEP, DONE, STOP = range(16, 21)
    # Between shard servers, and to workers.
    BEGIN, COLLECT, PARAMETERS, HANDOVER = range(24, 28)


class Flag(IntFlag):
    """Vectors behind a header, in this order; how a worker is to compute; when a shard server is to answer."""

    SNAPSHOT, MU, SVRG, CACHE, AT_ONCE = 1, 2, 4, 8, 16


# Plain numbers for what is done at every update: an access to an enum takes half as long as a message.
SNAPSHOT, MU, SVRG, VECTORS = map(int, (Flag.SNAPSHOT, Flag.MU, Flag.SVRG, Flag.SNAPSHOT | Flag.MU))
READY, GRADIENT, DIRECTION, FAIL, BYE = map(int, (Kind.READY, Kind.GRADIENT, Kind.DIRECTION, Kind.FAIL, Kind.BYE))
SHARD, STEP, STOP, PARAMETERS = map(int, (Kind.SHARD, Kind.STEP, Kind.STOP, Kind.PARAMETERS))


class Lost(ConnectionError):
    """A server is lost, or all workers are."""

    rank = -1  # of the server, where this rank has noticed it itself


class RankError(RuntimeError):
    """Another rank could not go on. The message says which one, and why."""


_ERRORS = (RankError, ValueError, Lost)  # types that are raised again on other ranks; all others become the first one


def ready(offset: int = 0, epoch: int = -1) -> Message:
    """Nothing to deliver, but ready for more.

    In an exchange, in both directions: for the piece of the other rank's dict that starts at `offset`. To a shard
    server other than rank 0: for parameters of `epoch` or later.
    """
    return Message(Kind.READY, offset=offset, epoch=epoch)


def piece(blob: np.ndarray, offset: int) -> Message:
    """In an exchange: a piece of a packed dict, in both directions."""
    return Message(Kind.BLOB, (blob[offset : offset + PIECE],), offset=offset, total=blob.size)


def failed(kind: Kind, error: BaseException, text: str) -> Message:
    """FAIL: this participant cannot go on. STOP: the fit is over. `error_in` reads it."""
    number = next((i for i, known in enumerate(_ERRORS) if isinstance(error, known)), 0)
    return Message(kind, (np.frombuffer(bytes([number]) + text.encode()[:4096], dtype=np.uint8),))


def error_in(message: Message, prefix: str = "") -> Exception:
    """The error of a message FAIL or STOP."""
    text = message.payload.tobytes()
    return _ERRORS[text[0]](prefix + text[1:].decode(errors="replace"))


def shard_task(
    sweep: int, shard: int, first: int, last: int, snapshot: np.ndarray | None, *, keep_cache: bool
) -> Message:
    """Rank 0 asks for the gradient of the rows first to last - 1; `snapshot` is x~ for a worker that lacks it."""
    flags = Flag.CACHE if keep_cache else 0
    if snapshot is None:
        return Message(SHARD, (), flags, sweep=sweep, shard=shard, first=first, last=last)
    return Message(SHARD, (snapshot,), flags | SNAPSHOT, sweep=sweep, shard=shard, first=first, last=last)


def shard_gradient(task: Message, gradient: np.ndarray, loss: float, errors: float) -> Message:
    """A worker's answer: sums over these rows."""
    evaluated = task.last - task.first
    return Message(
        Kind.GRADIENT, (gradient, np.array([loss, errors])), sweep=task.sweep, shard=task.shard, evaluated=evaluated
    )


def step(
    epoch: int, version: int, iteration: int, l2_factor: float, flags: int, payload: Sequence[np.ndarray]
) -> Message:
    """Rank 0 asks for the direction of an iteration: its encoded shard of x, then the vectors that `flags` names."""
    return Message(STEP, payload, flags, epoch=epoch, version=version, iteration=iteration, l2_factor=l2_factor)


def direction(epoch: int, version: int, iteration: int, evaluated: int, code: np.ndarray) -> Message:
    """A worker's answer, to every server: the encoded shard of v, computed at `version` of that server's shard of x."""
    return Message(DIRECTION, (code,), epoch=epoch, version=version, iteration=iteration, evaluated=evaluated)


def parameters(epoch: int, version: int, code: np.ndarray) -> Message:
    """A shard server gives a worker its encoded shard of x."""
    return Message(PARAMETERS, (code,), epoch=epoch, version=version)


def begin(epoch: int, line: tuple[int, float, float], x: np.ndarray) -> Message:
    """Rank 0 tells a shard server that an epoch begins: the arguments of `core.schedule.rates`, and its shard of x."""
    return Message(Kind.BEGIN, (np.array(line, dtype=np.float64), x), epoch=epoch)


def begun(message: Message) -> tuple[tuple[int, float, float], np.ndarray]:
    """The arguments of `rates` in such a message, and the bytes of x."""
    steps, eta, end = message.payload[:24].view(np.float64).tolist()
    return (int(steps), eta, end), message.payload[24:]


def collect(*, at_once: bool) -> Message:
    """Rank 0 asks for the shard of x: when all updates of the epoch are applied, or at once."""
    return Message(Kind.COLLECT, (), Flag.AT_ONCE if at_once else 0)


def handover(epoch: int, dropped: int, carried: int, x: np.ndarray) -> Message:
    """A shard server's answer: its shard of x; directions dropped and bytes carried since the last one."""
    return Message(Kind.HANDOVER, (np.array([dropped, carried]), x), epoch=epoch)


def new_vectors(message: Message, dtype: np.dtype, x_bytes: int) -> list[np.ndarray | None]:
    """x~ and mu behind a header and so many bytes of x; None for one that is not there."""
    flags = message.flags
    count = bool(flags & SNAPSHOT) + bool(flags & MU)
    vectors = iter(message.payload[x_bytes:].view(dtype).reshape(count, -1)) if count else iter(())
    return [next(vectors) if flags & flag else None for flag in (SNAPSHOT, MU)]


def parameter_shards(size: int, itemsize: int, servers: int) -> list[slice]:
    """The coordinates of each server: about equally many, each shard from the start of a cache line.

    Raises
    ------
    ValueError
        If there are fewer cache lines than servers.
    """
    line = 64 // itemsize
    if servers > 1 and size < servers * line:
        raise ValueError(f"servers={servers} for {size} parameters: take at most {max(size // line, 1)}")
    cuts = [*(size * i // servers // line * line for i in range(servers)), size]
    return [slice(*cut) for cut in itertools.pairwise(cuts)]
