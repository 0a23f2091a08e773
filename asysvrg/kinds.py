"""What a table of parameters is made of: the kinds of values, and what follows from a table.

A table is a dataclass whose fields are made by `parameter`. One entry gives the constructor's argument and its default,
the check, the documentation and the command-line option.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.utils.validation import check_scalar

LINES = "lines:"  # of `coordinates`
MAX_INT = 2**31 - 1  # the largest count that the kernels take
MOST_STEPS = 10**8  # updates of an epoch, which have a rate and a delay each


@dataclass(frozen=True)
class Kind:
    """A kind of value: its name in docstrings, its check, and what argparse's `add_argument` needs to read it.

    ``check(value, name)`` returns the value in a plain type. It raises ValueError or TypeError, with the name, what is
    expected, and what was given.
    """

    text: str
    check: Callable[[Any, str], Any]
    option: dict[str, Any]


def parameter(
    default: Any, kind: Kind, summary: str, details: str = "", *, unset: str = "", option: bool = True
) -> Any:
    """A field of a table.

    `summary`, without a full stop, is the help of its option; with `details` it is the documentation. `unset` is what
    None stands for, where None is allowed. `option` says whether the command line has the option.
    """
    entry = SimpleNamespace(kind=kind, summary=summary, details=details, unset=unset, option=option)
    return field(default=default, metadata={"entry": entry})


def entries(table: type) -> dict[str, SimpleNamespace]:
    """The entries of a table by name: the arguments of `parameter` as attributes, without the default."""
    return {each.name: each.metadata["entry"] for each in fields(table)}


def checked(table: type, values: Any) -> dict[str, Any]:
    """The attributes of `values` that the table names, each checked by its kind, or None where that is allowed."""
    given = {name: (plain(getattr(values, name)), entry) for name, entry in entries(table).items()}
    return {
        name: None if value is None and entry.unset else entry.kind.check(value, name)
        for name, (value, entry) in given.items()
    }


def plain(value: Any) -> Any:
    """NumPy's scalars and arrays without dimensions as Python's numbers, booleans and strings; others as they are."""
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def documented(table: type) -> str:
    """The section "Parameters" of a class docstring."""
    lines = ["Parameters", "----------"]
    for each in fields(table):
        entry = each.metadata["entry"]
        lines.append(f"{each.name} : {entry.kind.text}, default={_shown(each.default)}")
        text = " ".join([f"{entry.summary}.", *filter(None, [entry.details, entry.unset and f"None: {entry.unset}."])])
        lines += textwrap.wrap(text, 116, initial_indent="    ", subsequent_indent="    ")
    return textwrap.indent("\n".join(lines), "    ")


def add_options(group: Any, table: type, *, fixed: Mapping[str, Any] = {}, defaults: Mapping[str, Any] = {}) -> None:
    """Adds the options of a table to an argparse parser or group.

    Those in `fixed` are no options, but have a value all the same. `defaults` take the place of the table's.
    """
    names = {each.name for each in fields(table)}
    for each in fields(table):
        entry, default = each.metadata["entry"], defaults.get(each.name, each.default)
        if entry.option and each.name in fixed:
            group.set_defaults(**{each.name: fixed[each.name]})
        elif entry.option:
            text = entry.summary[0].lower() + entry.summary[1:]
            text = re.sub(r"`(\w+)`", lambda name: _option(name[1]) if name[1] in names else name[1], text)
            if default is not False:
                shown = ",".join(map(str, default)) if isinstance(default, tuple) else _shown(default)
                text += f" (default: {entry.unset or shown})".translate({ord("`"): None, ord('"'): None})
            group.add_argument(_option(each.name), default=default, help=text, **entry.kind.option)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


# The kinds.


def number(
    low: float | None = None,
    high: float | None = None,
    *,
    ends: str = "both",
    finite: bool = True,
) -> Kind:
    """A float from `low` to `high`, of which `ends` are included: "both", "left" or "neither".

    Infinity is allowed with `finite=False`.
    """

    def check(value: Any, name: str) -> float:
        check_scalar(value, name, Real, min_val=low, max_val=high, include_boundaries=ends)
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"{name} is beyond the range of floats; a finite number is expected") from None
        if math.isnan(value) or (finite and math.isinf(value)):
            raise ValueError(f"{name} is {value}; a finite number is expected")
        return value

    return Kind("float", check, {"type": float, "metavar": "X"})


def integer(low: int, high: int = MAX_INT) -> Kind:
    """A whole number from `low` to `high`."""

    def check(value: Any, name: str) -> int:
        return int(check_scalar(value, name, Integral, min_val=low, max_val=high))

    return Kind("int", check, {"type": int, "metavar": "N"})


def flag(*, opposite: bool = False) -> Kind:
    """True or False; an option without a value, and with `opposite`, for a default of True, its opposite."""

    def check(value: Any, name: str) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False; got {value!r}")
        return value

    return Kind("bool", check, {"action": argparse.BooleanOptionalAction if opposite else "store_true"})


def verbosity() -> Kind:
    """True, False, or a whole number, of which 0 is False."""

    def check(value: Any, name: str) -> int:
        if not isinstance(value, Integral) or value < 0:
            raise TypeError(f"{name} is True, False or a whole number of at least 0; got {value!r}")
        return int(value)

    return Kind("bool or int", check, {})


def flag_or(word: str) -> Kind:
    """True, False or the word; an option without a value, and its opposite."""

    def check(value: Any, name: str) -> bool | str:
        if not (value == word if isinstance(value, str) else isinstance(value, bool)):
            raise TypeError(f"{name} is True, False or {word!r}; got {value!r}")
        return value

    return Kind(f'bool or "{word}"', check, {"action": argparse.BooleanOptionalAction})


def one_of(*known: str | None) -> Kind:
    """One of some words; None may be among them."""
    words = [word for word in known if word is not None]

    def check(value: Any, name: str) -> str | None:
        if not isinstance(value, str | None) or value not in known:
            raise ValueError(f"{name} is one of {', '.join(map(str, known))}; got {value!r}")
        return value if value is None else str(value)  # numpy.str_, as searches have it, is none that kernels take

    return Kind("{" + ", ".join(map(_shown, words)) + "}", check, {"choices": words})


def or_word(word: str, kind: Kind) -> Kind:
    """A number of a kind, or the word."""

    def check(value: Any, name: str) -> Any:
        if isinstance(value, str) and value != word:
            raise ValueError(f"{name} is a number or {word!r}; got {value!r}")
        return value if isinstance(value, str) else kind.check(value, name)

    def parse(text: str) -> Any:
        return text if text == word else kind.option["type"](text)

    parse.__name__ = f"{kind.text} or {word!r}"  # what argparse calls it
    return Kind(f'{kind.text} or "{word}"', check, {"type": parse, "metavar": f"{kind.option['metavar']}|{word}"})


def as_given(text: str, **option: Any) -> Kind:
    """Any value: whoever uses it checks it."""
    return Kind(text, lambda value, name: value, option)


def sizes() -> Kind:
    """The sizes of the hidden layers."""

    def check(value: Any, name: str) -> tuple[int, ...]:
        if isinstance(value, str | bytes | Mapping | Set):
            raise TypeError(f"{name} is a sequence of whole numbers, as (100, 50); got {value!r}")
        value = tuple(value) if isinstance(value, Iterable) else (value,)
        return tuple(integer(1).check(plain(size), name) for size in value)

    def parse(text: str) -> tuple[int, ...]:
        try:
            return () if text in ("none", "") else tuple(int(size) for size in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is neither sizes, as 100 or 100,50, nor none") from None

    return Kind("sequence of int", check, {"type": parse, "metavar": "N,N,...|none"})


def seed() -> Kind:
    """What scikit-learn's `check_random_state` takes."""

    def check(value: Any, name: str) -> Any:
        number = isinstance(value, Integral) and 0 <= int(value) < 2**32
        if not (number or value is None or value is np.random or isinstance(value, np.random.RandomState)):
            raise ValueError(f"{name} is a whole number from 0 to 2**32 - 1, a RandomState or None; got {value!r}")
        return value

    return Kind("int, RandomState instance or None", check, {})


