"""What earlier versions saved becomes what today's would have saved: names, options and states, at any depth."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest

from dp_core import Component, Slot, option, slot
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.task import ShapeMeta
from dp_core.errors import PluginError
from dp_core.provenance.migrations import StateMigration, is_older, migrate_config


@attrs.frozen(kw_only=True)
class CropOptions:
    encoder: Slot | None = slot("encoder", None)


@attrs.frozen(kw_only=True)
class EncoderOptions:
    channels: int = option(8, help="features")
    parts: dict[str, CropOptions] = option(factory=dict, help="parts that see a crop")
    others: list[Slot] = slot("encoder", ())


@attrs.frozen(kw_only=True)
class PolicyOptions:
    encoder: Slot = slot("encoder")


@attrs.frozen(kw_only=True)
class TrainOptions(WorkspaceConfig):
    policy: Slot = slot("policy")
    epochs: int = option(1, help="how long")
    shape_meta: ShapeMeta | None = option(None, help="what is observed")


@attrs.frozen(kw_only=True)
class ThermalOptions:
    kelvin: float = option(1.0, help="in a unit")


@attrs.frozen(kw_only=True)
class NoteOptions:
    text: str = option("", help="written down")
    prefix: str = option("", help="before it")


def split(options: dict[str, Any], from_version: str) -> dict[str, Any]:
    """Version 2 has the text up to the colon on its own."""
    prefix, _, text = options["text"].rpartition(":")
    return {"prefix": prefix, "text": text}


def fail(options: dict[str, Any], from_version: str) -> dict[str, Any]:
    raise KeyError("width")


def forget(options: dict[str, Any], from_version: str) -> None:
    """A mistake that is easily made."""


def rename_weights(state: dict[str, Any], from_version: str) -> dict[str, Any]:
    return {name.replace("weight", f"weight_{from_version}"): value for name, value in state.items()}


def move_parts(state: dict[str, Any], from_version: str) -> dict[str, Any]:
    return {name.replace("vision.", "encoder."): value for name, value in state.items()}


def component(kind: Any, name: str, config: type, version: str = "2.0", **more: Any) -> Component:
    return Component(
        kind=kind,
        name=name,
        target="nowhere:Nothing",
        config=config,
        summary="",
        distribution="dp-lab",
        version=version,
        **more,
    )


WORKSPACE = component("workspace", "train", TrainOptions, renamed={"rounds": "epochs"})
POLICY = component("policy", "diffusion", PolicyOptions, renamed={"vision": "encoder"})
ENCODER = component("encoder", "cnn", EncoderOptions, formerly=("conv",), renamed={"width": "channels"})
NOTE = component("callback", "note", NoteOptions, upgrade=f"{__name__}:split")
THERMAL = component("modality", "thermal", ThermalOptions, formerly=("heat",), renamed={"scale": "kelvin"})
COMPONENTS = (WORKSPACE, POLICY, ENCODER, NOTE, THERMAL)


def made_with(version: str | None, **names: str) -> dict[str, Any]:
    """A manifest; of components, a part of their names is enough here."""
    names = names or {"workspace": "dp-lab/train"}
    versions = {"dp-lab": version} if version else {}
    return {"components": names, "kinds": {name: name for name in names}, "distributions": versions}


def test_options_are_renamed_wherever_a_component_is_plugged_in() -> None:
    """In a slot whose own name has changed, in a block of options inside a mapping, in a list."""
    inner = {"name": "dp-lab/conv", "width": 2}
    vision = {"name": "dp-lab/conv", "width": 1, "parts": {"left": {"encoder": inner}}, "others": [inner]}
    former = {
        "workspace": "dp-lab/train",
        "rounds": 3,
        "policy": {"name": "dp-lab/diffusion", "vision": vision},
        "callbacks": {"log": {"name": "dp-lab/note", "text": "a:b"}, "other": {"name": "dp-gone/note", "text": "a:b"}},
    }

    found = migrate_config(former, made_with("1.0"), COMPONENTS)

    today = {"name": "dp-lab/cnn", "channels": 2}
    assert found.config == {
        "workspace": "dp-lab/train",
        "epochs": 3,
        "policy": {
            "name": "dp-lab/diffusion",
            "encoder": {
                "name": "dp-lab/cnn",
                "channels": 1,
                "parts": {"left": {"encoder": today}},
                "others": [today],
            },
        },
        "callbacks": {
            "log": {"name": "dp-lab/note", "prefix": "a", "text": "b"},
            "other": {"name": "dp-gone/note", "text": "a:b"},
        },
    }
    versions = "(dp-lab 1.0 -> 2.0)"
    assert found.lines == (
        f"workspace: 'rounds' is 'epochs' now {versions}",
        f"policy: 'vision' is 'encoder' now {versions}",
        f"policy.encoder: 'conv' is 'cnn' now {versions}",
        f"policy.encoder: 'width' is 'channels' now {versions}",
        f"policy.encoder.parts.left.encoder: 'conv' is 'cnn' now {versions}",
        f"policy.encoder.parts.left.encoder: 'width' is 'channels' now {versions}",
        f"policy.encoder.others[0]: 'conv' is 'cnn' now {versions}",
        f"policy.encoder.others[0]: 'width' is 'channels' now {versions}",
        f"callbacks.log: 'prefix' is new, 'a'; 'text' is 'b' now, it was 'a:b' {versions}",
    )
    assert former["rounds"] == 3
    assert vision["width"] == 1


@pytest.mark.parametrize("has_workspace", [True, False])
def test_options_of_modalities_are_renamed_and_annotations_kept(has_workspace: bool) -> None:
    """Also where the package of the training is absent, as on a robot."""
    entry = {"shape": [1, 8, 8], "type": "dp-lab/heat", "when": "episode", "scale": 0.04, "lens": "wide"}
    other = {"shape": [2], "type": "dp-core/low_dim"}
    former = {"workspace": "dp-lab/train", "shape_meta": {"obs": {"hot": entry, "pose": other}, "action": {}}}
    manifest = made_with("1.0", **{"shape_meta.obs.hot.type": "dp-lab/heat"})
    manifest["kinds"] = {"shape_meta.obs.hot.type": "modality"}

    found = migrate_config(former, manifest, COMPONENTS if has_workspace else (THERMAL,))

    today = {"shape": [1, 8, 8], "type": "dp-lab/thermal", "when": "episode", "kelvin": 0.04, "lens": "wide"}
    assert found.config["shape_meta"] == {"obs": {"hot": today, "pose": other}, "action": {}}
    assert found.made_with["components"]["shape_meta.obs.hot.type"] == "dp-lab/thermal"
    assert found.lines == (
        "shape_meta.obs.hot: 'heat' is 'thermal' now (dp-lab 1.0 -> 2.0)",
        "shape_meta.obs.hot: 'scale' is 'kelvin' now (dp-lab 1.0 -> 2.0)",
    )


def test_the_manifest_has_components_and_kinds_where_they_are_now_and_the_versions_of_the_file() -> None:
    former = {"workspace": "dp-lab/train", "policy": {"name": "dp-lab/diffusion", "vision": {"name": "dp-lab/conv"}}}
    found = migrate_config(former, made_with("1.0"), COMPONENTS)

    assert found.made_with["components"]["policy.encoder"] == "dp-lab/cnn"
    assert found.made_with["kinds"]["policy.encoder"] == "encoder"
    assert found.made_with["distributions"] == {"dp-lab": "1.0"}


def test_what_is_done_is_done_once() -> None:
    former = {"workspace": "dp-lab/train", "callbacks": {"log": {"name": "dp-lab/note", "text": "a:b:c"}}, "rounds": 2}
    once = migrate_config(former, made_with("1.0"), COMPONENTS)
    today = once.made_with | {"distributions": {"dp-lab": "2.0"}}

    again = migrate_config(once.config, today, COMPONENTS)

    assert (again.config, again.lines) == (once.config, ())


@pytest.mark.parametrize("version", ["2.0", "2.1", None])
def test_functions_are_asked_about_older_versions_only_and_names_always(version: str | None) -> None:
    former = {"workspace": "dp-lab/train", "rounds": 2, "callbacks": {"log": {"name": "dp-lab/note", "text": "a:b"}}}

    found = migrate_config(former, made_with(version), COMPONENTS)

    assert found.config["epochs"] == 2
    assert found.config["callbacks"]["log"]["text"] == "a:b"


def test_nothing_is_done_to_a_config_written_by_hand() -> None:
    written = {"workspace": "dp-lab/train", "rounds": 2}

    assert migrate_config(written, None, COMPONENTS).config == written


def test_a_name_that_somebody_has_today_is_no_former_one() -> None:
    conv = component("encoder", "conv", EncoderOptions)
    former = {"workspace": "dp-lab/train", "policy": {"name": "dp-lab/diffusion", "encoder": {"name": "dp-lab/conv"}}}

    for components in ((*COMPONENTS, conv), (conv, *COMPONENTS)):
        assert migrate_config(former, made_with("1.0"), components).config == former


def test_a_former_and_a_new_name_in_one_block_are_left_to_be_refused() -> None:
    former = {"workspace": "dp-lab/train", "rounds": 2, "epochs": 3}

    assert migrate_config(former, made_with("1.0"), COMPONENTS).config == former


def test_where_the_workspace_is_not_installed_the_blocks_of_the_manifest_are_read() -> None:
    former = {"workspace": "dp-gone/train", "policy": {"name": "dp-lab/diffusion", "vision": None}}
    manifest = made_with("1.0", workspace="dp-gone/train", policy="dp-lab/diffusion")

    found = migrate_config(former, manifest, COMPONENTS)

    assert found.config["policy"] == {"name": "dp-lab/diffusion", "encoder": None}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fail", "its upgrade from 1.0 to 2.0 failed: KeyError: 'width'"),
        ("forget", f"its upgrade from 1.0 to 2.0 returned None; {__name__}:forget must return a mapping"),
    ],
)
def test_an_upgrade_that_fails_is_named(function: str, reason: str) -> None:
    note = component("callback", "note", NoteOptions, upgrade=f"{__name__}:{function}")
    former = {"workspace": "dp-lab/train", "callbacks": {"log": {"name": "dp-lab/note"}}}

    with pytest.raises(PluginError) as caught:
        migrate_config(former, made_with("1.0"), (WORKSPACE, note))

    assert str(caught.value) == f"callbacks.log: callback 'note' of dp-lab: {reason}"


def test_lines_name_their_file(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    migrate_config({"workspace": "dp-lab/train", "rounds": 2}, made_with("1.0"), COMPONENTS).log("x.ckpt")

    assert caplog.messages == ["x.ckpt: workspace: 'rounds' is 'epochs' now (dp-lab 1.0 -> 2.0)"]


# -- states -----------------------------------------------------------------------------------------------------------


def test_a_part_gets_its_own_state_after_its_parent_has_put_it_there() -> None:
    policy = component("policy", "diffusion", PolicyOptions, upgrade_state=f"{__name__}:move_parts")
    encoder = component("encoder", "cnn", EncoderOptions, upgrade_state=f"{__name__}:rename_weights")
    migration = StateMigration(made_with("1.0", policy="dp-lab/diffusion", encoder="dp-lab/cnn"))
    state = {"head.weight": 1, "vision.weight": 2, "vision.parts.left.weight": 3, "tail.weight": 4}

    upgraded = migration.upgrade(state, [("", policy), ("encoder", encoder), ("encoder.parts.left", encoder)], "model")

    assert list(upgraded.items()) == [
        ("head.weight", 1),
        ("encoder.weight_1.0", 2),
        ("encoder.parts.left.weight_1.0_1.0", 3),
        ("tail.weight", 4),
    ]
    assert migration.lines == [
        "model: state upgraded: 2 gone, 2 new, 0 changed (dp-lab 1.0 -> 2.0)",
        "model.encoder: state upgraded: 2 gone, 2 new, 0 changed (dp-lab 1.0 -> 2.0)",
        "model.encoder.parts.left: state upgraded: 1 gone, 1 new, 0 changed (dp-lab 1.0 -> 2.0)",
    ]


@pytest.mark.parametrize(
    "manifest", [made_with("2.0", encoder="dp-lab/cnn"), made_with("1.0", encoder="dp-lab/other"), made_with(None)]
)
def test_the_state_of_this_version_or_of_another_component_is_left_alone(manifest: dict[str, Any]) -> None:
    encoder = component("encoder", "cnn", EncoderOptions, upgrade_state=f"{__name__}:rename_weights")

    assert StateMigration(manifest).upgrade({"weight": 1}, [("", encoder)], "model") == {"weight": 1}


def test_an_upgrade_of_a_state_that_fails_is_named() -> None:
    encoder = component("encoder", "cnn", EncoderOptions, upgrade_state=f"{__name__}:fail")

    with pytest.raises(PluginError) as caught:
        StateMigration(made_with("1.0", encoder="dp-lab/cnn")).upgrade({}, [("vision", encoder)], "ema_model")

    assert str(caught.value) == (
        "ema_model.vision: encoder 'cnn' of dp-lab: its upgrade from 1.0 to 2.0 failed: KeyError: 'width'"
    )


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [("1.9", "1.10", True), ("1.0", "1.0", False), ("1.0rc1", "1.0", True), ("abc", "1.0", False), (None, "1", False)],
)
def test_versions_are_ordered_as_pip_orders_them(there: str | None, here: str, expected: bool) -> None:
    assert is_older(there, here) is expected
