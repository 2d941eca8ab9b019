"""Every fault that a plugin can have, all installed at once beside the built-in plugins: nothing else is harmed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dp_core.testing.fakes import write_distribution

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")

PLUGIN = """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    width: int = option(64, help="of a layer")

@hookimpl
def dp_components():
    yield Component(kind="encoder", name="NAME", target="dp_x.encoder:X", config=Options, summary="is in order")
"""
LAST = PLUGIN.strip().splitlines()[-1]


def plugin(name: str, old: str = "", new: str = "") -> str:
    assert old in PLUGIN
    return PLUGIN.replace(old, new).replace("NAME", name)


# One distribution each: dp-<name>, with one plugin <name> that offers an encoder <name>.
BROKEN = {
    "depth": (
        plugin("depth", "import attrs", "import attrs, open3d_x"),
        "broken: ModuleNotFoundError: No module named 'open3d_x'",
    ),
    "typo": (
        plugin("typo", "def dp_components", "def dp_component"),
        "broken: unknown hook 'dp_component'; did you mean 'dp_components'?",
    ),
    "unmarked": (plugin("unmarked", "@hookimpl\n"), "broken: hook 'dp_components' lacks @hookimpl"),
    "newer": (
        plugin("newer", "DP_API = 1", "DP_API = 2"),
        "broken: written for plugin API 2; this dp-core has API 1; upgrade dp-core",
    ),
    "double": (plugin("double") + f"{LAST}\n".replace("NAME", "double"), "broken: encoder 'double' is offered twice by "
               "dp-double"),
    "raising": (
        plugin("raising", "def dp_components():", "def dp_components():\n    raise RuntimeError('no display')"),
        "broken: RuntimeError: no display",
    ),
    "lost": (
        {"encoder.py": ""},
        "broken: the entry point names 'dp_lost.plugin', which is not there: No module named 'dp_lost.plugin'",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed distributions, to be put on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name, (source, _) in BROKEN.items():
        write_distribution(folder, f"dp-{name}", "0.1", {name: source})
    for owner in ("one", "other"):
        write_distribution(folder, f"dp-{owner}", "0.1", {owner: plugin("shared")})
    needy = plugin("needy", 'summary="', 'requires=("open3d_x",), extra="full", summary="')
    write_distribution(folder, "dp-needy", "0.1", {"needy": needy})
    work = "def dp_components():\n    import time\n    begin = time.process_time()\n"
    work += "    while time.process_time() < begin + 0.25:\n        pass\n"
    slow = plugin("slow", "def dp_components():", work)
    write_distribution(folder, "dp-slow", "0.1", {"slow": "print('hello')\n" + slow})
    # Installed with `pip install -e`; since then a plugin was added to its source, and another was moved.
    source = folder / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[project.entry-points."dp_core.plugins"]\nmoved = "dp_moved.elsewhere"\nadded = "dp_added.plugin"\n'
    )
    write_distribution(folder, "dp-stale", "0.1", {"moved": {"old.py": ""}}, editable=source)
    return folder


def dp_run(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from dp_core.cli.run import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
    )


def lines(text: str) -> list[str]:
    """Without the padding of tables, and with the measured time as N."""
    return [re.sub(r"\d+\.\d s for it", "N s for it", re.sub(r" {2,}", "  ", line)) for line in text.splitlines()]


def unused(site: Path) -> list[str]:
    """What the list says of plugins not in use."""
    source = site / "source"
    return [
        *(f"  {name}  dp-{name} 0.1  {state}" for name, (_, state) in sorted(BROKEN.items())),
        f"  added  dp-stale 0.1  broken: stale editable install: the entry point is in {source}/pyproject.toml, but "
        f"pip does not know it yet; run `pip install -e {source}`",
        f"  moved  dp-stale 0.1  broken: stale editable install of {source}: No module named 'dp_moved.plugin'; "
        f"run `pip install -e {source}`",
    ]


def test_the_list_has_one_line_for_each_fault(site: Path) -> None:
    done = dp_run(site, "--list")

    found = lines(done.stdout)
    assert (done.returncode, done.stderr) == (0, "hello\n")
    assert sorted(found[found.index("plugins not in use (-v for the traceback)") + 1 :]) == sorted(unused(site))
    fix = found[found.index("plugins to fix") + 1 :]  # on a machine that stands still, others may be there, too
    assert "  slow  dp-slow 0.1  slow: every start waits N s for it; leave imports and work to the targets" in fix
    assert found[found.index("names that several packages offer") + 1] == (
        "  encoder 'shared' is provided by 2 packages; write 'dp-one/shared' or 'dp-other/shared'"
    )
    assert "  needy  dp-needy 0.1  needs open3d_x -- pip install 'dp-needy[full]'" in found
    assert "  dp-one/shared  dp-one 0.1  is in order" in found
    assert any(line.startswith("  timm  dp-core 0.1.0  ") for line in found)


def test_programs_get_the_same_facts(site: Path) -> None:
    done = dp_run(site, "--list", "encoder", "--json", "-p", "no:timm")

    listed = json.loads(done.stdout)
    plugins = {entry["name"]: entry for entry in listed["plugins"]}
    components = {entry["qualified_name"]: entry for entry in listed["components"]}
    assert {name: f"{entry['status']}: {entry['cause']}" for name, entry in plugins.items() if name in BROKEN} == {
        name: state for name, (_, state) in BROKEN.items()
    }
    assert plugins["slow"]["note"].startswith("slow: every start waits ")
    assert (plugins["timm"]["status"], plugins["timm"]["cause"]) == (
        "disabled", "by -p no:timm or DP_DISABLE_PLUGINS=timm"
    )  # fmt: skip
    assert (components["dp-needy/needy"]["status"], components["dp-needy/needy"]["missing"]) == ("needs", ["open3d_x"])
    assert components["dp-slow/slow"]["status"] == "ok"
    assert listed["clashes"] == [
        "encoder 'shared' is provided by 2 packages; write 'dp-one/shared' or 'dp-other/shared'"
    ]


def test_tracebacks_are_shown_to_who_asks_with_whom_to_tell(site: Path) -> None:
    found = dp_run(site, "--list", "-v").stdout

    assert "\nraising: contact the authors of dp-raising\nTraceback (most recent call last):\n" in found
    assert f'File "{site}/dp_raising/plugin.py", line 13, in dp_components\n' in found


def test_a_config_that_needs_none_of_them_is_checked_and_runs(site: Path, tmp_path: Path) -> None:
    arguments = [QUICKSTART, f"output_dir={tmp_path / 'run'}", "training.debug=true", "runner=null"]
    checked = dp_run(site, QUICKSTART, "--check")
    trained = dp_run(site, *arguments, "training.device=cpu")

    assert (checked.returncode, checked.stdout) == (0, f"{QUICKSTART}: ok\n")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "checkpoints" / "latest.ckpt").is_file()


# What a config gets to read that names `name`; what is installed besides grows with the project.
ASKED_FOR = {
    **{name: f"the plugin '{name}' of dp-{name} 0.1 is {state}" for name, (_, state) in BROKEN.items()},
    "dp-depth/deep": "the plugin 'depth' of dp-depth 0.1 is broken: ModuleNotFoundError: No module named 'open3d_x'",
    "moved": "the plugin 'moved' of dp-stale 0.1 is broken: stale editable install of SOURCE: No module named "
    "'dp_moved.plugin'; run `pip install -e SOURCE`",
    "added": "the plugin 'added' of dp-stale 0.1 is broken: stale editable install: the entry point is in "
    "SOURCE/pyproject.toml, but pip does not know it yet; run `pip install -e SOURCE`",
}


def test_each_fault_is_named_where_its_component_is_asked_for(site: Path) -> None:
    code = f"""
