"""Which plugins are loaded: the command line over the environment, names of three sorts, and never more than asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp_core.cli.data import main as dp_data
from dp_core.cli.run import main as dp_run
from dp_core.discovery.loading import PluginRecord, _warn_once
from dp_core.discovery.switches import Switches, switched
from dp_core.errors import DpError, PluginError
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
import attrs
from dp_core import Component, hookimpl

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    pass

@hookimpl
def dp_components():
    yield Component(kind="encoder", name="NAME", target="dp_x.encoder:X", config=Options, summary="")
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if re.match("DP_.*PLUGIN", name)]:
        monkeypatch.delenv(variable)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Distributions dp-depth (plugins depth and flow) and dp-blur, and a module my_net that nobody installed."""
    folder = tmp_path / "site-packages"
    sources = {name: PLUGIN.replace("NAME", name) for name in ("depth", "flow", "blur", "my_net")}
    write_distribution(folder, "dp-depth", "0.3", {name: sources[name] for name in ("depth", "flow")})
    write_distribution(folder, "dp-blur", "0.1", {"blur": sources["blur"]})
    (folder / "my_net.py").write_text(sources["my_net"])
    with installed(folder):
        yield folder


def states(*options: str) -> dict[str, str]:
    """Status and cause of the plugins in the folder, with ``-p`` options."""
    with switched(options):
        plugins = Registry.discover().plugins
    return {plugin.name: text(plugin) for plugin in plugins if plugin.distribution != "dp-core"}


def text(plugin: PluginRecord) -> str:
    return f"{plugin.status} {plugin.cause}".strip()


def test_everything_that_is_installed_is_loaded_and_nothing_else(site: Path) -> None:
    assert states() == {"depth": "ok", "flow": "ok", "blur": "ok"}


def test_a_module_is_loaded_by_name(site: Path) -> None:
    with switched(["my_net"]):
        component = Registry.discover().resolve("encoder", "my_net")

    assert (component.qualified_name, component.plugin) == ("local/my_net", "my_net")


def test_a_package_is_not_the_plugin_inside_of_it(site: Path) -> None:
    (site / "lab_tactile").mkdir()
    (site / "lab_tactile" / "__init__.py").touch()
    (site / "lab_tactile" / "plugin.py").write_text(PLUGIN.replace("NAME", "tactile"))
    (site / "lab_empty.py").touch()

    assert states("lab_tactile")["lab_tactile"] == (
        "broken add DP_API = 1 to lab_tactile; did you mean -p lab_tactile.plugin?"
    )
    assert states("lab_empty")["lab_empty"] == "broken add DP_API = 1 to lab_empty"


