"""Names to components: unique, ambiguous, unknown; and building from a block."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from dp_core import Component, Slot, option, slot
from dp_core.config.schema import WorkspaceConfig
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError, MissingDependencyError, PluginError
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, registry_of, write_distribution

PLUGIN = """
from dp_core import Component, hookimpl
from dp_{entry}.config import Options

DP_API = 1

@hookimpl
def dp_components():
    yield Component(kind="denoiser", name="unet1d", target="dp_{entry}.net:Net", config=Options, summary="a net")
"""
CONFIG = """
import attrs
from dp_core import option

@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")
"""
NET = """
class Net:
    def __init__(self, config, *, input_dim):
        self.config, self.input_dim = config, input_dim
"""


@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")


@attrs.frozen(kw_only=True)
class RunConfig(WorkspaceConfig):
    encoder: Slot = slot("encoder")


def write_net(folder: Path, entry: str) -> None:
    files = {"plugin.py": PLUGIN.format(entry=entry), "config.py": CONFIG, "net.py": NET}
    write_distribution(folder, f"dp-{entry}", "1.0", {entry: files})


def offering(distribution: str, *names: str) -> PluginRecord:
    components = tuple(
        Component(
            kind="encoder",
            name=name,
            target="collections:Counter",
            config=Options,
            summary=name,
            distribution=distribution,
        )
        for name in names
    )
    return PluginRecord(distribution.removeprefix("dp-"), distribution, "1.0", "ok", components)


def message(registry: Registry, name: str, kind: str = "encoder") -> str:
    with pytest.raises(PluginError) as caught:
        registry.resolve(kind, name)
    return str(caught.value)


def test_a_block_becomes_the_component_it_names(tmp_path: Path) -> None:
    write_net(tmp_path, "fast")

    with installed(tmp_path):
        net = registry_of(tmp_path).build("denoiser", {"name": "unet1d", "width": 8}, input_dim=2)

    assert (type(net).__name__, net.config.width, net.input_dim) == ("Net", 8, 2)


def test_the_name_alone_is_enough(tmp_path: Path) -> None:
    write_net(tmp_path, "fast")

    with installed(tmp_path):
        assert registry_of(tmp_path).build("denoiser", "unet1d", input_dim=2).config.width == 64


def test_two_providers_are_an_error_only_where_the_short_name_is_used(tmp_path: Path) -> None:
    write_net(tmp_path, "fast")
    write_net(tmp_path, "slow")

    with installed(tmp_path):
        registry = registry_of(tmp_path)

        assert message(registry, "unet1d", "denoiser") == (
            "denoiser 'unet1d' is provided by 2 packages; write 'dp-fast/unet1d' or 'dp-slow/unet1d'"
        )
        net = registry.build("denoiser", {"name": "dp-slow/unet1d"}, input_dim=2)
        assert type(net).__module__ == "dp_slow.net"


def test_an_unknown_name_gets_the_nearest() -> None:
    registry = Registry([offering("dp-a", "timm", "robomimic")])

    assert message(registry, "tim") == "unknown encoder 'tim'; did you mean 'timm'?"


def test_a_known_name_of_an_unknown_distribution_gets_the_nearest() -> None:
    assert message(Registry([offering("dp-a", "timm")]), "dp-b/timm") == (
        "unknown encoder 'dp-b/timm'; did you mean 'timm'?"
    )


@pytest.mark.parametrize("name", ["nest", "dp-a/nest"])
def test_a_former_name_gets_that_of_today(name: str) -> None:
    record = offering("dp-a", "timm")
    heir = attrs.evolve(record.components[0], formerly=("nest",))
    registry = Registry([attrs.evolve(record, components=(heir,))])

    assert message(registry, name) == f"unknown encoder '{name}'; it was renamed 'timm'"


def test_a_name_like_no_other_gets_the_list() -> None:
    registry = Registry([offering("dp-a", "timm", "robomimic"), offering("dp-b", "timm")])

    assert message(registry, "xyz") == "unknown encoder 'xyz'; installed are robomimic, timm"


def test_broken_plugins_are_named_where_something_is_not_found() -> None:
    registry = Registry([offering("dp-a", "timm"), PluginRecord("depth", "dp-depth", "0.3", "broken", cause="x")])

    assert message(registry, "deep") == (
        "unknown encoder 'deep'; installed are timm (not available, see dp-run --list: depth)"
    )


@pytest.mark.parametrize("name", ["depth", "dp-depth/depth", "dp-depth/deep"])
def test_the_plugin_that_probably_offers_what_is_not_found_is_named_with_its_cause(name: str) -> None:
    registry = Registry([offering("dp-a", "timm"), PluginRecord("depth", "dp-depth", "0.3", "broken", cause="x")])

    assert message(registry, name) == (
        f"unknown encoder '{name}'; the plugin 'depth' of dp-depth 0.3 is broken: x; installed are timm"
    )


def test_a_distribution_of_which_little_is_in_use_is_said_in_short() -> None:
    plugins = [PluginRecord(name, "dp-depth", "0.3", "disabled", cause="by x") for name in "abcd"]

    assert message(Registry(plugins), "dp-depth/deep") == (
        "unknown encoder 'dp-depth/deep'; 4 plugins of dp-depth are not in use, see dp-run --list; "
        "no encoder is installed"
    )


def test_without_any_plugin_the_installation_is_to_blame() -> None:
    assert message(Registry([]), "timm") == (
        "unknown encoder 'timm'; no plugins are installed: run `pip install -e .` in dp-core's folder"
    )


def test_a_kind_that_does_not_exist() -> None:
    assert message(Registry([]), "timm", "encodr") == (
        "unknown kind 'encodr'; the kinds are workspace, policy, encoder, denoiser, scheduler, modality, dataset, "
        "runner, optimizer, lr_schedule, callback"
    )


def test_components_are_listed_by_kind_name_and_distribution() -> None:
    registry = Registry([offering("dp-b", "zeta", "alpha"), offering("dp-a", "zeta")])

    assert [c.qualified_name for c in registry.components()] == ["dp-b/alpha", "dp-a/zeta", "dp-b/zeta"]
    assert registry.components("runner") == []


def test_build_reports_every_option_that_is_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        Registry([offering("dp-a", "timm")]).build("encoder", {"name": "timm", "widht": 3, "width": "wide"})

    assert str(caught.value) == (
        "encoder 'timm' has 2 problems\n"
        "  widht: unknown option; did you mean 'width'?\n"
        "  width: expected a whole number, got 'wide'"
    )


def test_build_names_what_is_not_installed() -> None:
    component = Component(
        kind="encoder", name="deep", target="a:B", config=Options, summary="", requires=("open3d_x",), extra="deep"
    )

    with pytest.raises(MissingDependencyError) as caught:
        Registry([PluginRecord("deep", "dp-deep", "1.0", "ok", (component,))]).build("encoder", "deep")

    assert str(caught.value) == (
        "encoder 'deep' needs 'open3d_x', which is not installed; install with: pip install 'local[deep]'"
    )


def test_a_workspace_is_built_like_everything_else() -> None:
    component = Component(kind="workspace", name="toy", target="builtins:dict", config=RunConfig, summary="")
    registry = Registry([offering("dp-a", "timm"), PluginRecord("toy", "dp-toy", "1.0", "ok", (component,))])

    with pytest.raises(ConfigError) as caught:
        registry.build("workspace", {"name": "toy", "encoder": "tim"})

    assert str(caught.value) == (
        "workspace 'toy' has 1 problem\n  encoder.name: unknown encoder 'tim'; did you mean 'timm'?"
    )
