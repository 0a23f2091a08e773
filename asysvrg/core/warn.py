"""Warnings that point at the user's line, however deep in the package they are raised."""

from __future__ import annotations

import sys
import warnings

SKIPPED = ("asysvrg", "sklearn")  # packages between the user's line and a warning


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """As `warnings.warn`, at the first frame outside of this package and of scikit-learn.

    A stream that cannot take the warning is no reason to end a training.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) in SKIPPED:
        frame = frame.f_back
    try:
        warnings.warn_explicit(
            message,
            category,
            frame.f_code.co_filename,
            frame.f_lineno,
            module=frame.f_globals.get("__name__"),
            registry=frame.f_globals.setdefault("__warningregistry__", {}),
        )
    except Exception as error:
        if isinstance(error, Warning):  # a filter asks for that
            raise


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]
