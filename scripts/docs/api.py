"""The page of what is public, read from the sources: nothing is imported, so nothing has to be installed.

`PUBLIC` decides; `tests/docs/test_api.py` holds the built-in plugins and the template to it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from dp_core.component import API
from dp_core.new_plugin.names import OWN

ROOT = Path(__file__).parents[2]
ALL: tuple[str, ...] = ()
"""Stands for every name of a module that has no underscore in front."""


@attrs.frozen
class Section:
    """Some public modules, and what is promised about them."""

    title: str
    text: str
    modules: Mapping[str, tuple[str, ...]]
    """The public names of each module, or `ALL`."""
    is_covered: bool = True
    """Whether the API number rises with a change that breaks what uses them."""


PUBLIC = (
    Section(
        "Describing components",
        "What `plugin.py` and `config.py` import. Cheap: no torch.",
        {
            "dp_core": ALL,
            "dp_core.component": ("Component", "KINDS", "load_target"),
            "dp_core.hooks": ("RunHooks", "hookimpl"),
            "dp_core.config": ALL,
            "dp_core.config.checks": ("needed_inputs", "step_mismatches", "untaken_inputs", "untaken_tokens"),
            "dp_core.config.declared": ALL,
            "dp_core.config.metrics": ALL,
            "dp_core.config.schema": ("WorkspaceConfig",),
            "dp_core.config.wording": ("describe", "not_one_of", "show", "unknown_option"),
            "dp_core.border": ALL,
            "dp_core.errors": ALL,
            "dp_core.shape_meta": ALL,
        },
    ),
    Section(
        "Contracts",
        "What components inherit from and hand to each other.",
        {
            "dp_core.interfaces": ALL,
            "dp_core.interfaces.scheduler": ("Denoise", "DenoiseStep", "prepared"),
            "dp_core.normalizer": ALL,
            "dp_core.normalizer.precision": ALL,
            "dp_core.observations": (
                "FINITE",
                "IMAGES",
                "LARGEST",
                "Meaning",
                "NUMBERS",
                "ObservationCheck",
                "Raw",
                "UNIT_TOLERANCE",
                "as_tensor",
            ),
            "dp_core.pretrained": ALL,
        },
    ),
    Section(
        "The kit",
        "A library for authors: rollouts, layers, files.",
        {
            "dp_core.kit.data.images": ALL,
            "dp_core.kit.data.numbers": ALL,
            "dp_core.kit.files.archive": ("Wanted", "take"),
            "dp_core.kit.files.cache": ALL,
            "dp_core.kit.files.command": ALL,
            "dp_core.kit.files.download": ALL,
            "dp_core.kit.nn.encoding": ALL,
            "dp_core.kit.nn.hub": ALL,
            "dp_core.kit.nn.image_probe": ALL,
            "dp_core.kit.nn.image_statistics": ALL,
            "dp_core.kit.nn.time_embedding": ALL,
            "dp_core.kit.nn.vision": ALL,
            "dp_core.kit.nn.weight_files": ALL,
            "dp_core.kit.rollout.config": ALL,
            "dp_core.kit.rollout.environment": ALL,
            "dp_core.kit.rollout.runner": ("RolloutRunner",),
        },
    ),
    Section(
        "Training",
        "What a workspace is made of.",
        {
            "dp_core.workspace": ("BaseWorkspace",),
            "dp_core.training": ALL,
            "dp_core.training.allocator": ALL,
            "dp_core.training.compilation": ALL,
            "dp_core.training.data_loading": (
                "BatchOrder",
                "count_windows",
                "first_windows",
                "make_loader",
                "map_tensors",
                "to_device",
            ),
            "dp_core.training.devices": ALL,
            "dp_core.training.ema": ("EMAModel",),
            "dp_core.training.loop": ("in_precision", "train"),
            "dp_core.training.options": ALL,
            "dp_core.training.progress": ("Progress",),
            "dp_core.training.random_state": ALL,
            "dp_core.profiling": ("Profiler", "section", "set_device"),
        },
    ),
    Section(
        "Testing",
        "For the tests of plugins.",
        {
            "dp_core.testing": ALL,
            "dp_core.testing.fakes": ALL,
            "dp_core.testing.pytest_plugin": ALL,
        },
    ),
    Section(
        "Demonstrations in memory",
        "The one built-in plugin that others build on.",
        {
            "dp_replay.buffer": ("ReplayBuffer",),
            "dp_replay.config": ALL,
            "dp_replay.dataset": ALL,
            "dp_replay.store": ("open_store",),
        },
    ),
    Section(
        "Programs",
        "For scripts and commands that train, evaluate, convert, or act on a robot.",
        {
            "dp_core.runs": ALL,
            "dp_core.registry": ("Registry",),
            "dp_core.run_config": ALL,
            "dp_core.checkpoint": ("FORMAT", "read_payload", "write_payload"),
            "dp_core.provenance.manifest": ("manifest",),
            "dp_core.atomic": ("LONGEST_NAME", "whole_file"),
            "dp_core.cli.command": ALL,
        },
        is_covered=False,
    ),
)

_HEAD = f"""\
# What is public

