"""docs/writing_a_plugin.md: following it leads where it says; its commands print what it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.cli.run import main as dp_run
from dp_core.component import KINDS, Component
from dp_core.errors import ConfigError
from dp_core.kit.rollout.config import RolloutOptions
from dp_core.new_plugin.command import main as new_plugin
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, registry_of, write_distribution

ROOT = Path(__file__).parents[2]
PAGE = "writing_a_plugin.md"

# What the table of faults lists, each with the change of plugin.py that brings it about.
FAULTS = {
    "broken: ModuleNotFoundError: No module named 'dp_fourier.confg'": ("dp_fourier.config ", "dp_fourier.confg "),
    "broken: add DP_API = 1 to dp_fourier.plugin": ("DP_API = 1\n", ""),
    "broken: written for plugin API 2; this dp-core has API 1; upgrade dp-core": ("DP_API = 1", "DP_API = 2"),
    "broken: dp_fourier.plugin has no dp_components": ("@hookimpl\ndef dp_components", "def components"),
    "broken: hook 'dp_components' lacks @hookimpl": ("@hookimpl\n", ""),
    "broken: the entry point names 'dp_fourier.plugin', which is not there: No module named 'dp_fourier.plugin'": (
        None,
        None,
    ),
    f"broken: component 'fourier': kind 'encoders' is not one of {', '.join(KINDS)}": (
        'kind="encoder"',
        'kind="encoders"',
    ),
    "broken: encoder 'fourier': option 'name' of FourierOptions is reserved for the component's name; rename it": (
        None,
        "n_frequencies",
    ),
}


@pytest.fixture(scope="module")
def package(page: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader has made."""
    return page(PAGE).write_package(tmp_path_factory.mktemp("reader") / "dp-fourier")


@pytest.fixture(scope="module")
def installed_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed it, with the options that the page names for installing offline."""
    folder = tmp_path_factory.mktemp("site-packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command = [*pip, "--no-index", "--no-build-isolation", "--no-deps", "--target", str(folder), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def site(installed_package: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package is installed, and its folder is where commands are typed."""
    monkeypatch.chdir(package)
    with installed(installed_package) as folder:
        yield folder


def sessions(page: Any) -> dict[str, list[str]]:
    """What the page shows of each command, in the order of the page."""
    parts = re.split(r"^\$ ", "".join(page.blocks("console")), flags=re.M)[1:]
    return {command: shown.splitlines() for command, _, shown in (part.partition("\n") for part in parts)}


def squeezed(line: str) -> str:
    """Without what depends on other names in a table, and on the number of rules."""
    return re.sub(r"\d+ checks", "N checks", " ".join(line.split()))


