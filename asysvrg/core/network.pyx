# cython: language_level=3, cdivision=True
"""The network over its C kernels: who owns the arrays, and sweeps over samples by OpenMP threads."""

from cython.parallel cimport parallel, prange
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint16_t, uintptr_t
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm, sgemm

import itertools
import math
import os

import numpy as np

from asysvrg.core._csrc cimport (
    ASV_ACTIVATION_COUNT, ASV_BLOCK_ROWS, ASV_INDICATORS, ASV_INTERRUPTED, ASV_LABELS, ASV_LINE, ASV_LOSS_COUNT,
    ASV_POLL_SECONDS, ASV_REALS, asv_activation_names, asv_cache_stride, asv_control, asv_degrees_of_losses,
    asv_kernels, asv_kinds_of_losses, asv_level, asv_levels, asv_levels_here, asv_loss_names, asv_network, asv_now,
    asv_openmp_version, asv_set_dynamic, asv_sweep, asv_team_size, asv_thread_number, asv_tiles_enable,
)
from asysvrg.core.control cimport start_control

from asysvrg.core.blocks import count_nonzeros
from asysvrg.core.control import OutOfTime, last_moment, reraise
from asysvrg.core.overflow import in_float64

# Names and numbers of the tables in csrc/activations.h and csrc/losses.h.
ACTIVATIONS = {asv_activation_names[k].decode(): k for k in range(ASV_ACTIVATION_COUNT)}
LOSSES = {asv_loss_names[k].decode(): k for k in range(ASV_LOSS_COUNT)}
KINDS = {ASV_LABELS: "labels", ASV_INDICATORS: "indicators", ASV_REALS: "reals"}
KIND_OF_LOSS = {name: KINDS[asv_kinds_of_losses[k]] for name, k in LOSSES.items()}
DEGREE_OF_LOSS = {name: asv_degrees_of_losses[k] for name, k in LOSSES.items()}
BLOCK_ROWS = ASV_BLOCK_ROWS  # samples that a sweep takes through the network at once, unless they are dense
FEW_ROWS = 128  # dense samples from which BLAS gives outputs faster, its start included (bench/predict.py)
LEVELS = tuple(asv_levels[k].name.decode() for k in range(asv_levels_here()))  # of SIMD, the lowest first
LEVEL = os.environ.get("ASYSVRG_SIMD") or LEVELS[-1]
if LEVEL not in LEVELS:
    raise ValueError(f"ASYSVRG_SIMD={LEVEL} is no SIMD level that this build and this machine have; they have "
                     f"{', '.join(LEVELS)}")
cdef const asv_level *level = asv_levels + <int>LEVELS.index(LEVEL)
HAS_TILES = LEVEL == LEVELS[-1] and os.environ.get("ASYSVRG_NO_TILES", "0") == "0" and bool(asv_tiles_enable())
# Tiles form the first layer's products where they are faster (bench/bench_kernels.py). The first three are the least
# numbers of dense samples in a batch, of inputs and of units. The fourth is the least samples x inputs x sqrt(units).
TILED_ROWS, TILED_INPUTS, TILED_UNITS, TILED_WORK = 20, 24, 16, 12_800


def build_info():
    """OpenMP standard (yyyymm, 0 for a serial build) and SIMD level of the kernels in this process."""
    return {"openmp": asv_openmp_version(), "simd": f"{LEVEL} ({level.has.decode()})" + ", tiles (AMX)" * HAS_TILES}


def team(int threads):
    """How many threads OpenMP gives to this thread where it asks for so many."""
    sizes = np.ones(1, dtype=np.int32)
    cdef int32_t *size = <int32_t *>address(sizes, np.int32, (1,))
    with nogil, parallel(num_threads=threads):
        if asv_thread_number() == 0:
            size[0] = asv_team_size()
    return int(sizes[0])


def set_dynamic(bint value):
    """Whether OpenMP may give this thread fewer threads than it asks for, as it sees fit; returns what it was."""
    return bool(asv_set_dynamic(value))


def aligned_zeros(shape, dtype):
    """Zeros that start on a cache line and have a line of spare bytes behind them, as the kernels expect."""
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    raw = np.zeros(count * dtype.itemsize + 3 * ASV_LINE, dtype=np.uint8)
    start = -start_of(raw) % ASV_LINE
    return raw[start:start + count * dtype.itemsize].view(dtype).reshape(shape)


cdef void *address(array, dtype, shape) except? NULL:
    """Where a C-contiguous array starts, after a look at its type and shape; NULL for None."""
    if array is None:
        return NULL
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise TypeError(f"expected a C-contiguous {np.dtype(dtype)} array of shape {shape}, "
                        f"got {array.dtype} of shape {array.shape}")
    return <void *>start_of(array)


