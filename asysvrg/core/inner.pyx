# cython: language_level=3, cdivision=True
"""The inner loop of Algorithm 1: one OpenMP region, in which threads take iterations one by one, or share each one."""

from cython.parallel cimport parallel, prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from asysvrg.core._csrc cimport (
    ASV_ATOMIC, ASV_COUNTER_STRIDE, ASV_DIRECTION_COUNT, ASV_INTERRUPTED, ASV_LINE, ASV_LOCKSTEP, ASV_PLAIN,
    ASV_POWERS, ASV_SERIAL, ASV_SHARED, ASV_STRIPE, ASV_STRIPED, asv_direction_names, asv_inner, asv_kernels,
    asv_spread, asv_team_size, asv_thread_number,
)
from asysvrg.core.control cimport start_control
from asysvrg.core.network cimport Network, Samples, address

from asysvrg.core.control import reraise
from asysvrg.core.draws import divide
from asysvrg.core.lazy import tables
from asysvrg.core.network import aligned_zeros

DIRECTIONS = {asv_direction_names[k].decode(): k for k in range(ASV_DIRECTION_COUNT)}
EXECUTIONS = {"serial": ASV_SERIAL, "shared": ASV_SHARED, "lockstep": ASV_LOCKSTEP}
STRIPE = ASV_STRIPE
UPDATES = {"plain": ASV_PLAIN, "atomic": ASV_ATOMIC, "striped": ASV_STRIPED}


