"""How a table of parameters is written: what values each may have, how they are checked, documented and parsed.

A table is a dataclass. Each field is made by `parameter`, which holds the default, the kind of value and the texts:
one entry gives the argument of the constructor, its check, its documentation and its command-line option.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_scalar

MAX_INT = 2**31 - 1  # the largest count that the kernels take


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes
    ----------
    text : str
        The type as a docstring names it.
    check : callable
        ``check(value, name)`` returns the value in a plain type; ValueError or TypeError if it is not allowed.
    option : dict
        The arguments of `argparse.ArgumentParser.add_argument` that read it.
    """

    text: str
    check: Callable[[Any, str], Any]
    option: dict[str, Any]


def number(low: float | None = None, high: float | None = None, *, open_ends: bool = False, finite: bool = True) -> Kind:
    """A float between `low` and `high`; with `open_ends` neither of them; with `finite=False` infinity, too."""

    def check(value: Any, name: str) -> float:
        ends = "neither" if open_ends else "both"
        check_scalar(value, name, Real, min_val=low, max_val=high, include_boundaries=ends)
        if math.isnan(value) or (finite and math.isinf(value)):
            raise ValueError(f"{name} is {value}; a finite number is expected")
        return float(value)

    return Kind("float", check, {"type": float, "metavar": "X"})


def integer(low: int) -> Kind:
    """A whole number of at least `low`."""

    def check(value: Any, name: str) -> int:
        return int(check_scalar(value, name, Integral, min_val=low, max_val=MAX_INT))

    return Kind("int", check, {"type": int, "metavar": "N"})


def flag() -> Kind:
    """True or False; on the command line, an option without a value."""

    def check(value: Any, name: str) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} is True or False; got {value!r}")
        return bool(value)

    return Kind("bool", check, {"action": "store_true"})


def one_of(*known: str | None) -> Kind:
    """One of some words; None may be among them."""
    words = [word for word in known if word is not None]

    def check(value: Any, name: str) -> str | None:
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(map(str, known))}; got {value!r}")
        return value

    return Kind("{" + ", ".join(f'"{word}"' for word in words) + "}", check, {"choices": words})


def or_word(word: str, kind: Kind) -> Kind:
    """A value of another kind, or the word."""

    def check(value: Any, name: str) -> Any:
        if isinstance(value, str) and value != word:
            raise ValueError(f"{name} is a number or {word!r}; got {value!r}")
        return value if isinstance(value, str) else kind.check(value, name)

    parse, metavar = _named(kind.option["type"], word), f"{kind.option['metavar']}|{word}"
    return Kind(f'{kind.text} or "{word}"', check, {"type": parse, "metavar": metavar})


def optional(kind: Kind) -> Kind:
    """A value of another kind, or None."""
    return Kind(kind.text, lambda value, name: None if value is None else kind.check(value, name), kind.option)


def as_given(text: str, **option: Any) -> Kind:
    """Any value: whoever uses it checks it."""
    return Kind(text, lambda value, name: value, option)


def sizes() -> Kind:
    """The sizes of hidden layers."""

    def check(value: Any, name: str) -> tuple[int, ...]:
        value = tuple(value) if isinstance(value, Iterable) else (value,)
        return tuple(int(check_scalar(size, name, Integral, min_val=1)) for size in value)

    def parse(text: str) -> tuple[int, ...]:
        try:
            return () if text in ("none", "") else tuple(int(size) for size in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is neither sizes, as 100 or 100,50, nor none") from None

    return Kind("sequence of int", check, {"type": parse, "metavar": "N,N,...|none"})


def path() -> Kind:
    """The path of a folder."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise ValueError(f"{name} is the path of a folder, or None; got {value!r}")
        return str(os.fspath(value))

    return Kind("path", check, {"metavar": "DIR"})


def _named(kind: Callable[[str], Any], word: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return text if text == word else kind(text)

    parse.__name__ = f"{kind.__name__} or {word!r}"  # what argparse says it is
    return parse


@dataclass(frozen=True)
class Entry:
    """A parameter in a table.

    Attributes
    ----------
    kind : Kind
    summary : str
        What it is, without a full stop: the help of its option, and the beginning of its documentation.
    details : str
        The rest of its documentation.
    unset : str
        What None stands for, if that is the default.
    option : bool
        Whether the command line has an option for it.
    """

    kind: Kind
    summary: str
    details: str
    unset: str
    option: bool

    @property
    def documentation(self) -> str:
        parts = [f"{self.summary}.", self.details, f"None: {self.unset}." if self.unset else ""]
        return " ".join(" ".join(parts).split())


def parameter(
    default: Any, kind: Kind, summary: str, details: str = "", *, unset: str = "", option: bool = True
) -> Any:
    """A field of a table: see `Entry`."""
    return field(default=default, metadata={"entry": Entry(kind, summary, details, unset, option)})


def entries(table: type) -> dict[str, Entry]:
    """The entries of a table by name."""
    return {each.name: each.metadata["entry"] for each in fields(table)}


def checked(table: type, values: Any) -> dict[str, Any]:
    """The attributes of `values` that the table names, checked and in plain types.

    Raises
    ------
    ValueError, TypeError
        With the name, what is expected, and what was given.
    """
    return {name: entry.kind.check(getattr(values, name), name) for name, entry in entries(table).items()}


def documented(table: type) -> str:
    """The section "Parameters" of a class docstring."""
    lines = ["Parameters", "----------"]
    for each in fields(table):
        entry = each.metadata["entry"]
        lines.append(f"{each.name} : {entry.kind.text}, default={_shown(each.default)}")
        lines += textwrap.wrap(entry.documentation, 112, initial_indent="    ", subsequent_indent="    ")
    return textwrap.indent("\n".join(lines), "    ")


def add_options(group: Any, table: type) -> None:
    """Adds an option for each parameter of a table to an argparse parser or group."""
    for each in fields(table):
        entry = each.metadata["entry"]
        if not entry.option:
            continue
        default = entry.unset or _shown(each.default).strip('"')
        text = entry.summary[0].lower() + entry.summary[1:]
        text += "" if each.default is False else f" (default: {default})"
        group.add_argument(f"--{each.name.replace('_', '-')}", default=each.default, help=text, **entry.kind.option)


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
