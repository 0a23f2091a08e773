"""Warnings point at the user's line."""

import functools
import inspect
import warnings

import pytest

from asysvrg.core.warn import warn


def inside(package, depth):
    """A function of a module of some package that warns `depth` calls further down."""
    names = {"__name__": f"{package}.module", "warn": warn}
    exec("def call(depth):\n    return warn('so', ResourceWarning) if depth == 0 else call(depth - 1)", names)
    return functools.partial(names["call"], depth)


@pytest.mark.parametrize("depth", [0, 1, 7])
@pytest.mark.parametrize("package", ["asysvrg", "sklearn"])
def test_the_line_is_that_of_the_first_frame_outside(package, depth):
    function = inside(package, depth)
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(ResourceWarning, match="so") as caught:
        function()
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_filters_work_as_ever():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResourceWarning):
            inside("asysvrg", 1)()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            inside("asysvrg", 1)()
    assert len(caught) == 1  # once a line


def test_another_package_counts_as_the_user():
    with pytest.warns(ResourceWarning) as caught:
        inside("asysvrgs", 0)()
    assert caught[0].filename == "<string>"
