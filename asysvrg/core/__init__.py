"""The method: network, objective, directions, executions in one process, the epoch loop."""

from importlib.util import find_spec

# Python started in a clone imports the clone's sources, even if asysvrg is installed.
if find_spec("asysvrg.core.network") is None:
    raise ImportError(
        f"asysvrg is not built in {__path__[0]}: start Python in another folder, where an installed asysvrg is found, "
        "or build this one with `make demo`"
    )
