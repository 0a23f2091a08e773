"""A table of parameters: an entry, and what follows from it."""

import argparse
import inspect
from dataclasses import KW_ONLY, dataclass

import pytest

from asysvrg import kinds
from asysvrg.kinds import parameter


@dataclass
class Table:
    size: int = parameter(3, kinds.integer(1), "Size of `it_all`", "A number that " + "is long " * 20)
    _: KW_ONLY
    it_all: float | None = parameter(None, kinds.number(0, 1, ends="neither"), "All", unset="`none`")
    hidden: str = parameter("a", kinds.one_of("a", None, "b"), "Not on the command line", option=False)
    rate: float | str = parameter(0.5, kinds.or_word("auto", kinds.number(0, finite=False)), "Rate")
    is_on: bool = parameter(False, kinds.flag(), "Whether in `fit`")
    is_off: bool = parameter(True, kinds.flag(opposite=True), "Whether else")
    widths: tuple = parameter((2,), kinds.sizes(), "Widths")
    where: str | None = parameter(None, kinds.folder(), "Folder", unset="nowhere")


def test_one_entry_is_an_argument_a_default_and_a_check():
    assert list(inspect.signature(Table).parameters) == list(kinds.entries(Table))
    assert kinds.checked(Table, Table()) == vars(Table())
    assert kinds.checked(Table, Table(7, rate=2, it_all=0.5, where="x"))["rate"] == 2.0
    with pytest.raises(ValueError, match="size == 0, must be >= 1"):
        kinds.checked(Table, Table(0))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"size": 2.5}, TypeError, "size must be an instance of int"),
        ({"size": 2**31}, ValueError, "size == 2147483648, must be <= 2147483647"),
        ({"it_all": 0}, ValueError, "it_all == 0, must be > 0"),
        ({"it_all": float("nan")}, ValueError, "it_all is nan; a finite number is expected"),
        ({"hidden": "c"}, ValueError, "hidden is one of a, None, b; got 'c'"),
        ({"rate": "best"}, ValueError, "rate is a number or 'auto'; got 'best'"),
        ({"rate": None}, TypeError, "rate must be an instance of float"),
        ({"is_on": 1}, TypeError, "is_on is True or False; got 1"),
        ({"widths": (2, 0)}, ValueError, "widths == 0, must be >= 1"),
        ({"where": ""}, ValueError, "where is the path of a folder, or None; got ''"),
    ],
    ids=str,
)
def test_what_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        kinds.checked(Table, Table(**given))


def test_what_is_allowed():
    given = Table(widths=4, rate=float("inf"), hidden=None, is_on=True)
    assert kinds.checked(Table, given) == vars(given) | {"widths": (4,)}


def test_documentation():
    text = kinds.documented(Table)
    assert text.startswith(
        "    Parameters\n    ----------\n    size : int, default=3\n        Size of `it_all`. A number"
    )
    assert "    it_all : float, default=None\n        All. None: `none`.\n" in text
    assert '    hidden : {"a", "b"}, default="a"\n' in text
    assert max(map(len, text.splitlines())) <= 120


def test_options(capsys):
    parser = argparse.ArgumentParser(prog="it")
    kinds.add_options(parser, Table)
    expected = vars(Table())
    del expected["hidden"]
    assert vars(parser.parse_args([])) == expected
    given = ["--size=4", "--it-all=0.5", "--rate=auto", "--is-on", "--no-is-off", "--widths=3,2", "--where=here"]
    assert list(vars(parser.parse_args(given)).values()) == [4, 0.5, "auto", True, False, (3, 2), "here"]
    assert parser.parse_args(["--widths", "none"]).widths == ()
    help_text = " ".join(parser.format_help().split())
    assert "--size N size of --it-all (default: 3)" in help_text
    assert "--it-all X all (default: none)" in help_text
    assert "--is-on whether in fit --is-off, --no-is-off whether else (default: True) --widths" in help_text
    assert "widths (default: 2)" in help_text
    for bad, words in (("--rate=best", "invalid float or 'auto' value"), ("--widths=2,", "'2,' is neither sizes")):
        with pytest.raises(SystemExit):
            parser.parse_args([bad])
        assert words in capsys.readouterr().err
