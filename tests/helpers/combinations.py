"""Which combinations of settings a test is run with: a few that cover every three values together, or all.

`make test` takes a covering set: for any values of any three factors that can occur together, some case has them. A
fault that shows only where more than three values meet is left to `make test-all`, which takes the full product.
"""

import itertools

import numpy as np
import pytest

STRENGTH = 3


def product(factors, possible=None):
    """All possible combinations, as dicts, in the order of `itertools.product`."""
    rows = (dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values()))
    return [row for row in rows if possible is None or possible(row)]


def covering(factors, possible=None, strength=STRENGTH):
    """Some of the product in which every `strength` values that occur together in the product do so, too.

    Greedy and without chance: the row that adds most comes next, the first of several.
    """
    rows = product(factors, possible)
    sizes = [len(values) for values in factors.values()]
    at = np.indices(sizes).reshape(len(sizes), -1).T
    if possible is not None:
        at = at[[possible(dict(zip(factors, values, strict=True))) for values in itertools.product(*factors.values())]]
    tuples, count = [], 0  # of each row, by number
    for columns in itertools.combinations(range(len(sizes)), min(strength, len(sizes))):
        codes = np.ravel_multi_index(at[:, columns].T, [sizes[column] for column in columns])
        found, numbers = np.unique(codes, return_inverse=True)
        tuples.append(numbers + count)
        count += len(found)
    tuples, missing, chosen = np.array(tuples).T, np.ones(count, bool), []
    while missing.any():
        chosen.append(int(missing[tuples].sum(1).argmax()))
        missing[tuples[chosen[-1]]] = False
    return [rows[number] for number in sorted(chosen)]


def combinations(possible=None, **factors):
    """Decorates a test that takes a value of each factor: `make test` runs a covering set, `make test-all` the product.

    possible : None, or a function of a dict that has a value of each factor: whether that can occur.
    """
    return pytest.mark.combinations(factors, possible)


def parametrize(metafunc, full):
    """Carries out what the mark says. Factors that the test does not name come to it as one dict, `setting`."""
    for mark in metafunc.definition.iter_markers("combinations"):
        factors, possible = mark.args
        rows = (product if full else covering)(factors, possible)
        named = [name for name in factors if name in metafunc.fixturenames]
        rest = [name for name in factors if name not in named]
        values = [[row[name] for name in named] + [{name: row[name] for name in rest}] * bool(rest) for row in rows]
        ids = ["-".join(map(shown, row.values())) for row in rows]
        metafunc.parametrize(named + ["setting"] * bool(rest), values, ids=ids)


def shown(value):
    """A value in the name of a case."""
    return getattr(value, "__name__", None) or str(value).replace(" ", "")
