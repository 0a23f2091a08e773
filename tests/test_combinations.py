"""The covering sets that `make test` runs in the place of full products (helpers/combinations.py)."""

import itertools

import pytest
from helpers.combinations import covering, product
from helpers.problems import PROBLEMS, has_its_activation

INNER = PROBLEMS | {"coordinates": range(4), "direction": range(2), "dtype": range(2)}
CASES = [
    ({"a": range(3)}, None),
    ({"a": range(2), "b": range(5)}, None),
    ({"a": range(4), "b": range(3), "c": range(3), "d": range(2)}, None),
    ({"a": range(4), "b": range(4), "c": range(4)}, lambda row: row["a"] + row["b"] != 3 and row["c"] != 2),
    (PROBLEMS, has_its_activation),
    (INNER, has_its_activation),
]


def together(rows, strength):
    """All values of `strength` factors that some row has together."""
    return {pairs for row in rows for pairs in itertools.combinations(row.items(), strength)}


@pytest.mark.parametrize(("factors", "possible"), CASES)
@pytest.mark.parametrize("strength", [1, 2, 3])
def test_what_can_occur_together_does(factors, possible, strength):
    everything, chosen = product(factors, possible), covering(factors, possible, strength)
    assert all(row in everything for row in chosen)
    wanted = min(strength, len(factors))
    assert together(chosen, wanted) == together(everything, wanted)
    assert chosen == covering(factors, possible, strength)  # no chance


def test_they_are_few():
    """About as many as the product of the largest factors, of which each combination takes a row."""
    everything, chosen = product(INNER, has_its_activation), covering(INNER, has_its_activation)
    assert len(everything) == 14592
    assert 8 * 6 * 4 <= len(chosen) < 300
    assert len(covering(INNER, has_its_activation, 2)) < 60
