"""How many threads, and who else may have some: the only file that touches foreign thread pools."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import joblib
from threadpoolctl import threadpool_limits

from asysvrg._network import build_info

_lock = threading.Lock()
_users = 0
_limits: threadpool_limits | None = None
_threads_before_fork = False
_forked = False


def count(n_jobs: int | None) -> int:
    """Threads for `n_jobs`: None or -1 for every core this process may use, -2 for all but one, ...

    Raises
    ------
    ValueError
        For 0, and for more than one thread in a build without OpenMP.
    """
    if n_jobs == 0 or not (n_jobs is None or isinstance(n_jobs, Integral)) or isinstance(n_jobs, bool):
        raise ValueError(f"n_jobs is a number of threads, -1 for all cores, or None; got {n_jobs!r}")
    cores = joblib.cpu_count()
    threads = cores if n_jobs is None else int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))
    if threads > 1 and not build_info()["openmp"]:
        if n_jobs is None or n_jobs < 0:
            return 1
        raise ValueError(f"n_jobs={n_jobs}, but this build has no OpenMP (see `asysvrg info`); use n_jobs=1")
    global _threads_before_fork
    if _forked:
        return 1
    _threads_before_fork = _threads_before_fork or threads > 1
    return threads


def _after_fork() -> None:
    # GNU OpenMP's pool does not survive fork(): a parallel region in the child would wait for ever.
    global _forked, _lock
    _forked = _threads_before_fork
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Holds BLAS to one thread while any thread is inside: the kernels call it from their own threads.

    Counted, because two overlapping limits of threadpoolctl would restore each other's numbers.
    """
    global _users, _limits
    with _lock:
        if _users == 0:
            _limits = threadpool_limits(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limits.restore_original_limits()
                _limits = None
