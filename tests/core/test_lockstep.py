"""execution="lockstep" (csrc/kernels/lockstep.inc): threads that share each update compute the serial iteration."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.combinations import combinations
from helpers.problems import DTYPES, TOLERANCE, Problem, at_snapshot, shortened
from scipy import sparse

import asysvrg
from asysvrg.core import draws
from asysvrg.core.draws import divide
from asysvrg.core.importance import Importance

forms = pytest.mark.parametrize("form", ["dense", "zeros", "csr"])


threads = pytest.mark.parametrize("threads", [1, 2, 5, 16])


TESTS = Path(__file__).parents[1]
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(asysvrg.__file__).parents[1]), str(TESTS)])}


@pytest.fixture(params=[1, 2, 5, 16])
def lockstep(request):
    """Into how many parts an iteration is divided."""
    return {"execution": "lockstep", "parts": request.param}


@pytest.fixture
def busy():
    """A busy neighbour on each core."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    yield
    for child in children:
        child.kill()
        child.wait()


@combinations(
    rank=[0, 3],
    hidden=[(), (7,), (19, 6)],
    dtype=DTYPES,
    form=["dense", "zeros", "csr"],
    direction=["sgd", "svrg", "svrg-uncached"],
    threads=[1, 2, 5, 16],
)
def test_lockstep_against_the_twin(lockstep, rank, hidden, dtype, form, direction, threads):
    """With more parts than samples in a mini-batch, or units in a layer, some have nothing to do there."""
    problem = Problem(hidden=hidden, dtype=dtype, form=form, weighted=True, n=60, p=9)
    how = at_snapshot(problem, direction)
    bases, pairs = shortened(problem, rank, how["direction"]) if rank else (None, None)
    expected = problem.twin.epoch(how["direction"], problem.x, 25, 0.02, 4, 0, 1, seed=7, epoch=3, bases=bases)
    x, loop = problem.vector(problem.x), problem.inner_loop(**lockstep, threads=threads, rank=rank)
    for _ in range(2):  # nothing is left of the first time
        x[:] = problem.x
        delays = loop.run(x, 25, eta=0.02, epoch=3, preconditioner=pairs, **how)
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert (delays == 0).all()


@functools.cache
def large(form):
    """A problem, and where the twin ends: the same for any threads and parts."""
    problem = Problem(hidden=(150, 40), form=form, n=200, p=90, density=0.3)
    problem.x[:] *= 0.2
    expected = problem.twin.epoch("svrg", problem.x, 20, 0.05, 70, 0, 1, seed=7, epoch=3)
    assert np.abs(expected - problem.x).max() > 1e-3
    return problem, expected


@threads
@forms
def test_large_mini_batches_and_wide_layers(lockstep, form, threads):
    problem, expected = large(form)
    x = problem.vector(problem.x)
    loop = problem.inner_loop(**lockstep, threads=threads, batch=70)
    loop.run(x, 20, eta=0.05, epoch=3, **at_snapshot(problem, "svrg"))
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)


