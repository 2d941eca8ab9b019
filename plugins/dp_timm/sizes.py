"""Finds sizes of images that a model sees whole, for those whose images have another."""

from __future__ import annotations

from collections.abc import Callable

Size = tuple[int, int]
"""A height and a width, in pixels."""

_UNITS = (8, 16, 32, 64)
"""Most models halve images three to five times; windows of attention may ask for more."""


def near_sizes(size: Size, seen: Size, step: Size, fits: Callable[[Size], bool]) -> list[Size]:
    """Return a smaller and a larger size that fit, the nearest of the likely ones, as far as there are any.

    Args:
        size: one that does not fit.
        seen: what the model sees of it; ``size`` where it fails.
        step: pixels between neighbours in the first layer of the model.
        fits: makes a model, which takes a while: the likeliest sizes are tried first, and few.
    """
    grown = (_grown(size[0], seen[0], step[0]), _grown(size[1], seen[1], step[1]))
    smaller = [seen, *((size[0] // unit * unit, size[1] // unit * unit) for unit in _UNITS)]
    larger = [grown, *((-(-size[0] // unit) * unit, -(-size[1] // unit) * unit) for unit in _UNITS)]
    # Some models take squares alone.
    smaller += [(min(one), min(one)) for one in smaller]
    larger += [(max(one), max(one)) for one in larger]
    found = []
    for candidates in (smaller, larger):
        untried = [one for one in dict.fromkeys(candidates) if one != size and min(one) > 0]
        if fitting := next(filter(fits, untried), None):
            found.append(fitting)
    return found


def _grown(side: int, seen: int, step: int) -> int:
    return seen + step if seen < side else side
