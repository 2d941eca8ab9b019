"""Rules of components that are plugged into others: what they see, and the types of keys that encoders take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
import pytest

from dp_core import Component, Slot, option, slot
from dp_core.config import structure_block
from dp_core.config.declared import IMAGES, gives
from dp_core.config.structure import structure_task
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError, PluginError
from dp_core.registry import Registry

SHAPE_META = {
    "obs": {
        "front": {"shape": [3, 8, 8], "type": "rgb"},
        "wrist": {"shape": [3, 4, 4], "type": "rgb"},
        "state": {"shape": [2], "type": "low_dim"},
    },
    "action": {"shape": [2]},
}


@attrs.frozen(kw_only=True)
class SmallOptions:
    """Takes images that are not too large, and says how many steps it was told of."""

    takes: ClassVar[tuple[str, ...]] = ("rgb",)

    largest: int = option(8, help="side of the images")

    def check(self, shape_meta: dict[str, Any], n_obs_steps: int = 1) -> Iterable[tuple[str, str]]:
        for key, spec in shape_meta["obs"].items():
            if spec["shape"][1] > self.largest:
                yield "largest", f"{self.largest} is less than the {spec['shape'][1]} of '{key}', step {n_obs_steps}"


@attrs.frozen(kw_only=True)
class Part:
    keys: list[str] = option(help="of observations")
    encoder: Slot = slot("encoder")


@attrs.frozen(kw_only=True)
class OuterOptions:
    parts: dict[str, Part] = option(factory=dict, help="by a name")
    fault: str = option("none", help="of inside")
    n_obs_steps: int = option(2, help="To")

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        for name, part in self.parts.items():
            if unknown := set(part.keys) - set(shape_meta["obs"]):
                yield f"parts.{name}.keys", f"{min(unknown)} is unknown"

    def inside(self, shape_meta: dict[str, Any]) -> Any:
        return {
            "none": [
                (f"parts.{name}", {"shape_meta": {"obs": {key: shape_meta["obs"][key] for key in part.keys}}})
                for name, part in self.parts.items()
            ],
            "text": ["parts"],
            "option": [("part.a", {})],
            "path": [("parts.b", {})],
        }[self.fault]


@attrs.frozen(kw_only=True)
class CarelessOptions:
    takes: ClassVar[Any] = "rgb"


@attrs.frozen(kw_only=True)
class DecidingOptions:
    """What it gives depends on an option."""

    n_tokens: int = option(0, help="0: a vector")

    @property
    def gives(self) -> str:
        return "tokens" if self.n_tokens > 0 else "vector"


@attrs.frozen(kw_only=True)
class AskingOptions:
    part: Slot = slot("encoder", help="of which it wants to know what it gives")

    def check(self) -> Iterable[tuple[str, str]]:
        if gives(self.part) == "tokens":
            yield "part", "gives tokens"


@attrs.frozen(kw_only=True)
class SeeingOptions:
    takes: ClassVar[tuple[str, ...]] = (IMAGES, "toys/warmth")


@attrs.frozen(kw_only=True)
class ThermalOptions:
    is_image: ClassVar[bool] = True


@attrs.frozen(kw_only=True)
class WarmthOptions:
    """No image."""


def registry() -> Registry:
    configs = {
        "small": SmallOptions,
        "outer": OuterOptions,
        "careless": CarelessOptions,
        "deciding": DecidingOptions,
        "asking": AskingOptions,
        "seeing": SeeingOptions,
    }
    components = [
        Component(kind="encoder", name=name, target="a:B", config=config, summary="", distribution="toys")
        for name, config in configs.items()
    ]
    components += [
        Component(kind="modality", name=name, target="a:B", config=config, summary="", distribution="toys")
        for name, config in {"thermal": ThermalOptions, "warmth": WarmthOptions, "low_dim": WarmthOptions}.items()
    ]
    return Registry([PluginRecord("toys", "toys", "1", "ok", tuple(components))])


def problems(block: dict[str, Any], shape_meta: dict[str, Any] | None = SHAPE_META) -> list[str]:
    runtime = {} if shape_meta is None else {"shape_meta": shape_meta}
    try:
        structure_block(registry(), "encoder", block, runtime)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def outer(*keys: str, **options: Any) -> dict[str, Any]:
    return {
        "name": "outer",
        "parts": {"a": {"keys": list(keys), "encoder": {"name": "small", "largest": 4}}},
        **options,
    }


def test_rules_of_a_part_see_what_it_is_given_and_all_else_as_it_is() -> None:
    assert problems(outer("wrist")) == []
    assert problems(outer("wrist", "front")) == ["parts.a.encoder.largest: 4 is less than the 8 of 'front', step 2"]


def test_parts_of_parts_see_what_theirs_is_given() -> None:
    nested = {"name": "outer", "parts": {"b": {"keys": ["wrist", "front"], "encoder": outer("wrist")}}}

    assert problems(nested) == []
    nested["parts"]["b"]["keys"] = ["wrist"]
    nested["parts"]["b"]["encoder"] = outer("front")
    assert problems(nested) == ["parts.b.encoder.parts.a.keys: front is unknown"]


def test_nothing_is_judged_inside_of_a_block_that_cannot_say_what_is_there() -> None:
    assert problems(outer("fron")) == ["parts.a.keys: fron is unknown"]
    assert problems(outer("front"), shape_meta=None) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("text", "encoder 'outer' of toys: OuterOptions.inside must yield (path, {name: value}), got 'parts'"),
        (
            "option",
            "encoder 'outer' of toys: OuterOptions.inside yields 'part.a': unknown option; did you mean 'parts'?",
        ),
        (
            "path",
            "encoder 'outer' of toys: OuterOptions.inside yields 'parts.b', where there is nothing; yield paths of "
            "options, or of what is in them",
        ),
        ("?", "encoder 'outer' of toys: OuterOptions.inside failed: KeyError: '?'; fix the plugin (--traceback shows "
              "where)"),
    ],
)  # fmt: skip
def test_a_faulty_inside_names_the_component(fault: str, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        problems(outer("wrist", fault=fault))

    assert str(caught.value) == message


def test_a_rule_that_asks_a_part_with_a_mistake_in_it_is_no_mistake_of_the_plugin() -> None:
    def asking(n_tokens: Any) -> list[str]:
        return problems({"name": "asking", "part": {"name": "deciding", "n_tokens": n_tokens}})

    assert asking(2) == ["part: gives tokens"]
    assert asking("two") == ["part.n_tokens: expected a whole number, got 'two'"]


def test_an_encoder_is_refused_keys_of_types_that_it_does_not_take() -> None:
    assert problems({"name": "small"}) == [
        "small takes keys of type rgb; 'state' is low_dim; choose another encoder, or give it to another part, see "
        "encoder 'concat'"
    ]
    assert problems(outer("wrist", "state")) == [
        "parts.a.encoder: small takes keys of type rgb; 'state' is low_dim; choose another encoder, or give it to "
        "another part, see encoder 'concat'"
    ]


@pytest.mark.parametrize("is_read", [True, False])
def test_an_encoder_of_images_takes_those_of_any_modality_that_says_so(is_read: bool) -> None:
    """Of plain containers, too; and one that is named in full."""
    obs = {"hot": {"shape": [1, 8, 8], "type": "thermal"}, "warm": {"shape": [1], "type": "warmth"}}
    task: Any = {"obs": {**obs, "state": {"shape": [2]}}, "action": {"shape": [2]}}

    assert problems({"name": "seeing"}, structure_task(registry(), task, "") if is_read else task) == [
        "seeing takes keys of type images and toys/warmth; 'state' is low_dim; choose another encoder, or give it to "
        "another part, see encoder 'concat'"
    ]


def test_types_of_keys_are_a_tuple() -> None:
    with pytest.raises(PluginError) as caught:
        problems({"name": "careless"})

    assert str(caught.value) == (
        "encoder 'careless' of toys: 'takes' of CarelessOptions must be a tuple such as ('rgb', 'low_dim'), got 'rgb'"
    )


def test_null_removes_a_part() -> None:
    assert problems({**outer("wrist"), "parts": {"a": None}}) == []
