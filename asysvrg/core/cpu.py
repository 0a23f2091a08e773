"""The number of threads: what is asked for, and what can be had; and the limit on BLAS threads.

No other file changes the thread pools of libraries.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
from threadpoolctl import LibController, ThreadpoolController

from asysvrg.core import network, system
from asysvrg.core.network import build_info

PER_CORE, LEAST_LIMIT = 64, 256  # the most threads: for each core, and on any machine
_lock = threading.Lock()
_users = 0
_before: list[tuple[LibController, int]] = []
_threads_before_fork = False
_forked = False
_started = 1  # so many threads ran in this process at the same time


def count(n_jobs: int | None) -> int:
    """Threads for `n_jobs`: None or -1 for every core this process may use, -2 for all but one, ...

    None takes at most OMP_NUM_THREADS, which joblib sets in its worker processes.

    Raises
    ------
    ValueError
        For 0, for what is no whole number, for far more threads than cores, and for more than one thread in a build
        without OpenMP.
    """
    try:
        if isinstance(n_jobs, bool) or (n_jobs is not None and operator.index(n_jobs) == 0):
            raise TypeError
    except TypeError:
        raise ValueError(f"n_jobs is a number of threads, -1 for all cores, or None; got {n_jobs!r}") from None
    cores = joblib.cpu_count()
    if n_jobs is None:
        share = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        threads = min(cores, max(1, int(share))) if share.isdecimal() else cores
    else:
        threads = int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))
    most = max(LEAST_LIMIT, PER_CORE * cores)
    if threads > most:
        raise ValueError(
            f"n_jobs={n_jobs}, but there are {cores} core(s), for which {most} threads are the most: "
            "give fewer, or -1 for all cores"
        )
    if threads > 1 and not build_info()["openmp"]:
        if n_jobs is None or n_jobs < 0:
            return 1
        raise ValueError(f"n_jobs={n_jobs}, but this build has no OpenMP (see `asysvrg info`); use n_jobs=1")
    global _threads_before_fork
    if _forked:
        return 1
    _threads_before_fork = _threads_before_fork or threads > 1
    return threads


def team(threads: int) -> int:
    """How many of these threads can run, within OMP_THREAD_LIMIT and the limits of the system."""
    return 1 if threads == 1 else network.team(_can_start(threads))


def _can_start(threads: int) -> int:
    """How many of these threads the system lets this process start. With more, libgomp would end the process."""
    global _started
    if threads <= _started:
        return threads
    leave, others = threading.Event(), []
    try:
        for _ in range(threads - 1):
            others.append(threading.Thread(target=leave.wait, daemon=True))
            others[-1].start()
    except RuntimeError:
        threads = max(1, len(others) // 2)  # the others may be needed elsewhere
    finally:
        leave.set()
        for other in others:
            if other.ident is not None:
                other.join()
    _started = max(_started, threads)
    return threads


def _after_fork() -> None:
    # GNU OpenMP's threads do not survive fork(): a parallel region in the child would wait for ever.
    global _forked, _lock
    _forked = _threads_before_fork
    _lock = threading.Lock()


system.after_fork(_after_fork)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits BLAS to one thread while any thread is inside, since the kernels call it from their own threads.

    Inside, OpenMP gives this thread as many threads as it asks for, if it can (OMP_DYNAMIC).

    The users are counted, because two overlapping limits of threadpoolctl would restore each other's numbers. A BLAS
    over OpenMP has a number for each calling thread, which each one sets and restores.
    """
    global _users, _before
    process, own = _libraries()
    with _lock:
        if _users == 0:
            _before = _limit(process)
        _users += 1
    own_before, dynamic = _limit(own), network.set_dynamic(False)
    try:
        yield
    finally:
        network.set_dynamic(dynamic)
        _set(own_before)
        with _lock:
            _users -= 1
            if _users == 0:
                _set(_before)


@functools.cache
def _libraries() -> tuple[list[LibController], list[LibController]]:
    """BLAS libraries with a number of threads for the process, and those with one for each calling thread."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    per_thread = [getattr(library, "threading_layer", "") == "openmp" for library in libraries]
    shared, own = ([x for x, o in zip(libraries, per_thread, strict=True) if o == kind] for kind in (False, True))
    return shared, own


def _limit(libraries: list[LibController]) -> list[tuple[LibController, int]]:
    before = [(library, library.num_threads) for library in libraries]
    _set([(library, 1) for library in libraries])
    return before


def _set(numbers: list[tuple[LibController, int]]) -> None:
    for library, number in numbers:
        # Newer threadpoolctl lets only the Python thread that first sets OpenBLAS's number change it, and ignores all
        # others silently. Here the last user restores it, which may be any thread.
        untie = getattr(library, "clear_controlling_thread", lambda force: None)
        untie(force=True)
        library.set_num_threads(number)
        untie(force=True)
