"""``required_plugins`` in a config: what is not met is said before everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError
from dp_core.provenance.requirements import unmet_requirements
from dp_core.registry import Registry
from dp_core.run_config import load_config


def unmet(required: Any, registry: Registry) -> list[str]:
    return [str(problem) for problem in unmet_requirements(required, registry)]


@pytest.mark.parametrize(
    "required", [["dp-toys"], ["dp_toys>=0.9,<2"], ["dp-toys==1.0", "dp-toys!=0.5"], ["dp-gone; python_version<'3'"]]
)
def test_what_is_met(toys: Registry, required: list[str]) -> None:
    assert unmet(required, toys) == []


@pytest.mark.parametrize(
    ("required", "message"),
    [
        ("dp-toys>=2", "required_plugins: expected a list such as [dp-depth>=0.3], got 'dp-toys>=2'"),
        (
            ["dp-toys", "dp-toys>=2"],
            "required_plugins[1]: dp-toys>=2 is required, but dp-toys 1.0 is installed; "
            "install with: pip install 'dp-toys>=2'",
        ),
        (
            ["dp-gone>=0.3"],
            "required_plugins[0]: dp-gone is not installed; install with: pip install 'dp-gone>=0.3'",
        ),
        (
            ["toys>=0.1"],
            "required_plugins[0]: toys is not installed; did you mean 'dp-toys', which offers the plugin of this name?",
        ),
        (
            ["dp toys"],
            "required_plugins[0]: expected a distribution and its versions, such as 'dp-depth>=0.3', got 'dp toys'",
        ),
        ([3], "required_plugins[0]: expected a distribution and its versions, such as 'dp-depth>=0.3', got 3"),
    ],
)
def test_what_is_not_met(toys: Registry, required: Any, message: str) -> None:
    assert unmet(required, toys) == [message]


def test_a_required_package_has_to_offer_plugins_that_are_in_use(toys: Registry) -> None:
    broken = Registry([PluginRecord("toys", "dp-toys", "1.0", "broken", cause="ValueError: x")])

    assert unmet(["dp-toys"], broken) == [
        "required_plugins[0]: the plugin 'toys' of dp-toys 1.0 is broken: ValueError: x"
    ]
    assert unmet(["dp-toys"], Registry([])) == ["required_plugins[0]: dp-toys 1.0 is installed, but offers no plugins"]


def test_nothing_else_is_reported_before_it_is_met(toys: Registry, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("workspace: toy\npolicy: depth\nrequired_plugins: [dp-depth>=0.3]\n")

    with pytest.raises(ConfigError) as caught:
        load_config(toys, path)

    assert str(caught.value) == (
        f"{path} has 1 problem\n"
        "  required_plugins[0]: dp-depth is not installed; install with: pip install 'dp-depth>=0.3'"
    )


def test_a_config_with_met_requirements_keeps_them(toys: Registry, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("workspace: toy\nrequired_plugins: [dp-toys>=1]\n")

    assert load_config(toys, path).required_plugins == ["dp-toys>=1"]