cdef class InnerLoop:
    """m inner iterations by threads on one vector x. Owns each thread's scratch, the counters and the locks.

    It chooses nothing: all choices are the caller's (`asysvrg.plan`).

    Parameters
    ----------
    network : Network
    samples : Samples
        With labels or targets.
    alpha : float or array of shape (inputs + layers - 1,)
        Weight of the l2 term, alpha / 2 * sum of squared weights; one for each row of the first layer's matrix, then
        one for each further layer, where they differ.
    batch_size : int
        b.
    execution : {"serial", "shared", "lockstep"}
        One thread; threads that do not wait for each other; threads that share each update (csrc/kernels/lockstep.inc).
    update : {"plain", "atomic", "striped"}
        Memory mode (csrc/kernels/apply.inc). "plain" loses updates where several threads write to a coordinate.
    seed : int
    threads : int
    coordinates : int, default=0
        B, the coordinates that an update touches; 0 for all.
    block : int, default=1
        Coordinates drawn together, aligned to a multiple of it.
    max_delay : int or None
        Delta of Assumption 4.
    adaptive : bool, default=False
        Whether an update of delay tau takes threads / (tau + 1) of its step, at most all of it. Not for lazy rows.
    replacement : bool, default=True
        Whether mini-batches are drawn with replacement (Assumption 1), or go through the samples in random orders.
    rank : int, default=0
        Of the low-rank preconditioner (csrc/kernels/precondition.inc).
    lazy_rows : bool, default=False
        Whether rows of the first layer wait while the mini-batches have no entry in their column
        (csrc/kernels/lazy.inc).
    records : bool, default=False
        Whether `turns` and `stripes` are kept of "serial" and "shared" (csrc/types.h).
    parts : int, default=1
        Lockstep: what an iteration is divided into, and the most threads that can share it. The result depends on their
        number, and not on that of the threads.
    """

    def __init__(self, Network network not None, Samples samples not None, *, alpha, batch_size, execution, update,
                 seed, threads, coordinates=0, block=1, max_delay=None, adaptive=False, replacement=True, rank=0,
                 lazy_rows=False, parts=1, records=False):
        if min(threads, batch_size, block, parts) < 1 or coordinates < 0:
            raise ValueError(f"threads, batch_size, block and parts must be positive and coordinates not negative, "
                             f"got {threads}, {batch_size}, {block}, {parts}, {coordinates}")
        if execution == "serial" and threads > 1:
            raise ValueError(f"execution='serial' is for one thread, got {threads}")
        subset = coordinates if coordinates < network.size else 0
        if execution == "lockstep" and (subset or update != "plain"):
            raise ValueError(f"execution='lockstep' updates all coordinates by plain stores, "
                             f"got coordinates={coordinates}, update={update!r}")
        if subset and update == "striped" and block == 1:
            raise ValueError("update='striped' has a lock for each block of coordinates; single ones take 'atomic'")
        if lazy_rows and (subset or adaptive or not samples.skips_zeros):
            raise ValueError("lazy_rows is for updates of all coordinates, for rates that do not depend on delays, and "
                             "for samples whose zeros are skipped")
        if samples.y is None or samples.data.p != network.widths[0]:
            raise ValueError("the inner loop needs samples with targets, as wide as the network's input")
        self.network, self.samples = network, samples
        memset(&self.inner, 0, sizeof(self.inner))
        memset(&self.pace, 0, sizeof(self.pace))
        cdef asv_inner *inner = &self.inner
        inner.f.net, inner.f.data = &network.net, &samples.data
        shape = (network.widths[0] + len(network.widths) - 2,)
        self._alpha = np.ascontiguousarray(np.broadcast_to(np.asarray(alpha, dtype=np.float64), shape))
        self._scaled_alpha = self._alpha.copy()
        inner.f.alpha = <const double *>address(self._scaled_alpha, np.float64, shape)
        inner.draws.seed, inner.draws.b, inner.draws.replacement = seed, batch_size, replacement
        inner.rule.subset, inner.rule.block, inner.rule.memory = subset, block, UPDATES[update]
        together = execution == "lockstep"
        inner.execution, inner.threads = EXECUTIONS[execution], threads
        inner.lockstep.parts = parts if together else 1
        inner.max_delay, inner.rule.adaptive = -1 if max_delay is None else max_delay, adaptive
        inner.preconditioner.rank, inner.control = rank, &self.control
        if records:
            self._make_record(1)
        self._make_locks()
        self._make_rows(lazy_rows)
        self._make_division()
        self._parts = self._transposed = self._held = None
        self._pointers = np.zeros((2, len(network.slices)), dtype=np.uintp)
        inner.preconditioner.basis = <const void *const *>address(self._pointers, np.uintp, self._pointers.shape)
        inner.preconditioner.fixed = inner.preconditioner.basis + len(network.slices)
        self._counters = aligned_zeros((ASV_COUNTER_STRIDE * (4 + parts + threads if together else 3),), np.int64)
        inner.counters = <int64_t *>address(self._counters, np.int64, self._counters.shape)
        self.stride = network.kernels.inner_scratch(inner)
        self._scratch = aligned_zeros((parts if together else threads, self.stride), np.uint8)
        self._cores = aligned_zeros((threads,), np.int32)

    cdef _make_locks(self):
        """A lock for each block of a subset, or for each stripe of all coordinates."""
        cdef asv_inner *inner = &self.inner
        count = 0
        if inner.rule.memory == ASV_STRIPED:
            unit = inner.rule.block if inner.rule.subset else ASV_STRIPE
            apart = 1 if inner.rule.subset else ASV_LINE // sizeof(int32_t)
            count = -(-self.network.size // unit) * apart
        self._locks = aligned_zeros((count,), np.int32)
        inner.rule.locks = <int32_t *>address(self._locks, np.int32, self._locks.shape)

    cdef _make_rows(self, lazy_rows):
        """How the rows of the first layer are kept: lazy; padded to whole lines; with the preconditioner's shift."""
        cdef asv_inner *inner = &self.inner
        cdef int64_t p = self.samples.data.p, pitch = self.network.net.unit[2] - self.network.net.unit[1]
        self._rows = self._shift = self._padded = None
        if lazy_rows:
            self._rows = aligned_zeros((2, p), np.int32)
            inner.lazy.done = <int32_t *>address(self._rows, np.int32, self._rows.shape)
            inner.lazy.locks = inner.lazy.done + p
        if inner.rule.subset or inner.rule.memory != ASV_PLAIN:
            return
        if inner.preconditioner.rank and self._same_alpha():
            self._shift = aligned_zeros((inner.lockstep.parts, inner.preconditioner.rank, pitch), self.network.dtype)
        if self.samples.skips_zeros and not lazy_rows and pitch > self.network.widths[1]:
            self._padded = aligned_zeros((p, pitch), self.network.dtype)

    cdef _make_record(self, int64_t steps):
        """Room for who reads and writes when; what the kernels do not know stays -1, and turns those of lockstep."""
        self.turns = np.stack([np.arange(steps), np.zeros(steps)], axis=1).astype(np.int32)
        self.stripes = np.full((steps + 1, 2, -(-self.network.size // STRIPE)), -1, dtype=np.int32)
        self.stripes[0] = 0
        self.inner.turns = <int32_t *>address(self.turns, np.int32, self.turns.shape)
        self.inner.stripes = <int32_t *>address(self.stripes, np.int32, self.stripes.shape)

    cdef _make_division(self):
        """Which columns each part in lockstep has."""
        cdef asv_inner *inner = &self.inner
        cdef int64_t parts = inner.lockstep.parts
        self._division = (None, None)
        if inner.execution != ASV_LOCKSTEP:
            return
        self._division = cuts, split = divide(self.samples, inner.draws.b, parts)
        inner.lockstep.cuts = <const int64_t *>address(cuts, np.int64, (parts + 1,))
        inner.lockstep.split = <const int32_t *>address(split, np.int32, (parts - 1, self.samples.size))
        inner.lockstep.pace = &self.pace

    def _same_alpha(self):
        """Whether all rows of the first layer's matrix have the same alpha."""
        alpha = self._alpha[:self.samples.data.p]
        return alpha.min() == alpha.max()

    def run(self, x, int64_t steps, *, direction, eta, epoch, double l2_factor=1, mu=None, x_snap=None, cache=None,
            preconditioner=None, draws=None, double deadline=float("inf"), int64_t first=0):
        """Updates x in place, `steps` times.

        Parameters
        ----------
        x : array of shape (size,), from `aligned_zeros`
        steps : int
            m, the inner iterations of this epoch, or those from `first` on.
        direction : {"sgd", "svrg", "page"}
        eta : float or array of shape (steps,)
            Learning rate, of all iterations or of each.
        epoch : int
            s; with the seed and the iteration it determines every draw.
        l2_factor : float, default=1
            What alpha is multiplied by in these updates.
        mu : array of shape (size,)
            "svrg", "page": gradient of the loss at x_snap, without the l2 term. "page" overwrites it.
        x_snap : array of shape (size,)
            "svrg", "page": the snapshot.
        cache : array of shape (n, cache_width), optional
            "svrg": what `Network.sweep` kept at x_snap. Without it, each iteration passes through the network at
            x_snap, too.
        preconditioner : sequence of (array of shape (1 + inputs, rank), array of shape (rank, outputs)) or None
            With a rank: U of each layer, and U' (mu + l2_factor alpha x_snap); None for a layer without.
        draws : importance.Draws or None
            Samples that passes go through in place of all (without replacement), and what their gradients count.
        deadline : float
            Seconds on the monotonic clock, after which no iteration starts.
        first : int, default=0
            The epoch's iteration that this run begins with, and `eta`, too. Several runs after each other have the
            draws of one; "page" cannot be divided.

        Returns
        -------
        delays : int32 array of shape (steps,)
            Delay of each iteration's update, -1 for iterations that the deadline cut off.

        Raises
        ------
        KeyboardInterrupt
            Or what a signal handler raised; x then holds every update applied so far.
        """
        cdef asv_inner *inner = &self.inner
        cdef const asv_kernels *kernels = self.network.kernels
        cdef char *scratch = <char *>address(self._scratch, np.uint8, self._scratch.shape)
        inner.draws.first = first
        self.begin(x, steps, direction, eta, epoch, l2_factor, mu, x_snap, cache, preconditioner, draws, deadline)
        with nogil, parallel(num_threads=inner.threads):
            if inner.execution == ASV_LOCKSTEP:
                kernels.run_lockstep(inner, steps, scratch, self.stride, asv_thread_number(), asv_team_size())
            else:
                kernels.run_shared(inner, steps, scratch + asv_thread_number() * self.stride, asv_thread_number())
        return self.end()

    cdef begin(self, x, int64_t steps, direction, eta, epoch, double l2_factor, mu, x_snap, cache, preconditioner,
               draws, double deadline):
        """What comes before the first iteration; the arguments are those of `run`."""
        cdef asv_inner *inner = &self.inner
        if inner.threads > 1 and inner.execution == ASV_SHARED and inner.rule.memory == ASV_PLAIN:
            raise ValueError("update='plain' loses updates with more than one thread")
        if direction == "page":
            if inner.rule.subset or inner.rule.memory != ASV_PLAIN or inner.lazy.done != NULL \
                    or inner.preconditioner.rank:
                raise ValueError("direction='page' updates all coordinates one after the other, by plain stores, "
                                 "without a preconditioner or lazy rows")
            x_snap, cache = self.network.vector(x_snap), None
        delays = np.full(steps, -1, dtype=np.int32)
        self.aim(x, direction, epoch, l2_factor, mu, x_snap, cache, preconditioner, draws)
        rates = np.array(np.broadcast_to(np.asarray(eta, dtype=np.float64), (steps,)))
        sums = powers = None
        if inner.lazy.done != NULL:
            alpha = self._scaled_alpha[:self.samples.data.p]
            sums, powers = tables(rates, alpha, ASV_POWERS, np.finfo(self.network.dtype).eps)
        inner.rule.eta = <const double *>address(rates, np.float64, (steps,))
        inner.lazy.sums = <const double *>address(sums, np.float64, (steps + 1, 2))
        inner.lazy.powers = <const double *>address(powers, np.float64, (steps + 1, ASV_POWERS))
        inner.delays = <int32_t *>address(delays, np.int32, (steps,))
        if inner.turns != NULL:
            self._make_record(steps)
        inner.preconditioner.shift = NULL
        if self._shift is not None and preconditioner[0] is not None:
            inner.preconditioner.shift = address(self._shift, self.network.dtype, self._shift.shape)
        if inner.threads > 1:
            self._spread_threads()
        self._counters.fill(0)
        start_control(&self.control, deadline)
        weights = None if self._padded is None else self._pad(x, None if preconditioner is None else preconditioner[0])
        self._held = delays, rates, weights, (x, mu, x_snap, cache, preconditioner, draws, sums, powers)

    cdef end(self):
        """What comes after the last iteration. Returns the delays."""
        cdef int64_t t, done, p = self.samples.data.p
        cdef asv_inner *inner = &self.inner
        delays, _, weights, _held = self._held
        inner.padded.rows, inner.draws.first = NULL, 0
        if weights is not None:
            weights[:] = self._padded[:, :weights.shape[1]]
        if inner.lazy.done != NULL or inner.preconditioner.shift != NULL:
            done = np.count_nonzero(delays >= 0)
            for t in prange(inner.threads, num_threads=inner.threads, schedule="static", chunksize=1, nogil=True):
                self.network.kernels.settle(inner, done, p * t // inner.threads, p * (t + 1) // inner.threads)
        for waited in (self._rows, self._shift):
            if waited is not None:
                waited.fill(0)
        self._held = None
        if self.control.stop == ASV_INTERRUPTED:
            reraise()
        return delays

    def _spread_threads(self):
        """A core for each thread, to start with."""
        cdef asv_inner *inner = &self.inner
        cdef int32_t *cores = <int32_t *>address(self._cores, np.int32, (inner.threads,))
        self._counters.fill(0)
        with nogil, parallel(num_threads=inner.threads):
            asv_spread(cores, inner.counters, asv_thread_number(), asv_team_size())

    cdef _pad(self, x, pair):
        """Copies W_0 to rows on whole lines, and behind them the rows of U_0; returns where W_0 is in x."""
        weights = x[self.network.slices[0][0]].reshape(self.samples.data.p, -1)
        v, rank = weights.shape[1], 0 if pair is None else pair[0].shape[1]
        self.inner.padded.rows = address(self._padded, self.network.dtype, self._padded.shape)
        self.inner.padded.holds_basis = pair is not None and v + rank <= self._padded.shape[1]
        self._padded[:, :v] = weights
        if self.inner.padded.holds_basis:
            self._padded[:, v:v + rank] = pair[0][1:]
        return weights

    def direction(self, x, v, int64_t t, *, direction, epoch, double l2_factor=1, mu=None, x_snap=None, cache=None,
                  known=None, preconditioner=None):
        """The direction of iteration t at x, on all coordinates, instead of an update (Eq. 16).

        Threads divide the mini-batch. The loop is one of all coordinates with update="plain" and without lazy rows.

        Parameters
        ----------
        x : array of shape (size,)
            With ASV_LINE readable bytes behind its end, as `aligned_zeros` has them.
        v : array of shape (size,)
            Overwritten. With the same bytes behind its end.
        t : int
        direction, epoch, l2_factor, mu, x_snap, cache, preconditioner : as for `run`
        known : int32 array of shape (n,), optional
            For which samples the cache has what it should, 1 or 0; what it lacks of the mini-batch is added first.

        Returns
        -------
        passes : int
            Samples that were passed through the network at x_snap.
        """
        cdef asv_inner *inner = &self.inner
        cdef const asv_kernels *kernels = self.network.kernels
        cdef size_t stride = self.stride, size = self.network.size * self.network.dtype.itemsize
        cdef char *scratch = <char *>address(self._scratch, np.uint8, self._scratch.shape)
        cdef int64_t k, b = inner.draws.b, parts = min(inner.threads, b), passes = 0
        cdef char *into
        if inner.execution == ASV_LOCKSTEP or inner.rule.memory != ASV_PLAIN or inner.rule.subset \
                or inner.lazy.done != NULL or direction == "page":
            raise ValueError("a direction, but not of page, is formed by a loop of all coordinates with update='plain' "
                             "and no lazy rows")
        self.aim(x, direction, epoch, l2_factor, mu, x_snap, cache, preconditioner, None)
        inner.preconditioner.shift = NULL
        if inner.direction.cache != NULL and known is not None:
            if inner.direction.reference == NULL:
                raise ValueError("a cache that may lack samples needs x_snap")
            inner.direction.known = <int32_t *>address(known, np.int32, (self.samples.size,))
            for k in prange(parts, num_threads=parts, schedule="static", chunksize=1, nogil=True):
                passes += kernels.complete(inner, t, b * k // parts, b * (k + 1) // parts, scratch + k * stride)
        elif direction != "sgd" and inner.direction.cache == NULL:
            passes = b
        if parts == 1:
            into = <char *>address(v, self.network.dtype, (self.network.size,))
        else:
            if self._parts is None:
                self._parts = aligned_zeros((parts, self.network.size), self.network.dtype)
            into = <char *>address(self._parts, self.network.dtype, self._parts.shape)
        for k in prange(parts, num_threads=parts, schedule="static", chunksize=1, nogil=True):
            kernels.direction(inner, t, b * k // parts, b * (k + 1) // parts, into + k * size, scratch + k * stride)
        if parts > 1:
            np.sum(self._parts, axis=0, out=v)
        return passes

    cdef void aim(self, x, direction, epoch, double l2_factor, mu, x_snap, cache, preconditioner, draws) except *:
        """Points the kernels at an epoch's arrays."""
        cdef int64_t layer, rank = self.inner.preconditioner.rank, n = self.samples.size
        cdef asv_inner *inner = &self.inner
        dtype, size, varies = self.network.dtype, self.network.size, direction != "sgd"
        if varies and (mu is None or (cache is None and x_snap is None)):
            raise ValueError(f"direction={direction!r} needs mu, and a cache or x_snap")
        inner.x = address(x, dtype, (size,))
        inner.direction.kind = DIRECTIONS[direction]
        inner.direction.mu = address(mu, dtype, (size,)) if varies else NULL
        inner.direction.reference = address(x_snap, dtype, (size,))
        inner.direction.cache = address(cache, dtype, (n, self.network.cache_width)) if varies else NULL
        inner.draws.epoch = epoch
        np.multiply(self._alpha, l2_factor, out=self._scaled_alpha)
        if draws is not None and inner.draws.replacement:
            raise ValueError("draws from a list are without replacement")
        listed, ratio, norms = draws or (None, None, None)
        inner.draws.list = <const int32_t *>address(listed, np.int32, (n,))
        inner.draws.ratio, inner.draws.norms = address(ratio, dtype, (n,)), address(norms, dtype, (n,))
        if (preconditioner is None) != (rank == 0) or (
                rank and inner.lazy.done != NULL and preconditioner[0] is not None):
            raise ValueError("a rank needs a basis of each layer, and without one there is none; None for lazy rows")
        for layer, pair in enumerate(preconditioner or ()):
            wide, out = self.network.widths[layer], self.network.widths[layer + 1]
            basis, fixed = pair or (None, None)
            self._pointers[0, layer] = <size_t>address(basis, dtype, (1 + wide, rank))
            self._pointers[1, layer] = <size_t>address(fixed, dtype, (rank, out))
        if rank and self.network.net.tiles and preconditioner[0] is not None:
            self._transposed = np.ascontiguousarray(preconditioner[0][0][1:].T)
            inner.preconditioner.transposed = address(self._transposed, dtype, (rank, self.network.widths[0]))


def atomic_adds(Network network not None, x, int64_t times, int threads):
    """Adds 1 to every coordinate of x, `times` times in all, by concurrent atomic updates: none may be lost."""
    cdef int64_t _, k, d = x.shape[0]
    cdef void *shared = address(x, network.dtype, (d,))
    cdef const asv_kernels *kernels = network.kernels
    for _ in prange(times, num_threads=threads, schedule="dynamic", chunksize=64, nogil=True):
        for k in range(d):
            kernels.atomic_subtract(shared, k, -1)