def folder() -> Kind:
    """The path of a folder."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise ValueError(f"{name} is the path of a folder, or None; got {value!r}")
        return str(os.fspath(value))

    return Kind("path", check, {"metavar": "DIR"})


def coordinates() -> Kind:
    """Coordinates of an update. Checked: the number, 0 for all, and whether they are drawn in whole cache lines."""

    def check(value: Any, name: str) -> tuple[int, bool]:
        if isinstance(value, str) and value == "all":
            return 0, False
        in_lines = isinstance(value, str) and value.startswith(LINES) and value[len(LINES) :].isdecimal()
        if isinstance(value, str) and not in_lines:
            raise ValueError(f"{name} is 'all', a number of coordinates, or '{LINES}' and a number; got {value!r}")
        number = int(value[len(LINES) :][:20]) if in_lines else value  # of more digits, enough to be too large
        return integer(1).check(number, name), in_lines

    def parse(text: str) -> Any:
        return text if text == "all" or text.startswith(LINES) else int(text)

    parse.__name__ = f"int, 'all' or '{LINES}B'"
    return Kind(f'"all", int or "{LINES}B"', check, {"type": parse, "metavar": f"all|B|{LINES}B"})


def dtype() -> Kind:
    """A floating-point precision."""

    def check(value: Any, name: str) -> np.dtype:
        if not isinstance(value, str | type | np.dtype) or value not in ("float32", "float64", np.float32, np.float64):
            raise ValueError(f"{name} is float32 or float64; got {value!r}")
        return np.dtype(value)

    return Kind('{"float32", "float64"} or dtype', check, {"choices": ["float32", "float64"]})
