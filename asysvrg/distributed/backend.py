"""`MPI`: the value of an estimator's `backend` that trains over the ranks of an MPI job, with the options of that."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from sklearn.utils.validation import check_scalar

from asysvrg.distributed.codec import CODECS

CHOICES = {"compress": list(CODECS), "wait": ["sleep", "yield", "spin"], "late": ["wait", "drop"]}


@dataclass(frozen=True)
class MPI:
    """Options of distributed training: ``backend=MPI(servers=2)``. ``backend="mpi"`` means ``MPI()``.

    Parameters
    ----------
    servers : int, default=1
        Number of parameter servers, ranks 0 to servers - 1. Each one updates a contiguous shard of the parameters. All
        other ranks are workers.
    compress : {"float16"} or None, default=None
        Precision in which parameters and directions are sent. "float16" sends half as many bytes as float32 and costs
        time for the conversion; snapshots and full gradients keep full precision.
    wait : {"sleep", "yield", "spin"}, default="sleep"
        What a rank does while it waits for a message. "sleep" gives its core away, "yield" offers it to other
        processes, "spin" keeps it, for ranks that have a core each.
    late : {"wait", "drop"}, default="wait"
        With the estimator's `max_delay`: "wait" makes newer directions wait for older ones, so that none is too late.
        "drop" discards a direction that is too late; its mini-batch is computed again.

    Raises
    ------
    ValueError, TypeError
        For a value that is not one of these.
    """

    servers: int = 1
    compress: str | None = None
    wait: str = "sleep"
    late: str = "wait"

    def __post_init__(self) -> None:
        check_scalar(self.servers, "servers", Integral, min_val=1)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(map(str, known))}; got {getattr(self, name)!r}")
