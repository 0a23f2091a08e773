"""The progress bar and the table of a run."""

import sys

import numpy as np
import pytest
from helpers.traces import rows

from asysvrg.report.progress import describe, progress_bar, short, table


@pytest.mark.parametrize("count", [1, 2, 8, 9, 21, 101, 1000])
def test_table_is_short_and_has_the_first_and_the_last_row(count):
    lines = table(rows(np.linspace(2, 1, count)), "title").splitlines()
    shown = [int(line.split()[0]) for line in lines[2:]]
    assert lines[0] == "title"
    assert len({len(line) for line in lines[1:]}) == 1
    assert (shown[0], shown[-1]) == (0, count - 1)
    assert min(count, 5) <= len(shown) <= 9
    assert shown == sorted(set(shown))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123456, "0.12346"), (99999, "99999.00000"), (1412715362.128, "1.41272e+09"), (-2e9, "-2e+09")],
)
def test_large_losses_are_short(value, shown):
    """Squared errors of prices may be any size."""
    assert short(value, 5) == shown
    lines = table(rows([value, 1.0])).splitlines()
    assert shown in lines[1]
    assert len({len(line) for line in lines}) == 1


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar(True, 2) as show:
        for row in rows([2.0, 1.5, 1.25]):
            show(row)
    err = capsys.readouterr().err
    assert "2/2" in err
    assert describe(rows([1.25])[0]) in err


def test_progress_describes_a_row():
    first, second = rows([2.0, 1.5])
    assert describe(first) == "loss 2.0000, train error 0.1000, test error 0.2000, delay 0.5"
    assert describe(second) == "loss 1.5000, train error 0.1000, delay 0.5"
