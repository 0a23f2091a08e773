# cython: language_level=3, cdivision=True
"""The inner loop of Algorithm 1: one OpenMP region, m iterations handed out one by one, or carried out together."""

from cython.parallel cimport parallel, prange
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

import numpy as np

from asysvrg.core._csrc cimport (
    ASV_ATOMIC, ASV_COUNTER_STRIDE, ASV_DRAW_LOT, ASV_INTERRUPTED, ASV_LINE, ASV_OWNED, ASV_REPLICATED, ASV_SERIAL,
    ASV_SGD, ASV_STRIPE, ASV_STRIPED, ASV_SVRG, asv_control, asv_draw_batch, asv_draw_blocks, asv_draw_unit, asv_inner,
    asv_kernels, asv_key, asv_most_blocks, asv_samples, asv_take_seat, asv_team_size, asv_thread_number,
)
from asysvrg.core.network cimport Network, Samples, address, kernels_of, start_control, start_of

from asysvrg.core.network import aligned_zeros, reraise

DIRECTIONS = {"sgd": ASV_SGD, "svrg": ASV_SVRG}
SPARSE_ENOUGH = 0.5  # non-zeros of a mini-batch by inputs: below, other rows are put off (bench/bench_kernels.py)
UPDATES = {
    "serial": ASV_SERIAL, "atomic": ASV_ATOMIC, "striped": ASV_STRIPED, "owned": ASV_OWNED,
    "replicated": ASV_REPLICATED,
}
# Entries of a column in as many mini-batches as x has parts for its replicas, and the most parts: so that exchanging
# one is a small share of an iteration (bench/bench_kernels.py: test_exchange).
EXCHANGED, MOST_PARTS = 80, 12
SEEN = 100_000  # entries from which the work on a column is estimated
ROW_COST = 3  # samples with an entry in a column whose products take as long as the update of its row
# Products of numbers above the first layer, of one thread's samples, that take as long as to pass samples' deltas on
# to another; and what a sample takes besides, as so many (bench/bench_kernels.py: test_samples_of_a_team).
PASSED_ON, EACH_SAMPLE = 75_000, 2000

cdef enum:  # what scratch is laid out for
    FOR_UPDATES = 1
    FOR_DIRECTIONS = 2


