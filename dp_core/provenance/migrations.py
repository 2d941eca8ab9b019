"""Migrations: what an earlier version of a component saved becomes what its version here would have saved. No torch.

A component states them as data (`Component.renamed`, `Component.formerly`) and as functions (`Component.upgrade`,
`Component.upgrade_state`). They are for files that the program wrote: those say by their manifest which version of
which distribution made them. In a config written by hand, nothing is renamed; messages say what a name is today.

Names are data and are read wherever a former one stands. Functions are asked only where the file is older than what is
installed. Parents come before what is plugged into them, so that a child is looked for where it is today.
"""

from __future__ import annotations

import copy
import logging
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

import attrs
from packaging.version import InvalidVersion, Version

from dp_core.component import Component, load_target
from dp_core.config.fields import SLOT, Slot
from dp_core.config.task import ShapeMeta
from dp_core.config.wording import join_path, show
from dp_core.errors import PluginError
from dp_core.provenance.manifest import as_manifest

logger = logging.getLogger(__name__)


@attrs.frozen
class Migrated:
    """A config that names and sets what the components here know."""

    config: dict[str, Any]
    made_with: dict[str, Any]
    """The manifest: ``components`` and ``kinds`` are those of ``config``, the versions are still those of the file."""
    lines: tuple[str, ...]
    """What became of what, one line each."""

    def log(self, source: object) -> None:
        """Log the lines, as they concern the file ``source``."""
        for line in self.lines:
            logger.info("%s: %s", source, line)


def migrate_config(data: Mapping[str, Any], made_with: Any, components: Iterable[Component]) -> Migrated:
    """Bring the options of a saved config to the components that there are.

    Args:
        data: a complete config as a checkpoint or a run directory has it; it is not changed.
        made_with: its manifest, whole or not. Without one, nothing is done.
        components: those that there are. What is of others is left as it is.

    Raises:
        PluginError: an upgrade fails or returns no options; names component, distribution and versions.
    """
    manifest = as_manifest(made_with)
    if not manifest["components"]:
        return Migrated(dict(data), manifest, ())
    walk = _Walk(components, manifest["distributions"])
    config = walk.workspace(copy.deepcopy(dict(data)), manifest["kinds"])
    names = {path: component.qualified_name for path, component in walk.found.items()}
    kinds = {path: component.kind for path, component in walk.found.items()}
    manifest |= {"components": manifest["components"] | names, "kinds": manifest["kinds"] | kinds}
    return Migrated(config, manifest, tuple(walk.lines))


