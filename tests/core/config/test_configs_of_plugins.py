"""Configs that plugins ship: named by their distribution, found wherever it is installed, and missed in words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp_core.cli.run import main
from dp_core.config.compose import compose
from dp_core.errors import ConfigError
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.testing.fakes import installed, registry_of, write_distribution

PLUGIN = """
from dp_core import hookimpl

DP_API = 1
DP_CONFIGS = "configs"

@hookimpl
def dp_components():
    return ()
"""
FILES = {
    "plugin.py": PLUGIN,
    "configs/base.yaml": "# What runs of the lab share. More of it.\nhorizon: 12\n",
    "configs/pendulum.yaml": "# A pendulum, swung up.\nextends: [smoke, borel-data/base]\ntraining: {num_epochs: 1}\n",
    "configs/arms/left.yaml": "extends: [../pendulum.yaml]\n",
    "configs/notes.txt": "none of it\n",
    "configs/.ipynb_checkpoints/pendulum.yaml": "horizon: 1\n",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution borel-data is installed, and the present folder is empty."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "site-packages"
    write_distribution(folder, "borel-data", "1.2", {"borel": FILES})
    with installed(folder):
        yield folder


def why_not(text: str, registry: Registry | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(text, presets=(registry or Registry.discover()).presets)
    return str(caught.value)


def test_a_name_means_the_config_of_that_distribution(site: Path) -> None:
    config = load_config(Registry.discover(), "borel-data/pendulum", ["policy.denoiser.kernel_size=5"])

    assert (config.run_name, config.training.num_epochs, config.policy.config.horizon) == ("pendulum", 1, 12)


def test_it_can_extend_its_neighbours(site: Path) -> None:
    registry = Registry.discover()

    assert load_config(registry, "borel-data/arms/left", ["run_name=pendulum"]) == load_config(
        registry, "borel-data/pendulum"
    )


def test_a_config_anywhere_can_extend_it(site: Path) -> None:
    Path("mine.yaml").write_text("extends: [borel-data/base]\nseed: 1\n")

    assert compose("mine.yaml", presets=registry_of(site).presets) == {"horizon": 12, "seed": 1}


def test_a_file_that_exists_wins(site: Path) -> None:
    Path("borel-data").mkdir()
    Path("borel-data/base").write_text("horizon: 3\n")

    assert compose("borel-data/base", presets=registry_of(site).presets) == {"horizon": 3}


def test_no_package_can_take_a_name_of_dp_core(tmp_path: Path) -> None:
    """Also not with a distribution that is called like one of its folders."""
    files = {"plugin.py": PLUGIN, "configs/can_ph_image_unet.yaml": "a: 3\n", "configs/other.yaml": "horizon: 4\n"}
    write_distribution(tmp_path, "robomimic", "1.0", {"tasks": files})
    with installed(tmp_path):
        presets = registry_of(tmp_path).presets

    assert compose("robomimic/can_ph_image_unet", presets=presets) == compose("robomimic/can_ph_image_unet")
    assert compose("robomimic/other", presets=presets) == {"horizon": 4}


def test_they_are_found_in_a_zip_file(site: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "borel"), "zip", site))
    shutil.rmtree(site)
    with installed(archive):
        registry = registry_of(archive)
        found = compose("borel-data/arms/left", presets=registry.presets)

    assert [plugin.status for plugin in registry.plugins] == ["ok"]
    assert (found["horizon"], found["training"]["num_epochs"]) == (12, 1)


def test_two_plugins_of_one_distribution_share_its_names(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "borel-data",
        "1.2",
        {"borel": FILES, "borel_more": {"plugin.py": PLUGIN, "configs/cart.yaml": "horizon: 3\n"}},
    )
    with installed(tmp_path):
        names = [preset.name for preset in registry_of(tmp_path).presets.shipped]

    assert sorted(names) == [f"borel-data/{name}" for name in ("arms/left", "base", "cart", "pendulum")]


def test_a_name_that_two_of_its_plugins_offer_breaks_the_second(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "borel-data",
        "1.2",
        {"borel": FILES, "borel_more": {"plugin.py": PLUGIN, "configs/base.yaml": "horizon: 3\n"}},
    )
    with installed(tmp_path):
        first, second = registry_of(tmp_path).plugins

    assert first.status == "ok"
    assert str(second) == (
        "the plugin 'borel_more' of borel-data 1.2 is broken: config 'base' is offered twice by borel-data, also by "
        "its plugin 'borel'"
    )


def test_a_module_that_nobody_installed_has_some_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text("extends: [smoke]\n")
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    with installed(tmp_path):
        assert main(["--check", "local/mine", "-p", "my_plugin"]) == 0

    assert capsys.readouterr().out == "local/mine: ok\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "borel-data/pendulm",
            "neither a file nor the name of a config; did you mean 'borel-data/pendulum'?",
        ),
        ("borel-data/zzz", "neither a file nor the name of a config; dp-run --list configs shows those"),
        (
            "lab-zzz/a",
            "neither a file nor the name of a config; no plugin of 'lab-zzz' is installed; dp-run --list configs shows "
            "those",
        ),
        ("borel-data/../plugin", "neither a file nor the name of a config; a file is meant with its ending, .yaml"),
        ("/borel-data/base", "neither a file nor the name of a config; a file is meant with its ending, .yaml"),
        (
            "borel-data/pendulum.yaml",
            "no such file; the config of this name that comes with borel-data is 'borel-data/pendulum', without .yaml",
        ),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest(text: str, expected: str, site: Path) -> None:
    assert why_not(text) == f"{text} has 1 problem\n  {expected}"


def test_a_distribution_without_configs_says_so(tmp_path: Path) -> None:
    write_distribution(tmp_path, "borel-data", "1.2", {"borel": PLUGIN.replace("DP_CONFIGS", "FOLDER")})
    with installed(tmp_path):
        assert why_not("borel-data/base", registry_of(tmp_path)) == (
            "borel-data/base has 1 problem\n"
            "  neither a file nor the name of a config; borel-data has no configs; dp-run --list configs shows those"
        )


@pytest.mark.parametrize(
    ("option", "why"),
    [("no:borel", "disabled: by -p no:borel or DP_DISABLE_PLUGINS=borel"), (None, "broken: KeyError: 'x'")],
)
def test_a_config_of_a_plugin_that_is_not_in_use_says_why(
    option: str | None, why: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is named, where another extends it, and in the list."""
    if option is None:
        (site / "dp_borel" / "plugin.py").write_text("{}['x']")
    options = ["-p", option] if option else []
    Path("mine.yaml").write_text("extends: [smoke, borel-data/base]\n")
    plugin = f"the plugin 'borel' of borel-data 1.2 is {why}; dp-run --list configs shows those\n"

    assert main(["borel-data/pendulum", *options]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: borel-data/pendulum has 1 problem\n  neither a file nor the name of a config; {plugin}"
    )
    assert main(["--check", "mine.yaml", *options]) == 2
    assert capsys.readouterr().err == (
        "dp-run: error: borel-data/base has 1 problem\n"
        f"  neither a file nor the name of a config, which mine.yaml extends; {plugin}"
    )
    assert main(["--list", "configs", *options]) == 0
    assert f"  borel  borel-data 1.2  {why}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            '"../configs"',
            "DP_CONFIGS in dp_borel.plugin must name a folder beside that file, such as 'configs', got '../configs'",
        ),
        ('"/tmp"', "DP_CONFIGS in dp_borel.plugin must name a folder beside that file, such as 'configs', got '/tmp'"),
        ("3", "DP_CONFIGS in dp_borel.plugin must name a folder beside that file, such as 'configs', got 3"),
        (
            '"recipes"',
            "DP_CONFIGS in dp_borel.plugin names 'recipes', where there is no .yaml file; does "
            "[tool.setuptools.package-data] in pyproject.toml name them?",
        ),
    ],
)
def test_a_folder_that_cannot_be_is_a_fault_of_the_plugin(declared: str, message: str, tmp_path: Path) -> None:
    write_distribution(tmp_path, "borel-data", "1.2", {"borel": PLUGIN.replace('"configs"', declared)})
    with installed(tmp_path):
        (plugin,) = registry_of(tmp_path).plugins

    assert (plugin.status, plugin.cause) == ("broken", message)


