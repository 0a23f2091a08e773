"""One test process at a time: of those that write in the same place."""

import contextlib
import tempfile
from pathlib import Path


@contextlib.contextmanager
def alone(what):
    """Waits until no other test process of this machine is inside a block with the same name."""
    with (Path(tempfile.gettempdir()) / f"asysvrg-tests-{what}.lock").open("w") as file:
        with contextlib.suppress(ImportError):  # Windows
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