from dp_core.errors import PluginError
from dp_core.registry import Registry
registry = Registry.discover()
for name in {list(ASKED_FOR)}:
    try:
        registry.resolve("encoder", name)
    except PluginError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)

    found = done.stdout.replace(str(site / "source"), "SOURCE")
    found = re.sub(r"; (did you mean '\w+'\?|installed are [\w, ]+)$", "", found, flags=re.MULTILINE)
    assert found.splitlines() == [f"unknown encoder '{name}'; {cause}" for name, cause in ASKED_FOR.items()]


def test_a_config_is_told_the_nearest_name_and_which_plugins_failed(site: Path) -> None:
    done = dp_run(site, QUICKSTART, "--check", "policy.encoder=shard", "policy.scheduler=dp-depth/dpm")

    assert (done.returncode, done.stdout) == (2, "")
    assert lines(done.stderr)[1:] == [
        f"dp-run: error: {QUICKSTART} has 2 problems",
        "  policy.encoder.name: unknown encoder 'shard'; did you mean 'shared'? (not available, see dp-run --list: "
        "depth, double, lost, newer, raising, added, moved, typo, unmarked) (from the command line)",
        "  policy.scheduler.name: unknown scheduler 'dp-depth/dpm'; the plugin 'depth' of dp-depth 0.1 is broken: "
        "ModuleNotFoundError: No module named 'open3d_x'; did you mean 'ddpm'? (from the command line)",
    ]


def test_strict_makes_them_errors(site: Path) -> None:
    done = dp_run(site, "--list", DP_STRICT_PLUGINS="1")

    expected = [f"  the plugin '{name}' of dp-{name} 0.1 is {state}" for name, (_, state) in BROKEN.items()]
    expected += [f"  {ASKED_FOR[name]}".replace("SOURCE", str(site / "source")) for name in ("moved", "added")]
    expected += ["  encoder 'shared' is provided by 2 packages; write 'dp-one/shared' or 'dp-other/shared'"]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[:2] == [
        "hello",
        "dp-run: error: DP_STRICT_PLUGINS is set, and plugins are at fault",
    ]
    assert sorted(done.stderr.splitlines()[2:]) == sorted(expected)
