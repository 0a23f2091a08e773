"""`MPI`: the value of an estimator's `backend` that trains over the ranks of an MPI job, with the options of that."""

from __future__ import annotations

from dataclasses import dataclass

from asysvrg.distributed.codec import CODECS
from asysvrg.kinds import checked, documented, integer, one_of, parameter


@dataclass(frozen=True)
class MPI:
    """The table of options: a field is a parameter, see `kinds`."""

    servers: int = parameter(
        1,
        integer(1),
        "Number of parameter servers: ranks 0 to servers - 1",
        "Each one updates a contiguous shard of the parameters. All other ranks are workers, one at least. What a "
        "worker reads is consistent within each shard only, and the delays in the trace are those of the first one. "
        "Take several if the network is so large that one server, or its link, is always busy. Not with `max_delay`.",
    )
    compress: str | None = parameter(
        None,
        one_of(*CODECS),
        "Precision in which parameters and directions are sent",
        '"float16" sends about half as many bytes as float32, a quarter of those of float64, and costs time for the '
        "conversion. Parameters are sent as the difference to the snapshot, and the rounding error of a direction is "
        "added to the next one, so that the floor of convergence does not change. Snapshots and full gradients keep "
        "full precision.",
        unset="that of `dtype`",
    )
    wait: str = parameter(
        "sleep",
        one_of("sleep", "yield", "spin"),
        "What a rank does while it waits for a message",
        '"sleep": it offers its core to other processes for a fifth of a millisecond, then sleeps. "yield": it goes on '
        'offering. "spin": it keeps its core, for ranks that have one each.',
    )
    late: str = parameter(
        "wait",
        one_of("wait", "drop"),
        "What becomes of a direction that `max_delay` makes too late",
        '"wait": newer directions wait for older ones, so that none is too late. "drop": it is discarded, and its '
        "mini-batch is computed again.",
    )

    def __post_init__(self) -> None:
        vars(self).update(checked(MPI, self))


MPI.__doc__ = f"""Options of distributed training: ``backend=MPI(servers=2)``. ``backend="mpi"`` means ``MPI()``.

{documented(MPI)}

    Raises
    ------
    ValueError, TypeError
        For a value that is not one of these.
    """