def test_commands_print_what_is_shown(
    site: Path, page: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that are shown come in that order; others may come between."""
    for command, expected in sessions(page(PAGE)).items():
        words = shlex.split(command)
        if words[0] != "dp-run" or "plugins not in use" in expected[0]:
            continue  # see below
        assert dp_run(words[1:]) == 0, command
        printed = iter([squeezed(line) for line in capsys.readouterr().out.splitlines()])
        missing = [line for line in map(squeezed, expected) if line not in printed]
        assert missing == [], command


def test_the_plugin_is_listed(site: Path, page: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    first = re.search(r"^\$ dp-run --list encoder\n(.+)$", page(PAGE).text, re.M)
    assert first
    dp_run(["--list", "encoder"])

    assert squeezed(first[1]) in map(squeezed, capsys.readouterr().out.splitlines())


def test_the_policy_of_the_page_loads(site: Path, page: Callable[[str], Any], tmp_path: Path) -> None:
    (code,) = (block for block in page(PAGE).blocks("python") if "load_policy" in block)
    run = str(tmp_path / "run")
    assert dp_run(["train.yaml", f"output_dir={run}", "runner=null", "training.num_epochs=1"]) == 0
    found: dict[str, Any] = {}
    exec(code.replace("runs/fourier", run), found)

    assert type(found["policy"].model).__name__ == "ConditionalUnet1D"


def test_the_longer_run_is_sound(site: Path, page: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for block in page(PAGE).blocks("bash") for line in block.splitlines() if "quickstart" in line]
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert dp_run(["--check", *words[1:]]) == 0
        assert capsys.readouterr().out == "quickstart: ok\n"


def test_its_tests_pass(site: Path, package: Path) -> None:
    variables = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False, cwd=package)

    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed, \d+ skipped", done.stdout)


def test_the_conformance_class_of_the_page_says_what_a_runner_is_made_for(page: Callable[[str], Any]) -> None:
    (code,) = (block for block in page(PAGE).blocks("python") if "class ReacherConformance" in block)
    found: dict[str, Any] = {}
    exec(code, found)
    component = Component(
        kind="runner",
        name="reacher",
        target="dp_reacher.runner:Reacher",
        config=RolloutOptions,
        summary="",
        conformance=re.findall(r'`conformance="(.+?)"`', page(PAGE).text)[0],
    )
    (case,) = found["ReacherConformance"].cases_of(Registry.discover(), component)

    assert component.conformance == "dp_reacher.conformance:ReacherConformance"
    assert case.options == {"n_test": 2, "max_steps": 20}
    assert not case.setting.is_usual


def test_a_module_is_loaded_without_installing_it(page: Callable[[str], Any], tmp_path: Path) -> None:
    """Where Python finds it, which is what the page sets PYTHONPATH for."""
    (command,) = (command for command in sessions(page(PAGE)) if command.startswith("PYTHONPATH=. "))
    expected = sessions(page(PAGE))[command]
    (tmp_path / "my_encoder.py").write_text(page(PAGE).files()["my_encoder.py"])
    code = "import sys; from dp_core.cli.run import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-P", "-c", code, *shlex.split(command)[2:]]
    done = subprocess.run(
        words,
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert set(map(squeezed, expected)) <= set(map(squeezed, done.stdout.splitlines()))


def test_parts_see_what_they_are_given(
    page: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my_parts.py", "my_focus.py"):
        (tmp_path / name).write_text(page(PAGE).files()[name])
    monkeypatch.setenv("DP_PLUGINS", "my_parts")
    obs = {"state": {"shape": [2]}, "front": {"shape": [3, 8, 8], "type": "rgb"}}
    shape_meta = {"obs": obs, "action": {"shape": [2]}}
    with installed(tmp_path):
        registry = Registry.discover()
        encoder = registry.build("encoder", {"name": "focus", "keys": ["state"]}, shape_meta=shape_meta)
        with pytest.raises(ConfigError) as caught:
            registry.build("encoder", {"name": "focus", "keys": ["front"]}, shape_meta=shape_meta)

    assert encoder({"state": torch.ones(1, 2), "front": torch.zeros(1, 3, 8, 8)}).tolist() == [[1, 1]]
    assert [str(problem) for problem in caught.value.problems] == [
        "encoder: lowdim takes keys of type low_dim; 'front' is rgb; choose another encoder, or give it to another "
        "part, see encoder 'concat'"
    ]


def test_the_command_writes_what_it_says(page: Callable[[str], Any], tmp_path: Path) -> None:
    (command,) = (line for block in page(PAGE).blocks("bash") for line in block.splitlines() if "new_plugin" in line)
    words = shlex.split(command)

    assert words[:3] == ["python", "-m", "dp_core.new_plugin"]
    assert new_plugin([*words[3:], "--output", str(tmp_path)]) == 0
    assert (tmp_path / words[3] / "pyproject.toml").is_file()


def test_the_table_of_faults_is_complete(page: Callable[[str], Any]) -> None:
    assert set(re.findall(r"^\| `(broken: .+?)` \|", page(PAGE).text, re.M)) == set(FAULTS)


@pytest.mark.parametrize("cause", FAULTS)
def test_a_fault_is_listed_as_the_page_says(cause: str, package: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_text() for path in (package / "dp_fourier").glob("*.py")}
    old, new = FAULTS[cause]
    if old is not None:
        assert old in files["plugin.py"]
        files["plugin.py"] = files["plugin.py"].replace(old, new)
    elif new is not None:
        files["config.py"] = files["config.py"].replace(new, "name")
    else:
        del files["plugin.py"]
    write_distribution(tmp_path, "dp-fourier", "0.1", {"fourier": files})
    with installed(tmp_path):
        (plugin,) = registry_of(tmp_path).plugins

    assert f"{plugin.status}: {plugin.cause}" == cause


def test_a_broken_plugin_is_listed_as_shown(
    page: Callable[[str], Any], package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (package / "dp_fourier" / "plugin.py").read_text().replace("dp_fourier.config ", "dp_fourier.confg ")
    write_distribution(tmp_path, "dp-fourier", "0.1", {"fourier": source})
    with installed(tmp_path):
        dp_run(["--list", "encoder"])
    printed = capsys.readouterr().out.splitlines()

    assert [line for line in sessions(page(PAGE))["dp-run --list encoder"] if line not in printed] == []


def test_a_missing_requirement_is_listed_as_the_page_says(
    page: Callable[[str], Any], package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the name of a package that is absent everywhere."""
    files = {path.name: path.read_text() for path in (package / "dp_fourier").glob("*.py")}
    files["plugin.py"] = files["plugin.py"].replace('summary="', 'requires=("timm_x",), extra="timm", summary="')
    write_distribution(tmp_path, "dp-fourier", "0.1", {"fourier": files})
    with installed(tmp_path):
        dp_run(["--list", "encoder"])

    assert "needs timm -- pip install 'dp-fourier[timm]'" in page(PAGE).text
    assert "needs timm_x -- pip install 'dp-fourier[timm]'" in capsys.readouterr().out


def test_every_kind_has_a_page(page: Callable[[str], Any]) -> None:
    assert set(re.findall(r"^\| \[(\w+)\]\(plugins/\1\.md\)", page(PAGE).text, re.M)) == set(KINDS)
    assert {path.stem for path in (ROOT / "docs" / "plugins").iterdir()} == set(KINDS)


def test_every_link_of_every_page_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [(file, link) for file in pages for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text())]
    broken = [
        f"{file.relative_to(ROOT)}: {link}"
        for file, link in links
        if not link.startswith("https:") and not is_there(file, link)
    ]

    assert len(links) > 50
    assert broken == []


def is_there(file: Path, link: str) -> bool:
    """The file, and the heading in it."""
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M) if anchor and target.is_file() else []
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return target.exists() and (not anchor or anchor in slugs)
