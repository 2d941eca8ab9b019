"""The rules of what every component says about itself, whatever its kind."""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any, get_args

import attrs
from omegaconf import OmegaConf

from dp_core.component import Component
from dp_core.config.fields import HELP, Slot
from dp_core.config.rules import RULES, USUAL_CONTEXT, public_names, questions
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.task import MODALITY_CONTEXT
from dp_core.config.tree import unstructure
from dp_core.errors import ComponentLoadError, MissingDependencyError, quoted
from dp_core.hooks import ENTRY_POINT_GROUP
from dp_core.interfaces import (
    BaseCallback,
    BaseDataset,
    BaseDenoiser,
    BaseEncoder,
    BaseModality,
    BasePolicy,
    BaseRunner,
    BaseScheduler,
)
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.examples import SETTINGS
from dp_core.workspace import BaseWorkspace

INTERFACES: dict[str, type] = {
    "workspace": BaseWorkspace,
    "policy": BasePolicy,
    "encoder": BaseEncoder,
    "denoiser": BaseDenoiser,
    "scheduler": BaseScheduler,
    "modality": BaseModality,
    "dataset": BaseDataset,
    "runner": BaseRunner,
    "callback": BaseCallback,
}
"""Optimizers and schedules are torch's own, made by functions as well as by classes."""

_LIST = """
import importlib, json, sys
path, modules, light = json.loads(sys.argv[1])
sys.path[:] = path
import dp_core, dp_core.discovery.loading, dp_core.registry
from dp_core.config import fields, schema

class Watch:
    importers = {}
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        frame, callers = sys._getframe(1), []
        while frame and top not in light and top not in self.importers:
            callers.append(frame.f_globals.get("__name__", ""))
            frame = frame.f_back
        callers = [by for by in callers if by.partition(".")[0] not in ("importlib", "__main__")]
        if callers:
            # The plugin itself, where what it imports of dp_core is heavy.
            theirs = [by for by in callers if by.partition(".")[0] != "dp_core"]
            self.importers[top] = (theirs or callers)[0]

sys.meta_path.insert(0, Watch())
for name in modules:
    module = importlib.import_module(name)
    if hasattr(module, "dp_components"):
        list(module.dp_components())
print(json.dumps([[by, name] for name, by in Watch.importers.items() if name in sys.modules]))
"""
"""Imports what listing a plugin imports, and prints who imported something heavy, and what."""


def listing_it_imports_nothing_heavy(case: Case) -> None:
    """Check that modules that describe a component import the standard library, attrs and light ones of dp_core."""
    for by, name in _heavy_imports(_describing_modules(case.component), tuple(sys.path)):
        case.fail(
            f"listing it imports '{name}', in {by}; expected the standard library, attrs and light modules of dp_core",
            "import it in the module of the target, or for annotations alone under `if TYPE_CHECKING:`",
        )


def every_option_has_help(case: Case) -> None:
    """Check that every option has a line of help for ``dp-run --describe``."""
    for cls, field in _options(case.component.config):
        if not field.metadata.get(HELP):
            case.fail(
                f"option '{field.name}' of {cls.__name__} has no help; expected one line: meaning, unit, shape",
                "declare it as option(default, help='...') or slot(kind, help='...')",
            )


def options_are_frozen_and_keyword_only(case: Case) -> None:
    """Check that config classes are ``@attrs.frozen(kw_only=True)``: all that is built from a config shares it."""
    for cls in dict.fromkeys([case.component.config, *(cls for cls, _ in _options(case.component.config))]):
        if not _is_frozen(cls) or not all(field.kw_only for field in attrs.fields(cls)):
            case.fail(
                f"{cls.__name__} can be changed or takes options by position; expected neither",
                "decorate it with @attrs.frozen(kw_only=True)",
            )


def its_rules_ask_for_what_there_is(case: Case) -> None:
    """Check that what ``check``, ``advise`` and ``inside`` ask for without a default is usual, or some option."""
    configs = dict.fromkeys([case.component.config, *(cls for cls, _ in _options(case.component.config))])
    wanted = [
        (name, f"{config.__name__}.{rule}")
        for config in configs
        for rule in (*RULES, "inside")
        for name, parameter in questions(config, rule).items()
        if parameter.default is parameter.empty
    ]
    is_modality = case.component.kind == "modality"  # which is asked before there are blocks around it
    usual = MODALITY_CONTEXT if is_modality else USUAL_CONTEXT
    known = set(usual)
    others = dict.fromkeys(component.config for component in case.registry.components())
    for config in others if wanted and not is_modality else ():
        known |= {name for cls in (config, *(cls for cls, _ in _options(config))) for name in public_names(cls)}
    for name, asking in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            case.fail(
                f"{asking} asks for '{name}', which no component has as an option; expected "
                f"{', '.join(usual)}{'' if is_modality else ' or an option of a block around'}",
                f"write '{close[0]}'" if close else "give it a default if it need not be there",
            )
    for name, asking in wanted:
        settings = SETTINGS.get(case.component.kind, {}).values()
        in_examples = {known for setting in settings for known in (*setting.runtime, *setting.context)}
        if name not in {*in_examples, *public_names(case.component.config)}:
            raise NotChecked(f"{asking} was never asked: it asks for '{name}', which no example has")


