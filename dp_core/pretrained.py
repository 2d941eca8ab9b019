"""Decides whether building a component should fetch the pretrained weights that its config names.

A fresh training run wants them. Whoever is about to load a checkpoint does not: they would be overwritten, and a
robot has neither the network nor the files. Encoders ask `pretrained_weights_wanted`; loaders use
`skip_pretrained_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_wanted: ContextVar[bool] = ContextVar("pretrained_weights_wanted", default=True)


def pretrained_weights_wanted() -> bool:
    """Tell whether to fetch pretrained weights: no if a component is built only to receive those of a checkpoint."""
    return _wanted.get()


@contextmanager
def skip_pretrained_weights() -> Iterator[None]:
    """Build components without their pretrained weights, because all weights are loaded afterwards."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)
