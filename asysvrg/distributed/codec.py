"""What x and v are on the wire: themselves, or in half precision. Snapshots, mu and full gradients go as they are."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from asysvrg.core.network import aligned_zeros, from_half, to_half

SCALE = 8  # bytes of a float64 in front of the half-precision numbers


class Codec(Protocol):
    """The form of x and v in messages; what its methods return is valid until the next call.

    Attributes
    ----------
    nbytes : int
        Of a vector on the wire.
    """

    nbytes: int

    def parameters(self, x: np.ndarray, snap: np.ndarray) -> np.ndarray:
        """The server's x for a worker that has the snapshot x~."""
        ...

    def received(self, code: np.ndarray, snap: np.ndarray) -> np.ndarray:
        """The x^ that a worker makes of it."""
        ...

    def direction(self, v: np.ndarray, epoch: int) -> np.ndarray:
        """A worker's v, which may be overwritten."""
        ...

    def arrived(self, code: np.ndarray) -> np.ndarray:
        """The v that the server makes of it."""
        ...


class Exact:
    """Vectors as they are, copied once, into the message.

    Parameters
    ----------
    size : int
        d.
    dtype : dtype
    """

    def __init__(self, size: int, dtype: np.dtype):
        self.dtype, self.nbytes = dtype, size * dtype.itemsize
        self.code = self.vector = np.zeros(0)  # the last one received, which often lies where the next one does

    def parameters(self, x: np.ndarray, snap: np.ndarray) -> np.ndarray:
        return x

    def received(self, code: np.ndarray, snap: np.ndarray) -> np.ndarray:
        if code is not self.code:
            self.code, self.vector = code, code.view(self.dtype)
        return self.vector

    def direction(self, v: np.ndarray, epoch: int) -> np.ndarray:
        return v

    def arrived(self, code: np.ndarray) -> np.ndarray:
        return code.view(self.dtype)


class Half:
    """x - x~ and v in half precision, 11 significant bits each, with a scale for each message.

    The scale is a power of two that puts the largest number just below 2^15; numbers down to 2^-28 of it keep all their
    bits. Both vectors vanish as the run converges, and their rounding errors with them: hence x as a difference.
    What rounding leaves out of a v is added to this worker's next one (error feedback), so that the sum of what arrived
    in an epoch is short of the sum of directions by one rounding error a worker. An epoch starts without such a rest:
    it belongs to another mu, perhaps another learning rate; and so a resumed run is the uninterrupted one. A direction
    that the server drops takes the rest that was added to it along.

    A vector with a number that is not finite, or about to be, arrives as one of NaN: the epoch ends without a loss, and
    is undone.

    Parameters
    ----------
    size : int
        d.
    dtype : dtype

    Attributes
    ----------
    residual : array of shape (size,)
        What has not been sent yet.
    """

    def __init__(self, size: int, dtype: np.dtype):
        self.size, self.dtype = size, dtype
        self.nbytes = SCALE + math.ceil(size / 4) * 8  # whole words, for the vectors behind
        self.most = np.finfo(dtype).maxexp - 2  # of the exponent of a scale, so that its inverse is a normal number
        self.largest = float(np.finfo(dtype).max / 2)  # what is above might be rounded to infinity
        self.code = np.zeros(self.nbytes, dtype=np.uint8)
        self.values, self.residual = aligned_zeros((size,), dtype), np.zeros(size, dtype)
        self.epoch = -1

    def parameters(self, x: np.ndarray, snap: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self._encode(np.subtract(x, snap, out=self.values))

    def received(self, code: np.ndarray, snap: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.add(self._decode(code), snap, out=self.values)

    def direction(self, v: np.ndarray, epoch: int) -> np.ndarray:
        if epoch != self.epoch:
            self.epoch, self.residual[:] = epoch, 0
        with np.errstate(all="ignore"):
            v += self.residual
            code = self._encode(v)
            np.subtract(v, self._decode(code), out=self.residual)
        if math.isnan(self._parts(code)[0][0]):
            self.residual[:] = 0
        return code

    def arrived(self, code: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self._decode(code)

    def _parts(self, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return code[:SCALE].view(np.float64), code[SCALE : SCALE + 2 * self.size].view(np.uint16)

    def _encode(self, u: np.ndarray) -> np.ndarray:
        top = max(float(u.max()), -float(u.min()))  # NaN where there is one
        sound = top <= self.largest
        power = min(self.most, 15 - math.frexp(top)[1]) if sound else 0
        scale, halves = self._parts(self.code)
        scale[0] = 2.0**-power if sound else math.nan
        to_half(u, 2.0**power, halves)
        return self.code

    def _decode(self, code: np.ndarray) -> np.ndarray:
        scale, halves = self._parts(code)
        from_half(halves, float(scale[0]), self.values)
        return self.values


CODECS: dict[str | None, type[Exact] | type[Half]] = {None: Exact, "float16": Half}
