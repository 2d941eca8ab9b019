"""`ShapeMeta`: what a config says of observations, with the modality of each, its options and annotations."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest

from dp_core import Component, option
from dp_core.config.describe import example
from dp_core.config.fields import Slot
from dp_core.config.structure import structure_task
from dp_core.config.task import ShapeMeta
from dp_core.config.tree import components_of, unstructure
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError, PluginError
from dp_core.interfaces import modality_of
from dp_core.provenance.manifest import compare
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.shape_meta import keys_of_type, keys_once_per_episode, modality_slot, obs_type, subset
from dp_core.testing.fakes import installed, write_distribution

TASK: dict[str, Any] = {
    "obs": {
        "front": {"shape": [3, 8, 8], "type": "rgb", "latency": 0.03, "hz": 30},
        "hand": {"shape": [1, 8, 8], "type": "depth", "scale": 1},
        "pose": {"shape": [2]},
        "goal": {"shape": (3, 8, 8), "type": "dp-core/rgb", "when": "episode"},
        "old": None,
    },
    "action": {"shape": [2], "rotation": "rotvec"},
}
INSTALLED = Registry.discover()


@attrs.frozen(kw_only=True)
class Strict:
    width: int = option(2, help="a number")

    def check(self, shape: tuple[int, ...], horizon: int) -> Iterable[tuple[str, str]]:
        yield "shape", "is never asked"


@attrs.frozen(kw_only=True)
class Sized:
    width: int = option(2, help="a number")


def structured(task: Any, registry: Registry = INSTALLED) -> ShapeMeta:
    return structure_task(registry, task, "here")


def with_component(distribution: str, config: type) -> Registry:
    """What is installed, and a modality ``rgb`` of somebody else, or ``strict``."""
    name = "strict" if config is Strict else "rgb"
    component = Component(
        kind="modality", name=name, target="nowhere:Rgb", config=config, summary="", distribution=distribution
    )
    return Registry([*INSTALLED.plugins, PluginRecord(name, distribution, "1.0", "ok", (component,))])


def test_contents_are_plain_and_complete_and_saved_with_qualified_names() -> None:
    task = structured(TASK)

    assert task == {
        "obs": {
            "front": {"shape": [3, 8, 8], "type": "rgb", "latency": 0.03, "hz": 30},
            "hand": {"shape": [1, 8, 8], "type": "depth", "scale": 1.0},
            "pose": {"shape": [2], "type": "low_dim"},
            "goal": {"shape": (3, 8, 8), "type": "rgb", "when": "episode"},
        },
        "action": {"shape": [2], "rotation": "rotvec"},
    }
    saved = unstructure(task)
    assert {key: spec["type"] for key, spec in saved["obs"].items()} == {
        "front": "dp-core/rgb",
        "hand": "dp-core/depth",
        "pose": "dp-core/low_dim",
        "goal": "dp-core/rgb",
    }
    assert saved["obs"]["goal"]["shape"] == [3, 8, 8]
    assert unstructure(structured(saved)) == saved


def test_components_of_a_config_include_its_modalities() -> None:
    found = dict(components_of({"shape_meta": structured(TASK)}))

    assert {path: component.name for path, component in found.items()} == {
        "shape_meta.obs.front.type": "rgb",
        "shape_meta.obs.hand.type": "depth",
        "shape_meta.obs.pose.type": "low_dim",
        "shape_meta.obs.goal.type": "rgb",
    }


def test_a_modality_that_is_not_installed_is_missed_before_anything_is_built() -> None:
    data = {"shape_meta": {"obs": {"touch": {"shape": [2], "type": "dp-skin/touch"}}, "action": {"shape": [1]}}}
    made_with = {
        "components": {"shape_meta.obs.touch.type": "dp-skin/touch"},
        "kinds": {"shape_meta.obs.touch.type": "modality"},
        "distributions": {"dp-skin": "0.2"},
    }

    (absent,) = compare(made_with, INSTALLED, data, ("policy", "shape_meta")).absent

    assert str(absent) == (
        "shape_meta.obs.touch.type: dp-skin/touch: dp-skin is not installed; install with: pip install dp-skin==0.2"
    )


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda task: pickle.loads(pickle.dumps(task))])
def test_copies_know_their_modalities(again: Any) -> None:
    task = structured(TASK)
    modality_of(task, "hand")

    copied = again(task)

    assert (type(copied), copied) == (ShapeMeta, task)
    assert copied.built == {}
    assert copied.modalities == task.modalities
    assert modality_of(copied, "hand").config.scale == 1.0


def test_a_part_of_a_task_knows_its_modalities() -> None:
    for task in (structured(TASK), {**TASK, "obs": {key: spec for key, spec in TASK["obs"].items() if spec}}):
        part = subset(task, ["hand", "goal"])

        assert list(part["obs"]) == ["hand", "goal"]
        assert part["action"] == TASK["action"]
        assert keys_of_type(part, "rgb") == keys_of_type(part, "dp-core/rgb") == ["goal"]
        assert keys_of_type(part, "lab/rgb") == []
        assert keys_once_per_episode(part) == ["goal"]
        assert obs_type(part, "goal") == "rgb"
        assert part.modalities["hand"].config.scale == 1


def test_a_name_that_two_packages_have_is_qualified() -> None:
    @attrs.frozen(kw_only=True)
    class Options:
        pass

    registry = with_component("lab", Options)
    spec = {"shape": [3, 8, 8], "type": "lab/rgb"}

    task = structured({"obs": {"front": spec}, "action": {"shape": [1]}}, registry)

    assert keys_of_type(task, "lab/rgb") == keys_of_type(task, "rgb") == ["front"]
    assert unstructure(task)["obs"]["front"]["type"] == "lab/rgb"
    with pytest.raises(ConfigError, match="is provided by 2 packages; write 'dp-core/rgb' or 'lab/rgb'"):
        structured({"obs": {"front": {**spec, "type": "rgb"}}, "action": {"shape": [1]}}, registry)


def test_an_annotation_that_looks_like_an_option_is_kept_and_said(caplog: pytest.LogCaptureFixture) -> None:
    spec = {"shape": [1, 8, 8], "type": "depth", "scales": 0.01, "frame": "base"}
    with caplog.at_level(logging.WARNING):
        task = structured({"obs": {"hand": spec}, "action": {"shape": [1], "shapes": 3}})

    assert task["obs"]["hand"]["scales"] == 0.01
    assert task["action"]["shapes"] == 3
    assert caplog.messages == ["here: obs.hand.scales: is no option, and kept as an annotation; did you mean 'scale'?"]


def test_a_modality_knows_its_place_for_messages() -> None:
    assert modality_slot(structured(TASK), "hand").path == "obs.hand"


def test_a_former_name_of_an_option_is_no_annotation() -> None:
    """It would be kept in silence, and the option would have its default."""
    component = Component(
        kind="modality", name="new", target="nowhere:New", config=Sized, summary="", renamed={"size": "width"}
    )
    registry = Registry([*INSTALLED.plugins, PluginRecord("new", "dp-lab", "1.0", "ok", (component,))])
    task = {"obs": {"x": {"shape": [2], "type": "new", "size": 3}}, "action": {"shape": [1]}}

    with pytest.raises(ConfigError) as error:
        structured(task, registry)

    assert str(error.value) == "here has 1 problem\n  obs.x.size: unknown option; it was renamed 'width'"


def test_a_rule_of_a_modality_cannot_ask_for_what_nobody_knows() -> None:
    with pytest.raises(PluginError) as caught:
        structured(
            {"obs": {"x": {"shape": [1], "type": "strict"}}, "action": {"shape": [1]}}, with_component("lab", Strict)
        )

    assert str(caught.value) == (
        "modality 'strict' of lab: Strict.check asks for 'horizon'; a modality can ask for 'shape' and 'key'"
    )


def test_options_of_a_modality_are_typed() -> None:
    specs = {
        "a": {"shape": [1, 8, 8], "type": "depth", "scale": "mm"},
        "b": {"shape": [1, 8, 8], "type": "depth", "scale": -1},
    }
    with pytest.raises(ConfigError) as caught:
        structured({"obs": specs, "action": {"shape": [1]}})

    assert [str(problem) for problem in caught.value.problems] == [
        "obs.a.scale: expected a number, got 'mm'",
        "obs.b.scale: must be > 0: -1.0",
    ]


def test_when_every_observation_is_removed_that_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        structured({"obs": {"old": None}, "action": {"shape": [1]}})

    assert [str(problem) for problem in caught.value.problems] == [
        "obs: expected a mapping of observation keys, got {'old': None}; null leaves a key out, and there is no other"
    ]


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(INSTALLED, path, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_null_that_removes_nothing_is_a_misspelling(tmp_path: Path) -> None:
    base, path = tmp_path / "base.yaml", tmp_path / "run.yaml"
    base.write_text("extends: [smoke]\nshape_meta: {obs: {hand: {shape: [1]}, old: {shape: [1]}}}\n")
    path.write_text("extends: [base.yaml]\nshape_meta: {obs: {hnad: null, old: null}}\n")
    found = "null removes an entry that a config below puts there; there is none called"

    assert problems(path, "shape_meta.actoin=null", "policy.encoder={name: concat, parts: {clod: null}}") == [
        f"shape_meta.actoin: {found} 'actoin'; did you mean 'action'? (from the command line)",
        f"shape_meta.obs.hnad: {found} 'hnad'; did you mean 'hand'?",
        f"policy.encoder.parts.clod: {found} 'clod'; leave it out (from the command line)",
    ]


def test_an_action_has_no_modality_and_is_done_at_every_step(caplog: pytest.LogCaptureFixture) -> None:
    task = structured({"obs": {"x": {"shape": [2]}}, "action": {"shape": [1], "type": "rgb", "when": "step"}})

    assert task["action"] == {"shape": [1], "type": "rgb", "when": "step"}
    assert caplog.messages == [
        "here: action.type: an action has no modality: this is kept as an annotation; leave it out"
    ]
    with pytest.raises(ConfigError) as caught:
        structured({"obs": {"x": {"shape": [2]}}, "action": {"shape": [1], "when": "episode"}})
    assert [str(problem) for problem in caught.value.problems] == [
        "action.when: got 'episode'; only observations are taken once, actions at every step; leave it out"
    ]


def test_no_observation_is_called_action() -> None:
    with pytest.raises(ConfigError) as caught:
        structured({"obs": {"action": {"shape": [2]}}, "action": {"shape": [2]}})

    assert [str(problem) for problem in caught.value.problems] == [
        "obs.action: 'action' is the name of what is learnt; call the observation otherwise"
    ]


def test_a_plain_task_is_looked_up_among_what_is_installed_by_then(tmp_path: Path) -> None:
    task = {"obs": {"x": {"shape": [2], "type": "late"}}, "action": {"shape": [1]}}
    with pytest.raises(ConfigError, match="unknown modality 'late'"):
        modality_slot(task, "x")
    write_distribution(tmp_path, "dp-late", "1.0", {"late": PLUGIN})
    with installed(tmp_path):
        slot = modality_slot(task, "x")

    assert isinstance(slot, Slot)
    assert slot.component.qualified_name == "dp-late/late"


PLUGIN = """
import attrs
from dp_core import Component, hookimpl

DP_API = 1
Options = attrs.make_class("Options", {}, frozen=True, kw_only=True)

@hookimpl
def dp_components():
    yield Component(kind="modality", name="late", target="dp_late.plugin:Options", config=Options, summary="")
"""


def test_the_example_of_a_modality_shows_where_its_options_stand() -> None:
    assert example(INSTALLED.resolve("modality", "depth")) == [
        "shape_meta:",
        "  obs:",
        "    my_depth:",
        "      shape: <[int, ...]>",
        "      type: depth",
        "      scale: 0.001",
    ]
