"""`load_config`: a config file and overrides to a checked, typed config, and back to a file. No torch."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dp_core.atomic import new_folder, numbered, whole_file
from dp_core.config.compose import Removals, apply_overrides, paths_set, read_config, resolve
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.structure import structure_run
from dp_core.config.tree import preflight, unstructure
from dp_core.errors import ConfigError, Problem
from dp_core.provenance.manifest import compare, manifest
from dp_core.provenance.migrations import migrate_config
from dp_core.registry import Registry

RESOLVED_CONFIG = "config.resolved.yaml"
"""The file in a run directory that `save_config` writes."""
MANIFEST = "manifest"
"""The key of a resolved config that holds its manifest, see `dp_core.provenance.manifest`."""


def load_config(registry: Registry, path: str | Path, overrides: Sequence[str] = ()) -> WorkspaceConfig:
    """Compose, structure and check a config. Imports no component.

    Warns of what its blocks advise against, and where a resolved config was made with other versions; logs what became
    of options that those had (`read_upgraded`).

    Args:
        path: of a file, or the name of a config that comes with dp-core or a plugin: ``borel-data/pendulum``.
        overrides: ``key=value`` or ``~key``, as on the command line.

    Raises:
        ConfigError: everything that is wrong, each with its dotted path; or, of a resolved config, every component
            that is not available here.
    """
    try:
        removals = Removals()
        merged = apply_overrides(read_upgraded(registry, path, removals), overrides, removals)
        return check_config(registry, resolve(merged, str(path)), path, overrides, removals.idle(merged))
    except ConfigError as error:
        if (name := registry.presets.fragment_meant(path)) is None:
            raise
        note = f"'{name}' is not a whole config, but a part to build on; in one of yours: 'extends: [{name}]'"
        raise ConfigError(error.source, error.problems, [*error.notes, note]) from error


def read_upgraded(registry: Registry, path: str | Path, removals: Removals | None = None) -> dict[str, Any]:
    """Read a config with everything it extends; resolved ones among them say what the components here know.

    Logs what became of their options, see `dp_core.provenance.migrations`. Interpolations stay as they are.

    Args:
        removals: told what the files take away from each other.

    Raises:
        ConfigError: a file that cannot be read.
        PluginError: an upgrade of a component fails.
    """

    def upgrade(data: dict[str, Any], file: Path) -> dict[str, Any]:
        options = {key: value for key, value in data.items() if key != MANIFEST}
        found = migrate_config(options, data.get(MANIFEST), registry.components())
        found.log(file)
        return {**found.config, MANIFEST: found.made_with} if MANIFEST in data else data

    return read_config(path, registry.presets, upgrade, removals)


def check_config(
    registry: Registry,
    data: Mapping[str, Any],
    path: str | Path,
    overrides: Sequence[str] = (),
    idle: frozenset[str] = frozenset(),
) -> WorkspaceConfig:
    """Structure and check what `dp_core.config.compose.compose` made of ``path`` and ``overrides``; see `load_config`.

    Args:
        idle: the dotted paths of each ``null`` that takes nothing away, see `dp_core.config.compose.Removals`.

    Raises:
        ConfigError: as in `load_config`.
    """
    found = compare(data.get(MANIFEST), registry, data, data)
    if found.absent:
        # Packages that are missing besides, only for completeness: without them a config can still be checked.
        raise ConfigError(str(path), [*found.absent, *found.lacking], found.other_versions)
    found.warn(path)
    options = {"run_name": Path(path).stem, **data}
    options.pop(MANIFEST, None)
    try:
        _check_required(registry, options.get("required_plugins"), str(path))
        return structure_run(registry, options, str(path), idle)
    except ConfigError as error:
        given = [given for override in overrides for given in paths_set(override, data)]
        raise ConfigError(error.source, [_with_origin(problem, given) for problem in error.problems]) from error


def require_ready(config: Any, source: str | Path) -> None:
    """Refuse a checked config, or parts of one, for which this machine lacks packages or files.

    Raises:
        ConfigError: with all that is lacking.
    """
    if lacking := list(preflight(config)):
        raise ConfigError(str(source), lacking)


def _check_required(registry: Registry, required: Any, source: str) -> None:
    if not required:
        return
    from dp_core.provenance.requirements import unmet_requirements

    if unmet := list(unmet_requirements(required, registry)):
        raise ConfigError(source, unmet)


def dump_config(config: Any) -> str:
    """Return the complete config as YAML: defaults filled in, interpolations resolved, names qualified."""
    return OmegaConf.to_yaml(OmegaConf.create(unstructure(config)))


def save_config(config: WorkspaceConfig, path: Path, *, exclusive: bool = False) -> None:
    """Write `dump_config` and the manifest; reading the file gives the same config again.

    Raises:
        FileExistsError: ``exclusive``, and there is such a file.
    """
    provenance = OmegaConf.to_yaml(OmegaConf.create({MANIFEST: manifest(config)}))
    text = f"{dump_config(config)}# What it was made with, to be compared when it is read.\n{provenance}"
    with whole_file(path, exclusive=exclusive) as temporary:
        temporary.write_text(text, encoding="utf-8")


def run_folder(config: WorkspaceConfig) -> Path:
    """Return the run directory that a config names; if it names none, make a new one below ``runs``."""
    if config.output_dir is not None:
        return config.output_dir
    now = datetime.datetime.now().astimezone()
    return new_folder(numbered(Path("runs", f"{now:%Y-%m-%d_%H-%M-%S}_{config.run_name}")))


def _with_origin(problem: Problem, given: Iterable[str]) -> Problem:
    if any(problem.path == key or problem.path.startswith((f"{key}.", f"{key}[")) for key in given):
        return Problem(problem.path, f"{problem.message} (from the command line)")
    return problem
