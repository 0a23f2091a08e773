"""How to read a file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

TABS = ("\\t", "tab")  # as people write a tab on a command line


@dataclass(frozen=True)
class Reading:
    """How to read a file. `asysvrg.data.load` explains the fields."""

    target: str | int | bool | None = None
    delimiter: str | None = None
    decimal: str = "."
    encoding: str | None = None
    zero_based: bool | None = None

    def __post_init__(self) -> None:
        if self.delimiter in TABS:
            object.__setattr__(self, "delimiter", "\t")
        delimiter, bad = self.delimiter, ("", '"', "\n", "\r", self.decimal)
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) > 1 or delimiter in bad):
            raise ValueError(f"delimiter is {delimiter!r}; expected one character, tab, or a blank for runs of blanks")
        if self.decimal not in (".", ","):
            raise ValueError(f"decimal is {self.decimal!r}; expected . or ,")
        if self.zero_based not in (None, True, False):
            raise ValueError(f"zero_based is True, False or None; got {self.zero_based!r}")
        try:
            "".encode(self.encoding or "utf-8")  # LookupError where it is no encoding of text
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"encoding is {self.encoding!r}, which Python does not know; expected a name such as utf-8 or latin-1"
            ) from None

    def refuse_all_but(self, path: str | Path, *used: str) -> None:
        """Raises ValueError for what was given and has no meaning in this kind of file."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in used and value != each.default:
                kind = "an svmlight" if each.name == "zero_based" else "a CSV"
                raise ValueError(
                    f"{each.name} is {value!r}, but {path} is not {kind} file, so there is nothing to choose"
                )
