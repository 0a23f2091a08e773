"""Fixtures for all tests."""

import os
import signal
from pathlib import Path

import pytest
from helpers import combinations
from helpers.mpi_jobs import available

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A job in the background of a script; the processes that tests start would inherit that, and be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="all combinations of settings, and more repetitions")


def pytest_configure(config):
    config.addinivalue_line("markers", "combinations(factors, possible): see helpers/combinations.py")
    config.addinivalue_line("markers", "full: part of `make test-all` alone")


def pytest_generate_tests(metafunc):
    combinations.parametrize(metafunc, metafunc.config.getoption("full"))


def pytest_collection_modifyitems(config, items):
    if not config.getoption("full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture(scope="session")
def full(pytestconfig):
    """Whether this is `make test-all`."""
    return pytestconfig.getoption("full")


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
