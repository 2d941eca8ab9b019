"""Turns a plain mapping into a tree of typed options, and reports everything that is wrong at once.

Two passes. The first, here, gives every value its declared type. The second, in `dp_core.config.judge`, asks the config
classes about rules across options and components.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from dp_core.component import Component
from dp_core.config.env_variables import FromEnvironment, without_marks
from dp_core.config.fields import SLOT, Slot
from dp_core.config.findings import INVALID, Findings
from dp_core.config.judge import Judge
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.task import ComponentSource, ShapeMeta, TaskReader
from dp_core.config.wording import describe, join_path, missing_space, name_of, not_one_of, show
from dp_core.errors import PluginError, Problem


def structure_run(
    registry: ComponentSource, data: Mapping[str, Any], source: str, idle: Container[str] = ()
) -> WorkspaceConfig:
    """Turn a composed config into the typed config of its workspace. Logs what its blocks advise against.

    Args:
        idle: the dotted paths of each ``null`` that is known to take nothing away.

    Raises:
        ConfigError: with all problems.
    """
    findings = Findings(idle)
    config = _Structurer(registry, findings).workspace(data)
    judge = Judge(findings, registry)
    judge.judge(config, "", (), is_whole=True)
    judge.judge_callbacks(config)
    findings.report(source, {"": config})
    return typing.cast(WorkspaceConfig, config)


def structure_block(registry: ComponentSource, kind: str, block: Any, runtime: Mapping[str, Any] | None = None) -> Slot:
    """Turn one config block into a `Slot`, and log what its rules advise against.

    Args:
        runtime: values that rules may ask for besides the block's own, by name.

    Raises:
        ConfigError: with all problems.
    """
    findings = Findings()
    chosen = _Structurer(registry, findings).slot(kind, block, "")
    Judge(findings, registry).judge(chosen, "", (types.SimpleNamespace(**(runtime or {})),))
    findings.report(f"{kind} {name_of(block)}".strip(), {"": chosen})
    return typing.cast(Slot, chosen)


def structure_parts(
    registry: ComponentSource, data: Mapping[str, Any], kinds: Iterable[str], source: str
) -> dict[str, Slot]:
    """Turn some blocks of a composed run config into slots, by kind, and log what they advise against.

    The other blocks are left alone: they may belong to plugins that are not installed.

    Raises:
        ConfigError: with all problems.
    """
    findings = Findings()
    structurer, judge = _Structurer(registry, findings), Judge(findings, registry)
    parts = {kind: structurer.slot(kind, data.get(kind), kind) for kind in kinds}
    for kind, part in parts.items():
        judge.judge(part, kind, (types.SimpleNamespace(**without_marks(dict(data))),))
    findings.report(source, parts)
    return parts


def structure_task(registry: ComponentSource, value: Any, source: str) -> ShapeMeta:
    """Turn plain containers into a `ShapeMeta`, and log what the rules of its modalities advise against.

    Raises:
        ConfigError: with all problems.
    """
    findings = Findings()
    task = _Structurer(registry, findings).task(value, "")
    findings.report(source, {})
    return typing.cast(ShapeMeta, task)


class _Structurer:
    """The first pass."""

    def __init__(self, registry: ComponentSource, findings: Findings) -> None:
        self.registry = registry
        self.findings = findings
        self._fail = findings.fail

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
            if glued := [missing_space(key) for key in block if str(key).startswith("name:")]:
                return self._fail(join_path(path, "name"), f"{found}; {glued[0]}")
            known = ", ".join(c.name for c in self.registry.components(kind))
            return self._fail(
                join_path(path, "name"), f"{found}; it chooses the {kind}: {known or 'none is installed'}"
            )
        try:
            component = self.registry.resolve(kind, name)
        except PluginError as error:
            return self._fail(join_path(path, "name"), str(error))
        options = {key: value for key, value in block.items() if key != "name"}
        return Slot(component, self.component_options(component, options, path), path)

    def component_options(self, component: Component, options: Mapping[str, Any], path: str) -> Any:
        self.findings.renamed |= {join_path(path, former): today for former, today in component.renamed.items()}
        if component.kind != "workspace":
            return self.options(component.config, options, path)
        if not issubclass(component.config, WorkspaceConfig):
            return self._fail(join_path(path, "workspace"), f"{component.config.__name__} must extend WorkspaceConfig")
        return self.options(component.config, options, path, given={"workspace": component})

    def task(self, value: Any, path: str) -> Any:
        mark, findings = len(self.findings.problems), self.findings
        task = TaskReader(
            self.registry,
            self.component_options,
            findings.is_sound,
            findings.fail,
            findings.advise,
            findings.removes,
        )
        read = task.read(value, path)
        return read if len(findings.problems) == mark else INVALID

    def options(self, cls: type, data: Any, path: str, given: Mapping[str, Any] | None = None) -> Any:
        """An instance of the attrs class ``cls``; ``given`` are options that are already structured."""
        if not isinstance(data, Mapping):
            return self._fail(path, f"expected a mapping of options, got {show(data)}")
        fields = attrs.fields_dict(cls)
        hints = typing.get_type_hints(cls)
        settable = [name for name in fields if name not in (given or {})]
        for key in data:
            if key not in settable:
                self.findings.unknown_option(join_path(path, str(key)), str(key), settable)
        values: dict[str, Any] = dict(given or {})
        unsound: set[str] = set()
        for name in settable:
            value = self._option(fields[name], hints[name], data, join_path(path, name))
            if value is INVALID:
                unsound.add(name)
                value = None  # nobody looks at it
            values[name] = value
        with attrs.validators.disabled():
            config = cls(**values)
        unsound |= set(self._validate(config, path, skip=unsound))
        self.findings.mark_unsound(config, *unsound)
        return config

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
        if hint is ShapeMeta:
            return self.task(value, path)
        if attrs.has(hint):
            return self.options(hint, value, path)
        return self._scalar(hint, value, path)

    def _from_environment(self, hint: Any, value: FromEnvironment, path: str, kind: str | None) -> Any:
        """Read a value as text where the option takes text, else as YAML."""
        self.findings.origins[path] = value.origin
        mark = len(self.findings.problems)
        structured = INVALID if hint is Any else self._typed(hint, str(value), path, kind)
        if structured is not INVALID:
            return structured
        del self.findings.problems[mark:]
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
            mark = len(self.findings.problems)
            structured = self._typed(choice, value, path, kind)
            if len(self.findings.problems) == mark:
                return structured
            found = self.findings.problems[mark:]
            del self.findings.problems[mark:]
            if not inside and all(problem.path != path for problem in found):
                inside = found
        if inside:
            self.findings.problems += inside
            return INVALID
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
        return INVALID if any(item is INVALID for item in items) else origin(items)

    def _mapping(self, args: tuple[Any, ...], value: Any, path: str, kind: str | None) -> Any:
        if not isinstance(value, Mapping):
            return self._fail(path, f"expected a mapping, got {show(value)}")
        if not args:
            return without_marks(dict(value))
        if keys := [key for key in value if type(key) is not args[0]]:
            return self._fail(path, f"the key {show(keys[0])} is not {describe(args[0])}")
        items: dict[Any, Any] = {}
        there = [str(key) for key, item in value.items() if item is not None]
        for key, item in value.items():
            if item is None and (kind is not None or attrs.has(args[1])) and not missing_space(key):
                if not self.findings.removes(join_path(path, str(key)), str(key), there):
                    items[key] = INVALID
                continue  # null removes an entry that a fragment put there
            items[key] = self._typed(args[1], item, join_path(path, key), kind)
        return INVALID if any(item is INVALID for item in items.values()) else items

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
