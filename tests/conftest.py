"""Fixtures for all tests."""

import os
import signal
from pathlib import Path

import pytest
from helpers.mpi_jobs import available
from helpers.problems import SETTINGS, name

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A job in the background of a script; the processes that tests start would inherit that, and be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=SETTINGS, ids=name)
def setting(request):
    return request.param


@pytest.fixture(scope="session")
def mpi():
    """The MPI of this environment; skips without one."""
    found = available()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture
def data_home():
    """The folder of the real data sets; skips without one."""
    home = os.environ.get("ASYSVRG_DATA_HOME")
    if not home or not os.path.isdir(home):
        pytest.skip("ASYSVRG_DATA_HOME names no folder with the real data sets")
    return Path(home)


@pytest.fixture
def no_training(monkeypatch):
    def fail(*args, **options):
        pytest.fail("training started")

    monkeypatch.setattr("asysvrg.training.minimize", fail)