Made by `python -m scripts.docs`; do not edit. What is listed here can be relied on; dp-core's own plugins use nothing
else of `dp_core`. What a class has without an underscore in front is public with it, and so are the entry points, the
names that a plugin module declares (`DP_API`, `DP_CONFIGS`, `dp_components`), the [hooks](hooks.md), the
[components](components.md) with their options, the commands, and the [format of checkpoints](checkpoint_format.md).

**The API number**, `dp_core.API`, is {API}. It covers every section but the last: it rises only when a change breaks
plugins that use what is there, and a plugin written for another number is listed and not used. The last section
follows the version of dp-core.

**A name that is replaced** stays for one minor version and warns with the new name: deprecated in 0.2, it is gone in
0.3 at the earliest, and of what the API number covers, only when that rises. The warning is a `DeprecationWarning`,
which pytest shows and which `python -W error` makes an error. Options and components that get new names are told in
configs and checkpoints, not here.

**Internal** is everything else: modules that are not listed, names with an underscore in front, and the modules of
dp-core's other plugins. They change without notice.

"""
_NAMES = (
    "**Names of packages** that dp-core installs, and that nobody else may take: `dp_core`, {packages}. What it adds "
    "begins with `dp_core_`."
)


@attrs.frozen
class Name:
    """A public name."""

    name: str
    call: str
    """How it is called, from the parenthesis on; empty if it is not."""
    summary: str
    """The first line of its docstring."""


def api_page() -> str:
    """Write, as Markdown, every public module with its names."""
    reserved = _NAMES.format(packages=", ".join(f"`{name}`" for name in OWN))
    lines = [_HEAD + "\n".join(textwrap.wrap(reserved, 120)), ""]
    for section in PUBLIC:
        cover = "Covered by the API number." if section.is_covered else "Follows the version of dp-core."
        lines += [f"## {section.title}", "", f"{section.text} {cover}", ""]
        for module, names in section.modules.items():
            lines += [f"### `{module}`", "", _cell(_summary(_tree(module))), "", "| | |", "|---|---|"]
            lines += [f"| `{_cell(each.name + each.call)}` | {_cell(each.summary)} |" for each in public(module, names)]
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def public_names() -> dict[str, set[str]]:
    """Return the names that are public, by module."""
    modules = {module: names for section in PUBLIC for module, names in section.modules.items()}
    return {module: {each.name for each in public(module, names)} for module, names in modules.items()}


def public(module: str, names: Iterable[str]) -> list[Name]:
    """List the public names of a module, sorted.

    Args:
        names: those that are meant, or `ALL`.
    """
    found = {each.name: each for each in _names(module)}
    return [found[name] for name in sorted(names or found, key=str.lower)]


def _names(module: str) -> Iterator[Name]:
    """What a module defines; of a package with ``__all__``, what that lists."""
    tree = _tree(module)
    exported = _exported(tree)
    if exported is None:
        yield from _definitions(tree)
        return
    yield from (each for each in _definitions(tree) if each.name in exported)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported = {alias.name for alias in node.names} & exported
            yield from (each for each in (_names(node.module) if imported else ()) if each.name in imported)


def _exported(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def _definitions(tree: ast.Module) -> Iterator[Name]:
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            if not node.name.startswith("_"):
                yield Name(node.name, _call(node), _summary(node))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            if name.isidentifier() and not name.startswith("_") and name != "logger":
                yield Name(name, "", _text(after).partition("\n")[0])


def _text(node: ast.stmt | None) -> str:
    """The string that a statement is, which documents what stands before it; empty if it is none."""
    value = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
    return value if isinstance(value, str) else ""


def _call(node: ast.ClassDef | ast.FunctionDef) -> str:
    if isinstance(node, ast.FunctionDef):
        return "" if _is_fixture(node) else f"({_parameters(node.args)})"
    makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if makers:
        return f"({_parameters(makers[0].args).removeprefix('self').removeprefix(', ')})"
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if not any(decorator.startswith("attrs.") for decorator in decorators):
        return ""
    fields = [
        f"{item.target.id}{'' if _is_required(item.value) else '=...'}"
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        if "ClassVar" not in ast.unparse(item.annotation) and not item.target.id.startswith("_")
    ]
    by_keyword = ["*"] if fields and "kw_only=True" in "".join(decorators) else []
    return f"({', '.join([*by_keyword, *fields])})"


def _is_fixture(node: ast.FunctionDef) -> bool:
    return any("pytest.fixture" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_required(value: ast.expr | None) -> bool:
    """Whether a field of an attrs class has no default."""
    if not isinstance(value, ast.Call):
        return value is None
    return not value.args and not {"default", "factory"} & {str(keyword.arg) for keyword in value.keywords}


def _parameters(arguments: ast.arguments) -> str:
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(arguments)


def _summary(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].replace("::", ".")


def _tree(module: str) -> ast.Module:
    path = Path(*module.split("."))
    places = [ROOT / start / end for start in ("", "plugins") for end in (f"{path}.py", path / "__init__.py")]
    return ast.parse(next(place for place in places if place.is_file()).read_text(encoding="utf-8"))


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")
