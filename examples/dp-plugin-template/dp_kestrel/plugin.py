"""What this package offers. Imported for every `dp-run --list`, so it describes and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from dp_core import Component, hookimpl

from dp_kestrel import config

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    """Describe each component; targets are imported when a config names them."""
    yield Component(
        kind="encoder",
        name="kestrel",
        target="dp_kestrel.encoder:KestrelEncoder",
        config=config.EncoderOptions,
        summary="a small network for each observation",
    )
    yield Component(
        kind="runner",
        name="kestrel",
        target="dp_kestrel.runner:KestrelRunner",
        config=config.RunnerOptions,
        summary="evaluation with a point that has to get to the origin",
    )
    yield Component(
        kind="callback",
        name="kestrel",
        target="dp_kestrel.callback:KestrelCallback",
        config=config.CallbackOptions,
        summary="remembers the epoch with the lowest loss",
    )
