# cython: language_level=3, cdivision=True
"""What an iteration works on: its mini-batch, its coordinates, and each part's columns in lockstep."""

from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

from asysvrg.core._csrc cimport asv_draw_batch, asv_draw_blocks, asv_kernels, asv_most_blocks, asv_samples
from asysvrg.core.network cimport Samples, address, kernels_of

SEEN = 100_000  # entries from which the work on a column is estimated
ROW_COST = 3  # samples with an entry in a column whose products take as long as the update of its row


def divide(Samples samples not None, int batch_size, int parts):
    """Divides the columns of the input among the parts of lockstep, so that all have about as much to do.

    Returns
    -------
    cuts : int64 array of shape (parts + 1,)
        Part k has columns cuts[k] .. cuts[k + 1] - 1.
    split : int32 array of shape (parts - 1, n), or None where zeros are not skipped
        For each part but the first: how many entries of each sample are in front of its columns.
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


def resample(norms, double uniform, uint64_t seed, uint64_t epoch):
    """What an epoch of importance sampling draws from (csrc/kernels/resample.inc).

    Parameters
    ----------
    norms : array of shape (n,)
        Gradient norms, finite and not negative.
    uniform : float
        Share of the probability that is the same for all samples.

    Returns
    -------
    listed : int32 array of shape (n,)
    ratio : array of shape (n,)
    """
    cdef int64_t n = norms.shape[0]
    cdef const asv_kernels *kernels = kernels_of(norms.dtype)
    listed, ratio = np.empty(n, dtype=np.int32), np.empty_like(norms)
    cdef const void *given = address(norms, norms.dtype, (n,))
    cdef int32_t *places = <int32_t *>address(listed, np.int32, (n,))
    cdef void *shares = address(ratio, norms.dtype, (n,))
    with nogil:
        kernels.resample(given, n, uniform, seed, epoch, places, shares)
    return listed, ratio


def draw_blocks(uint64_t seed, uint64_t epoch, uint64_t t, int64_t d, int64_t coordinates, int64_t block):
    """The blocks of iteration t's update: block c holds coordinates c * block .. (c + 1) * block - 1."""
    chosen = np.zeros(asv_most_blocks(d, coordinates, block), dtype=np.int64)
    marks = np.zeros(-(-d // block) // 64 + 1, dtype=np.uint64)
    count = asv_draw_blocks(seed, epoch, t, d, coordinates, block, <int64_t *>address(chosen, np.int64, chosen.shape),
                            <uint64_t *>address(marks, np.uint64, marks.shape))
    return chosen[:count]