cdef class InnerLoop:
    """m inner iterations by threads on one vector x. Owns each thread's scratch, the counters and the locks.

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
    coordinates : int
        B, the coordinates an update touches; 0 for all.
    block : int
        Coordinates drawn together, aligned to a multiple of it.
    update : {"serial", "atomic", "striped", "owned", "replicated"}
        Memory mode, see csrc/update.h, team.h and replica.h. "serial" is for one thread.
    max_delay : int or None
        Delta of Assumption 4.
    seed : int
    threads : int
    replacement : bool, default=True
        Whether mini-batches are drawn with replacement (Assumption 1), or go through the samples in random orders.
    rank : int, default=0
        Directions of each layer's input along which steps are shortened (csrc/deflate.h).
    spare : sequence of array of shape (size,)
        Vectors that `run` may overwrite; "replicated" needs some.
    """

    cdef asv_inner inner
    cdef asv_control control
    cdef size_t stride
    cdef readonly Network network
    cdef readonly Samples samples
    cdef object _alpha, _scratch, _counters, _locks, _rows, _parts, _pointers, _shift, _turned, _division, _wide, _seats
    cdef object _spare, _where, _counts, _boosted
    cdef int laid_out  # what the scratch was used for last; 0: nothing yet

    def __init__(self, Network network not None, Samples samples not None, *, alpha, batch_size, coordinates, block,
                 update, max_delay, seed, threads, replacement=True, rank=0, spare=()):
        if threads < 1 or batch_size < 1 or coordinates < 0 or block < 1:
            raise ValueError(f"threads, batch_size and block must be positive and coordinates not negative, "
                             f"got {threads}, {batch_size}, {block}, {coordinates}")
        if update == "serial" and threads > 1:
            raise ValueError("update='serial' loses updates with more than one thread")
        if 0 < coordinates < network.size and (
                update in ("owned", "replicated") or update == "striped" and block == 1):
            raise ValueError(f"update={update!r} is for updates of all coordinates; a subset takes 'atomic', "
                             f"and one of blocks 'striped', too")
        if samples.y is None or samples.data.p != network.widths[0]:
            raise ValueError("the inner loop needs samples with targets, as wide as the network's input")
        self.network, self.samples = network, samples
        memset(&self.inner, 0, sizeof(self.inner))
        self.inner.net, self.inner.data = &network.net, &samples.data
        shape = (network.widths[0] + len(network.widths) - 2,)
        self._alpha = np.ascontiguousarray(np.broadcast_to(np.asarray(alpha, dtype=np.float64), shape))
        self._boosted = self._alpha.copy()
        self.inner.alpha, self.inner.b = <const double *>address(self._boosted, np.float64, shape), batch_size
        self.inner.subset = coordinates if coordinates < network.size else 0
        self.inner.block, self.inner.update = block, UPDATES[update]
        self.inner.max_delay = -1 if max_delay is None else max_delay
        self.inner.seed, self.inner.threads, self.inner.replacement = seed, threads, replacement
        self.inner.control = &self.control
        self.inner.parts = min(max(round(EXCHANGED / max(batch_size * samples.density, 1)), 1), MOST_PARTS)
        stripes = self.inner.parts if update == "replicated" else -(-network.size // ASV_STRIPE)
        locks = -(-network.size // block) if self.inner.subset else stripes * ASV_LINE // sizeof(int32_t)
        self._locks = aligned_zeros((locks if update in ("striped", "replicated") else 0,), np.int32)
        self.inner.locks = <int32_t *>address(self._locks, np.int32, self._locks.shape)
        if self.inner.subset == 0 and update != "replicated" and batch_size * samples.density < SPARSE_ENOUGH:
            self._rows = aligned_zeros((2, samples.data.p), np.int32)
            self.inner.done = <int32_t *>address(self._rows, np.int32, self._rows.shape)
            self.inner.row_locks = self.inner.done + samples.data.p
        self.inner.rank = rank
        self._shift = None
        in_order = self.inner.subset == 0 and update in ("serial", "owned", "replicated")
        pitch = network.net.unit[2] - network.net.unit[1]
        if rank and in_order and self._same_alpha():
            self._shift = aligned_zeros((threads, rank, pitch), network.dtype)
        self._wide = None
        if in_order and samples.skips_zeros and not self.puts_off and pitch > network.widths[1]:
            rows = samples.data.p * (threads if update == "replicated" else 1)
            self._wide = aligned_zeros((rows, pitch), network.dtype)
        self.inner.divided = update == "owned" and self._products() * (threads - 1) >= PASSED_ON * threads
        self._division = divide(samples, batch_size, threads) if update == "owned" else (None, None)
        cuts, split = self._division
        self.inner.cuts = <const int64_t *>address(cuts, np.int64, (threads + 1,))
        self.inner.split = <const int32_t *>address(split, np.int32, (threads - 1, samples.size))
        self._spare = spare[:threads - 1]
        self._turned = None
        self._pointers = np.zeros((2, len(network.slices)), dtype=np.uintp)
        self.inner.basis = <const void *const *>address(self._pointers, np.uintp, self._pointers.shape)
        self.inner.fixed = self.inner.basis + len(network.slices)
        self._counters = aligned_zeros((3 * ASV_COUNTER_STRIDE,), np.int64)
        self.inner.counters = <int64_t *>address(self._counters, np.int64, self._counters.shape)
        self.stride = network.kernels.step_scratch(&self.inner)
        self._scratch = aligned_zeros((threads, self.stride), np.uint8)
        self._parts, self._seats = None, aligned_zeros((threads,), np.int32)

    cdef _make_replicas(self):
        """A replica of x for each thread, and its base; without W_0's where W_0 is wide: a replica has room for it.

        Returns what is to be kept while they are used. Not longer, since a new snapshot takes as much memory.
        """
        cdef int64_t threads = self.inner.threads
        dtype, size = self.network.dtype, self.network.size
        base = size - (0 if self._wide is None else self.network.net.bias[0])
        made = [*self._spare, *(aligned_zeros((size,), dtype) for _ in range(threads - len(self._spare)))]
        made += [aligned_zeros((base,), dtype) for _ in range(threads)]
        self._where = np.array([start_of(each) for each in made], dtype=np.uintp)
        self.inner.replicas = <void *const *>address(self._where, np.uintp, (2 * threads,))
        self.inner.bases = self.inner.replicas + threads
        self._counts = aligned_zeros((threads, 3 * ASV_COUNTER_STRIDE), np.int64)
        self.inner.counts = <int64_t *>address(self._counts, np.int64, self._counts.shape)
        return made

    def _geometric_sums(self, int64_t steps, double eta):
        """1 + r + ... + r^(k - 1) for k = 0 .. steps, where all that is put off has the same r = 1 - eta alpha."""
        if self.inner.done == NULL or not self._same_alpha():
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # a rate that diverges is the epoch loop's business
            return np.concatenate([[0.0], np.cumsum((1 - eta * self._boosted[0]) ** np.arange(steps))])

    def _same_alpha(self):
        """Whether all rows of the first layer's matrix have the same alpha."""
        alpha = self._alpha[:self.samples.data.p]
        return alpha.min() == alpha.max()

    def _products(self):
        """Of numbers, for a mini-batch above the first layer."""
        upper = self.network.widths[1:]
        return self.inner.b * (EACH_SAMPLE + sum(wide * out for wide, out in zip(upper, upper[1:])))

    @property
    def divides_samples(self):
        """Whether the threads of a team divide a mini-batch's samples, or each takes all of them (csrc/team.h)."""
        return self.inner.divided != 0

    @property
    def puts_off(self):
        """Whether updates of all coordinates cost as much as the mini-batch has non-zeros (csrc/lazy.h)."""
        return self.inner.done != NULL

    def run(self, x, int64_t steps, *, direction, eta, epoch, double boost=1, mu=None, x_snap=None, cache=None,
            deflation=None, draws=None, double deadline=float("inf")):
        """Updates x in place, `steps` times.

        Parameters
        ----------
        x : array of shape (size,), from `aligned_zeros`
        steps : int
            m, the inner iterations of this epoch.
        direction : {"sgd", "svrg"}
        eta : float
            Learning rate.
        epoch : int
            s; with the seed and the iteration it determines every draw.
        boost : float, default=1
            The l2 term counts so many times.
        mu : array of shape (size,)
            "svrg": gradient of the loss at x_snap, without the l2 term.
        x_snap : array of shape (size,)
            "svrg": the snapshot.
        cache : array of shape (n, cache_width), optional
            "svrg": what `Network.sweep` kept at x_snap. Without it, each iteration passes through the network at
            x_snap, too.
        deflation : sequence of (array of shape (1 + inputs, rank), array of shape (rank, outputs)) or None
            With a rank: U of each layer, and U' (mu + boost alpha x_snap); None for a layer with steps as they are.
        draws : importance.Draws or None
            Samples that passes go through in place of all (without replacement), with what their gradients count;
            those that count less than is enough are left out by lot, where that saves work.
        deadline : float
            Seconds on the monotonic clock, after which no iteration starts.

        Returns
        -------
        delays : int32 array of shape (steps,)
            Delay of each iteration's update, -1 for iterations that the deadline cut off.

        Raises
        ------
        KeyboardInterrupt
            Or what a signal handler raised; x then holds every update applied so far.
        """
        cdef int64_t t, done, p = self.samples.data.p
        cdef asv_inner *inner = &self.inner
        cdef const asv_kernels *kernels = self.network.kernels
        cdef size_t stride = self.stride
        cdef char *scratch = self.scratch_for(FOR_UPDATES)
        delays = np.full(steps, -1, dtype=np.int32)
        self.aim(x, direction, epoch, boost, mu, x_snap, cache, deflation, draws)
        inner.eta = eta
        sums = self._geometric_sums(steps, eta)
        inner.sums = <const double *>address(sums, np.float64, (steps + 1,))
        inner.delays = <int32_t *>address(delays, np.int32, (steps,))
        if inner.threads > 1:
            self._seat_threads()
        self._counters.fill(0)
        start_control(&self.control, deadline)
        weights = None if self._wide is None else self._widen(x, None if deflation is None else deflation[0])
        replicas = self._make_replicas() if inner.update == ASV_REPLICATED else None
        with nogil, parallel(num_threads=inner.threads):
            if inner.update == ASV_OWNED:
                kernels.team(inner, steps, scratch, stride, asv_thread_number(), asv_team_size())
            else:
                kernels.work(inner, steps, scratch + asv_thread_number() * stride, asv_thread_number())
        del replicas
        if weights is not None:
            weights[:] = self._wide[:, :weights.shape[1]]
        if inner.done != NULL or inner.shift != NULL:
            done = np.count_nonzero(delays >= 0)
            for t in prange(inner.threads, num_threads=inner.threads, schedule="static", chunksize=1, nogil=True):
                kernels.settle(inner, done, p * t // inner.threads, p * (t + 1) // inner.threads)
        if inner.done != NULL:
            self._rows.fill(0)
        if inner.shift != NULL:
            self._shift.fill(0)
        if self.control.stop == ASV_INTERRUPTED:
            reraise()
        return delays

    def _seat_threads(self):
        """A core for each thread, to start with."""
        cdef asv_inner *inner = &self.inner
        cdef int32_t *seats = <int32_t *>address(self._seats, np.int32, (inner.threads,))
        self._counters.fill(0)
        with nogil, parallel(num_threads=inner.threads):
            asv_take_seat(seats, inner.counters, asv_thread_number(), asv_team_size())

    cdef _widen(self, x, pair):
        """Copies W_0 to rows on whole lines, and what stands beside it; returns where it is in x.

        Replicas are filled by the threads that have them: None.
        """
        weights = x[self.network.slices[0][0]].reshape(self.samples.data.p, -1)
        v, rank = weights.shape[1], 0 if pair is None else pair[0].shape[1]
        self.inner.wide = address(self._wide, self.network.dtype, self._wide.shape)
        self.inner.beside = pair is not None and v + rank <= self._wide.shape[1]
        if self.inner.update == ASV_REPLICATED:
            return None
        self._wide[:, :v] = weights
        if self.inner.beside:
            self._wide[:, v:v + rank] = pair[0][1:]
        return weights

    def direction(self, x, v, int64_t t, *, direction, epoch, double boost=1, mu=None, x_snap=None, cache=None,
                  known=None, deflation=None):
        """The direction of iteration t at x, on all coordinates, instead of an update (Eq. 16).

        Threads divide the mini-batch among themselves.

        Parameters
        ----------
        x : array of shape (size,)
            With ASV_LINE readable bytes behind its end, as `aligned_zeros` has them.
        v : array of shape (size,)
            Overwritten. With the same bytes behind its end.
        t : int
        direction, epoch, boost, mu, x_snap, cache, deflation : as for `run`
        known : int32 array of shape (n,), optional
            For which samples the cache has what it should, 1 or 0; what it lacks of the mini-batch is added first.

        Returns
        -------
        passes : int
            Samples that were passed through the network at x_snap.
        """
        cdef asv_inner *inner = &self.inner
        cdef const asv_kernels *kernels = self.network.kernels
        cdef size_t stride = self.stride, wide = self.network.size * self.network.dtype.itemsize
        cdef char *scratch = self.scratch_for(FOR_DIRECTIONS)
        cdef int64_t k, b = inner.b, parts = min(inner.threads, b), passes = 0
        cdef char *into
        self.aim(x, direction, epoch, boost, mu, x_snap, cache, deflation, None)
        if inner.cache != NULL and known is not None:
            if inner.x_snap == NULL:
                raise ValueError("a cache that may lack samples needs x_snap")
            inner.known = <int32_t *>address(known, np.int32, (self.samples.size,))
            for k in prange(parts, num_threads=parts, schedule="static", chunksize=1, nogil=True):
                passes += kernels.complete(inner, t, b * k // parts, b * (k + 1) // parts, scratch + k * stride)
        elif inner.direction == ASV_SVRG and inner.cache == NULL:
            passes = b
        if parts == 1:
            into = <char *>address(v, self.network.dtype, (self.network.size,))
        else:
            if self._parts is None:
                self._parts = aligned_zeros((parts, self.network.size), self.network.dtype)
            into = <char *>address(self._parts, self.network.dtype, self._parts.shape)
        for k in prange(parts, num_threads=parts, schedule="static", chunksize=1, nogil=True):
            kernels.direction(inner, t, b * k // parts, b * (k + 1) // parts, into + k * wide, scratch + k * stride)
        if parts > 1:
            np.sum(self._parts, axis=0, out=v)
        return passes

    cdef char *scratch_for(self, int layout) except NULL:
        """The scratch; zeros again where it was laid out for something else."""
        if self.laid_out not in (0, layout):
            self._scratch.fill(0)
        self.laid_out = layout
        return <char *>address(self._scratch, np.uint8, self._scratch.shape)

    cdef void aim(self, x, direction, epoch, double boost, mu, x_snap, cache, deflation, draws) except *:
        """Points the kernels at an epoch's arrays."""
        cdef int64_t layer, rank = self.inner.rank
        cdef asv_inner *inner = &self.inner
        dtype, size = self.network.dtype, self.network.size
        inner.x = address(x, dtype, (size,))
        inner.direction = DIRECTIONS[direction]
        if direction == "svrg" and (mu is None or (cache is None and x_snap is None)):
            raise ValueError("direction='svrg' needs mu, and a cache or x_snap")
        inner.mu = address(mu, dtype, (size,)) if direction == "svrg" else NULL
        inner.x_snap = address(x_snap, dtype, (size,))
        inner.cache = address(cache, dtype, (self.samples.size, self.network.cache_width)) \
            if direction == "svrg" else NULL
        inner.epoch = epoch
        np.multiply(self._alpha, boost, out=self._boosted)
        if (deflation is None) != (rank == 0) or (rank and self.puts_off and deflation[0] is not None):
            raise ValueError("a rank needs a basis of each layer, and without one there is none; None for rows put off")
        if draws is not None and inner.replacement:
            raise ValueError("draws from a list are without replacement")
        listed, ratio, lengths, inner.enough = draws or (None, None, None, 0)
        inner.list = <const int32_t *>address(listed, np.int32, (self.samples.size,))
        inner.ratio = address(ratio, dtype, (self.samples.size,))
        inner.lengths = address(lengths, dtype, (self.samples.size,))
        for layer, pair in enumerate(deflation or ()):
            wide, out = self.network.widths[layer], self.network.widths[layer + 1]
            basis, fixed = pair or (None, None)
            self._pointers[0, layer] = <size_t>address(basis, dtype, (1 + wide, rank))
            self._pointers[1, layer] = <size_t>address(fixed, dtype, (rank, out))
        if rank and self.network.net.tiles and deflation[0] is not None:
            self._turned = np.ascontiguousarray(deflation[0][0][1:].T)
            inner.turned = address(self._turned, dtype, (rank, self.network.widths[0]))
        inner.shift = inner.wide = NULL
        if self._shift is not None and deflation[0] is not None:
            inner.shift = address(self._shift, dtype, self._shift.shape)


def divide(Samples samples not None, int batch_size, int parts):
    """The columns of the input for each thread of a team, so that all have about as much to do.

    Returns
    -------
    cuts : int64 array of shape (parts + 1,)
        Part k has columns cuts[k] .. cuts[k + 1] - 1.
    split : int32 array of shape (parts - 1, n), or None for samples of which all inputs count
        How many entries of each sample are in front of these columns, of all parts but the first.
    """
    cdef int64_t n = samples.data.n, p = samples.data.p, i, k, low, high, middle
    cdef const asv_samples *data = &samples.data
    work = np.full(p, ROW_COST + batch_size, dtype=np.float64)
    if samples.skips_zeros:
        columns = samples.columns
        some = columns[::max(len(columns) // SEEN, 1)]  # all of them would take longer than an epoch sometimes
        share = np.bincount(some, minlength=p) * (<double>len(columns) / max(len(some), 1) / n)
        work = ROW_COST + batch_size * share
    ends = np.concatenate([[0.0], np.cumsum(work)])
    cuts = np.searchsorted(ends, ends[-1] * np.arange(parts + 1) / parts).astype(np.int64)
    cuts[0], cuts[parts] = 0, p
    if not samples.skips_zeros:
        return cuts, None
    split = np.empty((parts - 1, n), dtype=np.int32)
    cdef const int64_t *cut = <const int64_t *>address(cuts, np.int64, (parts + 1,))
    cdef int32_t *at = <int32_t *>address(split, np.int32, (parts - 1, n))
    with nogil:
        for k in range(parts - 1):
            for i in range(n):
                low, high = data.start[i], data.start[i + 1]
                while low < high:
                    middle = (low + high) // 2
                    if data.columns[middle] < cut[k + 1]:
                        low = middle + 1
                    else:
                        high = middle
                at[k * n + i] = <int32_t>(low - data.start[i])
    return cuts, split


def draw_batch(uint64_t seed, uint64_t epoch, uint64_t t, int64_t n, int64_t b, bint replacement=True):
    """The mini-batch I_t of iteration t: b indices below n."""
    index = np.zeros(b, dtype=np.int64)
    asv_draw_batch(seed, epoch, t, n, b, 0, b, replacement, <int64_t *>address(index, np.int64, (b,)))
    return index


def list_samples(lengths, double uniform, double unseen, uint64_t seed, uint64_t epoch):
    """What an epoch of importance sampling draws from (csrc/listing.h).

    Parameters
    ----------
    lengths : array of shape (n,)
        Finite and not negative.
    uniform : float
        Share of the probability that all samples have in equal parts.
    unseen : float
        The length of a sample that has not been drawn yet.

    Returns
    -------
    listed : int32 array of shape (n,)
    ratio : array of shape (n,)
    mean : float
        Of the lengths of samples that have been drawn; 0 if there are none.
    """
    cdef int64_t n = lengths.shape[0]
    cdef double mean
    cdef const asv_kernels *kernels = kernels_of(lengths.dtype)
    listed, ratio = np.empty(n, dtype=np.int32), np.empty_like(lengths)
    cdef const void *given = address(lengths, lengths.dtype, (n,))
    cdef int32_t *places = <int32_t *>address(listed, np.int32, (n,))
    cdef void *shares = address(ratio, lengths.dtype, (n,))
    with nogil:
        mean = kernels.list(given, n, uniform, unseen, seed, epoch, places, shares)
    return listed, ratio, mean


def draw_lots(uint64_t seed, uint64_t epoch, uint64_t t, int64_t b):
    """The lots of iteration t's samples, numbers in [0, 1)."""
    cdef int64_t r
    return np.array([asv_draw_unit(asv_key(seed, epoch, t, ASV_DRAW_LOT), r) for r in range(b)])


def draw_blocks(uint64_t seed, uint64_t epoch, uint64_t t, int64_t d, int64_t coordinates, int64_t block):
    """The blocks of iteration t's update: block c holds coordinates c * block .. (c + 1) * block - 1."""
    chosen = np.zeros(asv_most_blocks(d, coordinates, block), dtype=np.int64)
    marks = np.zeros(-(-d // block) // 64 + 1, dtype=np.uint64)
    count = asv_draw_blocks(seed, epoch, t, d, coordinates, block, <int64_t *>address(chosen, np.int64, chosen.shape),
                            <uint64_t *>address(marks, np.uint64, marks.shape))
    return chosen[:count]


def atomic_adds(Network network not None, x, int64_t times, int threads):
    """Adds 1 to every coordinate of x, `times` times in all, by concurrent atomic updates: none may be lost."""
    cdef int64_t _, d = x.shape[0]
    cdef void *shared = address(x, network.dtype, (d,))
    cdef const asv_kernels *kernels = network.kernels
    for _ in prange(times, num_threads=threads, schedule="dynamic", chunksize=64, nogil=True):
        add_one(kernels, shared, d)


cdef void add_one(const asv_kernels *kernels, void *x, int64_t d) noexcept nogil:
    cdef int64_t k
    for k in range(d):
        kernels.atomic_subtract(x, k, -1)
