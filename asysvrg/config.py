"""How the package was built, and what it runs on."""

from __future__ import annotations

from typing import Any

from threadpoolctl import threadpool_info

from asysvrg.core import cpu
from asysvrg.core.trace import environment
from asysvrg.distributed import mpi
from asysvrg.report import streams


def configuration() -> dict[str, Any]:
    """Versions, OpenMP, SIMD level, threads, BLAS libraries and the MPI library of this process, as a dict."""
    blas = [
        f"{pool['internal_api']} {pool.get('version') or ''} ({pool.get('threading_layer', '?')}, "
        f"{pool.get('architecture', '?')})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return environment() | {"threads": cpu.count(None), "blas": sorted(set(blas)), "mpi": mpi.described()}


def show_config() -> None:
    """Prints what was built: OpenMP, SIMD level, BLAS, MPI, threads, versions."""
    for name, value in configuration().items():
        if name == "openmp":
            value = f"yes ({value})" if value else "no: this build runs on one thread only"
        streams.out.say(f"{name:>10}: {', '.join(value) if isinstance(value, list) else value}")
