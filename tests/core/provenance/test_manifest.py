"""What something was made with and what is here: one comparison says what is absent, lacking and of other versions."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dp_core import Component
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import Problem
from dp_core.provenance.manifest import compare
from dp_core.registry import Registry


@attrs.frozen(kw_only=True)
class NoOptions:
    """Of a component that is only looked for."""


def component(kind: Any, name: str, requires: tuple[str, ...] = ()) -> Component:
    return Component(
        kind=kind,
        name=name,
        target="nowhere:Nothing",
        config=NoOptions,
        summary="",
        requires=requires,
        distribution="dp-toys",
    )


REGISTRY = Registry(
    [PluginRecord("toys", "dp-toys", "1.0", "ok", (component("policy", "net"), component("runner", "arm", ("ros_x",))))]
)
NAMES = {"policy": "dp-toys/net", "runner": "dp-toys/arm", "dataset": "dp-gone/data"}
MADE_WITH = {
    "components": NAMES,
    "kinds": {kind: kind for kind in NAMES},
    "distributions": {"attrs": "0.0.1", "dp-gone": "2.0"},
    "api": 1,
}
CONFIG = {kind: {"name": name} for kind, name in NAMES.items()}


def test_one_comparison_has_all_answers() -> None:
    found = compare(MADE_WITH, REGISTRY, CONFIG, CONFIG)

    gone = Problem("dataset", "dp-gone/data: dp-gone is not installed; install with: pip install dp-gone==2.0")
    assert found.absent == (gone,)
    assert found.lacking == (Problem("runner", "dp-toys/arm: needs 'ros_x'; install with: pip install ros_x"),)
    assert found.other_versions == (f"attrs {attrs.__version__} is installed; made with 0.0.1",)


def test_only_what_is_needed_and_was_not_replaced_is_looked_for() -> None:
    of_policy = compare(MADE_WITH, REGISTRY, CONFIG, ("policy",))
    replaced = compare(MADE_WITH, REGISTRY, CONFIG | {"dataset": {"name": "other"}, "runner": None}, CONFIG)

    assert [*of_policy.absent, *of_policy.lacking] == []
    assert [*replaced.absent, *replaced.lacking] == []


def test_other_versions_are_one_warning_and_none_is_silence(caplog: pytest.LogCaptureFixture) -> None:
    compare({}, REGISTRY, CONFIG, CONFIG).warn("x.ckpt")
    assert caplog.messages == []

    compare(MADE_WITH | {"api": 0}, REGISTRY, CONFIG, ()).warn("x.ckpt")
    assert caplog.messages == [
        "x.ckpt: made with other versions than are installed here\n"
        f"  attrs {attrs.__version__} is installed; made with 0.0.1\n"
        "  this dp-core has plugin API 1; made with 0"
    ]
