"""Plugins are loaded one by one: what is wrong with one is said in one line and harms no other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dp_core.discovery.loading import PluginRecord
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, registry_of, write_distribution

GOOD = """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")

@hookimpl
def dp_components():
    yield Component(kind="encoder", name="good", target="dp_good.encoder:Good", config=Options, summary="works")
"""


def records(folder: Path) -> dict[str, PluginRecord]:
    with installed(folder):
        return {plugin.name: plugin for plugin in registry_of(folder).plugins}


def cause(folder: Path, source: str) -> str:
    """What is said about a plugin with this source, which must not harm the one beside it."""
    write_distribution(folder, "dp-bad", "0.1", {"bad": source})
    write_distribution(folder, "dp-good", "1.0", {"good": GOOD})
    found = records(folder)
    assert found["good"].status == "ok"
    assert found["bad"].status == "broken"
    assert found["bad"].components == ()
    return found["bad"].cause


def test_components_have_the_distribution_and_version_that_pip_knows(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-good", "1.2.3", {"good": GOOD})

    (component,) = records(tmp_path)["good"].components

    assert (component.qualified_name, component.version) == ("dp-good/good", "1.2.3")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import open3d_x", "ModuleNotFoundError: No module named 'open3d_x'"),
        (
            "from dp_core.config.training import TrainingOptions",
            "ModuleNotFoundError: No module named 'dp_core.config.training'; it is dp_core.training.options now",
        ),
        ("raise ValueError('first line\\nsecond line')", "ValueError: first line second line"),
        ("import sys; sys.exit('please install open3d')", "SystemExit: please install open3d"),
        (GOOD.replace("DP_API = 1", ""), "add DP_API = 1 to dp_bad.plugin"),
        (GOOD.replace("DP_API = 1", "DP_API = '1'"), "DP_API in dp_bad.plugin must be a whole number, got '1'"),
        (
            GOOD.replace("DP_API = 1", "DP_API = 2"),
            "written for plugin API 2; this dp-core has API 1; upgrade dp-core",
        ),
        (
            GOOD.replace("DP_API = 1", "DP_API = 0"),
            "written for plugin API 0; this dp-core has API 1; upgrade the plugin",
        ),
        (
            GOOD.replace("def dp_components", "def dp_component"),
            "unknown hook 'dp_component'; did you mean 'dp_components'?",
        ),
        (GOOD.replace("@hookimpl", ""), "hook 'dp_components' lacks @hookimpl"),
        (
            GOOD.replace("dp_components()", "dp_components(registry)"),
            "hook 'dp_components' has no argument 'registry'; its arguments are: none",
        ),
        ("DP_API = 1", "dp_bad.plugin has no dp_components"),
        (
            GOOD.replace("yield Component(", "yield dict("),
            "dp_components must yield Component objects, got {'kind': 'encoder', 'name': 'good', "
            "'target': 'dp_good.encoder:Good', 'config': <class 'dp_bad.plugin.Options'>, 'summary': 'works'}",
        ),
        (
            GOOD.replace("yield Component(", "Component("),
            "dp_components must yield Component objects, got None",
        ),
        (
            GOOD.replace('name="good"', 'name="Good"'),
            "component name 'Good' must be lower case letters, digits and underscores",
        ),
    ],
)
def test_a_broken_plugin_says_why_in_one_line(tmp_path: Path, source: str, message: str) -> None:
    assert cause(tmp_path, source) == message


def test_an_entry_point_that_points_nowhere_is_a_broken_plugin(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-lost", "0.1", {"lost": {"other.py": ""}})

    assert records(tmp_path)["lost"].cause == (
        "the entry point names 'dp_lost.plugin', which is not there: No module named 'dp_lost.plugin'"
    )


def test_an_entry_point_names_a_module(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-bad", "0.1", {"bad": GOOD})
    (tmp_path / "dp_bad-0.1.dist-info" / "entry_points.txt").write_text(
        "[dp_core.plugins]\nbad = dp_bad.plugin:dp_components\n"
    )

    assert records(tmp_path)["bad"].cause == (
        "the entry point 'bad' must name a module such as 'dp_depth.plugin', got 'dp_bad.plugin:dp_components'"
    )


def test_what_a_plugin_imports_and_does_not_find_is_not_the_plugin(tmp_path: Path) -> None:
    assert cause(tmp_path, "import dp_bad.options") == "ModuleNotFoundError: No module named 'dp_bad.options'"


def test_a_plugin_that_waits_is_slow_but_works(tmp_path: Path) -> None:
    slow = GOOD.replace("dp_components():", "dp_components():\n    import time; time.sleep(1.01)")
    write_distribution(tmp_path, "dp-good", "1.0", {"good": slow})

    record = records(tmp_path)["good"]

    assert record.status == "ok"
    assert re.sub(r"\d\.\d", "N", record.note) == (
        "slow: every start waits N s for it; leave imports and work to the targets"
    )


def test_what_a_plugin_prints_does_not_get_into_what_a_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_distribution(tmp_path, "dp-good", "1.0", {"good": "print('hello')\n" + GOOD})
    records(tmp_path)

    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("text", [b"[dp_core.plugins]\nunreadable\n", b"[dp_core.plugins]\nx = \xff\n"])
def test_an_unreadable_file_in_the_environment_takes_nothing_down(tmp_path: Path, text: bytes) -> None:
    """`importlib.metadata.entry_points` gives up at the first one, whichever package it belongs to."""
    write_distribution(tmp_path, "dp-unreadable", "0.1")
    (tmp_path / "dp_unreadable-0.1.dist-info" / "entry_points.txt").write_bytes(text)
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD})

    with installed(tmp_path):
        found = {plugin.name: plugin for plugin in Registry.discover().plugins}

    assert found["good"].status == found["timm"].status == "ok"
    if b"\xff" not in text:  # otherwise, nobody can tell that it means plugins
        assert found["dp-unreadable"].cause == (
            "its entry_points.txt cannot be read: TypeError: Pair.__new__() missing 1 required positional argument: "
            "'value'"
        )


# -- editable installs ------------------------------------------------------------------------------------------------


def source_with(folder: Path, *entry_points: str) -> Path:
    """The source that a distribution was installed from with ``pip install -e``."""
    source = folder / "source"
    source.mkdir()
    lines = [f'{name} = "dp_{name}.plugin"' for name in entry_points]
    (source / "pyproject.toml").write_text("\n".join(['[project.entry-points."dp_core.plugins"]', *lines]))
    return source


def test_an_editable_install_that_is_fresh_is_like_any_other(tmp_path: Path) -> None:
    source = source_with(tmp_path, "good")
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD}, editable=source)

    assert {name: record.status for name, record in records(tmp_path).items()} == {"good": "ok"}


def test_an_entry_point_that_pip_does_not_know_yet(tmp_path: Path) -> None:
    source = source_with(tmp_path, "good", "depth")
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD}, editable=source)

    assert records(tmp_path)["depth"].cause == (
        f"stale editable install: the entry point is in {source}/pyproject.toml, but pip does not know it yet; "
        f"run `pip install -e {source}`"
    )


def test_a_module_that_was_moved_since(tmp_path: Path) -> None:
    source = source_with(tmp_path, "moved")
    write_distribution(tmp_path, "dp-good", "1.0", {"lost": {"old.py": ""}}, editable=source)

    assert records(tmp_path)["lost"].cause == (
        f"stale editable install of {source}: No module named 'dp_lost.plugin'; run `pip install -e {source}`"
    )


def test_an_entry_point_that_names_no_module_of_the_source(tmp_path: Path) -> None:
    """Installing again would change nothing."""
    source = source_with(tmp_path, "lost")
    write_distribution(tmp_path, "dp-lost", "1.0", {"lost": {"other.py": ""}}, editable=source)

    assert records(tmp_path)["lost"].cause == (
        "the entry point names 'dp_lost.plugin', which is not there: No module named 'dp_lost.plugin'; correct the "
        f"entry point in {source}/pyproject.toml or add the module, then run `pip install -e {source}`"
    )


@pytest.mark.parametrize("folder", [".", "src"])
def test_a_package_that_pip_was_not_told_of(tmp_path: Path, folder: str) -> None:
    source = source_with(tmp_path, "lost")
    (source / folder / "dp_lost").mkdir(parents=True)
    (source / folder / "dp_lost" / "plugin.py").write_text(GOOD)
    write_distribution(tmp_path, "dp-lost", "1.0", {"lost": {}}, editable=source)
    shutil.rmtree(tmp_path / "dp_lost")

    assert records(tmp_path)["lost"].cause == (
        f"'dp_lost.plugin' is in {source}, but not installed: No module named 'dp_lost'; see that "
        f"{source}/pyproject.toml finds the package 'dp_lost' (packages.find), then run `pip install -e {source}`"
    )


@pytest.mark.parametrize("group", ["dp_core.plugin", "dp-core.plugins", "dpcore.plugins"])
def test_a_misspelt_group_of_entry_points_is_listed(tmp_path: Path, group: str) -> None:
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD})
    (tmp_path / "dp_good-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\ngood = dp_good.plugin\n")

    with installed(tmp_path):
        found = {plugin.name: plugin for plugin in Registry.discover().plugins}

    assert (found["good"].provider, found["good"].cause) == (
        "dp-good 1.0",
        f"its entry point is in the group '{group}', where nobody looks; rename that to 'dp_core.plugins' in "
        "pyproject.toml and install it again",
    )


def test_a_group_of_another_program_is_none_of_ours(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD})
    (tmp_path / "dp_good-1.0.dist-info" / "entry_points.txt").write_text("[jax_plugins]\ngood = dp_good.plugin\n")

    with installed(tmp_path):
        assert [plugin for plugin in Registry.discover().plugins if plugin.distribution == "dp-good"] == []


def test_an_option_without_help_is_named_by_its_line(tmp_path: Path) -> None:
    assert cause(tmp_path, GOOD.replace('option(64, help="of a layer")', "option(64)")) == (
        "Options, plugin.py line 9: option() lacks help; write option(..., help='one line: meaning, unit, shape')"
    )


def test_a_source_that_is_gone(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-good", "1.0", {"lost": {"old.py": ""}}, editable=tmp_path / "gone")

    assert records(tmp_path)["lost"].cause == (
        f"stale editable install of {tmp_path}/gone: No module named 'dp_lost.plugin'; that folder is gone"
    )


def test_the_traceback_is_kept(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-bad", "0.1", {"bad": "def fail():\n    1 / 0\n\nfail()"})

    assert 'dp_bad/plugin.py", line 2, in fail' in records(tmp_path)["bad"].traceback


def test_a_component_offered_twice_by_one_plugin_breaks_it_as_a_whole(tmp_path: Path) -> None:
    twice = GOOD + '    yield Component(kind="encoder", name="good", target="a:B", config=Options, summary="again")\n'

    assert cause(tmp_path, twice) == "encoder 'good' is offered twice by dp-bad"


def test_a_component_offered_by_two_plugins_of_one_distribution_breaks_the_second(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-double", "0.1", {"first": GOOD, "second": GOOD})

    found = records(tmp_path)

    assert found["first"].status == "ok"
    assert found["second"].cause == "encoder 'good' is offered twice by dp-double, also by its plugin 'first'"


def test_a_plugin_with_several_components_is_accepted_whole_or_not_at_all(tmp_path: Path) -> None:
    half = GOOD + "    1 / 0\n"

    assert cause(tmp_path, half) == "ZeroDivisionError: division by zero"


def test_two_distributions_with_one_package_are_both_broken(tmp_path: Path) -> None:
    """Pip lets the second overwrite the files of the first without a word."""
    write_distribution(tmp_path, "dp-good", "1.0", {"good": GOOD})
    write_distribution(tmp_path, "lab-good", "2.0", {"good": GOOD})
    with installed(tmp_path):
        found = {plugin.distribution: plugin.cause for plugin in registry_of(tmp_path).plugins}

    assert found == {
        one: f"its module 'dp_good.plugin' is also one of '{other}', and one has overwritten the files of the other; "
        "uninstall both and install one"
        for one, other in (("dp-good", "lab-good"), ("lab-good", "dp-good"))
    }


def test_looking_for_hooks_reads_no_other_attribute_of_a_plugin(tmp_path: Path) -> None:
    lazy = GOOD + (
        "\ndef __dir__():\n    return [*globals(), 'heavy']\n"
        "\ndef __getattr__(name):\n    if name == 'heavy':\n        raise RuntimeError('imported')\n"
        "    raise AttributeError(name)\n"
    )
    write_distribution(tmp_path, "dp-good", "1.0", {"good": lazy})

    assert records(tmp_path)["good"].status == "ok"


def test_what_an_interrupted_pip_leaves_behind_takes_nothing_down(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-gone", "0.1", {"gone": GOOD})
    (tmp_path / "dp_gone-0.1.dist-info" / "METADATA").unlink()

    with installed(tmp_path):
        names = [plugin.distribution for plugin in Registry.discover().plugins if plugin.name == "gone"]

    assert names == ["local"]


def test_plugins_are_found_on_the_path_in_an_order_of_their_own(tmp_path: Path) -> None:
    """Sorted by distribution and name, whatever the order of `sys.path`; found twice, loaded once."""
    for folder in ("one", "two"):
        write_distribution(tmp_path / folder, "dp-twice", "0.1", {"twice": "", "also": ""})
    write_distribution(tmp_path / "two", "dp-alone", "0.1", {"alone": ""})

    with installed(tmp_path / "two"), installed(tmp_path / "one"):
        found = [(plugin.distribution, plugin.name) for plugin in Registry.discover().plugins]

    assert [entry for entry in found if entry[0] in ("dp-twice", "dp-alone")] == [
        ("dp-alone", "alone"),
        ("dp-twice", "also"),
        ("dp-twice", "twice"),
    ]
    assert found == sorted(found)


def test_ctrl_c_while_a_plugin_is_imported_ends_the_program(tmp_path: Path) -> None:
    write_distribution(tmp_path, "dp-slow", "0.1", {"slow": "raise KeyboardInterrupt"})

    with installed(tmp_path), pytest.raises(KeyboardInterrupt):
        registry_of(tmp_path)


def test_importing_the_platform_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'omegaconf', 'yaml'}"
    program = f"import sys, dp_core, dp_core.registry; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
