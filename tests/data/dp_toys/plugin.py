"""A plugin as a third party would write it, small enough for the tests of the platform."""

from __future__ import annotations

from collections.abc import Iterator

from dp_toys.config import NetOptions, NoteOptions, ToyConfig

from dp_core import Component, hookimpl

DP_API = 1


@hookimpl
def dp_components() -> Iterator[Component]:
    yield Component(
        kind="workspace",
        name="toy",
        target="dp_toys.workspace:ToyWorkspace",
        config=ToyConfig,
        summary="a network that is changed by hand",
    )
    yield Component(
        kind="policy", name="net", target="dp_toys.workspace:Net", config=NetOptions, summary="one linear layer"
    )
    yield Component(
        kind="callback",
        name="note",
        target="dp_toys.workspace:Note",
        config=NoteOptions,
        summary="writes down which hooks are called",
    )
