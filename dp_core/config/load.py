"""`load_config`: a config file and overrides to a checked, typed config, and back to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dp_core.config.compose import compose, parse_override
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.structure import components_of, structure_run, unstructure
from dp_core.errors import ConfigError, Problem
from dp_core.noise_process import keep_process
from dp_core.registry import Registry


def load_config(registry: Registry, path: str | Path, overrides: Sequence[str] = ()) -> WorkspaceConfig:
    """Compose, structure and check. Imports no component.

    Raises:
        ConfigError: everything that is wrong, each with its dotted path.
    """
    return _structure(registry, compose(path, overrides), path, overrides)


def load_resumed_config(registry: Registry, path: str | Path, overrides: Sequence[str]) -> WorkspaceConfig:
    """As `load_config`, for a run that goes on with the weights it has: its schedulers keep the noise process.

    Raises:
        ConfigError: as there, and where an override asks for another process.
    """
    former = load_config(registry, path)
    kinds = {here: component.kind for here, component in components_of(former)}
    data = keep_process(registry, unstructure(former), kinds, compose(path, overrides), str(path))
    return _structure(registry, data, path, overrides)


def _structure(registry: Registry, data: dict[str, Any], path: str | Path, overrides: Sequence[str]) -> WorkspaceConfig:
    data.setdefault("run_name", Path(path).stem)
    try:
        return structure_run(registry, data, str(path))
    except ConfigError as error:
        given = [leaf for override in overrides for leaf in _leaves(parse_override(override))]
        raise ConfigError(error.source, [_with_origin(problem, given) for problem in error.problems]) from error


def dump_config(config: Any) -> str:
    """The complete config as YAML: defaults filled in, interpolations resolved, names qualified."""
    return OmegaConf.to_yaml(OmegaConf.create(unstructure(config)))


def save_config(config: WorkspaceConfig, path: Path) -> None:
    """Write `dump_config`; reading the file gives the same config again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(dump_config(config), encoding="utf-8")
    temporary.replace(path)


def _with_origin(problem: Problem, given: Iterable[str]) -> Problem:
    if any(problem.path == key or problem.path.startswith((f"{key}.", f"{key}[")) for key in given):
        return Problem(problem.path, f"{problem.message} (from the command line)")
    return problem


def _leaves(data: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of the values in nested mappings."""
    if not isinstance(data, Mapping) or not data:
        yield path
        return
    for key, value in data.items():
        yield from _leaves(value, f"{path}.{key}".lstrip("."))