@threads
@pytest.mark.parametrize("alpha", [0.03, "rows"])
def test_lazy_rows(lockstep, alpha, threads):
    if alpha == "rows":
        alpha = np.random.default_rng(3).random(31)
    problem = Problem(hidden=(7,), form="csr", n=60, p=30, alpha=alpha, density=0.03)
    how = at_snapshot(problem, "svrg")
    expected = problem.twin.epoch("svrg", problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3)
    x, loop = problem.vector(problem.x), problem.inner_loop(**lockstep, batch=2, threads=threads, lazy_rows=True)
    loop.run(x, 100, eta=0.1, epoch=3, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("neighbours", [False, True], ids=["alone", "beside others"])
@combinations(hidden=[(), (40,), (30, 20)], dtype=DTYPES, form=["dense", "zeros", "csr"], rank=[0, 3])
def test_any_number_of_threads_gives_the_same_bits(lockstep, hidden, dtype, form, rank, neighbours, request):
    """And each of them the same gradient norms: samples are in the list twice, and so in a mini-batch."""
    if neighbours:
        request.getfixturevalue("busy")
    problem = Problem(hidden=hidden, form=form, dtype=dtype, n=300, p=50, density=0.3)
    how, results = at_snapshot(problem, "svrg"), []
    pairs = shortened(problem, rank, "svrg")[1] if rank else None
    for threads in (1, 2, 3, 8, 2):
        importance, x = Importance(300, problem.x.dtype, 0), problem.vector(problem.x)
        importance.norms[:] = np.linspace(0.01, 2, 300)
        loop = problem.inner_loop(**lockstep, threads=threads, batch=20, rank=rank, replacement=False)
        loop.run(x, 50, eta=0.05, epoch=3, preconditioner=pairs, draws=importance.draws(3), **how)
        results.append(np.concatenate([x, importance.norms]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_any_n_jobs_gives_the_same_bits(busy, form):
    """With several parts of a sweep, and a validation set."""
    rng = np.random.default_rng(0)
    X = rng.random((2500, 60)).astype(np.float32) * (rng.random((2500, 60)) < 0.2)
    y = (X @ rng.normal(size=(60, 3))).argmax(1)
    found = []
    for n_jobs in (1, 2, 3, 8):
        how = {"execution": "lockstep", "n_jobs": n_jobs, "random_state": 0, "max_iter": 3, "early_stopping": True}
        model = asysvrg.AsySVRGClassifier((20, 9), **how).fit(sparse.csr_array(X) if form == "csr" else X, y)
        losses = [row[name] for row in model.history_["epochs"] for name in ("loss", "test_error")]
        found.append(np.concatenate([*(W.ravel() for W in model.coefs_), *model.intercepts_, losses]))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


LATE = """
import os, time
import numpy as np
from helpers.problems import Problem, at_snapshot
problem = Problem(hidden=(100,), n=500, p=300, dtype=np.float32)
how, steps, times, found = at_snapshot(problem, "sgd"), 2500, {1: [], 2: []}, {}
loops = {threads: problem.inner_loop(execution="lockstep", parts=2, threads=threads, batch=50) for threads in times}
for threads in (2, 1, 2, 1, 2):
    x, began = problem.vector(problem.x), time.perf_counter()
    loops[threads].run(x, steps, eta=0.01, epoch=3, **how)
    times[threads].append(time.perf_counter() - began)
    assert (found.setdefault(threads, x) == x).all()
    for task in os.listdir("/proc/self/task"):  # from the second time on the other thread has a tenth of a core
        if int(task) != os.getpid():
            os.setpriority(os.PRIO_PROCESS, int(task), 10)
assert (found[1] == found[2]).all()
(_, second, third), (first, last) = times[2], times[1]
assert min(second / first, second / last, third / last) < 6, times  # of neighbours, between which load may change
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no Linux")
def test_nobody_waits_for_a_thread_without_a_core(busy):
    """Two threads, of which one hardly gets a core, need 1 to 3 times the seconds of one thread.

    If the first one waited for the other, they would need about 20 times as many.
    """
    env = os.environ | PATHS | {"OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", LATE], cwd=TESTS, env=env, check=True, timeout=120)


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 40])
@forms
def test_columns_are_divided_by_their_work(form, parts):
    problem = Problem(form=form, n=50, p=24, density=np.repeat([0.05, 0.6], 12))
    cuts, split = divide(problem.samples, 10, parts)
    assert cuts[0] == 0
    assert cuts[-1] == 24
    assert (np.diff(cuts) >= 0).all()
    X = problem.samples.X
    dense = X.toarray() if form == "csr" else X
    if form == "dense":
        assert split is None
        assert np.ptp(np.diff(cuts)) <= 1
        return
    assert split.shape == (parts - 1, 50)
    for cut, below in zip(cuts[1:-1], split, strict=True):
        np.testing.assert_array_equal(below, (dense[:, :cut] != 0).sum(1))
    work = draws.ROW_COST + 10 * (dense != 0).mean(0)
    shares = np.add.reduceat(np.r_[work, 0], cuts[:-1]) * (np.diff(cuts) > 0)
    assert shares.max() <= work.sum() / parts + work.max()


FEWER = """
import numpy as np
import asysvrg
from helpers.problems import Problem, at_snapshot
problem = Problem(hidden=(19, 6), form="zeros", n=60, p=9)
how = at_snapshot(problem, "svrg")
expected = problem.twin.epoch("svrg", problem.x, 25, 0.02, 4, 0, 1, seed=7, epoch=3)
for parts in (1, 4, 7):
    x = problem.vector(problem.x)
    loop = problem.inner_loop(execution="lockstep", parts=parts, threads=5)
    loop.run(x, 25, eta=0.02, epoch=3, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)
"""


@pytest.mark.parametrize("limit", [1, pytest.param(2, marks=pytest.mark.full), 3])
def test_fewer_threads_than_asked_for_do_all_of_it(limit):
    """OpenMP need not give as many. The child compares with the twin; its exit code says whether they agree."""
    command, env = [sys.executable, "-c", FEWER], os.environ | PATHS | {"OMP_THREAD_LIMIT": str(limit)}
    subprocess.run(command, cwd=TESTS, env=env, check=True, timeout=60)


def test_gradient_norms_are_those_of_one_thread(lockstep):
    problem = Problem(hidden=(19, 6), form="zeros", n=60, p=9)
    steps, written = 40, []
    for execution, threads in ({}, 1), (lockstep, 3):
        importance = Importance(60, problem.x.dtype, 0)
        importance.norms[:] = np.linspace(0.1, 2, 60)
        how = execution | {"threads": threads, "replacement": False}
        x, loop = problem.vector(problem.x), problem.inner_loop(**how)
        loop.run(x, steps, eta=0.02, epoch=3, draws=importance.draws(3), **at_snapshot(problem, "sgd"))
        written.append((importance.norms, x))
    np.testing.assert_allclose(*(norms for norms, _ in written), rtol=1e-10)
    np.testing.assert_allclose(*(x for _, x in written), rtol=1e-10, atol=1e-10)


def test_a_deadline_leaves_whole_iterations(lockstep):
    problem = Problem(hidden=(200,), n=500, p=40)
    how, steps = at_snapshot(problem, "svrg"), 10**6
    loop, done = problem.inner_loop(**lockstep, threads=2, batch=10), 0
    for seconds in (0.3, 3):  # beside many others even one iteration may take longer
        x = problem.vector(problem.x)
        delays = loop.run(x, steps, eta=0.001, epoch=3, deadline=time.monotonic() + seconds, **how)
        if done := np.count_nonzero(delays >= 0):
            break
    assert 0 < done < steps
    assert (delays[:done] == 0).all()
    again = problem.vector(problem.x)
    loop.run(again, done, eta=0.001, epoch=3, **how)
    np.testing.assert_array_equal(x, again)


def test_ctrl_c_is_heard(lockstep):
    problem = Problem(hidden=(200,), n=500, p=40)
    loop = problem.inner_loop(**lockstep, threads=3, batch=10)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(problem.vector(problem.x), 10**7, eta=1e-4, epoch=3, **at_snapshot(problem, "sgd"))
    assert time.monotonic() - began < 10


def test_subsets_of_coordinates_are_refused():
    with pytest.raises(ValueError, match="execution='lockstep' updates all coordinates"):
        Problem().inner_loop(10, execution="lockstep")


SPREAD = """
import atexit
import os
import subprocess
import sys
from pathlib import Path
from helpers.problems import Problem

def tasks(read):
    return {int(task.name): read(task) for task in Path("/proc/self/task").iterdir()}

def cores_of(task):
    return os.sched_getaffinity(int(task.name))

def time_and_core(task):
    core = (task / "stat").read_text().rpartition(")")[2].split()[36]
    return int((task / "schedstat").read_text().split()[0]), int(core)

loop, apart, times = Problem().inner_loop(execution="lockstep", threads=2), 0, 40
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # where all is idle, the system may put both on one
atexit.register(busy.kill)
loop._spread_threads()
allowed = tasks(cores_of)
for _ in range(times):
    for task, cores in allowed.items():
        os.sched_setaffinity(task, {min(cores)})
    loop._spread_threads()  # there is no other core: both stay
    for task, cores in allowed.items():
        os.sched_setaffinity(task, cores)
    before = tasks(time_and_core)
    loop._spread_threads()
    after = tasks(time_and_core)
    ran = [core for task, (time, core) in after.items() if time > before[task][0]]
    apart += len(set(ran)) == 2
    assert tasks(cores_of) == allowed
assert apart > times / 2, apart  # the system may move one again before it is looked for
"""


def two_cores():
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


@pytest.mark.skipif(not two_cores(), reason="one core, or no Linux")
def test_threads_begin_on_cores_of_their_own():
    """Wherever they were before, and they may go anywhere afterwards."""
    subprocess.run([sys.executable, "-c", SPREAD], cwd=TESTS, env=os.environ | PATHS, check=True, timeout=60)
