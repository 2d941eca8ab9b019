"""From a YAML file and overrides to one plain, resolved mapping: `extends`, merge, interpolation. Checks no option."""

from __future__ import annotations

import datetime
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from dp_core.config.env_variables import FromEnvironment
from dp_core.config.presets import Presets
from dp_core.errors import ConfigError, InputError, Problem, did_you_mean, quoted

DROP = "~"
"""What an override begins with that drops an option."""
RESOLVERS = ("oc.env", "dp.now")
"""The only functions that ``${...}`` may call: none of them runs code from a config."""

_INTERPOLATION = re.compile(r"\$\{([^:{}]*)([:{}]?)")
_FROM_ENVIRONMENT = re.compile(
    r"\$\{\s*oc\.env\s*:\s*(?P<variable>[^\s,:{}'\"]+)\s*(?:,(?P<default>[^{}]*|\s*\$\{[^{}]*\}\s*))?\}"
)
"""A value that is nothing but a question to the environment."""
_NOW = re.compile(r"\$\{\s*dp\.now\s*:([^{}]*)\}")
_NOW_FORMAT = "%Y-%m-%d_%H-%M-%S"


Upgrade = Callable[[dict[str, Any], Path], dict[str, Any]]
"""Makes of what a file says what it has to say today, before anything is merged over it."""


def compose(path: str | Path, overrides: Sequence[str] = (), presets: Presets | None = None) -> dict[str, Any]:
    """Read a config with everything it extends, apply overrides and resolve interpolations.

    Mappings merge; lists and scalars replace; a block whose ``name`` changes is replaced whole, so that no option of
    the former component stays behind.

    Args:
        path: of a file, or the name of a preset; so are those in ``extends``, from the folder of their file.
        presets: the configs that have names, see `Registry.presets`; by default, those of dp-core alone.

    Raises:
        ConfigError: a file that cannot be read, an override that is none, an interpolation without a value.
    """
    return resolve(apply_overrides(read_config(path, presets), overrides), str(path))


class Removals:
    """Notes what ``null`` takes away while configs are merged, to tell which of it takes nothing away."""

    def __init__(self) -> None:
        self._removed: set[str] = set()

    def note(self, base: Any, update: Any, path: str = "") -> None:
        """Note what is in ``base`` and ``null`` in ``update``, which is about to be merged over it."""
        if base is not None and update is None:
            self._removed.add(path)
        elif isinstance(base, Mapping) and isinstance(update, Mapping):
            for key in base.keys() & update.keys():
                self.note(base[key], update[key], f"{path}.{key}".lstrip("."))

    def idle(self, data: Any) -> frozenset[str]:
        """Return the dotted paths of what is ``null`` in ``data``, the result, and never was anything else."""
        return frozenset(path for path, value in _places(data) if value is None and path not in self._removed)


def read_config(
    path: str | Path,
    presets: Presets | None = None,
    upgrade: Upgrade | None = None,
    removals: Removals | None = None,
) -> dict[str, Any]:
    """Read a config with everything it extends; interpolations stay as they are.

    Args:
        path, presets: as in `compose`.
        upgrade: called with the content of each file.
        removals: told what the files take away from each other.

    Raises:
        ConfigError: a file that cannot be read.
    """
    return _Reader(presets or Presets(), upgrade, removals or Removals()).read(path, Path(), ())


def apply_overrides(data: Any, overrides: Sequence[str], removals: Removals | None = None) -> Any:
    """Merge every ``key=value`` over ``data``, drop every ``~key`` from it, in order, and return the result.

    Args:
        removals: told what is taken away by ``key=null``.

    Raises:
        ConfigError: one of them is not of this form, or there is nothing to drop.
        InputError: they are a single string, whose letters would be taken for overrides.
    """
    if isinstance(overrides, str):
        raise InputError(f"overrides: expected a list, got a string; write ['{overrides}']")
    for override in overrides:
        if override.startswith(DROP):
            data = _without(data, _dropped_key(override).split("."), [path for path, _ in _places(data)])
            continue
        update = parse_override(override)
        if removals is not None:
            removals.note(data, update)
        data = merge(data, update)
    return data


def override_paths(override: str) -> list[str]:
    """Return the dotted paths of what an override sets or drops.

    Raises:
        ConfigError: it is none.
    """
    return [_dropped_key(override)] if override.startswith(DROP) else list(leaves(parse_override(override)))


def paths_set(override: str, data: Any) -> list[str]:
    """Return the `override_paths` of what an override sets in ``data``, the result of all of them.

    ``{}`` sets nothing where something is: mappings merge.
    """
    if override.startswith(DROP):
        return override_paths(override)
    there, given = dict(_places(data)), dict(_places(parse_override(override)))
    return [path for path in override_paths(override) if given[path] != {} or not there.get(path)]