def test_an_installed_plugin_that_is_named_is_loaded_once(site: Path) -> None:
    assert states("blur", "dp-depth", "dp_blur.plugin") == {"depth": "ok", "flow": "ok", "blur": "ok"}


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        (
            "dpeth",
            "no plugin, distribution or module has this name: No module named 'dpeth'; a module has to be where Python "
            "looks, see PYTHONPATH; did you mean 'depth'?",
        ),
        (
            "dp_blur.zzz",
            "no plugin, distribution or module has this name: No module named 'dp_blur.zzz'; a module has to be where "
            "Python looks, see PYTHONPATH; did you mean 'dp-blur'?",
        ),
        ("a b", "a plugin must name a module such as 'dp_depth.plugin', got 'a b'"),
        ("my_net.py", "'my_net.py' is a file, expected a module; leave out .py: -p my_net"),
        (
            "my_other",
            "no plugin, distribution or module has this name: No module named 'my_other'; "
            "there is my_other.py here: set PYTHONPATH=. so that Python finds it",
        ),
    ],
)
def test_a_name_without_anything_behind_it_is_an_error(
    name: str,
    cause: str,
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With and without a config, and from the environment, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_other.py").write_text("")
    expected = f"dp-run: error: -p or DP_PLUGINS names '{name}': {cause}\n"

    assert dp_run(["--list", "-p", name]) == 2
    assert capsys.readouterr().err == expected
    assert dp_run(["--check", "smoke", "-p", name]) == 2
    assert capsys.readouterr().err == expected
    monkeypatch.setenv("DP_PLUGINS", name)
    assert dp_run(["smoke"]) == 2
    assert capsys.readouterr().err == expected


def test_a_module_that_is_there_but_broken_is_recorded(site: Path) -> None:
    """What is wrong with it is for `--list -v` to show."""
    (site / "my_net.py").write_text("1 / 0")

    assert states("my_net")["my_net"] == "broken ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("blurr", "did you mean 'blur'?"),
        ("qqqq", "dp-run --list shows what is installed"),
        ("blur flow", "names are separated by commas"),
    ],
)
def test_what_is_to_be_left_out_and_is_not_there_is_said(
    site: Path, name: str, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    assert states(f"no:{name}")["blur"] == states(f"no:{name}")["blur"] == "ok"

    assert [record.getMessage() for record in caplog.records] == [
        f"-p no: or DP_DISABLE_PLUGINS names '{name}', which is no plugin, distribution or module here; {hint}"
    ]


def test_a_module_that_is_left_out_is_there(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DP_PLUGINS", "my_net")

    assert "my_net" not in states("no:my_net", "no:dp-blur")
    assert caplog.records == []


@pytest.mark.parametrize("name", ["blur", "dp-blur", "dp_blur", "dp_blur.plugin"])
def test_a_disabled_plugin_is_never_imported(site: Path, name: str) -> None:
    (site / "dp_blur" / "plugin.py").write_text(f"open({str(site / 'mark')!r}, 'w')")

    assert states(f"no:{name}")["blur"] == f"disabled by -p no:{name} or DP_DISABLE_PLUGINS={name}"
    assert not (site / "mark").exists()


def test_the_environment_says_the_same(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_PLUGINS", "my_net, ")
    monkeypatch.setenv("DP_DISABLE_PLUGINS", "dp-depth,blur")

    assert states() == {
        "depth": "disabled by -p no:dp-depth or DP_DISABLE_PLUGINS=dp-depth",
        "flow": "disabled by -p no:dp-depth or DP_DISABLE_PLUGINS=dp-depth",
        "blur": "disabled by -p no:blur or DP_DISABLE_PLUGINS=blur",
        "my_net": "ok",
    }


def test_without_autoload_only_what_is_named_is_imported(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_DISABLE_PLUGIN_AUTOLOAD", "1")

    assert states("dp-depth") == {
        "depth": "ok",
        "flow": "ok",
        "blur": "disabled by DP_DISABLE_PLUGIN_AUTOLOAD; load it with -p blur",
    }
    assert Registry.discover().components() == []


def test_a_name_that_is_unknown_without_autoload_is_told_why(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_DISABLE_PLUGIN_AUTOLOAD", "1")

    with switched(["blur"]), pytest.raises(PluginError) as caught:
        Registry.discover().resolve("workspace", "train")

    assert str(caught.value) == (
        "unknown workspace 'train'; no workspace is loaded; DP_DISABLE_PLUGIN_AUTOLOAD leaves out plugins of dp-core, "
        "dp-depth; load them with -p dp-core"
    )


def test_the_command_line_goes_over_the_environment_and_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_PLUGINS", "a,b")
    monkeypatch.setenv("DP_DISABLE_PLUGINS", "c,d")

    with switched(["no:a", "c", "e", "no:e", "no:f", "f"]):
        assert Switches.from_environment() == Switches(load=("b", "c", "f"), disabled=("d", "a", "e"))
    assert (os.environ["DP_PLUGINS"], os.environ["DP_DISABLE_PLUGINS"]) == ("a,b", "c,d")


def test_switches_are_undone_when_a_command_is_over() -> None:
    with switched(["a", "no:b"]):
        pass

    assert Switches.from_environment() == Switches()
    assert "DP_PLUGINS" not in os.environ


@pytest.mark.parametrize("option", ["", "no:", "no: "])
def test_an_option_without_a_name_is_refused(option: str) -> None:
    with pytest.raises(DpError) as caught, switched([option]):
        pass

    assert str(caught.value) == f"-p '{option}' names no plugin; write -p NAME or -p no:NAME"


def test_commands_have_the_option(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run(["--list", "encoder", "-p", "my_net", "-p", "no:flow"]) == 0
    listed = capsys.readouterr().out
    assert "\n  my_net " in listed
    assert re.search(
        r"\nplugins not in use\n  flow +dp-depth 0\.3 +disabled: by -p no:flow or DP_DISABLE_PLUGINS=flow$", listed
    )

    assert dp_data(["-p", "no:dp-core", "--list"]) == 0
    assert capsys.readouterr().out == "\n"


def test_what_is_switched_off_is_named_where_it_is_needed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run(["--describe", "encoder/depth", "-p", "no:dp-depth", "-p", "no:dp-core"]) == 2

    assert capsys.readouterr().err == (
        "dp-run: error: unknown encoder 'depth'; the plugin 'depth' of dp-depth 0.3 is disabled: by -p no:dp-depth or "
        "DP_DISABLE_PLUGINS=dp-depth; installed are blur\n"
    )


def test_strict_refuses_broken_plugins_with_their_tracebacks(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DP_STRICT_PLUGINS", "1")
    assert dp_run(["--list", "-p", "no:dp-blur"]) == 0
    capsys.readouterr()

    (site / "dp_blur" / "plugin.py").write_text("1 / 0")
    message = (
        "dp-run: error: DP_STRICT_PLUGINS is set, and plugins are at fault\n"
        "  the plugin 'blur' of dp-blur 0.1 is broken: ZeroDivisionError: division by zero\n"
    )
    assert dp_run(["--list", "-p", "no:dp-core"]) == 2
    assert capsys.readouterr().err == message
    assert dp_run(["--list", "--traceback", "-p", "no:dp-core"]) == 2

    found = capsys.readouterr().err
    assert 'dp_blur/plugin.py", line 1, in <module>\n' in found
    assert found.endswith(message)


def test_tracing_shows_each_plugin(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DP_TRACE_PLUGINS", "1")
    states("no:dp-core", "no:flow")

    assert re.sub(r"\d+\.\d ms", "N ms", capsys.readouterr().err).splitlines()[:2] == [
        "trace: plugin 'blur' of dp-blur 0.1 (dp_blur.plugin) ok in N ms: encoder 'blur'",
        "trace: plugin 'blockpush' of dp-core 0.1.0 (dp_blockpush.plugin) disabled: by -p no:dp-core or "
        "DP_DISABLE_PLUGINS=dp-core",
    ]
