"""Cores, BLAS threads, forks and Python threads."""

import threading

import joblib
import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, python, small
from threadpoolctl import threadpool_info, threadpool_limits

from asysvrg import AsySVRGClassifier
from asysvrg.core import cpu

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_nested_jobs_share_the_cores():
    cores = joblib.cpu_count()
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(cpu.count)(None) for _ in range(2))
    assert counts == 2 * [max(1, cores // 2)]


def test_omp_num_threads_bounds_the_default_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpu.count(None) == 1
    assert cpu.count(3) == 3


# Threads, processes, BLAS.


def test_fit_in_a_forked_child_of_a_parallel_parent():
    """GNU OpenMP's threads do not survive a fork: a parallel region in the child would wait for ever."""
    result = python(
        """
        import os, warnings
        from sklearn.datasets import load_iris
        from asysvrg import AsySVRGClassifier
        warnings.simplefilter("ignore")
        X, y = load_iris(return_X_y=True)
        how = {"learning_rate_init": 0.05, "batch_size": 10, "max_iter": 30, "n_jobs": 4, "random_state": 0}
        how["execution"] = "shared"
        model = AsySVRGClassifier((8,), **how).fit(X, y)
        assert model.history_["config"]["threads"] == 4
        child = os.fork()
        if child == 0:
            model.predict(X)
            score = model.fit(X, y).score(X, y)
            os._exit(0 if score > 0.9 and model.history_["config"]["threads"] == 1 else 3)
        print(os.waitpid(child, 0)[1], model.score(X, y) > 0.9)
        """
    )
    assert result.stdout == "0 True\n", result.stderr


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_python_threads_fit_at_the_same_time(n_jobs):
    """Results with one thread each are those of one after the other, bit by bit."""
    jobs = [(kind, data(kind, n=400), state) for kind in ESTIMATORS for state in (0, 1)]
    options = {"n_jobs": n_jobs, "inner_steps": 1000, "max_iter": 6, "learning_rate_init": 0.02}
    expected = [small(kind, (10,), random_state=state, **options).fit(*Xy) for kind, Xy, state in jobs]
    before, fitted, inside = threadpool_info(), {}, []
    start = threading.Barrier(len(jobs))

    def fit(number):
        kind, Xy, state = jobs[number]
        start.wait()
        model = small(kind, (10,), random_state=state, **options)
        fitted[number] = model.fit(*Xy, callback=lambda row: inside.extend(blas_threads()))

    workers = [threading.Thread(target=fit, args=(number,)) for number in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert threadpool_info() == before
    assert set(inside) == {1}
    for number, model in enumerate(expected):
        if n_jobs == 1:
            np.testing.assert_array_equal(fitted[number].coefs_[0], model.coefs_[0])
        else:
            assert fitted[number].loss_ == pytest.approx(model.loss_, rel=0.2)


def test_blas_threads_are_given_back_by_whoever_comes_last():
    """threadpoolctl 3.8: OpenBLAS obeys the Python thread that set it first, and silently no other."""
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with cpu.one_blas_thread():
            inside.set()
            leave.wait(timeout=60)

    worker = threading.Thread(target=stay)
    with cpu.one_blas_thread():
        worker.start()
        assert inside.wait(timeout=60)
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {1}  # the worker still needs it
    leave.set()
    worker.join()
    assert blas_threads() == before
    worker = threading.Thread(target=stay)
    inside.clear()
    leave.clear()
    threadpool_limits(limits=max(before), user_api="blas")  # by which OpenBLAS is the main thread's
    worker.start()
    assert inside.wait(timeout=60)
    assert set(blas_threads()) == {1}
    leave.set()
    worker.join()
    with threadpool_limits(limits=1, user_api="blas"):  # others' limits work as ever
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_threads_are_given_back_after_a_failure():
    before = threadpool_info()
    X, y = data(AsySVRGClassifier)

    def fail(row):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        small(AsySVRGClassifier).fit(X, y, callback=fail)
    assert threadpool_info() == before
