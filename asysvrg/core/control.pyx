# cython: language_level=3
"""What stops the kernels that a thread calls: Ctrl-C, an event, a time limit."""

from cpython.exc cimport PyErr_CheckSignals

import math
import threading
import time
from contextlib import contextmanager

from asysvrg.core._csrc cimport asv_control, asv_now

GRACE, LEAST_GRACE = 0.1, 0.1  # for the last sweeps after a time limit: a share of it, and at least so many seconds

# `pending`: what a signal handler raised here. `event`: stops kernels. `end`, `last`: of a time limit, without and with
# the grace, on the monotonic clock.
_thread = threading.local()


class OutOfTime(Exception):
    """A time limit ended a sweep."""


@contextmanager
def stopped_by(event):
    """Kernels that this thread calls inside end soon after the event is set, by a KeyboardInterrupt.

    Python gives signals to its main thread only.
    """
    _thread.event = event
    try:
        yield
    finally:
        del _thread.event


@contextmanager
def time_limit(seconds):
    """What this thread does inside may take so many seconds; infinity for any time.

    Whoever can, stops when nothing is left (`seconds_left`). For sums over the samples there is a little time more;
    then sweeps end by `OutOfTime`, also those that start later (`out_of_time`).
    """
    before = getattr(_thread, "end", math.inf), last_moment()
    _thread.end = time.monotonic() + seconds
    _thread.last = _thread.end + max(GRACE * seconds, LEAST_GRACE)
    try:
        yield
    finally:
        _thread.end, _thread.last = before


def seconds_left():
    """Seconds until this thread's time limit, at least 0; infinity without one."""
    return max(0.0, getattr(_thread, "end", math.inf) - time.monotonic())


def last_moment():
    """When this thread's sweeps end, on the monotonic clock; infinity without a time limit."""
    return getattr(_thread, "last", math.inf)


def out_of_time():
    """Whether this thread's sweeps end at once, and those before may have been cut."""
    return time.monotonic() >= last_moment()


cdef int poll() noexcept with gil:
    """Runs Python's signal handlers; what they raise is kept for `reraise`."""
    event = getattr(_thread, "event", None)
    try:
        PyErr_CheckSignals()
        return event is not None and event.is_set()
    except BaseException as error:
        _thread.pending = error
        return 1


cdef int start_control(asv_control *control, double deadline) except -1:
    """Prepares what stops a kernel; deadline: on Python's monotonic clock, or infinity."""
    control.poll = poll
    control.next_poll = 0
    control.deadline = deadline if deadline == math.inf else asv_now() + (deadline - time.monotonic())
    control.stop = 0
    return 0


def reraise():
    """Raises what a signal handler raised while a kernel ran."""
    raise _thread.__dict__.pop("pending", KeyboardInterrupt())
