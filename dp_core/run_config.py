"""`load_config`: a config file and overrides to a checked, typed config, and back to a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dp_core.atomic import whole_file
from dp_core.config.compose import compose, parse_override
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.structure import structure_run
from dp_core.config.tree import components_of, unstructure
from dp_core.errors import ConfigError, Problem
from dp_core.provenance.manifest import (
    absent_components,
    absent_requirements,
    as_manifest,
    differences,
    manifest,
    other_versions,
)
from dp_core.provenance.noise_process import keep_process
from dp_core.registry import Registry

MANIFEST = "manifest"
"""The key of a resolved config that holds its manifest, see `dp_core.provenance.manifest`."""

logger = logging.getLogger(__name__)


def load_config(registry: Registry, path: str | Path, overrides: Sequence[str] = ()) -> WorkspaceConfig:
    """Compose, structure and check. Imports no component.

    Warns of what its blocks advise against, and where a resolved config was made with other versions.

    Raises:
        ConfigError: everything that is wrong, each with its dotted path; or, of a resolved config, every component
            that is not available here.
    """
    data = compose(path, overrides)
    _compare_manifest(registry, data, path)
    return _structure(registry, data, path, overrides)


def load_resumed_config(registry: Registry, path: str | Path, overrides: Sequence[str]) -> WorkspaceConfig:
    """As `load_config`, for a run that goes on with the weights it has: its schedulers keep the noise process.

    Raises:
        ConfigError: as there, and where an override asks for another process.
    """
    data = compose(path)
    _compare_manifest(registry, data, path)
    former = _structure(registry, data, path, log_advice=False)  # of use only with the overrides
    kinds = {here: component.kind for here, component in components_of(former)}
    data = keep_process(registry, unstructure(former), kinds, compose(path, overrides), str(path))
    return _structure(registry, data, path, overrides)


def _structure(
    registry: Registry,
    data: dict[str, Any],
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    log_advice: bool = True,
) -> WorkspaceConfig:
    data = {"run_name": Path(path).stem, **data}
    data.pop(MANIFEST, None)
    try:
        _check_required(registry, data.get("required_plugins"), str(path))
        return structure_run(registry, data, str(path), log_advice=log_advice)
    except ConfigError as error:
        given = [leaf for override in overrides for leaf in _leaves(parse_override(override))]
        raise ConfigError(error.source, [_with_origin(problem, given) for problem in error.problems]) from error


def _check_required(registry: Registry, required: Any, source: str) -> None:
    if not required:
        return
    from dp_core.provenance.requirements import unmet_requirements

    if unmet := list(unmet_requirements(required, registry)):
        raise ConfigError(source, unmet)


def _compare_manifest(registry: Registry, data: Mapping[str, Any], path: str | Path) -> None:
    made_with = as_manifest(data.get(MANIFEST))
    others = differences(made_with)
    if absent := absent_components(made_with, registry, data, data):
        # Packages that are missing besides, only for completeness: without them a config can still be checked.
        raise ConfigError(str(path), [*absent, *absent_requirements(made_with, registry, data, data)], others)
    if others:
        logger.warning("%s", other_versions(path, others))


def dump_config(config: Any) -> str:
    """The complete config as YAML: defaults filled in, interpolations resolved, names qualified."""
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