def test_the_list_says_whose_each_is(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "configs"]) == 0
    runnable, fragments = capsys.readouterr().out.split("\n\n")[:2]
    (listed,) = (line for line in runnable.splitlines() if line.startswith("  borel-data/pendulum "))

    assert re.split(" {2,}", listed) == ["", "borel-data/pendulum", "borel-data", "A pendulum, swung up"]
    assert re.split(" {2,}", fragments.splitlines()[-1]) == [
        "", "borel-data/base", "borel-data", "What runs of the lab share"
    ]  # fmt: skip
    assert main(["--list", "configs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1] == {
        "name": "borel-data/pendulum",
        "distribution": "borel-data",
        "is_fragment": False,
        "path": str(site / "dp_borel" / "configs" / "pendulum.yaml"),
        "summary": "A pendulum, swung up",
    }


def test_a_fragment_that_is_run_says_what_it_is_for(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "borel-data/base"]) == 2
    assert capsys.readouterr().err == (
        "dp-run: error: borel-data/base has 1 problem\n"
        "  workspace: required, but missing; the usual one is 'workspace: train'\n"
        "  note: 'borel-data/base' is not a whole config, but a part to build on; in one of yours: "
        "'extends: [borel-data/base]'\n"
    )


def test_a_mistake_in_one_names_the_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = site / "dp_borel" / "configs" / "base.yaml"
    path.write_text("- horizon\n")

    assert main(["--check", "borel-data/pendulum"]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {path} has 1 problem\n  expected a mapping of options at the top\n"
    )


def test_checking_the_plugin_checks_its_configs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are whole: a part has nothing to be checked in."""
    assert main(["--check", "borel-data"]) == 0
    assert capsys.readouterr().out == (
        "borel of borel-data 1.2\n  config borel-data/arms/left: ok\n  config borel-data/pendulum: ok\n"
    )
    (site / "dp_borel" / "configs" / "arms" / "left.yaml").write_text("extends: [../pendulum.yaml]\nhorizn: 3\n")

    assert main(["--check", "borel"]) == 2
    assert capsys.readouterr().out == (
        "borel of borel-data 1.2\n"
        "  config borel-data/arms/left: broken\n"
        "    borel-data/arms/left has 1 problem\n"
        "      horizn: unknown option; did you mean 'horizon'?\n"
        "  config borel-data/pendulum: ok\n"
    )


def test_describing_one_names_the_command_that_shows_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--describe", "borel-data/pendulum"]) == 2
    assert capsys.readouterr().err == (
        "dp-run: error: 'borel-data/pendulum' is a config; dp-run --print-config borel-data/pendulum shows all of it\n"
    )
    assert main(["--print-config", "borel-data/pendulum"]) == 0
    assert "\nrun_name: pendulum\n" in f"\n{capsys.readouterr().out}"
