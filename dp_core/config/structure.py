"""Turns a plain mapping into a tree of typed options, and reports everything that is wrong at once.

Two passes. The first gives every value its declared type. The second asks the ``check`` methods of the config classes
about rules across options and components, and their ``advise`` methods for what is possible, but hardly meant.
"""

from __future__ import annotations

import logging
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Union, get_args, get_origin

import attrs

from dp_core.component import Component
from dp_core.config.checks import unmet_needs
from dp_core.config.env_variables import FromEnvironment, without_marks
from dp_core.config.fields import SLOT, Slot
from dp_core.config.rules import USUAL_CONTEXT, method_label, no_answer, questions, reports
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.tree import children, is_options, option_paths, owner_of
from dp_core.config.wording import describe, join_path, not_one_of, show, unknown_option
from dp_core.errors import ConfigError, PluginError, Problem

_INVALID: Any = object()
"""Stands for a value that could not be structured; the problem is recorded."""
_UNKNOWN = "unknown option"
"""Stands for the message about an option that there is not, until it is known which options there are elsewhere."""

logger = logging.getLogger(__name__)


class ComponentSource(Protocol):
    """The place where the names of components are looked up: a `dp_core.registry.Registry`."""

    def resolve(self, kind: str, name: str) -> Component:
        """Return the component that a config means by ``name``, or raise a `PluginError`."""

    def components(self, kind: str | None = None) -> list[Component]:
        """Return the components of ``kind``."""


def structure_run(registry: ComponentSource, data: Mapping[str, Any], source: str) -> WorkspaceConfig:
    """Turn a composed config into the typed config of its workspace. Logs what its blocks advise against.

    Raises:
        ConfigError: with all problems.
    """
    structurer = _Structurer(registry)
    config = structurer.workspace(data)
    structurer.judge(config, "", (), is_whole=True)
    structurer.judge_callbacks(config)
    structurer.report(source, {"": config})
    return typing.cast(WorkspaceConfig, config)


def structure_block(registry: ComponentSource, kind: str, block: Any, runtime: Mapping[str, Any] | None = None) -> Slot:
    """Turn one config block into a `Slot`, and log what its rules advise against.

    Args:
        runtime: values that rules may ask for besides the block's own, by name.

    Raises:
        ConfigError: with all problems.
    """
    structurer = _Structurer(registry)
    chosen = structurer.slot(kind, block, "")
    structurer.judge(chosen, "", (types.SimpleNamespace(**(runtime or {})),))
    structurer.report(f"{kind} {_name_of(block)}".strip(), {"": chosen})
    return typing.cast(Slot, chosen)


def structure_parts(
    registry: ComponentSource, data: Mapping[str, Any], kinds: Iterable[str], source: str
) -> dict[str, Slot]:
    """Turn some blocks of a composed run config into slots, by kind, and log what they advise against.

    The other blocks are left alone: they may belong to plugins that are not installed.

    Raises:
        ConfigError: with all problems.
    """
    structurer = _Structurer(registry)
    parts = {kind: structurer.slot(kind, data.get(kind), kind) for kind in kinds}
    for kind, part in parts.items():
        structurer.judge(part, kind, (types.SimpleNamespace(**without_marks(dict(data))),))
    structurer.report(source, parts)
    return parts


