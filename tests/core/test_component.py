"""What a plugin says about one thing it offers: refused when it is wrong, imported when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from dp_core import Component, option
from dp_core.errors import ComponentLoadError, MissingDependencyError, PluginError
from dp_core.testing.fakes import installed, write_distribution


@attrs.frozen(kw_only=True)
class Placed:
    when: str = option("now", help="taken")


@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")


@attrs.frozen(kw_only=True)
class Reserved:
    name: str = option("x", help="of something else")


@attrs.frozen(kw_only=True)
class Unreadable:
    path: Nowhere = option(None, help="of a type that is not imported")  # type: ignore[name-defined]  # noqa: F821


def component(**changes: Any) -> Component:
    fields: dict[str, Any] = {
        "kind": "encoder",
        "name": "depth",
        "target": "dp_depth.encoder:DepthEncoder",
        "config": Options,
        "summary": "depth images",
        "distribution": "dp-depth",
    }
    return Component(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "encodr"},
            "component 'depth': kind 'encodr' is not one of workspace, policy, encoder, denoiser, scheduler, modality, "
            "dataset, runner, optimizer, lr_schedule, callback",
        ),
        ({"name": "Depth-Net"}, "component name 'Depth-Net' must be lower case letters, digits and underscores"),
        (
            {"target": "dp_depth.encoder.DepthEncoder"},
            "encoder 'depth': target 'dp_depth.encoder.DepthEncoder' must look like 'package.module:Class'",
        ),
        (
            {"config": dict},
            "encoder 'depth': config must be an attrs class, got <class 'dict'>; write @attrs.frozen(kw_only=True)",
        ),
        (
            {"config": Reserved},
            "encoder 'depth': option 'name' of Reserved is reserved for the component's name; rename it",
        ),
        (
            {"kind": "modality", "config": Placed},
            "modality 'depth': option 'when' of Placed is what every key of shape_meta has; rename it",
        ),
        (
            {"config": Unreadable},
            "encoder 'depth': an annotation of Unreadable cannot be read: name 'Nowhere' is not defined; "
            f"import what it names at the top of {__name__}, outside of `if TYPE_CHECKING`",
        ),
        ({"requires": "timm"}, "encoder 'depth': requires must be a tuple such as ('timm',), got 'timm'"),
        (
            {"requires": ("timm.models",)},
            "encoder 'depth': requires must hold top-level names of packages, got 'timm.models'",
        ),
        ({"formerly": "deep"}, "encoder 'depth': formerly must be a tuple such as ('old_name',), got 'deep'"),
        (
            {"formerly": ("depth",)},
            "encoder 'depth': formerly names 'depth', which is its name today; leave it out",
        ),
        (
            {"renamed": {"size": "widht"}},
            "encoder 'depth': renamed says that 'size' is 'widht' now, which is no option",
        ),
        (
            {"config": attrs.make_class("Both", ["size", "width"]), "renamed": {"size": "width"}},
            "encoder 'depth': renamed says that 'size' is 'width' now, but both are options",
        ),
        (
            {"upgrade": "dp_depth.earlier.upgrade"},
            "encoder 'depth': upgrade must look like 'package.module:function', got 'dp_depth.earlier.upgrade'",
        ),
        (
            {"upgrade_state": len},
            "encoder 'depth': upgrade_state must look like 'package.module:function', got <built-in function len>",
        ),
        ({"summary": "two\nlines"}, "encoder 'depth': summary must be one line of text, got 'two\\nlines'"),
    ],
)
def test_wrong_descriptions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        component(**changes)

    assert str(caught.value) == message


def test_qualified_name_says_who_ships_it() -> None:
    assert component().qualified_name == "dp-depth/depth"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"requires": ("json", "open3d_x"), "extra": "full"},
            "encoder 'depth' needs 'open3d_x', which is not installed; install with: pip install 'dp-depth[full]'",
        ),
        (
            {"requires": ("open3d_x", "r3m_x"), "install_hint": "pip install git+https://example.org/r3m"},
            "encoder 'depth' needs 'open3d_x' and 'r3m_x', which are not installed; "
            "install with: pip install git+https://example.org/r3m",
        ),
        (
            {"requires": ("open3d_x", "r3m_x")},
            "encoder 'depth' needs 'open3d_x' and 'r3m_x', which are not installed; "
            "install with: pip install open3d_x r3m_x",
        ),
    ],
)
def test_absent_packages_are_named_with_the_command_that_installs_them(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        component(**changes).load()

    assert str(caught.value) == message


def test_a_folder_in_the_current_directory_is_not_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb leaves a folder ./wandb where it ran; Python takes it for a package."""
    (tmp_path / "wandb_x" / "run-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")

    assert component(requires=("wandb_x",)).missing() == ("wandb_x",)


@pytest.mark.parametrize(
    ("source", "error_class", "message"),
    [
        (
            "import open3d_x.io",
            MissingDependencyError,
            "encoder 'depth' of dp-depth needs the package 'open3d_x', which is not installed "
            "(and which the plugin does not declare in 'requires')",
        ),
        (
            "import json.nothing",
            ComponentLoadError,
            "encoder 'depth' of dp-depth cannot be imported: No module named 'json.nothing'",
        ),
        (
            "import dp_depth.nothing",
            ComponentLoadError,
            "encoder 'depth' of dp-depth cannot be imported: No module named 'dp_depth.nothing'",
        ),
        (
            "from dp_core.rollout.runner import RolloutRunner",
            ComponentLoadError,
            "encoder 'depth' of dp-depth cannot be imported: No module named 'dp_core.rollout'; it is "
            "dp_core.kit.rollout now",
        ),
        (
            "1 / 0",
            ComponentLoadError,
            "encoder 'depth' of dp-depth cannot be imported: ZeroDivisionError: division by zero",
        ),
        ("", ComponentLoadError, "encoder 'depth' of dp-depth: 'dp_depth.encoder' has no 'DepthEncoder'"),
    ],
)
def test_an_import_that_fails_says_whose_fault_it_is(
    tmp_path: Path, source: str, error_class: type[Exception], message: str
) -> None:
    write_distribution(tmp_path, "dp-depth", plugins={"depth": {"encoder.py": source}})

    with installed(tmp_path), pytest.raises(error_class) as caught:
        component().load()

    assert str(caught.value) == message


def test_the_target_is_imported_on_first_use(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-depth", plugins={"depth": {"encoder.py": "class DepthEncoder: pass"}})

    with installed(tmp_path):
        assert component().load().__name__ == "DepthEncoder"
