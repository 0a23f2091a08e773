"""An exchange: every rank gives a dict, rank 0 combines all of them, and every rank gets the result.

`Exchange` is rank 0's task, `take_part` is what the other ranks do. Dicts travel as blobs, in pieces.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from asysvrg.distributed import protocol
from asysvrg.distributed.protocol import PIECE, Kind, Message
from asysvrg.distributed.server import Peer, Server, Task

Combine = Callable[[dict[int, Any]], Any]  # from each rank's dict, by rank


def pack(value: dict[str, Any]) -> np.ndarray:
    """A dict of arrays of numbers and of what JSON can hold, as bytes that are read without pickle."""
    file = io.BytesIO()
    arrays = {name: array for name, array in value.items() if isinstance(array, np.ndarray)}
    plain = {name: other for name, other in value.items() if name not in arrays}
    arrays["json "] = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    np.savez(file, **dict[str, Any](arrays))
    return np.frombuffer(file.getbuffer(), dtype=np.uint8)


def unpack(blob: bytes | bytearray) -> dict[str, Any]:
    """The inverse of `pack`."""
    with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("json ").tobytes()) | arrays


class Exchange(Task):
    """Rank 0's side of an exchange. `mine` is its dict, and `answer` its result.

    `combine` makes the dict for all ranks from {rank: dict}; with `own`, a dict for each rank.
    """

    def __init__(self, server: Server, mine: dict[str, Any], combine: Combine, *, own: bool = False):
        self.server, self.given, self.combine, self.own = server, {0: mine}, combine, own
        self.pieces: dict[int, bytearray] = {}  # what has come of a rank's blob
        self.offsets: dict[int, int] = {}  # of the piece of the answer that a rank asks for
        self.answer: Any = None
        self.told: set[int] = set()

    def take(self, peer: Peer, message: Message) -> None:
        rank, is_blob = peer.rank, message.kind == Kind.BLOB
        if is_blob and rank not in self.given:
            if message.offset == 0:
                self.pieces[rank] = bytearray()
            blob = self.pieces.setdefault(rank, bytearray())
            if message.offset == len(blob):  # else it is from before the rank was lost
                blob += message.payload.tobytes()
            if len(blob) == message.total:
                self.given[rank] = unpack(blob)
        self.offsets[rank] = 0 if is_blob else message.offset

    def offer(self, peer: Peer) -> Message | None:
        rank = peer.rank
        if rank not in self.given:
            return protocol.ready(len(self.pieces.get(rank, b"")))
        self._combine()
        if self.blobs is None:
            return None
        if rank not in self.blobs:  # it was lost, and is back too late to have a say
            self.blobs[rank] = next(iter(self.blobs.values()))
        message = protocol.piece(self.blobs[rank], self.offsets.get(rank, 0))
        if message.offset + PIECE >= message.total:
            self.told.add(rank)
        return message

    def lose(self, peer: Peer) -> None:
        if self.blobs is None:
            self.given.pop(peer.rank, None)
            self.pieces.pop(peer.rank, None)

    def awaits(self, peer: Peer) -> bool:
        return peer.rank not in self.told

    @property
    def done(self) -> bool:
        return self.blobs is not None and all(peer.rank in self.told for peer in self.server.live)

    def _combine(self) -> None:
        if self.blobs is not None or not all(peer.rank in self.given for peer in self.server.live):
            return
        answer = self.combine(dict(sorted(self.given.items())))
        if self.own:  # lost ranks get theirs, too: they may come back
            packed = {id(one): pack(one) for one in answer.values()}
            self.answer, self.blobs = answer[0], {rank: packed[id(one)] for rank, one in answer.items()}
        else:
            self.answer, self.blobs = answer, dict.fromkeys((peer.rank for peer in self.server.live), pack(answer))


def take_part(mine: dict[str, Any]) -> Generator[Message, Message, dict[str, Any]]:
    """The other ranks' side: yields messages for rank 0, is sent the answers, returns the result."""
    blob, result, size = pack(mine), bytearray(), -1
    message = protocol.piece(blob, 0)
    while len(result) != size:
        answer = yield message
        if answer.kind == Kind.READY:
            message = protocol.piece(blob, answer.offset)
            continue
        if answer.kind == Kind.BLOB and answer.offset == len(result):
            result += answer.payload.tobytes()
            size = answer.total
        message = protocol.ready(len(result))
    return unpack(result)
