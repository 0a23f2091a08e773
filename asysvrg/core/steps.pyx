# cython: language_level=3, cdivision=True
"""The inner loop step by step: one thread, iterations in any order, each with an x^ of its own."""

from libc.stdint cimport int32_t, int64_t

import numpy as np

from asysvrg.core._csrc cimport ASV_COUNTER_STRIDE, ASV_LOCKSTEP, asv_inner
from asysvrg.core.inner cimport InnerLoop
from asysvrg.core.network cimport address


cdef class StepLoop(InnerLoop):
    """An `InnerLoop` of one thread whose iterations are called one by one, between `start` and `finish`.

    `rates` and `delays` are those of the iterations from `start` to `finish`, and may be written to: the rate of an
    iteration before it is carried out, its delay afterwards. Rows must not be lazy where rates are.
    """

    cdef readonly object rates, delays

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inner.padded.as_if = self._padded is not None
        self._padded = None  # x holds all of itself between two steps, but for what waits

    def start(self, x, int64_t steps, *, direction, eta, epoch, l2_factor=1, mu=None, x_snap=None, cache=None,
              preconditioner=None, draws=None, deadline=float("inf")):
        """Begins an epoch; the arguments are those of `run`."""
        if self.inner.threads != 1 or self.inner.execution == ASV_LOCKSTEP:
            raise ValueError("iterations are taken step by step by one thread, and not in lockstep")
        self.begin(x, steps, direction, eta, epoch, l2_factor, mu, x_snap, cache, preconditioner, draws, deadline)
        self.delays, self.rates = self._held[:2]

    def step(self, int64_t t, x_hat=None):
        """Iteration t: its direction at x_hat, or at x itself, subtracted from x. Returns False if time is over.

        x_hat has ASV_LINE readable bytes behind its end, as `aligned_zeros` has them.
        """
        cdef asv_inner *inner = &self.inner
        cdef char *scratch = <char *>address(self._scratch, np.uint8, self._scratch.shape)
        if not 0 <= t < len(self.delays) or self.delays[t] >= 0:
            raise ValueError(f"iterations 0 to {len(self.delays) - 1} are carried out once each; got {t}")
        inner.read = address(x_hat, self.network.dtype, (self.network.size,))
        inner.counters[2 * ASV_COUNTER_STRIDE] = t
        with nogil:
            self.network.kernels.run_shared(inner, t + 1, scratch, 0)
        inner.read = NULL
        return self.control.stop == 0

    def copy_to(self, out):
        """Copies x as it is now, with all that waits for `finish`."""
        cdef asv_inner there = self.inner
        np.copyto(out, self._held[3][0])
        if there.lazy.done != NULL or there.preconditioner.shift != NULL:
            there.x = address(out, self.network.dtype, (self.network.size,))
            rows = None if self._rows is None else self._rows.copy()
            there.lazy.done = <int32_t *>address(rows, np.int32, (2, self.samples.data.p))
            if there.lazy.done != NULL:
                there.lazy.locks = there.lazy.done + self.samples.data.p
            self.network.kernels.settle(&there, there.counters[ASV_COUNTER_STRIDE], 0, self.samples.data.p)

    def finish(self):
        """Ends the epoch; returns the delays, -1 for iterations that were not carried out."""
        return self.end()
