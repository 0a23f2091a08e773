"""The kernels by themselves: the full gradient, the two roads through inputs with zeros, the cost of the delays."""

import ctypes
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bench_inner import THREADS
from conftest import BATCH, Inner, Problem, random_samples
from scipy.linalg import blas

from asysvrg.core import network
from asysvrg.core.network import aligned_zeros

CSRC = Path(__file__).parents[1] / "csrc"
ROADS = {"gemm": False, "skip": True}  # whether zeros are skipped


def full_gradient(problem, threads=1):
    """A call of the sweep that takes a snapshot."""
    network, d = problem.network, problem.network.size
    parts = aligned_zeros((threads, d), network.dtype)
    cache = aligned_zeros((problem.samples.size, network.cache_width), network.dtype)
    return lambda: network.sweep(problem.samples, problem.start, threads, parts, cache)


def plain_gemm(dtype, size=1000):
    """A product of square matrices by BLAS, one thread, and its flops: the machine's rate."""
    gemm = blas.sgemm if dtype == np.float32 else blas.dgemm
    A = np.asfortranarray(np.random.default_rng(0).random((size, size), dtype=dtype))
    return lambda: gemm(1.0, A, A), 2 * size**3


roads = pytest.mark.parametrize("skip_zeros", ROADS.values(), ids=ROADS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@dtypes
@roads
def test_full_gradient(measure, mnist, skip_zeros, dtype):
    problem = Problem(*mnist[1:], dtype=dtype, skip_zeros=skip_zeros)
    gemm, gemm_flops = plain_gemm(dtype)
    times, ratio = measure(full_gradient(problem), against=gemm, rounds=15, data=mnist[0])
    seconds = float(np.median(times))
    inputs, hidden, outputs = problem.network.widths
    # Two for each multiplication, zeros counted: forward, gradient, and backward through the last layer.
    flops = 2 * problem.samples.size * (2 * inputs * hidden + 3 * hidden * outputs)
    measure.note(samples_per_second=problem.samples.size / seconds, gflops=flops / seconds / 1e9)
    measure.note(share_of_gemm_rate=flops / gemm_flops / ratio)


@pytest.mark.skipif(len(THREADS) == 1, reason="one core")
@pytest.mark.parametrize("threads", THREADS[1:])
@dtypes
@roads
def test_threads_of_full_gradient(measure, mnist, skip_zeros, dtype, threads):
    problem = Problem(*mnist[1:], dtype=dtype, skip_zeros=skip_zeros)
    one, together = full_gradient(problem), full_gradient(problem, threads)
    _, ratio = measure(together, against=one, rounds=25, threads=threads, data=mnist[0])
    measure.note(times_as_fast=1 / ratio)


@pytest.mark.parametrize("density", [0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8])
@pytest.mark.parametrize(("inputs", "hidden"), [(784, 100), (384, 50)])
@pytest.mark.parametrize("kernel", ["sweep", "single", "lines", "all"])
def test_crossover(measure, monkeypatch, kernel, inputs, hidden, density):
    """Skipping zeros, in units of GEMM's time: below 1, skipping wins. Earns plan.DENSE."""
    monkeypatch.setattr(network, "HAS_TILES", False)
    data = random_samples(4000, inputs, density)
    skip, gemm = (Problem(*data, hidden=hidden, skip_zeros=skips) for skips in (True, False))
    if kernel == "sweep":
        _, ratio = measure(full_gradient(skip), against=full_gradient(gemm), rounds=20)
    else:
        skip, gemm = (Inner(problem, 100, coordinates=kernel, eta=0) for problem in [skip, gemm])
        _, ratio = measure(skip.run, against=gemm.run)
    measure.note(skip_over_gemm=ratio)


@pytest.mark.skipif(not network.HAS_TILES, reason="this processor has no tiles (AMX)")
@pytest.mark.parametrize("density", [0.1, 0.2, 0.3, 1.0])
@pytest.mark.parametrize(("inputs", "hidden"), [(784, 100), (384, 50), (784, 16), (64, 100), (28, 64), (48, 1024)])
@pytest.mark.parametrize("batch", [10, 20, 32, 50, 64, 128])
def test_tiles(measure, monkeypatch, batch, inputs, hidden, density):
    """Iterations on tiles, in units of those by vectors: below 1, tiles win. Earns TILED_ROWS, ...UNITS and
    ...WORK."""
    monkeypatch.setattr(network, "TILED_UNITS", 1)
    monkeypatch.setattr(network, "TILED_WORK", 0)
    data, runs = random_samples(4000, inputs, density), []
    for rows in [1, 10**6]:
        monkeypatch.setattr(network, "TILED_ROWS", rows)
        inner = Inner(Problem(*data, hidden=hidden), 100, coordinates="all", batch=batch, eta=0)
        runs.append(inner.run)
    _, ratio = measure(runs[0], against=runs[1])
    measure.note(tiles_over_vectors=ratio)


@pytest.mark.skipif(len(THREADS) == 1, reason="one core")
@pytest.mark.parametrize(
    ("inputs", "density", "hidden"), [(28, 1.0, 64), (384, 1.0, 50), (784, 0.2, 100), (784, 1.0, 100)]
)
@pytest.mark.parametrize("batch", [20, 50, 100, 200])
@pytest.mark.parametrize(("parts", "threads"), [(2, 2), (4, 2), (8, 2), (2, 1), (4, 1), (8, 1)])
def test_lockstep(measure, parts, threads, batch, inputs, density, hidden):
    """Lockstep, in units of the time of a serial loop. Earns plan.LEAST_WORK["lockstep"], plan.PART_SAMPLES and
    plan.PART_WORK."""
    problem = Problem(*random_samples(4000, inputs, density), hidden=hidden)
    how = {"coordinates": "all", "batch": batch, "eta": 0}
    lockstep = Inner(problem, 300, mode="lockstep", parts=parts, threads=threads, **how)
    _, ratio = measure(lockstep.run, against=Inner(problem, 300, **how).run, rounds=15)
    measure.note(lockstep_over_serial=ratio)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.8, 1.6])
