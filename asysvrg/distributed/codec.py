"""The form of x and v in messages: as they are, or in half precision. Snapshots, mu and full gradients stay exact."""

from __future__ import annotations

import math

import numpy as np

from asysvrg.core.network import aligned_zeros, from_half, to_half

SCALE = 8  # bytes of the float64 in front of half-precision numbers


class Codec:
    """Encodes and decodes vectors x and v of `size` numbers as `nbytes` bytes; this class sends them as they are.

    What a method returns is valid until the next call.
    """

    def __init__(self, size: int, dtype: np.dtype):
        self.size, self.dtype, self.nbytes = size, dtype, size * dtype.itemsize
        self.code = self.vector = np.zeros(0)  # the last one received: the next one often lies in the same place

    def parameters(self, x: np.ndarray, snapshot: np.ndarray) -> np.ndarray:
        """A server encodes x for a worker that has the snapshot x~."""
        return x

    def received(self, code: np.ndarray, snapshot: np.ndarray) -> np.ndarray:
        """The worker decodes it to x^."""
        if code is not self.code:
            self.code, self.vector = code, code.view(self.dtype)
        return self.vector

    def direction(self, v: np.ndarray, epoch: int) -> np.ndarray:
        """A worker encodes v, which may be overwritten."""
        return v

    def arrived(self, code: np.ndarray) -> np.ndarray:
        """The server decodes it."""
        return code.view(self.dtype)


class Half(Codec):
    """Sends x - x~ and v in half precision: 11 significant bits each, and one scale for each message.

    The scale is a power of two that puts the largest number just below 2^15. Numbers down to 2^-28 of it keep all their
    bits. Both vectors vanish as the run converges, and their rounding errors with them: hence x as a difference.

    Error feedback: a worker adds the rounding error of a v, the `residual`, to its next one. So in an epoch the sum of
    what arrives lacks one rounding error of each worker. An epoch starts without residual, which belongs to another mu;
    so a resumed run is the uninterrupted one. The residual in a direction that the server drops is lost.

    A vector with a number that is not finite, or is about to be, arrives as NaN: the epoch then ends with a loss that
    is not finite, and is undone.
    """

    def __init__(self, size: int, dtype: np.dtype):
        super().__init__(size, dtype)
        self.nbytes = SCALE + math.ceil(size / 4) * 8  # multiples of 8 bytes, for the vectors behind it
        self.most = np.finfo(dtype).maxexp - 2  # exponent of the largest scale whose inverse is a normal number
        self.largest = float(np.finfo(dtype).max / 2)  # a larger number might be rounded to infinity
        self.code = np.zeros(self.nbytes, dtype=np.uint8)
        self.values, self.residual = aligned_zeros((size,), dtype), np.zeros(size, dtype)
        self.epoch = -1  # of the residual

    def parameters(self, x: np.ndarray, snapshot: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return self._encode(np.subtract(x, snapshot, out=self.values))

    def received(self, code: np.ndarray, snapshot: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.add(self._decode(code), snapshot, out=self.values)

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
        """The scale and the numbers of a code."""
        return code[:SCALE].view(np.float64), code[SCALE : SCALE + 2 * self.size].view(np.uint16)

    def _encode(self, u: np.ndarray) -> np.ndarray:
        top = max(float(u.max()), -float(u.min()))  # NaN if there is one in u
        is_finite = top <= self.largest
        power = min(self.most, 15 - math.frexp(top)[1]) if is_finite else 0
        scale, halves = self._parts(self.code)
        scale[0] = 2.0**-power if is_finite else math.nan
        to_half(u, 2.0**power, halves)
        return self.code

    def _decode(self, code: np.ndarray) -> np.ndarray:
        scale, halves = self._parts(code)
        from_half(halves, float(scale[0]), self.values)
        return self.values


CODECS: dict[str | None, type[Codec]] = {None: Codec, "float16": Half}
