"""The house rules: who may import whom, what is cheap to import, and that the installation is fresh."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "dp_core"
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.name.startswith("dp_"))

ALLOWED = {(data_set, "dp_replay") for data_set in ("dp_pusht", "dp_robomimic", "dp_kitchen", "dp_blockpush")}
"""A plugin is exchanged alone; only a data set may build on the replay buffer."""

FLOORS = [
    ("errors", "moved", "profiling", "pretrained", "atomic"),
    ("component", "hooks", "border"),
    ("config",),
    ("discovery", "registry"),
    ("provenance", "run_config", "shape_meta"),
    ("observations", "normalizer", "interfaces"),
    ("soundness", "checkpoint", "workspace"),
    ("training",),
    ("kit",),
    ("runs",),
    ("testing",),
    ("cli", "new_plugin"),
]
"""Files and folders of core from the ground up: each imports its own floor or lower ones."""

WITHOUT_TORCH = [room for floor in FLOORS[:5] for room in floor]
COMMANDS = ["runs", "cli", "new_plugin", "training/options.py", "kit/rollout/config.py"]
"""Above that floor, what is imported before a config is known to be right."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


CORE_MODULES = {module_name(path): path for path in sorted(CORE.rglob("*.py")) if "template" not in path.parts}


def imports(path: Path, *, for_types: bool = False) -> Iterator[str]:
    """Modules that a file imports, in functions too; those that only type checkers import with ``for_types``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING" and not for_types
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in CORE_MODULES else node.module or "" for name in inside)


def packages(folder: Path) -> dict[str, set[str]]:
    """Top-level packages that each file below ``folder`` imports."""
    return {
        str(path.relative_to(ROOT)): {name.partition(".")[0] for name in imports(path)}
        for path in sorted(folder.rglob("*.py"))
    }


def test_the_platform_imports_no_plugin() -> None:
    plugins = {path.name for path in PLUGINS}

    assert {path: found & plugins for path, found in packages(CORE).items() if found & plugins} == {}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_unless_that_is_listed(plugin: Path) -> None:
    others = {path.name for path in PLUGINS} - {plugin.name} - {to for by, to in ALLOWED if by == plugin.name}

    assert {path: found & others for path, found in packages(plugin).items() if found & others} == {}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_descriptions_and_options_import_nothing_heavy(plugin: Path) -> None:
    """`plugin.py` and `config.py` are imported for every listing: standard library, attrs, dp_core, themselves."""
    allowed = sys.stdlib_module_names | {"attr", "attrs", "dp_core", plugin.name}
    allowed |= {to for by, to in ALLOWED if by == plugin.name}
    found = packages(plugin)

    for name in ("__init__.py", "plugin.py", "config.py"):
        assert found.get(f"plugins/{plugin.name}/{name}", set()) - allowed == set()


def floor_of(module: str) -> int:
    """Number of the floor of ``dp_core.<room>...``; the package itself is above all of them."""
    room = module.split(".")[1] if "." in module else ""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


def test_every_file_and_folder_of_core_has_a_floor() -> None:
    rooms = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))} - {"__init__"}

    assert sorted(rooms) == sorted(room for floor in FLOORS for room in floor)


@pytest.mark.parametrize("module", sorted(set(CORE_MODULES) - {"dp_core"}))
def test_a_file_imports_its_own_floor_or_lower_ones(module: str) -> None:
    needed = {name for name in imports(CORE_MODULES[module]) if name.startswith("dp_core.")}

    assert [name for name in sorted(needed) if floor_of(name) > floor_of(module)] == []


def test_nothing_below_testing_imports_the_kit() -> None:
    below = FLOORS[: FLOORS.index(("testing",))]
    rooms = {room for floor in below for room in floor} - {"kit"}
    files = {name: path for name, path in CORE_MODULES.items() if name.partition(".")[2].split(".")[0] in rooms}

    assert [name for name, path in files.items() if any(i.startswith("dp_core.kit") for i in imports(path))] == []


def test_imports_of_core_have_no_circle() -> None:
    """Not between files, and not between folders; what only type checkers import counts, too."""
    files = {
        name: {found for found in imports(path, for_types=True) if found in CORE_MODULES} - {name}
        for name, path in CORE_MODULES.items()
    }
    folders: dict[str, set[str]] = {}
    for name, needed in files.items():
        folders.setdefault(folder_of(name), set()).update(map(folder_of, needed))

    assert circle(files) == []
    assert circle({name: needed - {name} for name, needed in folders.items()}) == []


def folder_of(module: str) -> str:
    """``dp_core.config`` of a file below it; a file that lies in core itself stands for itself."""
    return ".".join(module.split(".")[:2])


def circle(graph: dict[str, set[str]]) -> list[str]:
    """What is left once all that needs nothing that is left has been taken away, again and again; sorted."""
    left = dict(graph)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_core_stays_small() -> None:
    """A newcomer finds the file for a change by its shelf and its name."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in CORE_MODULES.items()}

    assert len(list(CORE.glob("*.py"))) <= 16
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_listing_and_checking_never_import_torch() -> None:
    """Neither directly nor through something else; the command line imports it once a config is known to be right."""
    light = [name for name, path in CORE_MODULES.items() if name == "dp_core" or is_light(path)]
    plugins = [point.module for point in entry_points(group="dp_core.plugins") if is_there(point.module)]
    program = f"""
import importlib, sys
for name in {[*light, *plugins]}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""


def is_light(path: Path) -> bool:
    """Whether core promises that importing the file imports no torch."""
    place = path.relative_to(CORE)
    return place.name != "__main__.py" and (
        place.parts[0].removesuffix(".py") in [*WITHOUT_TORCH, *COMMANDS] or place.as_posix() in COMMANDS
    )


def is_there(module: str) -> bool:
    package, _, rest = module.partition(".")
    return (ROOT / "plugins" / package / f"{rest}.py").is_file()


def test_the_installation_is_fresh() -> None:
    """An editable installation notes entry points once, when it is made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in ("dp_core.plugins", "console_scripts"):
        written = project["scripts"] if group == "console_scripts" else project["entry-points"][group]
        installed = {
            point.name: point.value
            for point in entry_points(group=group)
            if point.dist and point.dist.name == "dp-core"
        }
        for name, value in written.items():
            assert installed.get(name) == value, (
                f"stale install: entry point '{name}' is in pyproject.toml but not in the environment; "
                "run pip install -e ."
            )
        assert set(installed) <= set(written), "stale install: run pip install -e ."


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_every_plugin_is_registered_and_laid_out_alike(plugin: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"{plugin.name}.plugin" in project["entry-points"]["dp_core.plugins"].values()
    assert ast.get_docstring(ast.parse((plugin / "__init__.py").read_text()))
    assert list(imports(plugin / "__init__.py")) == []


@pytest.mark.parametrize("package", [CORE, *PLUGINS], ids=lambda path: path.name)
def test_every_package_says_that_its_types_are_its_own(package: Path) -> None:
    """Or type checkers of those who import it see none; that the file is in the wheel is tested with the wheel."""
    assert (package / "py.typed").read_text() == ""