def _dropped_key(override: str) -> str:
    key = override.removeprefix(DROP)
    if not _is_key(key):
        message = f"'{override}' drops no option; write {DROP}key, such as {DROP}policy.encoder.pool"
        raise ConfigError("the command line", [Problem("", message)])
    return key


def _without(data: Any, keys: Sequence[str], places: list[str], path: str = "") -> dict[str, Any]:
    """Return ``data`` without what is at ``keys``, one inside of the other; ``places`` are those that there are."""
    key, *inside = keys
    here, options = f"{path}.{key}".lstrip("."), data if isinstance(data, Mapping) else {}
    if key not in options:
        same = [place for place in places if place.rpartition(".")[2] == keys[-1]]
        hint = f"did you mean {quoted(same[:3], ' or ')}?" if same else did_you_mean(key, options, "leave it out")
        raise ConfigError("the command line", [Problem(here, f"is not set, so that nothing can be dropped; {hint}")])
    if inside:
        return {**options, key: _without(options[key], inside, places, here)}
    return {name: value for name, value in options.items() if name != key}


def _places(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in nested mappings, and the mappings, each after its dotted path."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        here = f"{path}.{key}".lstrip(".")
        yield here, value
        yield from _places(value, here)


def parse_override(text: str) -> dict[str, Any]:
    """Turn ``a.b=[1, 2]`` into ``{"a": {"b": [1, 2]}}``; values are YAML.

    Raises:
        ConfigError: it is not of this form, or the value is not YAML.
    """
    key, separator, _ = text.partition("=")
    if not separator or not _is_key(key):
        raise ConfigError("the command line", [Problem("", f"'{text}' is not an override; write key=value")])
    try:
        return _plain(OmegaConf.from_dotlist([text]))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:  # the last, of a number with too many digits
        message = f"the value of '{text}' is not YAML: {_reason(error)}"
        raise ConfigError("the command line", [Problem(key, message)]) from error


def _is_key(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_][\w.-]*", text)) and ".." not in text and not text.endswith(".")


def leaves(data: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted paths of the values in nested mappings."""
    if not isinstance(data, Mapping) or not data:
        yield path
        return
    for key, value in data.items():
        yield from leaves(value, f"{path}.{key}".lstrip("."))


def merge(base: Any, update: Any) -> Any:
    """Return ``update`` merged over ``base`` by the rule of `compose`; neither is changed."""
    if isinstance(base, Mapping) and "name" in base and isinstance(update, str):
        update = {"name": update}  # the short form of a block
    if isinstance(base, str) and isinstance(update, Mapping) and "name" not in update:
        base = {"name": base}
    if not (isinstance(base, Mapping) and isinstance(update, Mapping)):
        return update
    if "name" in update and "name" in base:
        if not _is_same_component(update["name"], base["name"]):
            return dict(update)
        update = {**update, "name": base["name"]}
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in update.items()}}


def _is_same_component(name: Any, former: Any) -> bool:
    # Resolved configs hold qualified names: `ddpm` on the command line means their `dp-core/ddpm`.
    return name == former or (isinstance(former, str) and former.endswith(f"/{name}"))


def resolve(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Replace every ``${...}`` by its value, and one that is nothing but an environment variable by `FromEnvironment`.

    Raises:
        ConfigError: an interpolation is not allowed or has no value.
    """
    if problems := list(_forbidden_interpolations(data)):
        raise ConfigError(source, problems)
    environment = _Environment()
    try:
        now = datetime.datetime.now().astimezone()
        config = OmegaConf.create(environment.hide(_fill_in_now(data, now)))
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "")
        raise ConfigError(source, [Problem(key, _reason(error))]) from error
    resolved: dict[str, Any] = environment.show(_plain(config))
    return resolved


@attrs.frozen
class _Reader:
    """Reads a file with everything it extends, as `read_config` describes."""

    presets: Presets
    upgrade: Upgrade | None
    removals: Removals

    def read(self, text: str | Path, folder: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
        path = self.presets.find(text, folder)
        if not path.is_file():
            by = f", which {chain[-1].name} extends" if chain else ""
            raise ConfigError(str(path), [Problem("", self.presets.why_not_found(text, by))])
        resolved = path.resolve()
        if resolved in chain:
            names = " -> ".join(p.name for p in (*chain, resolved))
            raise ConfigError(str(path), [Problem("extends", f"goes round in a circle: {names}")])
        data = _read(path)
        parents = data.pop("extends", [])
        if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
            raise ConfigError(str(path), [Problem("extends", f"expected a list of files, got {parents!r}")])
        merged: dict[str, Any] = {}
        for parent in parents:
            merged = self._merged(merged, self.read(parent, path.parent, (*chain, resolved)))
        return self._merged(merged, data if self.upgrade is None else self.upgrade(data, path))

    def _merged(self, base: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
        self.removals.note(base, update)
        merged: dict[str, Any] = merge(base, update)
        return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        config = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, ValueError, OSError) as error:
        hint = "; that is a tab: indent with spaces" if _is_at_tab(error, path) else ""
        raise ConfigError(str(path), [Problem("", f"not valid YAML: {' '.join(str(error).split())}{hint}")]) from error
    data = _plain(config)
    if not isinstance(data, dict):
        raise ConfigError(str(path), [Problem("", "expected a mapping of options at the top")])
    return data


def _is_at_tab(error: Exception, path: Path) -> bool:
    """Whether what YAML stumbled over is a tab, which its messages do not say."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return False
    lines = [*path.read_text(encoding="utf-8").split("\n"), ""]
    return lines[min(error.problem_mark.line, len(lines) - 1)].startswith("\t", error.problem_mark.column)


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def _forbidden_interpolations(node: Any, path: str = "") -> Iterator[Problem]:
    """Calls of other resolvers, which somebody else in this process may have registered, `eval` included."""
    for key, value in _items(node):
        yield from _forbidden_interpolations(value, path + key)
    for name, end in _INTERPOLATION.findall(node) if isinstance(node, str) else []:
        where = path.lstrip(".")
        if end == "{":
            yield Problem(where, f"'${{{name}{{...' is not allowed; a name must not be made of other names")
        elif end == ":" and name.strip() not in RESOLVERS:
            yield Problem(where, f"'${{{name}:...}}' is not allowed; the resolvers are {', '.join(RESOLVERS)}")


def _items(node: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return ((f".{key}", value) for key, value in node.items())
    if isinstance(node, list | tuple):
        return ((f"[{index}]", value) for index, value in enumerate(node))
    return ()


class _Environment:
    """Marks values of the environment, so that one is known wherever names lead to it: in ``${training.seed}``, too.

    While OmegaConf resolves, which knows strings only, a word that is in no config stands for each.
    """

    def __init__(self) -> None:
        self._values: dict[str, FromEnvironment] = {}
        self._word = uuid.uuid4().hex

    def hide(self, node: Any) -> Any:
        """Put words in the place of questions to the environment. What has no value is left for OmegaConf to report."""
        if isinstance(node, Mapping):
            return {key: self.hide(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [self.hide(value) for value in node]
        if not isinstance(node, str) or (match := _FROM_ENVIRONMENT.fullmatch(node)) is None:
            return node
        origin, default = f"the environment variable {match['variable']}", match["default"]
        if (text := os.environ.get(match["variable"])) is not None:
            return self._word_for(text, origin)
        if default is None:
            return node
        if "${" in default:
            return self.hide(default.strip())  # perhaps of another variable
        text = OmegaConf.select(OmegaConf.create({"default": node}), "default")
        return None if text is None else self._word_for(text, f"the default of {origin}")

    def _word_for(self, text: str, origin: str) -> str:
        word = f"{self._word}.{len(self._values)}."
        self._values[word] = FromEnvironment(text, origin, _as_yaml(text))
        return word

    def show(self, node: Any) -> Any:
        """Put values in the place of words; inside of longer texts, plain text."""
        if isinstance(node, dict):
            return {key: self.show(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.show(value) for value in node]
        if not isinstance(node, str) or self._word not in node:
            return node
        if node in self._values:
            return self._values[node]
        for word, value in self._values.items():
            node = node.replace(word, value)
        return node


def _as_yaml(text: str) -> Any:
    """Read ``text`` as the command line reads it in ``key=text``; text that is not YAML is itself.

    Except that zeros in front, as in numbers of jobs, do not make a number octal.
    """
    text = re.sub(r"^([+-]?)0+(?=\d+$)", r"\1", text)
    try:
        return parse_override(f"value={text}")["value"]
    except ConfigError:
        return text


def _fill_in_now(node: Any, now: datetime.datetime) -> Any:
    """Replace ``${dp.now:%Y-%m-%d}``. One moment for the whole config, and no resolver registered in OmegaConf."""
    if isinstance(node, Mapping):
        return {key: _fill_in_now(value, now) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_fill_in_now(value, now) for value in node]
    if not isinstance(node, str):
        return node
    return _NOW.sub(lambda match: now.strftime(match[1].strip(" '\"") or _NOW_FORMAT), node)


def _reason(error: Exception) -> str:
    """One line. Where OmegaConf reports what a resolver raised, that."""
    line = str(error).splitlines()[0]
    return re.sub(r'^KeyError raised while resolving interpolation: "(.*)"$', r"\1", line)