cpdef uintptr_t start_of(array) except? 0:
    """Where a contiguous array starts. (NumPy's `ctypes.data` takes several times as long.)"""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <uintptr_t>view.buf


cdef const asv_kernels *kernels_of(dtype) except NULL:
    """The kernels of a precision."""
    if dtype == np.float32:
        return level.f32
    if dtype == np.float64:
        return level.f64
    raise ValueError(f"dtype is float32 or float64, got {dtype}")


def to_half(u, double scale, out):
    """Writes scale u, rounded to half precision, as bits of uint16; of numbers below 2^15 in size.

    Parameters
    ----------
    u : array of shape (n,), float32 or float64
    scale : float
    out : array of uint16 of shape (n,)
    """
    cdef int64_t n = u.size
    kernels_of(u.dtype).to_half(address(u, u.dtype, (n,)), n, scale, <uint16_t *>address(out, np.uint16, (n,)))


def from_half(half, double scale, out):
    """Writes scale times numbers of half precision, the inverse of `to_half`.

    Parameters
    ----------
    half : array of uint16 of shape (n,)
    scale : float
    out : array of shape (n,), float32 or float64
    """
    cdef int64_t n = half.size
    kernels_of(out.dtype).from_half(
        <const uint16_t *>address(half, np.uint16, (n,)), n, scale, address(out, out.dtype, (n,))
    )