class _Walk:
    """Goes through a config from the outside in, by what the config classes of today declare."""

    def __init__(self, components: Iterable[Component], versions: Mapping[str, str]) -> None:
        self.versions = versions
        self.found: dict[str, Component] = {}
        self.lines: list[str] = []
        self._by_name: dict[tuple[str, str], Component] = {}
        known = list(components)
        for component in known:
            for name in component.formerly:
                self._by_name[component.kind, f"{component.distribution}/{name}"] = component
        # Last: a name that somebody has today is not a former one.
        self._by_name |= {(component.kind, component.qualified_name): component for component in known}

    def workspace(self, data: dict[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
        component = self._by_name.get(("workspace", str(data.get("workspace"))))
        if component is not None:
            options = {key: value for key, value in data.items() if key != "workspace"}
            self.found["workspace"] = component
            return {"workspace": component.qualified_name} | self._options(component, data["workspace"], options, "")
        # A robot may have the policy's package, and not that of the training.
        tasks = {path.partition(".obs.")[0] for path, kind in kinds.items() if kind == "modality"}
        data = {key: self._task(value, key) if key in tasks else value for key, value in data.items()}
        return {key: self._block(kinds[key], value, key) if key in kinds else value for key, value in data.items()}

    def _block(self, kind: str, block: Any, path: str) -> Any:
        # Of a `Slot | Other` the same block may be looked at twice.
        name = block.get("name") if isinstance(block, Mapping) else None
        component = self._by_name.get((kind, str(name)))
        if component is None or path in self.found:
            return block
        options = {key: value for key, value in block.items() if key != "name"}
        self.found[path] = component
        return {"name": component.qualified_name} | self._options(component, str(name), options, path)

    def _task(self, task: Any, path: str) -> Any:
        """Look at the observations of a `ShapeMeta`, each of which is the block of its modality."""
        if not isinstance(task, Mapping) or not isinstance(task.get("obs"), Mapping):
            return task
        observations = {
            key: self._observation(spec, join_path(path, f"obs.{key}")) for key, spec in task["obs"].items()
        }
        return {**task, "obs": observations}

    def _observation(self, spec: Any, path: str) -> Any:
        name = spec.get("type") if isinstance(spec, Mapping) else None
        component = self._by_name.get(("modality", str(name)))
        if component is None:
            return spec
        self.found[join_path(path, "type")] = component
        kept = {key: spec[key] for key in ("shape", "type", "when") if key in spec}  # no modality's options
        # Annotations come along: nobody can tell them from options of an earlier version.
        options = {key: value for key, value in spec.items() if key not in kept}
        return kept | {"type": component.qualified_name} | self._options(component, str(name), options, path)

    def _options(self, component: Component, name: str, options: dict[str, Any], path: str) -> dict[str, Any]:
        if name != component.qualified_name:
            self._note(component, path, f"'{name.rpartition('/')[2]}' is '{component.name}' now")
        for former, today in component.renamed.items():
            if former in options and today not in options:
                options = {today if key == former else key: value for key, value in options.items()}
                self._note(component, path, f"'{former}' is '{today}' now")
        options = self._upgraded(component, options, path)
        return self._children(component.config, options, path)

    def _upgraded(self, component: Component, options: dict[str, Any], path: str) -> dict[str, Any]:
        there = self.versions.get(component.distribution)
        if component.upgrade is None or not is_older(there, component.version):
            return options
        where = f"{path or 'workspace'}: "
        upgraded = _call(component, component.upgrade, copy.deepcopy(options), str(there), where)
        if changes := "; ".join(_changes(options, upgraded)):
            self._note(component, path, changes)
        return upgraded

    def _note(self, component: Component, path: str, text: str) -> None:
        versions = _versions(component, self.versions.get(component.distribution))
        self.lines.append(f"{path or 'workspace'}: {text} ({versions})")

    # -- what is plugged in -------------------------------------------------------------------------------------------

    def _children(self, cls: type, data: Any, path: str) -> Any:
        if not isinstance(data, Mapping):
            return data
        hints, fields = typing.get_type_hints(cls), attrs.fields_dict(cls)
        return {
            key: self._typed(hints[key], value, join_path(path, key), fields[key].metadata.get(SLOT))
            if key in fields
            else value
            for key, value in data.items()
        }

    def _typed(self, hint: Any, value: Any, path: str, kind: str | None) -> Any:
        """Look for blocks in the value of an option, in the way in which `dp_core.config.structure` reads it."""
        origin, args = get_origin(hint), get_args(hint)
        if hint is Slot:
            return value if kind is None else self._block(kind, value, path)
        if hint is ShapeMeta:
            return self._task(value, path)
        if origin in (Union, types.UnionType):
            for arg in args:
                value = self._typed(arg, value, path, kind)
            return value
        if origin in (list, tuple) and args and isinstance(value, list):
            hints = args if len(args) == len(value) and Ellipsis not in args else args[:1] * len(value)
            return [
                self._typed(each, item, join_path(path, f"[{index}]"), kind)
                for index, (each, item) in enumerate(zip(hints, value, strict=True))
            ]
        if origin in (dict, Mapping) and args and isinstance(value, Mapping):
            return {key: self._typed(args[1], item, join_path(path, str(key)), kind) for key, item in value.items()}
        return self._children(hint, value, path) if isinstance(hint, type) and attrs.has(hint) else value


class StateMigration:
    """Brings the states in a checkpoint to the components that they are restored into."""

    def __init__(self, made_with: Mapping[str, Any]) -> None:
        """Remember what wrote the states.

        Args:
            made_with: the manifest, with the components of today as `migrate_config` returns it.
        """
        self.lines: list[str] = []
        """What was done, one line each."""
        self._versions = made_with["distributions"]
        self._known = {(made_with["kinds"].get(path), name) for path, name in made_with["components"].items()}

    def upgrade(self, state: Any, parts: Iterable[tuple[str, Component]], name: str) -> Any:
        """Return ``state`` as the components here would have saved it; not changed itself.

        Args:
            state: of a module or of anything else that can be restored.
            parts: components and the prefixes under which their states lie, parents first; ``""``: the whole.
            name: of the state, for messages.

        Raises:
            PluginError: an upgrade fails or returns no state; names component, distribution and versions.
        """
        for prefix, component in parts:
            was_there = (component.kind, component.qualified_name) in self._known
            is_earlier = is_older(self._versions.get(component.distribution), component.version)
            if component.upgrade_state and was_there and is_earlier and isinstance(state, Mapping):
                state = self._part(state, component.upgrade_state, prefix, component, join_path(name, prefix))
        return state

    def _part(
        self, state: Mapping[str, Any], target: str, prefix: str, component: Component, where: str
    ) -> dict[str, Any]:
        there, start = self._versions[component.distribution], f"{prefix}." if prefix else ""
        own = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
        where = where or "state_dicts"
        upgraded = _call(component, target, dict(own), there, f"{where}: ")
        gone, new = len(own.keys() - upgraded.keys()), len(upgraded.keys() - own.keys())
        changed = sum(upgraded[key] is not own[key] for key in own.keys() & upgraded.keys())
        if gone or new or changed:
            counts = f"{gone} gone, {new} new, {changed} changed"
            self.lines.append(f"{where}: state upgraded: {counts} ({_versions(component, there)})")
        return _replaced(state, start, upgraded)


def _replaced(state: Mapping[str, Any], start: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Put ``part`` where the entries that begin with ``start`` were, so that the order stays that of the modules."""
    entries = {f"{start}{key}": value for key, value in part.items()}
    replaced: dict[str, Any] = {}
    for key, value in state.items():
        replaced |= entries if key.startswith(start) else {key: value}
    return replaced | entries


def is_older(there: str | None, here: str) -> bool:
    """Tell whether the version of a file is older than the one here; False where either is not known."""
    if not there or not here:
        return False
    try:
        return Version(there) < Version(here)
    except InvalidVersion:
        return False


def _call(component: Component, target: str, saved: dict[str, Any], there: str, where: str) -> dict[str, Any]:
    """Ask a function of a plugin for today's form of what a version saved."""
    versions = f"from {there} to {component.version}"
    upgrade = load_target(target, component.label, component.distribution)
    try:
        upgraded = upgrade(saved, there)
    except Exception as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
        raise PluginError(
            f"{where}{component.label} of {component.distribution}: its upgrade {versions} failed: {reason}"
        ) from error
    if not isinstance(upgraded, Mapping):
        raise PluginError(
            f"{where}{component.label} of {component.distribution}: its upgrade {versions} returned {upgraded!r}; "
            f"{target} must return a mapping"
        )
    return dict(upgraded)


def _changes(former: Mapping[str, Any], today: Mapping[str, Any]) -> Iterable[str]:
    yield from (f"'{name}' is gone" for name in former if name not in today)
    for name, value in today.items():
        if name not in former:
            yield f"'{name}' is new, {_short(value)}"
        elif former[name] != value:
            yield f"'{name}' is {_short(value)} now, it was {_short(former[name])}"


def _short(value: Any) -> str:
    return textwrap.shorten(show(value), 60)


def _versions(component: Component, there: str | None) -> str:
    is_other = there is not None and there != component.version
    return f"{component.distribution} {there} -> {component.version}" if is_other else component.distribution