def the_target_is_what_its_kind_needs(case: Case) -> None:
    """Check that the target can be imported and is of its kind's interface; a workspace's options extend a run's."""
    component = case.component
    if component.missing():
        raise NotChecked(f"needs {', '.join(component.missing())}; install with: {component.install_command}")
    try:
        target = component.load()
    except MissingDependencyError as error:
        case.fail(
            f"its target cannot be imported: {error}",
            f"write requires=('{error.name}',) in the Component, or fix the import",
        )
    except ComponentLoadError as error:
        case.fail(f"its target cannot be imported: {error}", "fix the import, or the target of the component")
    interface = INTERFACES.get(component.kind)
    if interface is None:
        return
    if not isinstance(target, type) or not issubclass(target, interface):
        case.fail(
            f"its target '{component.target}' is not a {interface.__name__}; expected a class that inherits from it",
            f"write class {component.target.rpartition(':')[2]}({interface.__name__})",
        )
    if component.kind == "workspace" and not issubclass(component.config, WorkspaceConfig):
        case.fail(
            f"{component.config.__name__} is not a WorkspaceConfig; expected a class that inherits from it",
            f"write class {component.config.__name__}(WorkspaceConfig), of dp_core.config.schema",
        )


CHECKS = (
    listing_it_imports_nothing_heavy,
    every_option_has_help,
    options_are_frozen_and_keyword_only,
    its_rules_ask_for_what_there_is,
    the_target_is_what_its_kind_needs,
)


def it_is_built_as_its_kind_is(case: Case) -> None:
    """Check that the target is called as ``target(config, **runtime)``, with the keywords of its kind."""
    case.build()


def options_survive_a_config_file(case: Case) -> None:
    """Check that options written to a run's resolved config and read again are the same options."""
    config = case.slot().config
    plain = unstructure(config)
    written = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(plain))))
    assert isinstance(written, dict)
    options = {str(key): value for key, value in written.items() if key != "workspace"}
    again = attrs.evolve(case, options=options).slot().config
    if again != config:
        changed = [f.name for f in attrs.fields(type(config)) if getattr(again, f.name) != getattr(config, f.name)]
        case.fail(
            f"written to a file and read again, {quoted(changed)} changed; expected the same options",
            "use plain types: numbers, strings, paths, lists, tuples, mappings, attrs classes",
        )


def _options(config: type) -> Iterator[tuple[type, Any]]:
    """Fields of a config class and of the attrs classes in it, with their owner."""
    hints = typing.get_type_hints(config)
    for field in attrs.fields(config):
        yield config, field
        hint = hints[field.name]
        for nested in (hint, *get_args(hint)):
            if isinstance(nested, type) and attrs.has(nested) and nested not in (Slot, Component):
                yield from _options(nested)


def _is_frozen(cls: type) -> bool:
    fields = attrs.fields(cls)
    instance: Any = object.__new__(cls)
    try:
        setattr(instance, fields[0].name if len(fields) else "anything", None)
    except AttributeError:  # of attrs, or of a class with slots and without options
        return True
    return False


def _describing_modules(component: Component) -> tuple[str, ...]:
    """The plugin's own module, if it has one, and that of its options."""
    return tuple(name for name in (component.plugin, component.config.__module__) if name)


@cache
def _heavy_imports(modules: tuple[str, ...], path: tuple[str, ...]) -> list[list[str]]:
    plugins = {point.module.partition(".")[0] for point in entry_points(group=ENTRY_POINT_GROUP)}
    own = {module.partition(".")[0] for module in modules}
    light = sorted({*sys.stdlib_module_names, "attr", "attrs", "pluggy", "dp_core", *plugins, *own})
    command = [sys.executable, "-c", _LIST, json.dumps([path, modules, light])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise NotChecked(f"importing {quoted(modules)} fails: {done.stderr.strip().splitlines()[-1]}")
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found
