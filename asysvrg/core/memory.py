"""How much memory there is: a fit that takes more would not fail, but be killed."""

from __future__ import annotations

from asysvrg.core import system


def check(needs: dict[str, tuple[object, float]]) -> None:
    """Raises ValueError if a fit needs more memory than is free.

    Parameters
    ----------
    needs : dict of (value, float)
        For each parameter its value, and the bytes that are taken because of it.
    """
    total, there = sum(size for _, size in needs.values()), system.free_memory()
    if total > there:
        name, (value, _) = max(needs.items(), key=lambda need: need[1][1])
        raise ValueError(
            f"{name}={value!r}: training takes at least {total / 2**30:,.1f} GB, and {there / 2**30:,.1f} GB are free; "
            f"give a smaller {name}"
        )