cdef class Network:
    """A fully connected network: its shape, and where each layer stands in the flat vector of parameters.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden units of each layer, outputs; at least two numbers.
    activation : {"relu", "tanh", "logistic", "identity"}
    loss : str
        A name of `LOSSES` (csrc/losses.h). "softmax": cross-entropy of one label out of several. "binary":
        cross-entropy of each of several labels that are there or not, summed. The others are for real targets.
    dtype : float32 or float64
    smoothing : float, default=0
        Label smoothing: the loss takes 1 - smoothing for a label that is there, and shares the rest among all classes
        or, of indicators, both values. Not for real targets.
    intercepts : bool, default=True
        Whether there are biases. If not, they have no gradient; whoever gives parameters gives zeros there.
    tiles : int, optional
        Dense samples of a batch from which the first layer's products are formed on tiles (csrc/tiles.h), 0 for never.
        Default: what TILED_ROWS and the constants beside it say, of float32 on a processor with tiles.
    """

    def __init__(self, widths, activation, loss, dtype, tiles=None, smoothing=0.0, bint intercepts=True):
        self.widths = tuple(int(w) for w in widths)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"a network needs at least inputs and outputs, all positive; got widths {self.widths}")
        if activation not in ACTIVATIONS or loss not in LOSSES:
            raise ValueError(f"unknown activation {activation!r} or loss {loss!r}")
        if not 0 <= smoothing < (1 if KIND_OF_LOSS[loss] != "reals" else math.nextafter(0, 1)):
            raise ValueError(f"label smoothing {smoothing} does not go with loss {loss!r}")
        self.activation, self.loss, self.dtype = activation, loss, np.dtype(dtype)
        size = sum((a + 1) * b for a, b in itertools.pairwise(self.widths))
        if max(size, *self.widths) >= 2**31:
            raise ValueError(f"the network has {size} parameters; fewer than 2**31 are supported: make its hidden "
                             f"layers (hidden_layer_sizes) smaller")
        self.size = size
        cdef Py_ssize_t layers = len(self.widths) - 1
        width = np.array(self.widths, dtype=np.int64)
        ends = np.cumsum((width[:-1] + 1) * width[1:])
        weight = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        bias = ends - width[1:]
        line = ASV_LINE // self.dtype.itemsize
        unit = np.concatenate([[0, 0], np.cumsum(-(-width[1:] // line) * line)]).astype(np.int64)
        self._offsets = (width, weight, bias, unit)
        self.slices = [
            (slice(int(w), int(b)), slice(int(b), int(e))) for w, b, e in zip(weight, bias, ends, strict=True)
        ]
        self.net.layers = layers
        self.net.width = <const int64_t *>address(width, np.int64, (layers + 1,))
        self.net.weight = <const int64_t *>address(weight, np.int64, (layers,))
        self.net.bias = <const int64_t *>address(bias, np.int64, (layers,))
        self.net.unit = <const int64_t *>address(unit, np.int64, (layers + 2,))
        self.net.units = int(width[1:].sum())
        self.net.d = self.size
        self.net.activation = ACTIVATIONS[activation]
        self.net.loss = LOSSES[loss]
        self.net.smoothing = smoothing
        self.net.no_biases = not intercepts
        self.kernels = kernels_of(self.dtype)
        self.net.gemm = <void *>sgemm if self.dtype == np.float32 else <void *>dgemm
        if tiles is None:
            least = max(TILED_ROWS, math.ceil(TILED_WORK / (self.widths[0] * math.sqrt(self.widths[1]))))
            tiles = least if self.widths[0] >= TILED_INPUTS and self.widths[1] >= TILED_UNITS else 0
        self.net.tiles = tiles if HAS_TILES and self.dtype == np.float32 else 0
        self.cache_width = asv_cache_stride(&self.net)

    def __reduce__(self):
        return Network, (self.widths, self.activation, self.loss, self.dtype, None, self.smoothing, self.intercepts)

    @property
    def smoothing(self):
        """Label smoothing."""
        return self.net.smoothing

    @property
    def intercepts(self):
        """Whether there are biases."""
        return not self.net.no_biases

    def changed(self, widths=None, loss=None, dtype=None, smoothing=None):
        """A network that differs from this one in what is given."""
        smoothing = self.smoothing if smoothing is None else smoothing
        return Network(widths or self.widths, self.activation, loss or self.loss, dtype or self.dtype,
                       smoothing=smoothing, intercepts=self.intercepts)

    def layers(self, x):
        """Views of x as [(W_0, b_0), (W_1, b_1), ...], W_l of shape (width[l], width[l + 1])."""
        return [(x[w].reshape(self.widths[i], self.widths[i + 1]), x[b]) for i, (w, b) in enumerate(self.slices)]

    def vector(self, values=None):
        """A vector of parameters as the kernels want it, on cache lines of its own: a copy of `values`, or zeros."""
        x = aligned_zeros((self.size,), self.dtype)
        if values is not None:
            x[:] = values
        return x

    def outputs(self, Samples samples not None, x, int threads):
        """What the network makes of each sample.

        Fewer than FEW_ROWS samples take no BLAS; for more, the caller limits BLAS to one thread. Each of these few gets
        the same bits whatever other samples there are. Samples whose sums overflow are computed in float64.

        Parameters
        ----------
        samples : Samples
        x : array of shape (size,), from `aligned_zeros`
        threads : int

        Returns
        -------
        array of shape (n, outputs), of this dtype; float64 where it cannot hold them
        """
        found = np.empty((samples.size, self.widths[len(self.widths) - 1]), self.dtype)
        loss, _ = self.sweep(samples, x, threads, outputs=found)
        return in_float64(self, samples, x, threads, found) if loss != loss else found

    def sweep(self, Samples samples not None, x, int threads, gradients=None, cache=None, outputs=None, rows=None,
              parts=None):
        """Sums the loss over samples, all or some; where arrays are given, also gradient, snapshot cache and outputs.

        Parameters
        ----------
        samples : Samples
        x : array of shape (size,), from `aligned_zeros`
        threads : int
        gradients : array of shape (parts, size), optional
            Overwritten: each part's sum of the weighted gradients of the loss, without l2.
        cache : array of shape (n, cache_width), optional
        outputs : array of shape (n, outputs), optional
        rows : (first, last), optional
            Samples first .. last - 1 only.
        parts : int, optional
            What the samples are divided into. Results depend on their number, and not on that of the threads.
            Default: threads.

        Returns
        -------
        loss, errors : float
            Weighted sums: the loss; misclassified samples or squared residuals.

        Raises
        ------
        OutOfTime
            At the end of this thread's time limit (`control.time_limit`), unless outputs are wanted.
        """
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if samples.data.p != self.widths[0]:
            raise ValueError(f"the network takes {self.widths[0]} inputs, the samples have {samples.data.p}")
        if samples.X.dtype != self.dtype:
            raise TypeError(f"the network computes in {self.dtype}, the samples are {samples.X.dtype}")
        cdef int64_t n = samples.data.n, blocks = parts or threads
        cdef int64_t first = 0 if rows is None else rows[0]
        cdef int64_t count = n if rows is None else rows[1] - rows[0]
        if first < 0 or count < 0 or first + count > n:
            raise ValueError(f"rows {rows} are not among the {n} samples")
        cdef int k
        cdef asv_control control
        cdef asv_network net = self.net
        if outputs is not None:
            net.tiles = 0  # what users see is as exact as float32 is
            if gradients is None and cache is None and n < FEW_ROWS:
                net.gemm = NULL
        cdef size_t stride = self.kernels.sweep_scratch(&net, &samples.data)
        scratch = aligned_zeros((threads, stride), np.uint8)
        sweeps = aligned_zeros((blocks, sizeof(asv_sweep) + ASV_LINE), np.uint8)
        cdef char *memory = <char *>address(scratch, np.uint8, (threads, stride))
        cdef char *gradient = <char *>address(gradients, self.dtype, (blocks, self.size))
        cdef size_t gradient_stride = self.size * self.dtype.itemsize
        cdef size_t sweep_stride = sizeof(asv_sweep) + ASV_LINE
        cdef char *sweep_memory = <char *>address(sweeps, np.uint8, (blocks, sweep_stride))
        cdef asv_sweep *sweep
        cdef const void *parameters = address(x, self.dtype, (self.size,))
        cdef void *kept = address(cache, self.dtype, (n, self.cache_width))
        cdef void *out = address(outputs, self.dtype, (n, self.widths[len(self.widths) - 1]))
        for k in range(blocks):
            sweep = <asv_sweep *>(sweep_memory + k * sweep_stride)
            sweep.net = &net
            sweep.data = &samples.data
            sweep.x = parameters
            sweep.gradient = gradient + k * gradient_stride if gradient != NULL else NULL
            sweep.cache = kept
            sweep.outputs = out
        start_control(&control, INFINITY if outputs is not None else last_moment())
        if outputs is not None:  # a look at signals takes Python's lock, for which others wait
            control.next_poll = asv_now() + ASV_POLL_SECONDS
        for k in prange(blocks, num_threads=threads, schedule="dynamic", chunksize=1, nogil=True):
            self.kernels.sweep(
                <asv_sweep *>(sweep_memory + k * sweep_stride), first + count * k // blocks,
                first + count * (k + 1) // blocks,
                memory + asv_thread_number() * stride, asv_thread_number(), &control,
            )
        if control.stop == ASV_INTERRUPTED:
            reraise()
        loss = errors = 0.0
        for k in range(blocks):
            sweep = <asv_sweep *>(sweep_memory + k * sweep_stride)
            loss += sweep.loss
            errors += sweep.errors
            count -= sweep.evaluated
        if count > 0:
            raise OutOfTime
        return loss, errors


cdef class Samples:
    """Samples as the kernels see them. Keeps references to arrays of the right type instead of copies.

    Parameters
    ----------
    X : C-contiguous array or CSR matrix of shape (n, p), float32 or float64
        CSR: sorted indices without duplicates.
    y : int32 array of shape (n,), or array of X's dtype and shape (n, outputs), or None
        Labels 0 .. classes - 1, or targets.
    weight : array of X's dtype and shape (n,), optional
        Mean 1.
    skip_zeros : bool, default=False
        Whether to copy the non-zeros of a dense X, so that the kernels visit these only. Of CSR they always do.
    """

    def __init__(self, X, y=None, weight=None, bint skip_zeros=False):
        cdef int64_t n = X.shape[0], p = X.shape[1]
        self.X, self.y, self.weight, self.size = X, y, weight, n
        memset(&self.data, 0, sizeof(self.data))
        self.data.n, self.data.p = n, p
        if hasattr(X, "indptr"):
            self._use_entries(X.data, X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False))
        else:
            self.data.rows = address(X, X.dtype, (n, p))
            if skip_zeros:
                self._copy_nonzeros()
        if y is not None and y.ndim == 1:
            self.data.labels = <const int32_t *>address(y, np.int32, (n,))
        elif y is not None:
            self.data.targets = address(y, X.dtype, (n, y.shape[1]))
        self.data.weight = address(weight, X.dtype, (n,))

    cdef _use_entries(self, values, columns, start):
        entries = values.shape[0]
        self._entries = (values, columns, start)
        self.data.values = address(values, self.X.dtype, (entries,))
        self.data.columns = <const int32_t *>address(columns, np.int32, (entries,))
        self.data.start = <const int64_t *>address(start, np.int64, (self.size + 1,))
        self.data.longest = int(np.diff(start).max(initial=0))

    cdef _copy_nonzeros(self):
        """Copies the non-zeros of a dense X as CSR."""
        cdef int64_t n = self.data.n, p = self.data.p
        dtype, entries = self.X.dtype, count_nonzeros(self.X)
        values, columns = aligned_zeros((entries,), dtype), aligned_zeros((entries,), np.int32)
        start = np.empty(n + 1, dtype=np.int64)
        cdef const asv_kernels *kernels = kernels_of(dtype)
        cdef void *to = address(values, dtype, (entries,))
        cdef int32_t *column = <int32_t *>address(columns, np.int32, (entries,))
        cdef int64_t *first = <int64_t *>address(start, np.int64, (n + 1,))
        with nogil:
            kernels.nonzeros(self.data.rows, n, p, to, column, first)
        self._use_entries(values, columns, start)

    @property
    def columns(self):
        """Column of each entry, sample by sample, where zeros are skipped."""
        return self._entries[1]

    @property
    def skips_zeros(self):
        """Whether the kernels visit non-zero inputs only."""
        return self.data.values != NULL