@pytest.mark.parametrize(("inputs", "hidden"), [(784, 100), (5000, 20)])
def test_lazy_rows(measure, inputs, hidden, share):
    """Updates of all coordinates with lazy rows, in units of the time without: below 1, lazy rows win. `share`:
    non-zeros of a mini-batch by inputs. Earns plan.LAZY."""
    problem = Problem(*random_samples(4000, inputs, share / BATCH), hidden=hidden, skip_zeros=True)
    lazy, eager = (Inner(problem, 300, coordinates="all", eta=0, lazy_rows=lazy) for lazy in (True, False))
    _, ratio = measure(lazy.run, against=eager.run, rounds=20)
    measure.note(lazy_over_eager=ratio)


COUNTERS = """
#include "atomic.h"
void count(int64_t *claimed, int64_t *completed, int32_t *delays, int64_t times) {
    for (int64_t t = 0; t < times; t++) {
        int64_t read_at = asv_count_read(completed);
        int64_t turn = asv_claim(claimed, read_at, -1);
        asv_count_up(completed, 1);
        delays[t & 1023] = (int32_t)(turn - read_at);
    }
}
"""


@pytest.mark.parametrize("threads", THREADS)
def test_delay_counters(measure, mnist, tmp_path, threads):
    """What csrc/kernels/shared.inc does for the delay and nothing else, all threads at once, beside real iterations."""
    (tmp_path / "counters.c").write_text(COUNTERS)
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    command = "cc -O3 -shared -fPIC counters.c -o counters.so -I"
    subprocess.run([*command.split(" "), CSRC], cwd=tmp_path, check=True)
    count = ctypes.CDLL(tmp_path / "counters.so").count
    shared, delays, times = (ctypes.c_int64 * 32)(), [(ctypes.c_int32 * 1024)() for _ in range(threads)], 1_000_000
    claimed, completed = ctypes.byref(shared), ctypes.byref(shared, 128)
    real = Inner(Problem(*mnist[1:]), 1000, mode="serial" if threads == 1 else "atomic", threads=threads)
    with ThreadPoolExecutor(threads) as pool:

        def run():
            list(pool.map(lambda own: count(claimed, completed, own, ctypes.c_int64(times)), delays))

        seconds, ratio = measure(run, against=real.run, rounds=15, threads=threads)
    # A thread's time for one count, by a thread's time for one iteration.
    share = (ratio / times) / (threads / real.steps)
    measure.note(nanoseconds=float(np.median(seconds)) / times * 1e9, share_of_iteration=share)


@pytest.mark.parametrize("known", [1, 0])
@pytest.mark.parametrize("batch", [10, 100, 1000])
@pytest.mark.parametrize(("inputs", "hidden", "density"), [(784, 100, 0.19), (384, 50, 1.0)])
def test_completing(measure, inputs, hidden, density, batch, known):
    """A worker's direction by one without a cache: with one that has all of the mini-batch, or nothing of it yet.

    With a share f of draws in the cache an iteration takes f x the first + (1 - f) x the second.
    """
    problem = Problem(*random_samples(10_000, inputs, density), hidden=hidden)
    loop, x, v = Inner(problem, 1, coordinates="all", batch=batch).loop, problem.start, problem.network.vector()
    samples = np.zeros(problem.samples.size, np.int32)

    def directions(cache):
        for t in range(max(2000 // batch, 10)):
            samples[:] = known
            how = {"direction": "svrg", "epoch": 0, "mu": problem.mu, "x_snap": problem.start, "cache": cache}
            loop.direction(x, v, t, known=samples, **how)

    _, ratio = measure(lambda: directions(problem.cache), against=lambda: directions(None), rounds=15)
    measure.note(batch=batch, known=known, over_none=ratio)