class _Structurer:
    def __init__(self, registry: ComponentSource) -> None:
        self.registry = registry
        self.problems: list[Problem] = []
        self.advice: list[Problem] = []
        self._unknown: dict[str, tuple[str, list[str]]] = {}
        """By its path, an unknown option, and those that there are in its place."""
        self._renamed: dict[str, str] = {}
        """By the path that an option had in an earlier version, its name today."""
        self._origins: dict[str, str] = {}
        """Variables that values come from, by the path of the option that they are for."""
        self._unsound: dict[int, tuple[Any, set[str]]] = {}
        """By id: a config object (kept, so that no other gets its id), and its options that something is wrong with."""

    # -- first pass: types ----------------------------------------------------------------------------------------

    def workspace(self, data: Mapping[str, Any]) -> Any:
        name = data.get("workspace")
        if not isinstance(name, str):
            found = "required, but missing" if name is None else f"expected a name, got {name!r}"
            return self._fail("workspace", f"{found}; the usual one is 'workspace: train'")
        try:
            component = self.registry.resolve("workspace", name)
        except PluginError as error:
            return self._fail("workspace", str(error))
        options = {key: value for key, value in data.items() if key != "workspace"}
        return self.component_options(component, options, "")

    def slot(self, kind: str, block: Any, path: str) -> Any:
        if isinstance(block, str):
            block = {"name": block}
        if not isinstance(block, Mapping):
            return self._fail(path, f"expected the name of a component of kind {kind} or a mapping, got {show(block)}")
        name = block.get("name")
        if not isinstance(name, str):
            found = "is missing" if name is None else f"must be a string, got {name!r}"
            known = ", ".join(c.name for c in self.registry.components(kind))
            return self._fail(
                join_path(path, "name"), f"{found}; it chooses the {kind}: {known or 'none is installed'}"
            )
        try:
            component = self.registry.resolve(kind, name)
        except PluginError as error:
            return self._fail(join_path(path, "name"), str(error))
        options = {key: value for key, value in block.items() if key != "name"}
        return Slot(component, self.component_options(component, options, path))

    def component_options(self, component: Component, options: Mapping[str, Any], path: str) -> Any:
        self._renamed |= {join_path(path, former): today for former, today in component.renamed.items()}
        if component.kind != "workspace":
            return self.options(component.config, options, path)
        if not issubclass(component.config, WorkspaceConfig):
            return self._fail(join_path(path, "workspace"), f"{component.config.__name__} must extend WorkspaceConfig")
        return self.options(component.config, options, path, given={"workspace": component})

    def options(self, cls: type, data: Any, path: str, given: Mapping[str, Any] | None = None) -> Any:
        """An instance of the attrs class ``cls``; ``given`` are options that are already structured."""
        if not isinstance(data, Mapping):
            return self._fail(path, f"expected a mapping of options, got {show(data)}")
        fields = attrs.fields_dict(cls)
        hints = typing.get_type_hints(cls)
        settable = [name for name in fields if name not in (given or {})]
        for key in data:
            if key not in settable:
                self._unknown[join_path(path, str(key))] = (str(key), settable)
                self._fail(join_path(path, str(key)), _UNKNOWN)
        values: dict[str, Any] = dict(given or {})
        unsound: set[str] = set()
        for name in settable:
            value = self._option(fields[name], hints[name], data, join_path(path, name))
            if value is _INVALID:
                unsound.add(name)
                value = None  # nobody looks at it
            values[name] = value
        with attrs.validators.disabled():
            config = cls(**values)
        unsound |= set(self._validate(config, path, skip=unsound))
        self._unsound[id(config)] = (config, unsound)
        return config

    def _is_sound(self, config: Any, name: str | None = None) -> bool:
        _, unsound = self._unsound.get(id(config), (None, set()))
        is_option = attrs.has(type(config)) and name in attrs.fields_dict(type(config))
        return name not in unsound if is_option else not unsound  # a property can depend on every option

    def _option(self, field: Any, hint: Any, data: Mapping[str, Any], path: str) -> Any:
        if field.name in data and data[field.name] != "???":
            return self._typed(hint, data[field.name], path, field.metadata.get(SLOT))
        if field.default is attrs.NOTHING:
            return self._fail(path, "required, but missing")
        return self._default(field, hint, path)

    def _default(self, field: Any, hint: Any, path: str) -> Any:
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            return default.factory()
        # A slot declares its default as a block.
        return self._typed(hint, default, path, field.metadata[SLOT]) if SLOT in field.metadata else default

    def _validate(self, config: Any, path: str, skip: set[str]) -> Iterator[str]:
        for field in attrs.fields(type(config)):
            if field.validator is None or field.name in skip:
                continue
            try:
                field.validator(config, field, getattr(config, field.name))
            except (ValueError, TypeError) as error:
                # Those of attrs begin with the name, which the path says already.
                message = str(error.args[0] if error.args else error).removeprefix(f"'{field.name}' ")
                self._fail(join_path(path, field.name), message)
                yield field.name

    def _typed(self, hint: Any, value: Any, path: str, kind: str | None) -> Any:
        if isinstance(value, FromEnvironment):
            return self._from_environment(hint, value, path, kind)
        origin, args = get_origin(hint), get_args(hint)
        if hint is Any:
            return without_marks(value)
        if origin in (Union, types.UnionType):
            return self._union(args, value, path, kind)
        if hint is Slot:
            assert kind is not None, f"{path}: annotate places for components with slot(kind)"
            return self.slot(kind, value, path)
        if origin is Literal:
            is_choice = any(value == arg and type(value) is type(arg) for arg in args)
            return value if is_choice else self._fail(path, not_one_of(value, args))
        if origin in (list, tuple):
            return self._sequence(origin, args, value, path, kind)
        if origin in (dict, Mapping) or hint is dict:
            return self._mapping(args, value, path, kind)
        if attrs.has(hint):
            return self.options(hint, value, path)
        return self._scalar(hint, value, path)

    def _from_environment(self, hint: Any, value: FromEnvironment, path: str, kind: str | None) -> Any:
        """Read a value as text where the option takes text, else as YAML."""
        self._origins[path] = value.origin
        mark = len(self.problems)
        structured = _INVALID if hint is Any else self._typed(hint, str(value), path, kind)
        if structured is not _INVALID:
            return structured
        del self.problems[mark:]
        return self._typed(hint, value.reading, path, kind)

    def _union(self, args: tuple[Any, ...], value: Any, path: str, kind: str | None) -> Any:
        if value is None and type(None) in args:
            return None
        choices = [arg for arg in args if arg is not type(None)]
        if len(choices) == 1:
            return self._typed(choices[0], value, path, kind)
        # Several real alternatives: the first that fits. If none does, the problems of the first that is of the right
        # kind and has something wrong inside say more than that none fits.
        inside: list[Problem] = []
        for choice in choices:
            mark = len(self.problems)
            structured = self._typed(choice, value, path, kind)
            if len(self.problems) == mark:
                return structured
            found = self.problems[mark:]
            del self.problems[mark:]
            if not inside and all(problem.path != path for problem in found):
                inside = found
        if inside:
            self.problems += inside
            return _INVALID
        return self._fail(path, f"expected {' or '.join(describe(arg) for arg in args)}, got {show(value)}")

    def _sequence(self, origin: type, args: tuple[Any, ...], value: Any, path: str, kind: str | None) -> Any:
        if not isinstance(value, list | tuple):
            return self._fail(path, f"expected a list, got {show(value)}")
        if origin is tuple and args[-1] is not Ellipsis:
            if len(value) != len(args):
                return self._fail(path, f"expected {len(args)} values, got {len(value)}")
            hints = list(args)
        else:
            hints = [args[0]] * len(value)
        items = [
            self._typed(item_hint, item, join_path(path, f"[{index}]"), kind)
            for index, (item_hint, item) in enumerate(zip(hints, value, strict=True))
        ]
        return _INVALID if any(item is _INVALID for item in items) else origin(items)

    def _mapping(self, args: tuple[Any, ...], value: Any, path: str, kind: str | None) -> Any:
        if not isinstance(value, Mapping):
            return self._fail(path, f"expected a mapping, got {show(value)}")
        if not args:
            return without_marks(dict(value))
        if keys := [key for key in value if type(key) is not args[0]]:
            return self._fail(path, f"the key {show(keys[0])} is not {describe(args[0])}")
        items = {}
        for key, item in value.items():
            if kind is not None and item is None:
                continue  # null removes an entry that a fragment put there
            items[key] = self._typed(args[1], item, join_path(path, key), kind)
        return _INVALID if any(item is _INVALID for item in items.values()) else items

    def _scalar(self, hint: Any, value: Any, path: str) -> Any:
        if hint is Path and isinstance(value, str | Path):
            return Path(value)
        if hint is float and type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                return self._fail(path, "expected a number, got a whole number beyond 1e308")
        if type(value) is hint:
            return value
        return self._fail(path, f"expected {describe(hint)}, got {show(value)}")

    def _fail(self, path: str, message: str) -> Any:
        if path in self._origins:
            message += f" (from {self._origins[path]})"
        self.problems.append(Problem(path, message))
        return _INVALID

    # -- second pass: rules across options ------------------------------------------------------------------------
    #
    # `judge` walks the tree from the outside in, and asks each block for its `check`, then for its `advise`. The names
    # of a rule's parameters say what it asks for: an option or a property of the innermost block around it that has
    # one of this name (`horizon`, `dataset`), or a value that is known beside the config (`shape_meta` at run time).
    # What no block has takes the parameter's default; without one, the rule is a mistake of the plugin, unless not all
    # of the config is there or the name is in USUAL_CONTEXT: then the rule is not asked. Nor is it asked if an option
    # of its own block, or what it asks for, was found wrong in the first pass or by a rule further out: one mistake is
    # to be reported once, and a rule never sees a value of the wrong type. So `advise` is silent where `check` was not,
    # and its texts are logged only if the whole config is sound.

    def judge(self, node: Any, path: str, scopes: tuple[Any, ...], *, owner: str = "", is_whole: bool = False) -> None:
        """Ask ``node`` and everything below it.

        Args:
            scopes: the enclosing blocks, innermost first.
            owner: whose options they are, for messages.
            is_whole: ``scopes`` lack none, so that what no block has is not there.
        """
        owner = owner_of(node) or owner
        if isinstance(node, Slot):
            node = node.config
        if is_options(node):
            self._judge_one(node, path, scopes, owner, is_whole)
            scopes = (node, *scopes)
        for name, child in children(node):
            if self._is_sound(node, name):
                self.judge(child, join_path(path, name), scopes, owner=owner, is_whole=is_whole)

    def judge_callbacks(self, config: Any) -> None:
        """Ask whether the workspace of a whole config has what its callbacks need."""
        if isinstance(config, WorkspaceConfig) and self._is_sound(config, "callbacks"):
            for key, message in unmet_needs(config):
                self._fail(join_path("callbacks", key), message)

    def report(self, source: str, structured: Mapping[str, Any]) -> None:
        """End both passes.

        Args:
            structured: what they made, by its path.

        Raises:
            ConfigError: with all problems. There is no advice then.
        """
        if self.problems:
            there = [path for start, node in structured.items() for path in option_paths(node, start)]
            raise ConfigError(source, [self._worded(problem, there) for problem in self.problems])
        for advice in self.advice:
            logger.warning("%s: %s", source, advice)

    def _worded(self, problem: Problem, there: list[str]) -> Problem:
        if problem.message != _UNKNOWN:
            return problem
        if problem.path in self._renamed:
            return Problem(problem.path, f"unknown option; it was renamed '{self._renamed[problem.path]}'")
        return Problem(problem.path, unknown_option(*self._unknown[problem.path], there))

    def _judge_one(self, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool) -> None:
        for name, message in self._answers("check", config, path, scopes, owner, is_whole):
            self._fail(join_path(path, name), message)
            self._unsound.setdefault(id(config), (config, set()))[1].add(name.partition(".")[0])
        for name, message in self._answers("advise", config, path, scopes, owner, is_whole):
            self.advice.append(Problem(join_path(path, name), message))

    def _answers(
        self, rule: str, config: Any, path: str, scopes: tuple[Any, ...], owner: str, is_whole: bool
    ) -> list[tuple[str, str]]:
        """Ask a method of `RULES` about ``config``, unless it has none, or what it looks at is not sound."""
        if not hasattr(type(config), rule) or not self._is_sound(config):
            return []
        arguments = {}
        for name, parameter in questions(type(config), rule).items():
            block = next((scope for scope in scopes if hasattr(scope, name)), None)
            if block is None and parameter.default is not parameter.empty:
                continue  # a rule about a block that need not be there
            if block is None and is_whole and name not in USUAL_CONTEXT:
                self._fail(path, f"{method_label(config, rule, owner)} {no_answer(name, map(type, scopes))}")
            if block is None or not self._is_sound(block, name):
                return []
            arguments[name] = getattr(block, name)
        return reports(config, rule, owner, **arguments)


def _name_of(block: Any) -> str:
    name = block.get("name") if isinstance(block, Mapping) else block
    return f"'{name}'" if isinstance(name, str) else ""
