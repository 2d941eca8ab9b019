"""`python -m dp_core.new_plugin`: what it writes for each kind, and what it refuses."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dp_core
from dp_core.component import KINDS
from dp_core.discovery.loading import PluginRecord
from dp_core.new_plugin.command import main
from dp_core.new_plugin.names import OWN, OWN_PREFIX
from dp_core.new_plugin.package import package_files
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.testing.fakes import installed

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "dp-plugin-template"
EXAMPLE_KINDS = ("encoder", "runner", "callback")


def test_the_example_is_what_it_writes() -> None:
    written = package_files("dp-kestrel", set(EXAMPLE_KINDS))
    found = {path.relative_to(EXAMPLE): path.read_text(encoding="utf-8") for path in files_of(EXAMPLE)}

    assert found == written, (
        "examples/dp-plugin-template is not what dp_core/new_plugin/template makes of it; remove it and run "
        "python -m dp_core.new_plugin dp-kestrel --kind encoder --kind runner --kind callback --output examples && "
        "mv examples/dp-kestrel examples/dp-plugin-template"
    )


def files_of(folder: Path) -> list[Path]:
    """Without what tools leave behind."""
    left = re.compile(r"(^|/)(\.|__pycache__|build/|runs/|[\w-]+\.egg-info)")
    return [p for p in folder.rglob("*") if p.is_file() and not left.search(p.relative_to(folder).as_posix())]


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_one_kind_is_whole(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It describes one component of that kind, whose target can be imported, and its config is right."""
    name = f"dp-night-heron-{kind.replace('_', '')}"
    package = name.replace("-", "_")
    folder = tmp_path / name

    assert main([name, "--kind", kind, "--output", str(tmp_path)]) == 0
    with installed(folder):
        components = tuple(importlib.import_module(f"{package}.plugin").dp_components())
        plugin = PluginRecord(package, name, "0.1.0", "ok", components)
        registry = Registry([*Registry.discover().plugins, plugin])
        load_config(registry, folder / "train.yaml")
        target = next(component for component in components if component.kind == kind).load()

    described = [(component.kind, component.name) for component in components]
    assert (kind, package.removeprefix("dp_")) in described
    assert len(described) == (2 if kind == "modality" else 1), "with a modality comes an encoder that takes it"
    assert target.__module__ == f"{package}.{kind}"
    assert capsys.readouterr().out == (
        f"wrote {len(files_of(folder))} files in {folder}; its README says what is where\n"
        f"the package to import is {package}, and configs say {package.removeprefix('dp_')}. Next:\n"
        f"  pip install -e '{folder}[test]'\n"
        f"  dp-run --check {package.removeprefix('dp_')}\n"
        f"  python -m pytest {folder}\n"
        f"  dp-run {folder}/train.yaml\n"
    )


@pytest.mark.parametrize("kinds", [{kind} for kind in KINDS] + [set(KINDS)], ids=lambda kinds: "-".join(sorted(kinds)))
def test_nothing_of_the_template_is_left(kinds: set[str]) -> None:
    for path, text in package_files("dp-heron", kinds).items():
        assert not re.search(r"kestrel", f"{path}\n{text}", re.IGNORECASE), path
        assert not re.search(r"(#|<!--) (kind: |end\b)", text), path
        assert not re.search(r"\n{4}|\n\n\Z", text), path


def test_it_asks_for_this_version() -> None:
    """Also after dp-core's version was raised."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert Requirement(project["dependencies"][0]).specifier.contains(version)
    assert f"DP_API = {dp_core.API}\n" in (EXAMPLE / "dp_kestrel" / "plugin.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        *(
            (
                [name, "--kind", "encoder"],
                f"'{name}' cannot be the name of a distribution; expected letters, digits and single -, _ or . between "
                "them, such as lab-depth",
            )
            for name in ("lab x", "_lab", "lab-", "läb", "lab/x", "")
        ),
        *(
            (
                [name, "--kind", "encoder"],
                f"the package of '{name}' would be '{package}', which Python cannot import; choose another name",
            )
            for name, package in {"2x": "2x", "Class": "class", "3-D": "3_d"}.items()
        ),
        (["Json", "--kind", "encoder"], "'json' is a module of Python itself; choose another name"),
        (
            ["tests", "--kind", "encoder"],
            "'tests' is the folder of the tests of the new package; choose another name",
        ),
        (
            ["Typing.Extensions", "--kind", "encoder"],
            "a distribution 'Typing.Extensions' is installed already; choose another name",
        ),
        (["yaml", "--kind", "encoder"], "a package 'yaml' is installed already; choose another name"),
        *(
            ([name, "--kind", "encoder"], f"'{package}' is a name of dp-core's own packages; choose another name")
            for name, package in {"dp-core": "dp_core", "DP.core-next": "dp_core_next", "dp-timm": "dp_timm"}.items()
        ),
        (
            ["dp-depth", "--kind", "encoder", "--kind", "camera"],
            "unknown kind 'camera'; the kinds are workspace, policy, encoder, denoiser, scheduler, modality, dataset, "
            "runner, optimizer, lr_schedule, callback",
        ),
        *(
            (
                [f"dp-{word}", "--kind", "encoder"],
                f"YAML does not read '{word}' as a name, and configs could not say it; choose another name",
            )
            for word in ("false", "no", "null", "off", "on", "true", "yes")
        ),
        (["dp-topk", "--kind", "callback"], "dp-core has a callback 'topk' already; choose another name"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"new_plugin: error: {expected}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "package", "component"),
    [
        ("Lab.X", "lab_x", "lab_x"),
        ("lab_x", "lab_x", "lab_x"),
        ("x2", "x2", "x2"),
        ("lab-.-x", "lab_x", "lab_x"),
        ("dp-2d", "dp_2d", "dp_2d"),
        ("DP-Owl", "dp_owl", "owl"),
    ],
)
def test_every_legal_name_of_a_distribution_is_one_of_a_plugin_package(
    name: str, package: str, component: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--kind", "encoder", "--output", str(tmp_path)]) == 0
    with installed(tmp_path / name):
        plugin = importlib.import_module(f"{package}.plugin")
        target = next(iter(plugin.dp_components())).load()
    project = tomllib.loads((tmp_path / name / "pyproject.toml").read_text())

    assert f"the package to import is {package}, and configs say {component}. Next:" in capsys.readouterr().out
    assert project["project"]["name"] == name
    assert project["project"]["entry-points"]["dp_core.plugins"] == {component: f"{package}.plugin"}
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{package}*"]
    assert target.__module__ == f"{package}.encoder"


def test_names_of_own_packages_are_reserved() -> None:
    """So that a package which dp-core adds never overwrites one of somebody else."""
    own = {path.name for path in (ROOT / "plugins").glob("dp_*")}

    assert {name for name in own if not name.startswith(f"{OWN_PREFIX}_")} <= set(OWN), (
        f"add it to OWN in dp_core/new_plugin/names.py; once 0.1 is released, call it {OWN_PREFIX}_<name> instead"
    )
    assert set(OWN) <= own, "leave out of OWN what is gone"


def test_what_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dp-depth").mkdir()

    assert main(["dp-depth", "--kind", "encoder", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"new_plugin: error: '{tmp_path}/dp-depth' exists already; "
        "choose another name, or another folder with --output\n"
    )
    assert list((tmp_path / "dp-depth").iterdir()) == []
